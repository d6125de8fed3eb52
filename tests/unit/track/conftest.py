"""MLflow stores for tests; an empty one is made once and copied, because making it takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from akq_dist.track import MlflowTracker

from .tracked import copy_store, sweep_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    tracker = MlflowTracker(f"sqlite:///{path}", "unused")
    tracker.open(sweep_info(study_id="unused"))
    tracker.close()
    return path


@pytest.fixture
def store_uri(empty_store: Path, tmp_path: Path) -> str:
    path = tmp_path / "mlflow.db"
    copy_store(empty_store, path)
    return f"sqlite:///{path}"


@pytest.fixture
def make_tracker(store_uri: str) -> Iterator[Callable[..., MlflowTracker]]:
    """Make trackers of one store; each is as a new process would make it."""
    made: list[MlflowTracker] = []

    def make(experiment: str = "demo", **settings: object) -> MlflowTracker:
        made.append(MlflowTracker(store_uri, experiment, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for tracker in made:
        tracker.close()
