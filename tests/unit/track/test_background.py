"""The thread between ledger and store: order, retries, bounds, and a sweep that never waits."""

from __future__ import annotations

import threading
import time
import tracemalloc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pytest

from akq_dist.errors import TrackerError
from akq_dist.record.follower import StoreFullError
from akq_dist.record.protocols import SweepInfo, TrackerLinks, TrialDetail, TrialRecord
from akq_dist.track import background
from akq_dist.track.background import BackgroundTracker

from .tracked import sweep_info, trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa


@dataclass
class FakeTracker:
    """Remembers what it is told; fails as often as `n_faults` says, waits while `gate` is closed."""

    n_faults: int = 0
    fault: Exception = field(default_factory=lambda: TrackerError("the store is away"))
    gate: threading.Event = field(default_factory=threading.Event)
    numbers: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    n_opened: int = 0
    n_closed: int = 0
    n_interrupted: int = 0
    finished: str | None = None
    block: int = 100

    def __post_init__(self) -> None:
        self.gate.set()

    def _enter(self) -> None:
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(30)
        if self.n_faults > 0:
            self.n_faults -= 1
            raise self.fault

    def open(self, info: SweepInfo) -> TrackerLinks:
        self._enter()
        self.n_opened += 1
        return TrackerLinks("sqlite:///x", "1", info.study_id)

    def record(self, trials: Sequence[TrialRecord]) -> None:
        self._enter()
        self.numbers += [record.number for record in trials]

    def progress(self, step: int, metrics: Mapping[str, float]) -> None:
        self._enter()
        self.steps.append(step)

    def detail(self, details: Sequence[TrialDetail]) -> None:
        self._enter()

    def promote(self, trial: TrialRecord) -> None:
        self._enter()

    def finish(
        self,
        status: Literal["finished", "failed", "interrupted"],
        trials: pa.Table,
        summary: Mapping[str, float],
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._enter()
        self.finished = status

    def interrupt(self) -> None:
        self.n_interrupted += 1

    def close(self) -> None:
        self.n_closed += 1


@dataclass
class FakeLedger:
    """Finished trials; the watermark that it was told."""

    n_finished: int = 0
    watermark: int = 0
    largest_read: int = 0

    def read(self, first: int, limit: int) -> list[TrialRecord]:
        self.largest_read = max(self.largest_read, limit)
        return [trial(number) for number in range(first, min(self.n_finished, first + limit))]

    def note(self, watermark: int) -> None:
        assert watermark > self.watermark
        self.watermark = watermark


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akq_dist.record.follower.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("akq_dist.record.follower.LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()


@pytest.fixture
def follower(tracker: FakeTracker, ledger: FakeLedger) -> Iterator[BackgroundTracker]:
    made = BackgroundTracker(tracker, ledger.read, ledger.note)
    yield made
    tracker.gate.set()
    made.close()


def wait_for(follower: BackgroundTracker, words: str) -> None:
    deadline = time.monotonic() + 10
    while words not in (follower.error or ""):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_everything_is_recorded_once_and_in_order(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger
) -> None:
    for n_finished in (1, 7, 150, 1_234):
        ledger.n_finished = n_finished
        follower.notify(n_finished)
        follower.progress(n_finished, {"best": 1.0})
    told: list[int] = []
    assert follower.catch_up(20, lambda: False, told.append)
    assert tracker.numbers == list(range(1_234))
    assert tracker.steps == [1, 7, 150, 1_234]
    assert ledger.watermark == follower.position == 1_234
    assert ledger.largest_read == tracker.block
    assert follower.lag == 0
    assert follower.error is None
    assert tracker.threads == {"akq-tracker"}
    assert told == sorted(told)


def test_what_finished_before_is_recorded_without_being_told(
    tracker: FakeTracker, ledger: FakeLedger
) -> None:
    ledger.n_finished = ledger.watermark = 10
    ledger.n_finished = 15
    follower = BackgroundTracker(tracker, ledger.read, ledger.note, 10)
    assert follower.drain(10)
    assert tracker.numbers == [10, 11, 12, 13, 14]
    follower.close()
    follower.close()
    assert tracker.n_closed == 1


def test_store_that_comes_back_gets_everything(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger
) -> None:
    tracker.n_faults = 8
    ledger.n_finished = 250
    follower.notify(250)
    deadline = time.monotonic() + 20
    while not follower.drain(5):
        assert time.monotonic() < deadline
    assert tracker.numbers == list(range(250))
    assert follower.error is None


def test_store_that_stays_away_is_given_up_and_loses_nothing(
    follower: BackgroundTracker,
    tracker: FakeTracker,
    ledger: FakeLedger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker.n_faults = 10**9
    ledger.n_finished = 5
    follower.notify(5)
    monkeypatch.setattr("akq_dist.record.follower.NEVER_REACHED_S", 0.5)
    began_s = time.monotonic()
    assert not follower.catch_up(60, lambda: False)
    assert 0.4 < time.monotonic() - began_s < 30
    assert follower.error == "the store is away"
    assert follower.lag == 5
    assert ledger.watermark == 0


def test_a_sweep_does_not_wait_for_a_store_that_hangs(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger
) -> None:
    assert follower.drain(10)
    tracker.gate.clear()
    ledger.n_finished = 100_000
    began_s = time.monotonic()
    for step in range(1_000):
        follower.notify(step)
        follower.progress(step, {"best": float(step)})
    assert time.monotonic() - began_s < 2.0
    assert not follower.drain(0.05)
    ledger.n_finished = 1_000
    tracker.gate.set()
    assert follower.drain(20)
    assert len(tracker.steps) <= background.MAX_PROGRESS + 1, "old points give way"
    assert tracker.steps[-1] == 999


def test_fault_of_ours_ends_the_thread_and_is_told(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger
) -> None:
    tracker.fault, tracker.n_faults = ZeroDivisionError("oops"), 1
    ledger.n_finished = 1
    follower.notify(1)
    wait_for(follower, "ZeroDivisionError: oops")
    assert not follower.drain(10)
    with pytest.raises(TrackerError, match="oops"):
        follower.call(lambda _: None, 1)


def test_tracker_is_opened_by_the_thread(tracker: FakeTracker, ledger: FakeLedger) -> None:
    tracker.n_faults = 2
    ledger.n_finished = 3
    follower = BackgroundTracker(tracker, ledger.read, ledger.note, info=sweep_info())
    deadline = time.monotonic() + 10
    while not follower.drain(5):
        assert time.monotonic() < deadline
    assert follower.links == TrackerLinks("sqlite:///x", "1", "6b8c0f1e-demo")
    assert tracker.n_opened == 1
    assert tracker.numbers == [0, 1, 2]
    follower.close()


def test_calls_run_in_the_thread_after_what_waits(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger
) -> None:
    ledger.n_finished = 500
    follower.notify(500)
    seen = follower.call(lambda _: (threading.current_thread().name, len(tracker.numbers)), 10)
    assert seen == ("akq-tracker", 500)
    with pytest.raises(ValueError, match="mine"):
        follower.call(_raise, 10)
    assert follower.call(lambda _: 1, 10) == 1, "a fault of a call is the caller's"


def test_call_whose_turn_does_not_come_is_not_run(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger
) -> None:
    tracker.gate.clear()
    ledger.n_finished = 1
    follower.notify(1)
    ran: list[int] = []
    with pytest.raises(TrackerError, match="did not answer in 0 s"):
        follower.call(lambda _: ran.append(1), 0.05)
    tracker.gate.set()
    assert follower.drain(10)
    assert ran == []


def test_close_ends_waiting_calls(tracker: FakeTracker, ledger: FakeLedger) -> None:
    tracker.gate.clear()
    ledger.n_finished = 1
    follower = BackgroundTracker(tracker, ledger.read, ledger.note)
    caught: list[BaseException] = []

    def call() -> None:
        try:
            follower.call(lambda _: None, 20)
        except TrackerError as error:
            caught.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    deadline = time.monotonic() + 10
    while not follower._calls:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    closer = threading.Thread(target=follower.close)
    closer.start()
    tracker.gate.set()
    closer.join(20)
    caller.join(20)
    assert len(caught) == 1


def _raise(_: object) -> None:
    raise ValueError("mine")


def test_drain_waits_for_a_record_that_is_under_way(tracker: FakeTracker, ledger: FakeLedger) -> None:
    entered = threading.Event()
    plain = tracker.record

    def slow(trials: Sequence[TrialRecord]) -> None:
        entered.set()
        plain(trials)

    tracker.record = slow  # type: ignore[method-assign]
    tracker.gate.clear()
    ledger.n_finished = 1
    follower = BackgroundTracker(tracker, ledger.read, ledger.note)
    assert entered.wait(10)
    answers: list[bool] = []
    drainer = threading.Thread(target=lambda: answers.append(follower.drain(20)))
    drainer.start()
    drainer.join(0.1)
    assert answers == []
    tracker.gate.set()
    drainer.join(20)
    assert answers == [True]
    assert tracker.numbers == [0]
    follower.close()


def test_a_store_that_has_answered_is_given_more_time_to_come_back(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akq_dist.record.follower.NEVER_REACHED_S", 0.0)
    ledger.n_finished = 5
    assert follower.catch_up(20, lambda: False)
    tracker.n_faults = 40
    ledger.n_finished = 9
    follower.notify(9)
    assert follower.catch_up(20, lambda: False)
    assert tracker.numbers == list(range(9))


def test_nobody_waits_for_a_disk_without_room(
    follower: BackgroundTracker, tracker: FakeTracker, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akq_dist.record.follower.FULL_S", 0.1)
    assert follower.catch_up(20, lambda: False)
    tracker.fault, tracker.n_faults = StoreFullError("/disk/mlflow.db: 0 bytes free"), 10**9
    ledger.n_finished = 1
    began_s = time.monotonic()
    assert not follower.catch_up(60, lambda: False)
    assert time.monotonic() - began_s < 10.0
    assert follower.error == "/disk/mlflow.db: 0 bytes free"


def test_a_thread_that_is_left_behind_holds_what_it_was_given_until_it_ends(
    tracker: FakeTracker, ledger: FakeLedger
) -> None:
    given_back = threading.Event()
    tracker.gate.clear()
    ledger.n_finished = 1
    follower = BackgroundTracker(tracker, ledger.read, ledger.note, hold=lambda: given_back.set)
    deadline = time.monotonic() + 10
    while not tracker.threads:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert not follower.close(0.05)
    assert tracker.n_interrupted == 1
    assert not given_back.is_set()
    tracker.gate.set()
    assert given_back.wait(10)
    assert tracker.numbers == [0]
    assert (tracker.n_closed, ledger.watermark) == (1, 0), "the ledger may be closed by then"


def test_a_call_is_repeated_while_the_store_is_away_for_a_moment(
    follower: BackgroundTracker, tracker: FakeTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.n_faults = 4
    assert follower.call(lambda _: tracker.progress(7, {}), 20) is None
    assert tracker.steps == [7]
    assert follower.error is None
    monkeypatch.setattr(background, "REPEAT_CALL_S", 0.05)
    tracker.n_faults = 10**9
    with pytest.raises(TrackerError, match="the store is away"):
        follower.call(lambda _: tracker.progress(8, {}), 20)
    assert tracker.steps == [7]


def test_a_store_that_is_away_costs_no_memory(tracker: FakeTracker, ledger: FakeLedger) -> None:
    """What waits is in the ledger; here are a block of trials and the newest points of the sweep's own metrics."""
    tracker.n_faults = 10**9
    follower = BackgroundTracker(tracker, ledger.read, ledger.note)
    tracemalloc.start()
    try:
        held: list[int] = []
        for n_finished in range(20_000):
            ledger.n_finished = n_finished
            follower.notify(n_finished)
            follower.progress(n_finished, {"best": 1.0, "complete": float(n_finished)})
            if n_finished in (2_000, 19_999):
                wait_for(follower, "the store is away")
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert follower.lag == 19_999
    # A block may be under way at one of the two moments; all of the trials are thirty megabytes.
    assert held[1] - held[0] < 2_000_000, held
    tracker.n_faults = 0
    assert follower.drain(30)
    assert tracker.numbers == list(range(19_999))
    follower.close()
