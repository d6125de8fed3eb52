"""Ray executor on one machine: results, losses, replacement, cancellation."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from akq_dist.errors import AkqDataError, ExecutorError
from akq_dist.record.protocols import BatchLost, BatchResult

from .fake_worker import FATAL_ONCE, GATE, GOOD, POISON, RAISE, make_batch, make_job, make_panel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from akq_dist.cluster import RayExecutor
    from akq_dist.record.protocols import Batch

DEADLINE_S = 60.0


def drain(executor: RayExecutor, n_reports: int) -> list[BatchResult | BatchLost]:
    reports: list[BatchResult | BatchLost] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(reports) < n_reports:
        assert time.monotonic() < deadline, f"{len(reports)} of {n_reports} reports after {DEADLINE_S} s"
        reports += executor.collect(1.0)
    return reports


def scores(reports: list[BatchResult | BatchLost]) -> dict[int, float]:
    found: dict[int, float] = {}
    for report in reports:
        assert isinstance(report, BatchResult), report
        numbers = report.table.column("number").to_pylist()
        assert not set(numbers) & set(found)
        found |= dict(zip(numbers, report.table.column("score").to_pylist(), strict=True))
    return found


def begun(folder: Path) -> Counter[int]:
    return Counter(int(line) for line in (folder / "begun.log").read_text(encoding="ascii").split())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_batch_comes_back_once(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    assert executor.n_workers == 2
    assert executor.n_threads == 2
    for batch_id in range(20):
        executor.submit(make_batch(batch_id, [GOOD] * 5, batch_id * 5))
    reports = drain(executor, 20)
    assert sorted(report.id for report in reports) == list(range(20))
    assert scores(reports) == {number: number * 2.0 + 1.0 for number in range(100)}
    assert set(begun(tmp_path).values()) == {1}
    assert executor.collect(0.1) == []
    workers = {report.worker for report in reports if isinstance(report, BatchResult)}
    assert len(workers) == 2
    assert all(worker.endswith(":1") for worker in workers), "each of two workers gets one of two threads"


def test_one_worker_gets_every_thread(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers="auto")
    executor.start(make_job(tmp_path), make_panel())
    assert (executor.n_workers, executor.n_threads) == (1, 2)


def test_panel_is_not_copied(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel(1_000_000))
    ray = executor._ray
    shared = ray.get([seat.handle.panel_is_shared.remote() for seat in executor._seats])
    assert shared == [True, True]


def test_heavy_packages_stay_out_of_workers(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1, worker="tests.cluster.fake_worker:WeighWorker")
    executor.start(make_job(tmp_path), make_panel())
    executor.submit(make_batch(0, [GOOD], 0))
    drain(executor, 1)
    assert json.loads((tmp_path / "imported.json").read_text(encoding="ascii")) == []


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_worker_loses_only_its_running_batch(
    make_executor: Callable[..., RayExecutor], tmp_path: Path, victim: int, capfd: pytest.CaptureFixture[str]
) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    pids = [info.pid for info in executor.workers()]
    batches = {batch_id: make_batch(batch_id, [GATE], batch_id) for batch_id in range(6)}
    for batch in batches.values():
        executor.submit(batch)
    wait_until(lambda: (tmp_path / "begun.log").exists() and len(begun(tmp_path)) == 2)
    os.kill(pids[victim], signal.SIGKILL)
    first = drain(executor, 1)
    assert len(first) == 1
    assert isinstance(first[0], BatchLost)
    (tmp_path / "gate").touch()
    rest = drain(executor, 5)
    assert sorted([first[0].id, *(report.id for report in rest)]) == list(range(6))
    executor.submit(batches[first[0].id])
    again = drain(executor, 1)
    assert scores(rest + again) == {number: number * 2.0 + 1.0 for number in range(6)}
    expected = Counter(range(6)) + Counter([first[0].id])
    assert begun(tmp_path) == expected, "only the batch that ran in the killed worker is begun twice"
    wait_until(lambda: executor.collect(0.1) == [] and len(executor.workers()) == 2)
    assert capfd.readouterr().out == "", "standard output belongs to data"
    assert pids[victim] not in [info.pid for info in executor.workers()]


def test_many_deaths_neither_lose_nor_double(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    seed = 11
    rng = np.random.default_rng(seed)
    orders = np.where(rng.random(24) < 0.12, FATAL_ONCE, GOOD).tolist()
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    batches = {ix: make_batch(ix, orders[ix * 4 : ix * 4 + 4], ix * 4) for ix in range(6)}
    for batch in batches.values():
        executor.submit(batch)
    results: list[BatchResult | BatchLost] = []
    n_lost = 0
    while len(results) < len(batches):
        for report in drain(executor, 1):
            if isinstance(report, BatchLost):
                n_lost += 1
                executor.submit(batches[report.id])
            else:
                results.append(report)
    assert n_lost == orders.count(FATAL_ONCE), f"seed {seed}"
    assert scores(results) == {number: number * 2.0 + 1.0 for number in range(24)}, f"seed {seed}"


def test_poison_batch_is_lost_each_time_and_stops_nothing(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    executor.submit(make_batch(0, [GOOD, POISON], 0))
    for batch_id in range(1, 6):
        executor.submit(make_batch(batch_id, [GOOD], batch_id + 1))
    reports = {report.id: report for report in drain(executor, 6)}
    lost = reports.pop(0)
    assert isinstance(lost, BatchLost)
    assert "Actor" in lost.reason
    assert all(isinstance(report, BatchResult) for report in reports.values())
    executor.submit(make_batch(0, [POISON], 1))
    assert isinstance(drain(executor, 1)[0], BatchLost)


def test_exception_outside_a_trial_loses_the_batch_and_keeps_the_worker(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1)
    executor.start(make_job(tmp_path), make_panel())
    pid = executor.workers()[0].pid
    executor.submit(make_batch(0, [RAISE], 0))
    executor.submit(make_batch(1, [GOOD], 1))
    lost, result = drain(executor, 2)
    assert isinstance(lost, BatchLost)
    assert "outside any trial" in lost.reason
    assert isinstance(result, BatchResult)
    assert executor.workers()[0].pid == pid


def test_cancelled_batches_never_come_back(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    for batch_id in range(8):
        executor.submit(make_batch(batch_id, [GATE], batch_id))
    wait_until(lambda: (tmp_path / "begun.log").exists() and len(begun(tmp_path)) == 2)
    executor.cancel()
    (tmp_path / "gate").touch()
    assert executor.collect(0.2) == []
    executor.submit(make_batch(3, [GOOD], 100))
    reports = drain(executor, 1)
    assert scores(reports) == {100: 201.0}
    assert executor.collect(0.2) == []


def test_details_come_in_order_and_survive_a_death(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=2)
    executor.start(make_job(tmp_path), make_panel())
    details = executor.detail(make_batch(0, [GOOD, FATAL_ONCE, GOOD, GOOD], 10))
    assert [detail.number for detail in details] == [10, 11, 12, 13]
    assert details[1].tables["equity"].equals(pa.table({"equity": [23.0, 23.0]}))


@pytest.mark.slow
def test_details_of_a_poison_trial_are_an_error(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1, max_failed_loads=1)
    executor.start(make_job(tmp_path), make_panel())
    with pytest.raises(ExecutorError, match="trial 5"):
        executor.detail(make_batch(0, [POISON], 5))


def test_worker_of_another_build_is_refused(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1)
    with pytest.raises(ExecutorError, match="build fake-1, the driver has other-2"):
        executor.start(replace(make_job(tmp_path), build="other-2"), make_panel())


def test_engine_that_is_absent_is_named(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers=1)
    executor._options = replace(executor._options, build="no_such_module:BUILD")
    with pytest.raises(ExecutorError, match="no_such_module"):
        executor.start(make_job(tmp_path), make_panel())


def test_error_of_the_worker_at_load_passes_through(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1)
    with pytest.raises(AkqDataError, match="AAA: close is NaN"):
        executor.start(make_job(tmp_path, refuse="AAA: close is NaN"), make_panel())


def test_workers_that_die_at_load_end_the_start(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1, max_failed_loads=2)
    with pytest.raises(ExecutorError, match="no Ray worker is available"):
        executor.start(make_job(tmp_path, die_at_load=True), make_panel())


@pytest.mark.slow
def test_start_again_with_another_job(make_executor: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make_executor(workers=1)
    executor.start(make_job(tmp_path), make_panel())
    executor.submit(make_batch(0, [GOOD], 0))
    executor.start(make_job(tmp_path), pa.table({"close": [5.0]}))
    batch: Batch = make_batch(1, [GOOD], 1)
    executor.submit(batch)
    assert scores(drain(executor, 1)) == {1: 7.0}


def test_submit_before_start_is_refused(make_executor: Callable[..., RayExecutor]) -> None:
    with pytest.raises(ExecutorError, match="before the executor was started"):
        make_executor().submit(make_batch(0, [GOOD], 0))


def test_ray_that_was_found_is_left_running(
    make_executor: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make_executor(workers=1)
    executor.start(make_job(tmp_path), make_panel())
    ray = executor._ray
    executor.close()
    executor.close()
    assert ray.is_initialized()
