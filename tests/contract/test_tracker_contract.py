"""What every tracker promises, run against each of them and each kind of store."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from akq_dist.errors import TrackerError
from akq_dist.track import BackgroundTracker, MlflowTracker
from tests.mlflow_server import MlflowServer
from tests.unit.track.tracked import all_trials, details, sweep_info, trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from akq_dist.record.protocols import Tracker, TrackerLinks

# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@dataclass
class MlflowStore:
    """A store and how to look into it."""

    uri: str
    experiment: str = "contract"
    made: list[Tracker] = field(default_factory=list)

    def tracker(self) -> Tracker:
        self.made.append(MlflowTracker(self.uri, self.experiment))
        return self.made[-1]

    def statuses(self, links: TrackerLinks) -> list[tuple[str, str]]:
        """Names and states of the trials of a sweep."""
        from mlflow import MlflowClient

        runs = MlflowClient(tracking_uri=self.uri).search_runs(
            [links.experiment_id], f"tags.mlflow.parentRunId = '{links.run_id}'", max_results=1_000
        )
        return sorted((str(run.info.run_name), str(run.info.status)) for run in runs)

    def parents(self, links: TrackerLinks) -> int:
        from mlflow import MlflowClient

        runs = MlflowClient(tracking_uri=self.uri).search_runs(
            [links.experiment_id], "tags.akq.kind = 'sweep'", max_results=1_000
        )
        return len(runs)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlflowStore]:
    if request.param == "sqlite":
        made = MlflowStore(f"sqlite:///{tmp_path}/mlflow.db")
    else:
        made = MlflowStore(request.getfixturevalue("server").url, experiment=tmp_path.name)
    yield made
    for tracker in made.made:
        tracker.close()


@pytest.mark.timeout(200)
def test_contract(store: MlflowStore) -> None:
    """One scenario, because stores are slow to make: open, record, die, resume, finish, all of it twice."""
    unopened = store.tracker()
    with pytest.raises(TrackerError):
        unopened.record([trial(0)])

    first = store.tracker()
    links = first.open(sweep_info())
    first.record([trial(number) for number in range(8)])
    first.record([trial(number) for number in range(5, 10)])
    first.progress(10, {"best": 1.0})

    second = store.tracker()
    assert second.open(sweep_info()) == links, "a second driver finds the sweep of the first"
    records = [trial(number) for number in range(12)]
    records[11] = trial(11, state="fail", values=(), metrics={}, reason="ValueError")
    second.record(records)
    second.detail([details(3)])
    second.detail([details(3)])
    for _ in range(2):
        second.finish("finished", all_trials(12), {"best": 1.0})
    assert store.parents(links) == 1
    expected = [(f"trial-{number:06d}", "FINISHED") for number in range(11)] + [("trial-000011", "FAILED")]
    assert store.statuses(links) == expected
    second.close()
    second.close()
    with pytest.raises(TrackerError):
        second.progress(1, {})


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_server_that_goes_away_and_comes_back_gets_everything(server: MlflowServer) -> None:
    """The sweep goes on while the server is away, and nothing is there twice when it is back."""
    watermarks: list[int] = []
    n_finished = 40
    follower = BackgroundTracker(
        MlflowTracker(server.url, "away"),
        lambda first, limit: [trial(number) for number in range(first, min(n_finished, first + limit))],
        watermarks.append,
        info=sweep_info(),
    )
    assert follower.drain(120), follower.error
    server.stop()
    n_finished = 200
    began_s = time.monotonic()
    for number in range(40, 200):
        follower.notify(number)
    assert time.monotonic() - began_s < 1.0
    assert not follower.drain(60)
    assert follower.error is not None
    server.start()
    deadline = time.monotonic() + 120
    while not follower.drain(30):
        assert time.monotonic() < deadline, follower.error
    links = follower.links
    follower.close()
    assert links is not None
    assert watermarks[-1] == 200
    found = MlflowStore(server.url).statuses(links)
    assert [name for name, _ in found] == [f"trial-{number:06d}" for number in range(200)]
    assert {status for _, status in found} == {"FINISHED"}
