"""One local Ray for all tests of this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from akq_dist.cluster import RayExecutor, RayOptions
from akq_dist.cluster.session import RaySession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from akq_dist.record.protocols import WorkerLimits

_ROOT = Path(__file__).parents[2]
# Actors import the fake worker by name and the package from its tree.
os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="session")
def local_ray() -> Iterator[RaySession]:
    session = RaySession(None, n_cpus=2)
    session.ray()
    yield session
    session.close()


@pytest.fixture
def make_executor(local_ray: RaySession) -> Iterator[Callable[..., RayExecutor]]:
    """Make executors on the shared Ray with the fake worker; they are closed after the test."""
    made: list[RayExecutor] = []

    def make(
        workers: int = 2,
        worker: str = "tests.cluster.fake_worker:FakeWorker",
        limits: WorkerLimits | None = None,
        **options: object,
    ) -> RayExecutor:
        settings = RayOptions(worker=worker, build="tests.cluster.fake_worker:BUILD", **options)  # type: ignore[arg-type]
        made.append(RayExecutor(workers=workers, options=settings, limits=limits))
        return made[-1]

    yield make
    for executor in made:
        executor.close()
