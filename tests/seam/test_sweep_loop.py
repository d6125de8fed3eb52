"""The loop over executors that shuffle, lose and fail: the study depends on none of it."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.record.trials import UNDEFINED
from akq_dist.search.judge import Objective
from akq_dist.search.policy import FailureLimit
from akq_dist.specs import Space

from .sweep_fakes import FakeExecutor, Study, surface

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.search.progress import Progress


def run(path: Path, executor: FakeExecutor | None = None, *, batch: int | None = None, **study: Any) -> Study:
    made = Study(path, **study)
    outcome = made.run(executor or FakeExecutor(), batch=batch)
    assert outcome.status == "finished"
    return made


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "optuna_tpe"])
def test_batch_size_workers_and_order_of_arrival_change_nothing(tmp_path: Path, sampler: str) -> None:
    hashes = set()
    for ix, (seed, batch, n_workers) in enumerate(
        [(None, None, 1), (1, 1, 2), (2, 7, 5), (3, 3, 1), (4, None, 8)]
    ):
        executor = FakeExecutor(seed=seed, n_workers=n_workers, n_threads=n_workers)
        study = run(
            tmp_path / f"{ix}.db",
            executor,
            batch=batch,
            sampler=sampler,
            constraints=("median(max_drawdown) >= -0.1",),
        )
        assert sorted(executor.ran) == list(range(100)), "each trial once"
        hashes.add(study.store.result_hash())
        study.close()
    assert len(hashes) == 1


def test_another_seed_is_another_study(tmp_path: Path) -> None:
    hashes = {
        run(tmp_path / f"{seed}.db", sampler="tpe", trials=40, seed=seed).store.result_hash()
        for seed in (1, 2)
    }
    assert len(hashes) == 2


def test_tpe_is_better_than_random(tmp_path: Path) -> None:
    best = {}
    for sampler in ("random", "tpe"):
        values = []
        for seed in range(3):
            study = Study(tmp_path / f"{sampler}{seed}.db", sampler=sampler, trials=120, seed=seed)
            values.append(study.run(FakeExecutor()).best[0].values[0])
            study.close()
        best[sampler] = np.mean(values)
    assert best["tpe"] > best["random"], best


def test_undefined_trials_fail_without_counting_as_failures(tmp_path: Path) -> None:
    study = run(tmp_path / "l.db", sampler="random", trials=150)
    counts = study.store.counts()
    assert counts["undefined"] == counts["fail"] > 0
    record = next(r for r in study.store.read_finished(0, 200) if r.state == "fail")
    assert (record.reason, record.values) == (UNDEFINED, ())
    assert record.metrics == {"n_trades.sum": 0.0}


def test_one_bad_trial_among_a_hundred_fails_alone(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean.db")
    victim = clean.store.read_finished(17, 1)[0].params
    executor = FakeExecutor(fails=lambda p: "Traceback ...\nValueError: no" if p == victim else None)
    study = run(tmp_path / "l.db", executor)
    counts = study.store.counts()
    assert counts["fail"] - counts["undefined"] == 1
    record = study.store.read_finished(17, 1)[0]
    assert (record.state, record.reason) == ("fail", "Traceback ...\nValueError: no")
    others = [r for r in study.store.read_finished(0, 200) if r.number != 17]
    assert [r.values for r in others] == [
        r.values for r in clean.store.read_finished(0, 200) if r.number != 17
    ]


def test_too_many_failures_stop_the_sweep(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", trials=10_000)
    executor = FakeExecutor(fails=lambda p: "boom" if p["fast"] > 40 else None)
    outcome = study.run(executor, failures=FailureLimit(share=0.05))
    assert outcome.status == "failed"
    assert "more than run.max_failures allows" in (outcome.reason or "")
    assert study.store.counts()["total"] < 1000
    study.close()


@pytest.mark.parametrize("batch", [1, 16, None])
@pytest.mark.parametrize("retries", [0, 2])
def test_a_poison_trial_fails_and_nothing_else_does(tmp_path: Path, batch: int | None, retries: int) -> None:
    clean = run(tmp_path / "clean.db")
    victim = clean.store.read_finished(42, 1)[0].params
    study = Study(tmp_path / "l.db")
    outcome = study.run(FakeExecutor(seed=5, poison=lambda p: p == victim), batch=batch, retries=retries)
    assert outcome.status == "finished"
    record = study.store.read_finished(42, 1)[0]
    assert record.state == "fail"
    assert "the worker died (signal 9)" in (record.reason or "")
    counts = study.store.counts()
    assert (counts["fail"] - counts["undefined"], counts["asked"]) == (1, 0)


def test_points_known_to_the_ledger_are_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path / "l.db")
    expected = first.store.result_hash()
    executor = FakeExecutor()
    second = Study(tmp_path / "l.db", name="again")
    assert second.run(executor).status == "finished"
    undefined = second.store.counts()["undefined"]
    assert len(executor.ran) == undefined, "only complete results answer"
    assert second.store.counts()["cached"] == 100 - undefined
    assert second.store.result_hash() == expected
    assert all(r.cached for r in second.store.read_finished(0, 200) if r.state == "complete")


def test_a_point_asked_twice_at_once_runs_once(tmp_path: Path) -> None:
    space = Space.from_mapping(
        {"fast": {"int": [2, 4]}, "slow": {"int": [20, 25], "step": 5}, "stop": {"choice": [0.05]}}
    )
    executor = FakeExecutor(space=space, seed=3)
    study = Study(tmp_path / "l.db", space=space, trials=60)
    assert study.run(executor).status == "finished"
    counts = study.store.counts()
    assert len(executor.ran) == 6
    assert (counts["complete"], counts["cached"]) == (60, 54)
    values = {tuple(r.params.values()): r.values for r in study.store.read_finished(0, 100)}
    assert len(values) == 6


def test_a_repeated_point_that_failed_runs_again(tmp_path: Path) -> None:
    space = Space.from_mapping(
        {"fast": {"int": [2, 3]}, "slow": {"choice": [20]}, "stop": {"choice": [0.05]}}
    )
    executor = FakeExecutor(space=space, fails=lambda p: "boom" if p["fast"] == 2 else None)
    study = Study(tmp_path / "l.db", space=space, trials=16)
    study.run(executor, failures=FailureLimit(count=100))
    failed = [r for r in study.store.read_finished(0, 100) if r.params["fast"] == 2]
    assert len(failed) > 1
    assert {r.state for r in failed} == {"fail"}
    assert len([n for n in executor.ran if n in {r.number for r in failed}]) == len(failed)


def test_points_to_try_first_come_first(tmp_path: Path) -> None:
    first = ({"fast": 10, "slow": 50, "stop": 0.05}, {"fast": 11, "slow": 60, "stop": 0.06})
    for sampler in ("random", "tpe"):
        study = run(tmp_path / f"{sampler}.db", sampler=sampler, trials=40, first=first)
        records = study.store.read_finished(0, 100)
        assert [r.params for r in records[:2]] == list(first)
        assert len(records) == 40


def test_a_broken_constraint_keeps_a_trial_from_being_the_best(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", sampler="tpe", constraints=("sum(n_trades) >= 80",))
    outcome = study.run(FakeExecutor())
    best = outcome.best[0]
    record = study.store.read_finished(best.number, 1)[0]
    assert record.metrics["n_trades.sum"] >= 80
    broken = [
        r
        for r in study.store.read_finished(0, 200)
        if r.state == "complete" and r.metrics["n_trades.sum"] < 80
    ]
    assert broken, "a violating trial stays complete"
    assert max(r.values[0] for r in broken) > best.values[0]


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    objectives = (Objective("sharpe.median", "maximize"), Objective("n_trades.sum", "minimize"))
    study = Study(tmp_path / "l.db", sampler="tpe", trials=80, objectives=objectives)
    outcome = study.run(FakeExecutor(seed=1))
    assert len(outcome.best) > 1
    values = sorted(best.values for best in outcome.best)
    assert all(a[1] < b[1] for a, b in pairwise(values)), "more return costs more trades"


def test_conditions_are_met_by_every_point(tmp_path: Path) -> None:
    study = run(tmp_path / "l.db", sampler="tpe", trials=60, where=("fast * 4 < slow", "stop < 0.1"))
    for record in study.store.read_finished(0, 100):
        assert record.params["fast"] * 4 < record.params["slow"]
        assert record.params["stop"] < 0.1
    assert study.store.rejected(), "the sampler has proposed others, which have no number"


def test_a_model_that_finds_nothing_allowed_gives_up(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", sampler="tpe", where=("fast > slow + 30",))
    with pytest.raises(AkqUsageError, match="'fast > slow \\+ 30'"):
        study.run(FakeExecutor())


def test_results_as_they_arrive_without_the_promise(tmp_path: Path) -> None:
    study = run(tmp_path / "l.db", FakeExecutor(seed=9), batch=2, sampler="tpe", trials=60, free=True)
    assert study.store.counts()["total"] == 60


def test_cancelling_leaves_a_resumable_study(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", trials=500)
    executor = FakeExecutor(stop_after=3)
    outcome = study.run(executor, batch=5)
    assert outcome.status == "cancelled"
    n_asked, n_open = study.store.numbers()
    assert 0 < n_asked < 500
    assert n_open < n_asked
    assert study.run(FakeExecutor()).status == "finished"
    assert study.store.numbers() == (500, 0)


def test_a_time_limit_ends_the_session_not_the_study(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", trials=50)
    outcome = study.run(FakeExecutor(), timeout_s=1e-9)
    assert outcome.status == "timeout"
    assert study.run(FakeExecutor(), timeout_s=1e9).status == "finished"
    assert study.run(FakeExecutor(), timeout_s=1e-9).status == "finished", "nothing was left to do"


def test_progress_tells_what_happened(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", trials=60)
    seen: list[Progress] = []
    loop = study.loop(FakeExecutor(), on_progress=seen.append)
    outcome = loop.run()
    last = seen[-1]
    assert (last.done, last.total, last.in_flight) == (60, 60, 0)
    assert last.best_number == outcome.best[0].number
    assert last.best_params == study.store.read_finished(last.best_number or 0, 1)[0].params
    assert last.trials_per_s > 0
    assert last.bars_per_s > 0
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_cancel_comes_from_another_thread(tmp_path: Path) -> None:
    study = Study(tmp_path / "l.db", trials=10**6)
    started = threading.Event()

    def slow(params: dict[str, Any]) -> list[float]:
        started.set()
        return surface(params)

    loop = study.loop(FakeExecutor(function=slow), batch=1)

    def cancel() -> None:
        started.wait(10)
        loop.cancel()

    threading.Thread(target=cancel).start()
    assert loop.run().status == "cancelled"
    study.close()


def test_late_results_of_a_closed_batch_are_dropped(tmp_path: Path) -> None:
    class Doubling(FakeExecutor):
        """Reports every batch twice."""

        def collect(self, timeout_s: float) -> Any:
            found = super().collect(timeout_s)
            return [*found, *found]

    study = run(tmp_path / "l.db", Doubling(), batch=4)
    clean = run(tmp_path / "clean.db")
    assert study.store.result_hash() == clean.store.result_hash()
