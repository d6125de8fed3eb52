"""A sweep from file to result on the real engine, with the serial executor and Optuna's storage."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import yaml

from akq_dist.errors import AkqStudyError, AkqUsageError, TrackerError
from akq_dist.record.ledger import Ledger
from akq_dist.record.protocols import TrackerLinks
from akq_dist.sweep import Sweep, estimate, replay, resume_study, sweep, sync

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from akq_dist.search.progress import Progress

SPEC: dict[str, Any] = {
    "name": "cross",
    "strategy": {
        "rules": {
            "enter": "cross_above(sma(close, fast), sma(close, slow))",
            "exit": "cross_below(sma(close, fast), sma(close, slow))",
            "size": {"pct_equity": 1.0},
        }
    },
    "data": {"path": "bars.parquet"},
    "space": {"fast": {"int": [2, 12]}, "slow": {"int": [15, 60], "step": 5}},
    "where": ["fast * 2 < slow"],
    "objective": {"metric": "sharpe", "aggregate": "median"},
    "search": {"sampler": "random", "trials": 40, "seed": 3},
    "run": {"executor": "serial", "threads": 2},
    "track": {"mlflow": None},
    "storage": {"optuna": None},
}
SUMMARY = [
    "study", "optuna", "mlflow", "trials", "best", "executor", "workers", "wall_s", "trials_per_s",
    "bars_per_s", "data_digest", "result_hash",
]  # fmt: skip
STRATEGY = """
import akq_dist as akq

class Hold(akq.Strategy):
    days: int = akq.Param(5)
    kind: str = akq.Param("a")

    def on_bar(self, bar):
        if self.days == 7:
            raise ValueError("seven")
        if bar.index % 20 == 0:
            self.buy(10 + int(self.rng.integers(0, 5)))
        if bar.index % 20 == self.days:
            self.close()
"""


def write_bars(path: Path, seed: int = 5, n: int = 150) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in ("AAA", "BBB", "CCC"):
        close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0005, 0.02, n))), 2)
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(n)],
                    "open": close,
                    "high": close + 1.0,
                    "low": close - 1.0,
                    "close": close,
                    "volume": 1000.0,
                }
            )
        )
    pl.concat(frames).write_parquet(path)


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SPEC))
    return folder


def run(*overrides: str, **options: Any) -> Sweep:
    return sweep("sweep.yaml", overrides=overrides, **options).run()


def cancel_after(handle: Sweep, n_done: int) -> Sweep:
    """Have a sweep cancelled as soon as that many trials are done."""

    def watch(progress: Progress) -> None:
        if progress.done > n_done:
            handle.cancel()

    handle._session._on_progress = watch
    return handle


@pytest.mark.usefixtures("folder")
def test_a_sweep_runs_and_the_same_command_resumes_it() -> None:
    notes: list[str] = []
    first = run(on_note=notes.append)
    summary = first.summary()
    assert list(summary) == SUMMARY
    assert summary["study"] == "cross"
    assert summary["trials"]["total"] == summary["trials"]["complete"] + summary["trials"]["failed"] == 40
    assert (summary["executor"], summary["workers"]) == ("serial", 1)
    assert (first.state, first.exit_code, first.warnings) == ("finished", 0, ())
    assert any("executor: serial" in note for note in notes)
    frame = first.results()
    assert frame.height == 40
    assert (frame["params_fast"] * 2 < frame["params_slow"]).all()
    best = first.best
    assert best is not None
    assert best.values[0] == frame["value"].max()
    assert summary["best"] == {
        "number": best.number,
        "values": list(best.values),
        "params": dict(best.params),
    }
    first.close()
    again = run()
    assert again.summary()["result_hash"] == summary["result_hash"]
    assert (again.summary()["executor"], again.exit_code) == (None, 0)
    again.close()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_cancelled_sweep_goes_on_to_the_same_study(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akq_dist.search.loop._PROGRESS_EVERY_S", 0.0)
    whole = run(f"search.sampler={sampler}", "name=whole")
    expected = whole.summary()["result_hash"]
    whole.close()
    overrides = [f"search.sampler={sampler}", "name=parts", "run.batch=3", "storage.ledger=other/ledger.db"]
    sessions = 0
    while True:
        sessions += 1
        handle = cancel_after(sweep("sweep.yaml", overrides=overrides), 8 * sessions).run()
        state, found = handle.state, handle.summary()["result_hash"]
        handle.close()
        if state == "finished":
            break
        assert (state, handle.exit_code) == ("cancelled", 130)
    assert sessions > 1
    assert found == expected


def test_every_change_that_matters_is_refused_and_named(folder: Path) -> None:
    run().close()
    for change, words in (
        ("space.fast={int: [2, 13]}", r"space\.fast\.int\[1\]: 12 -> 13"),
        ("market.cash=5e5", r"market\.cash: 1000000\.0 -> 500000\.0"),
        ("search.seed=4", r"search\.seed: 3 -> 4"),
        ("objective.aggregate=mean", r"objective\[0\]\.aggregate: median -> mean"),
        ("strategy.rules.exit=close < sma(close, fast)", r"strategy\."),
        ("where=[]", "where"),
    ):
        with pytest.raises(AkqStudyError, match=words):
            run(change)
    write_bars(folder / "bars.parquet", seed=6)
    with pytest.raises(AkqStudyError, match=r"data\.digest"):
        run()


@pytest.mark.usefixtures("folder")
def test_a_new_study_stands_beside_the_old_one() -> None:
    first = run()
    second = run(new=True)
    assert (first.name, second.name) == ("cross", "cross-2")
    assert second.summary()["trials"]["cached"] == first.summary()["trials"]["complete"]
    assert second.summary()["result_hash"] == first.summary()["result_hash"]
    second.close()
    third = run("search.trials=45")
    assert third.name == "cross-2", "the newest study is the one that is resumed"
    assert third.summary()["trials"]["total"] == 45
    first.close()
    third.close()


@pytest.mark.usefixtures("folder")
def test_a_space_that_fits_is_tried_once_each_whatever_the_sampler() -> None:
    notes: list[str] = []
    found = []
    for sampler in ("tpe", "grid"):
        handle = run(
            "search.trials=1000", f"search.sampler={sampler}", f"name={sampler}", on_note=notes.append
        )
        frame = handle.results()
        assert frame.height == frame.select("params_fast", "params_slow").unique().height
        found.append(frame.select("params_fast", "params_slow").rows())
        handle.close()
    assert found[0] == found[1] == [(f, s) for f in range(2, 13) for s in range(15, 61, 5) if 2 * f < s]
    assert any("each is tried once" in note for note in notes)


def test_a_python_strategy_with_a_bad_trial(folder: Path) -> None:
    overrides = [
        "name=hold",
        "strategy={python: 'hold.py:Hold'}",
        "space={days: {int: [3, 9]}, kind: {choice: [a, b]}}",
        "where=[]",
        "search.sampler=grid",
        "search.trials=null",
        "run.max_failures=2",
    ]
    handle = run(*overrides)
    summary = handle.summary()
    assert (summary["trials"]["total"], handle.exit_code) == (14, 0)
    failed = handle.results().filter(pl.col("state") == "fail")
    assert failed["params_days"].to_list() == [7, 7]
    assert all("ValueError: seven" in reason for reason in failed["reason"])
    handle.close()
    report = replay("hold", 0)
    assert report.same, report.differences
    (folder / "hold.py").write_text(STRATEGY.replace("10 +", "11 +"))
    with pytest.raises(AkqStudyError, match=r"strategy\.digest"):
        run(*overrides)
    with pytest.raises(AkqStudyError, match="cannot be replayed"):
        replay("hold", 0)


@pytest.mark.usefixtures("folder")
def test_a_python_strategy_that_always_fails_ends_with_its_code() -> None:
    handle = run(
        "name=bad",
        "strategy={python: 'hold.py:Hold'}",
        "params={days: 7}",
        "space={kind: {choice: [a, b]}}",
        "where=[]",
    )
    assert (handle.state, handle.exit_code) == ("failed", 4)
    assert "2 of 2 trials failed" in (handle.reason or "")
    handle.close()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("space.unused={int: [1, 5]}", r"space\.unused"),
        ("objective.metric=sharp", "did you mean 'sharpe'"),
        ("search.sampler=tpee", "did you mean 'tpe'"),
        ("search.sampler_options={x: 1}", r"search\.sampler_options\.x"),
        ("where=['fast > slow']", "none of the 110 points of the space meets 'fast > slow'"),
        ("constraints=['sum(n_trade) >= 1']", "did you mean 'n_trades'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_recorded(change: str, words: str) -> None:
    with pytest.raises(AkqUsageError, match=words):
        run(change)
    assert not Path("akq/ledger.db").exists()


@pytest.mark.usefixtures("folder")
def test_two_drivers_do_not_share_a_study() -> None:
    refused: list[Exception] = []

    def second(_: object) -> None:
        if not refused:
            with pytest.raises(AkqStudyError, match="is being run by process") as caught:
                run()
            refused.append(caught.value)

    sweep("sweep.yaml", on_progress=second).run().close()
    assert refused


@pytest.mark.usefixtures("folder")
def test_a_started_sweep_returns_at_once_and_can_be_waited_for() -> None:
    handle = sweep("sweep.yaml")
    assert handle.state == "ready"
    assert handle.start().wait(60)
    assert handle.state == "finished"
    assert handle.status() is not None
    with pytest.raises(AkqUsageError, match="has been run"):
        handle.run()
    handle.close()
    broken = sweep("sweep.yaml", overrides=["data.path=missing.parquet"]).start()
    with pytest.raises(Exception, match=r"missing\.parquet"):
        broken.wait(60)
    assert broken.state == "failed"


@pytest.mark.usefixtures("folder")
def test_a_recorded_trial_runs_again_bit_for_bit() -> None:
    run().close()
    for number in (0, 7, 39):
        report = replay("cross", number, artifacts=Path("out"))
        assert report.same, report.differences
        assert report.hash == report.recorded_hash != ""
        assert len(report.files) == 5
        assert all(Path(name).is_file() for name in report.files)
    with Ledger("akq/ledger.db").transaction() as connection:
        connection.execute(
            "UPDATE trial SET hash = 'other', \"values\" = ? WHERE number = 7", (np.array([9.0]).tobytes(),)
        )
    report = replay(Path("sweep.yaml"), 7)
    assert not report.same
    assert [line.split(":")[0] for line in report.differences] == ["hash", "value of sharpe.median"]
    with pytest.raises(AkqStudyError, match="has no trial 99"):
        replay("cross", 99)


@pytest.mark.usefixtures("folder")
def test_a_study_is_resumed_by_its_name() -> None:
    run("search.trials=10").close()
    handle = resume_study("cross", overrides=["search.trials=25"]).run()
    assert handle.summary()["trials"]["total"] == 25
    handle.close()
    with pytest.raises(AkqStudyError, match="did you mean 'cross'"):
        resume_study("crosss")
    with pytest.raises(AkqStudyError, match="no study 'other' to resume"):
        resume_study(Path("sweep.yaml"), overrides=["name=other"]).run()


@pytest.mark.usefixtures("folder")
def test_optuna_holds_the_same_trials_and_is_rebuilt_from_the_ledger() -> None:
    on = ["storage.optuna=sqlite:///akq/optuna.db", "search.trials=20", "constraints=['sum(n_trades) >= 3']"]
    handle = run(*on)
    rows = handle.results().rows(named=True)
    trials = handle.optuna_study.trials
    assert [t.number for t in trials] == [row["number"] for row in rows]
    assert [t.params for t in trials] == [{n: row[f"params_{n}"] for n in ("fast", "slow")} for row in rows]
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    assert [t.value for t in complete] == [row["value"] for row in rows if row["state"] == "complete"]
    assert complete[0].user_attrs["sharpe.median"] == complete[0].value
    best = handle.best
    assert best is not None
    assert handle.optuna_study.best_trial.number == best.number
    handle.close()
    Path("akq/optuna.db").unlink()
    assert sync("cross", overrides=on) == []
    again = resume_study("cross", overrides=on).run()
    assert [t.params for t in again.optuna_study.trials] == [t.params for t in trials]
    again.close()


@pytest.mark.usefixtures("folder")
def test_a_study_of_the_same_name_in_optuna_is_not_touched() -> None:
    on = ["storage.optuna=sqlite:///akq/optuna.db", "search.trials=5"]
    run(*on).close()
    Path("akq/ledger.db").unlink()
    handle = run(*on, "search.seed=9")
    assert handle.name == "cross-2"
    assert len(handle.optuna_study.trials) == 5
    handle.close()


@pytest.mark.usefixtures("folder")
def test_what_a_sweep_costs_is_measured_without_recording_anything() -> None:
    found = estimate("sweep.yaml")
    assert found.trials == 40
    assert found.bars_per_s > 0
    assert found.executor == "serial"
    assert found.wall_s is not None
    assert not Path("akq").exists()


class FakeTracker:
    """Keeps what it is told; its store is away as long as `away` says."""

    away = False
    opened: int = 0
    trials: dict[int, Any]
    finished: list[tuple[str, int, dict[str, float]]]
    details: dict[int, str]
    block = 100

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri

    @classmethod
    def reset(cls) -> None:
        cls.away, cls.opened = False, 0
        cls.trials, cls.finished, cls.details = {}, [], {}

    def open(self, info: Any) -> TrackerLinks:
        self._check()
        type(self).opened += 1
        self.info = info
        return TrackerLinks(self.uri, "7", f"run-{info.study_id[:4]}")

    def record(self, trials: Sequence[Any]) -> None:
        self._check()
        for trial in trials:
            assert self.trials.setdefault(trial.number, trial) == trial

    def interrupt(self) -> None: ...

    def promote(self, trial: Any) -> None:
        self._check()

    def progress(self, step: int, metrics: Mapping[str, float]) -> None:
        self._check()

    def detail(self, details: Sequence[Any]) -> None:
        self.details.update({detail.number: detail.hash for detail in details})

    def finish(
        self, status: str, trials: Any, summary: Mapping[str, float], files: Mapping[str, str]
    ) -> None:
        self._check()
        assert (list(files) == ["report.html"]) == (status == "finished")
        self.finished.append((status, trials.num_rows, dict(summary)))

    def close(self) -> None: ...

    def _check(self) -> None:
        if self.away:
            raise TrackerError("the store is away")


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> type[FakeTracker]:
    FakeTracker.reset()
    monkeypatch.setattr("akq_dist.record.tracking.tracker_class", lambda _: FakeTracker)
    return FakeTracker


@pytest.mark.usefixtures("folder")
def test_the_tracker_has_every_trial_and_the_tables_of_the_best(tracker: type[FakeTracker]) -> None:
    on = ["track.mlflow=sqlite:///x.db", "track.artifacts=best:6"]
    handle = run(*on)
    assert handle.mlflow_run_id is not None
    assert handle.summary()["mlflow"]["experiment_id"] == "7"
    assert sorted(tracker.trials) == list(range(40))
    hashes = handle.results()["hash"].to_list()
    assert len(tracker.details) == 6
    assert {n: hashes[n] for n in tracker.details} == tracker.details
    status, n_rows, summary = tracker.finished[-1]
    assert (status, n_rows, summary["trials.total"]) == ("finished", 40, 40.0)
    assert summary["best.sharpe.median"] == handle.summary()["best"]["values"][0]
    run_id = handle.mlflow_run_id
    handle.close()
    again = run(*on)
    assert tracker.opened == 1, "a finished sweep does not ask the tracker again"
    assert again.mlflow_run_id == run_id
    again.close()


@pytest.mark.usefixtures("folder")
def test_a_tracker_that_is_away_costs_a_warning_and_is_caught_up_later(
    tracker: type[FakeTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akq_dist.record.follower.NEVER_REACHED_S", 0.5)
    tracker.away = True
    on = ["track.mlflow=sqlite:///x.db"]
    handle = run(*on)
    assert (handle.state, handle.exit_code) == ("finished", 0)
    assert len(handle.warnings) == 1
    assert "the store is away" in handle.warnings[0]
    assert handle.summary()["mlflow"] is None
    assert handle.results().height == 40
    handle.close()
    tracker.away = False
    for _ in range(2):
        assert sync("cross", overrides=on) == []
        assert sorted(tracker.trials) == list(range(40))
        assert tracker.finished[-1][:2] == ("finished", 40)


@pytest.mark.usefixtures("folder", "tracker")
def test_no_thread_outlives_a_sweep() -> None:
    before = set(threading.enumerate())
    run("track.mlflow=sqlite:///x.db", "storage.optuna=sqlite:///akq/optuna.db", "search.trials=5").close()
    assert set(threading.enumerate()) <= before
