"""Workers that freeze, run too long or take too much memory: found, ended, and the right trial blamed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from akq_dist.cluster import warden, wardens
from akq_dist.cluster.beacon import IDLE, Beacon, beacon_path, read_beacon
from akq_dist.cluster.machine import memory_bytes, memory_used_bytes
from akq_dist.cluster.warden import Watch, WatchLimits, resident_bytes
from akq_dist.record.protocols import BatchLost, BatchResult, WorkerLimits

from .fake_worker import GATE, GOOD, HANG, HOARD, POISON, STOP_ONCE, make_batch, make_job, make_panel
from .test_ray_executor import drain, scores, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from akq_dist.cluster import RayExecutor

CHILD = """
import sys, time
from pathlib import Path
from akq_dist.cluster.beacon import Beacon
beacon = Beacon(Path(sys.argv[1]), 0.05)
beacon.begin(int(sys.argv[2]), int(sys.argv[3]))
print("up", flush=True)
held = bytearray()
for line in sys.stdin:
    if line.startswith("grow"):
        held += b"x" * (64 * 2**20)
        print("grown", flush=True)
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[int, int], subprocess.Popen[str]]]:
    """Start a process with a beacon that says it runs so many trials from a number on."""
    started: list[subprocess.Popen[str]] = []

    def start(number: int, n_trials: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(number), str(n_trials)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_last_word_outlives_the_process(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = child(41, 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen = read_beacon(beacon_path(tmp_path, process.pid))
    assert seen is not None
    assert (seen.pid, seen.number, seen.n_trials) == (process.pid, 41, 1)
    found = Watch(tmp_path, WatchLimits()).post_mortem(process.pid)
    assert (found.number, found.cause) == (41, "died")


def test_a_reader_never_sees_half_a_word(tmp_path: Path) -> None:
    beacon = Beacon(tmp_path, 0.001)
    for number in range(2_000):
        beacon.begin(number, number + 1)
        seen = read_beacon(beacon.path)
        assert seen is not None
        assert (seen.number, seen.n_trials) == (number, number + 1)
    beacon.idle()
    seen = read_beacon(beacon.path)
    assert seen is not None
    assert seen.number == IDLE


def test_a_frozen_worker_is_found_and_a_living_one_is_not(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    frozen, living = child(1, 1), child(2, 1)
    watch = Watch(tmp_path, WatchLimits(lease_s=1.0))
    frozen.send_signal(signal.SIGSTOP)
    killed: list[int] = []

    def looked() -> bool:
        killed.extend(watch.look())
        return bool(killed)

    wait_until(looked)
    assert killed == [frozen.pid]
    assert frozen.wait() == -signal.SIGKILL
    assert living.poll() is None
    found = watch.post_mortem(frozen.pid)
    assert (found.number, found.cause) == (1, "frozen")


def test_time_limits_count_for_each_trial_of_a_call(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    single, many = child(7, 1), child(100, 50)
    now_s = time.monotonic()
    watch = Watch(tmp_path, WatchLimits(lease_s=1e9, trial_timeout_s=10.0), clock=lambda: now_s)
    assert watch.look() == []
    now_s += 11.0
    assert watch.look() == [single.pid]
    assert watch.post_mortem(single.pid).cause == "timeout"
    assert "10 s" in watch.post_mortem(single.pid).text
    now_s += 500.0
    assert watch.look() == [many.pid]
    assert watch.post_mortem(many.pid).number is None, "which of fifty is not known"


def test_memory_counts_from_what_a_worker_had_before(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = child(3, 1)
    watch = Watch(tmp_path, WatchLimits(memory_bytes=100 * 2**20))
    assert watch.look() == []
    assert process.stdin is not None
    assert process.stdout is not None
    before = resident_bytes(process.pid)
    for expected in ([], [process.pid]):
        process.stdin.write("grow\n")
        process.stdin.flush()
        assert process.stdout.readline() == "grown\n"
        assert watch.look() == expected
    assert before > 0
    found = watch.post_mortem(process.pid)
    assert (found.number, found.cause) == (3, "memory")
    assert "run.memory allows 100 MiB" in found.text


def lost_of(executor: RayExecutor, n_reports: int) -> tuple[BatchLost, list[BatchResult | BatchLost]]:
    reports = drain(executor, n_reports)
    lost = [report for report in reports if isinstance(report, BatchLost)]
    assert len(lost) == 1, reports
    return lost[0], [report for report in reports if isinstance(report, BatchResult)]


def test_the_trial_that_killed_its_worker_is_named(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1)
    executor.start(make_job(tmp_path), make_panel())
    executor.submit(make_batch(0, [GOOD, GOOD, POISON, GOOD], 20))
    executor.submit(make_batch(1, [GOOD], 30))
    lost, results = lost_of(executor, 2)
    assert (lost.id, lost.number, lost.cause) == (0, 22, "died")
    assert scores(results) == {30: 61.0}


@pytest.mark.parametrize(
    ("order", "limits", "cause"),
    [
        (HANG, WorkerLimits(trial_timeout_s=6.0), "timeout"),
        (HOARD, WorkerLimits(memory_bytes=200 * 2**20), "memory"),
        (STOP_ONCE, WorkerLimits(lease_s=2.0), "frozen"),
    ],
)
def test_a_worker_over_a_limit_is_replaced_and_its_trial_named(
    make_executor: Callable[..., RayExecutor], tmp_path: Path, order: float, limits: WorkerLimits, cause: str
) -> None:
    executor = make_executor(workers=1, limits=limits)
    executor.start(make_job(tmp_path), make_panel())
    began_s = time.monotonic()
    executor.submit(make_batch(0, [GOOD, order, GOOD], 0))
    executor.submit(make_batch(1, [GOOD] * 3, 10))
    lost, results = lost_of(executor, 2)
    assert (lost.id, lost.number, lost.cause) == (0, 1, cause)
    assert time.monotonic() - began_s < 60.0
    assert sorted(scores(results)) == [10, 11, 12]
    if order == STOP_ONCE:
        # It is gone for good: what it would have said late cannot arrive.
        pid = int((tmp_path / "stopped-1").read_text(encoding="ascii"))
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        executor.submit(make_batch(2, [GOOD, STOP_ONCE, GOOD], 0))
        assert scores(drain(executor, 1)) == {0: 1.0, 1: 3.0, 2: 5.0}


def test_nothing_is_left_behind(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    assert executor._wardens is not None
    folder = executor._wardens.folder
    assert len(list(folder.glob("*.beat"))) == 2
    executor.close()
    assert not folder.exists()


def test_a_trial_does_not_pay_for_a_pause_of_the_watch_or_for_the_trial_before_it(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = child(7, 1)
    now = read_beacon(beacon_path(tmp_path, process.pid))
    assert now is not None
    # The watch is suspended after it has read what a worker does; meanwhile that trial ends and the next one begins.
    long_ago = replace(now, number=6, began_s=now.began_s - 60.0)
    words = iter([long_ago, now, now, now])
    monkeypatch.setattr(warden, "read_beacon", lambda _: next(words))
    watch = Watch(tmp_path, WatchLimits(trial_timeout_s=5.0), clock=lambda: now.began_s + 1.0)
    assert watch.look() == []
    assert watch.look() == []
    assert process.poll() is None


def test_the_time_is_taken_before_the_beacon_is_read(tmp_path: Path) -> None:
    beacon = Beacon(tmp_path, 60.0)

    def clock() -> float:
        # The trial begins after the look at the clock.
        now_s = time.monotonic()
        beacon.begin(3)
        return now_s

    watch = Watch(tmp_path, WatchLimits(trial_timeout_s=1e-9), clock=clock)
    assert watch.look() == []


def test_a_node_that_is_short_of_memory_ends_the_worker_that_has_taken_most(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    used = [0]
    small, large = child(1, 1), child(2, 1)
    watch = Watch(tmp_path, WatchLimits(node_share=0.5), memory_used=lambda: used[0])
    watch._node_bytes = 2**30
    assert watch.look() == []
    for process in (large, small, large):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("grow\n")
        process.stdin.flush()
        assert process.stdout.readline() == "grown\n"
    used[0] = 2**29
    assert watch.look() == [], "as much as allowed"
    used[0] = 2**29 + 1
    assert watch.look() == [large.pid]
    found = watch.post_mortem(large.pid)
    assert (found.number, found.cause) == (2, "memory")
    assert "50% of the node's 1,024 MiB" in found.text
    assert watch.look() == [small.pid]
    assert watch.look() == []


def test_workers_do_not_pay_for_what_others_have_taken(
    child: Callable[[int, int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = child(1, 1)
    watch = Watch(tmp_path, WatchLimits(node_share=0.5), memory_used=lambda: 2**62)
    assert watch.look() == []
    assert watch.look() == []
    assert process.poll() is None


def test_memory_of_a_node_is_bounded_over_all_its_workers(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    total, used = memory_bytes(), memory_used_bytes()
    assert total is not None
    assert used is not None
    # Room for another twentieth of the machine; another beyond it is what the bar leaves to 90 %.
    share = used / total + 0.05
    peak = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], memory_used_bytes() or 0)

    observer = threading.Thread(target=watch)
    executor = make_executor(workers=2, node_share=share)
    executor.start(make_job(tmp_path), make_panel())
    observer.start()
    try:
        for batch_id in range(2):
            executor.submit(make_batch(batch_id, [HOARD], batch_id))
        executor.submit(make_batch(2, [GOOD], 2))
        reports = {report.id: report for report in drain(executor, 3)}
    finally:
        done.set()
        observer.join()
    for batch_id in range(2):
        lost = reports[batch_id]
        assert isinstance(lost, BatchLost)
        assert (lost.number, lost.cause) == (batch_id, "memory")
    assert isinstance(reports[2], BatchResult)
    print(f"peak {peak[0] / total:.1%} of the node, allowed {share:.1%}")
    assert peak[0] / total < share + 0.05


def test_a_batch_that_runs_alone_has_its_node_for_itself(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    executor.submit(make_batch(0, [GATE], 0))
    executor.submit(replace(make_batch(1, [GATE], 1), alone=True))
    executor.submit(make_batch(2, [GATE], 2))
    log = tmp_path / "begun.log"
    wait_until(lambda: log.exists())
    assert executor.collect(0.3) == []
    assert log.read_text(encoding="ascii").split() == ["0"], "the second worker is idle"
    (tmp_path / "gate").touch()
    assert [report.id for report in drain(executor, 3)] == [0, 1, 2]
    assert log.read_text(encoding="ascii").split() == ["0", "1", "2"]


class FakeNodes:
    """Stands for Ray: a call to the warden of a node is answered unless that node is frozen."""

    def __init__(self) -> None:
        self.frozen: set[str] = set()

    def remote(self, cls: type) -> type:
        return cls

    def wait(self, calls: list[str], timeout: float) -> tuple[list[str], list[str]]:
        assert timeout == 0
        answered = [call for call in calls if call not in self.frozen]
        return answered, [call for call in calls if call in self.frozen]

    def handle(self, node: str) -> SimpleNamespace:
        return SimpleNamespace(ready=SimpleNamespace(remote=lambda: node))


def test_a_node_that_does_not_answer_for_a_lease_is_silent_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr(wardens, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    nodes = FakeNodes()
    found = wardens.Wardens(nodes, WorkerLimits(lease_s=30.0), 0.85, "")
    found._handles = {name: nodes.handle(name) for name in ("a", "b", "starting")}

    def look_after(seconds: float) -> set[str]:
        now_s[0] += seconds
        return found.silent({"a", "b"})

    assert look_after(0.0) == set()
    # A driver that has slept finds answers that are waiting for it.
    assert look_after(3_600.0) == set()
    nodes.frozen = {"b", "starting"}
    assert look_after(5.0) == set()
    assert not found.is_quiet("b")
    assert look_after(15.0) == set()
    assert (found.is_quiet("a"), found.is_quiet("b")) == (False, True)
    assert look_after(16.0) == {"b"}
    nodes.frozen = set()
    assert look_after(5.0) == set()
    assert not found.is_quiet("b")
