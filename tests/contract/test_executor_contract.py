"""What every executor promises, run against each of them with the same worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from akq_dist.cluster import RayExecutor, RayOptions
from akq_dist.cluster.session import RaySession
from akq_dist.errors import AkqDataError, ExecutorError
from akq_dist.record.protocols import BatchLost, BatchResult
from akq_dist.record.serial import SerialExecutor
from tests.cluster.fake_worker import BUILD, GOOD, FakeWorker, make_batch, make_job, make_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from akq_dist.record.protocols import Executor

DEADLINE_S = 60.0
assert BUILD


@pytest.fixture(scope="module")
def shared_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    session = RaySession(None, n_cpus=2)
    session.ray()
    yield
    session.close()


def _serial(_: pytest.FixtureRequest) -> Executor:
    worker: Any = FakeWorker
    return SerialExecutor(threads=1, worker=worker)


def _ray(request: pytest.FixtureRequest) -> Executor:
    request.getfixturevalue("shared_ray")
    name = "tests.cluster.fake_worker"
    return RayExecutor(workers=2, options=RayOptions(worker=f"{name}:FakeWorker", build=f"{name}:BUILD"))


EXECUTORS: dict[str, Callable[[pytest.FixtureRequest], Executor]] = {"serial": _serial, "ray": _ray}


@pytest.fixture(params=sorted(EXECUTORS))
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = EXECUTORS[request.param](request)
    yield made
    made.close()


@pytest.fixture
def started(executor: Executor, tmp_path: Path) -> Executor:
    executor.start(make_job(tmp_path), make_panel())
    return executor


def drain(executor: Executor, n_reports: int) -> dict[int, BatchResult | BatchLost]:
    reports: dict[int, BatchResult | BatchLost] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(reports) < n_reports:
        assert time.monotonic() < deadline
        for report in executor.collect(1.0):
            assert report.id not in reports, "a batch comes back once"
            reports[report.id] = report
    return reports


def test_every_batch_comes_back_once_with_its_rows_in_order(started: Executor) -> None:
    sizes = [1, 7, 3, 20, 1, 12]
    first = 0
    expected: dict[int, list[int]] = {}
    for batch_id, size in enumerate(sizes):
        started.submit(make_batch(batch_id, [GOOD] * size, first))
        expected[batch_id] = list(range(first, first + size))
        first += size
    reports = drain(started, len(sizes))
    assert sorted(reports) == list(range(len(sizes)))
    for batch_id, report in reports.items():
        assert isinstance(report, BatchResult)
        assert report.table.schema.names[:5] == ["number", "error", "hash", "n_bars", "n_defined"]
        assert report.table.column("number").to_pylist() == expected[batch_id]
        assert report.table.column("score").to_pylist() == [n * 2.0 + 1.0 for n in expected[batch_id]]
        assert report.worker


def test_collect_without_work_returns_at_once(started: Executor) -> None:
    began_s = time.monotonic()
    assert started.collect(30.0) == []
    started.submit(make_batch(0, [GOOD], 0))
    drain(started, 1)
    assert started.collect(30.0) == []
    assert time.monotonic() - began_s < 20


def test_submit_does_not_need_a_collect_between(started: Executor) -> None:
    for batch_id in range(100):
        started.submit(make_batch(batch_id, [GOOD], batch_id))
    assert len(drain(started, 100)) == 100


def test_cancelled_batches_do_not_come_back_and_work_goes_on(started: Executor) -> None:
    for batch_id in range(10):
        started.submit(make_batch(batch_id, [GOOD], batch_id))
    started.cancel()
    assert started.collect(0.1) == []
    started.submit(make_batch(4, [GOOD], 50))
    report = drain(started, 1)[4]
    assert isinstance(report, BatchResult)
    assert report.table.column("number").to_pylist() == [50]


def test_details_come_in_the_order_of_the_batch(started: Executor) -> None:
    details = started.detail(make_batch(0, [GOOD] * 5, 30))
    assert [detail.number for detail in details] == [30, 31, 32, 33, 34]
    assert [detail.hash for detail in details] == [(n * 2.0 + 1.0).hex() for n in range(30, 35)]
    assert all(isinstance(detail.tables["equity"], pa.Table) for detail in details)


def test_details_do_not_disturb_batches_in_flight(started: Executor) -> None:
    for batch_id in range(6):
        started.submit(make_batch(batch_id, [GOOD] * 2, batch_id * 2))
    assert len(started.detail(make_batch(99, [GOOD] * 3, 100))) == 3
    assert sorted(drain(started, 6)) == list(range(6))


def test_counts_are_positive(started: Executor) -> None:
    assert started.name in EXECUTORS
    assert started.n_workers >= 1
    assert started.n_threads >= started.n_workers


def test_job_that_no_worker_can_take_is_the_error_of_the_worker(executor: Executor, tmp_path: Path) -> None:
    with pytest.raises(AkqDataError, match="AAA: close is NaN"):
        executor.start(make_job(tmp_path, refuse="AAA: close is NaN"), make_panel())


def test_use_before_start_is_refused(executor: Executor) -> None:
    with pytest.raises(ExecutorError):
        executor.submit(make_batch(0, [GOOD], 0))


def test_close_twice_and_cancel_of_nothing(started: Executor) -> None:
    started.cancel()
    started.close()
    started.close()
