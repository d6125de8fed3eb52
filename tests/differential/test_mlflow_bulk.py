"""Runs that are inserted in bulk are the runs that MLflow's client would have written, row for row."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akq_dist.errors import TrackerError
from akq_dist.track import MlflowOptions, MlflowTracker, bulk
from akq_dist.track.run_values import trial_name
from tests.unit.track.tracked import all_trials, copy_store, details, sweep_info, trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from akq_dist.record.protocols import TrackerLinks, TrialRecord

# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SEED = 11
BY_CLIENT = MlflowOptions(bulk=False)
LOCATION, RUN, PARENT = "<experiment>", "<run>", "<parent>"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    tracker = MlflowTracker(f"sqlite:///{path}", "unused")
    links = tracker.open(sweep_info(study_id="unused"))
    tracker.close()
    if writer_of(Store(f"sqlite:///{path}"), links) != "bulk":
        assert f"MLflow {mlflow.__version__}" not in bulk.SCHEMA_REVISIONS.values()
        pytest.skip(f"the tables of MLflow {mlflow.__version__} are not known to the bulk writer")
    return path


@pytest.fixture(scope="module")
def stores(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    made = Stores(empty_store, tmp_path_factory.mktemp("stores"))
    yield made
    made.close()


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "mlflow.db"
    copy_store(empty_store, path)
    made = Store(f"sqlite:///{path}")
    yield made
    made.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest, stores: Stores) -> str:
    if request.param == "postgresql" and stores.database is None:
        stores.database = request.getfixturevalue("postgresql")()
    return str(request.param)


texts = st.text(max_size=20) | st.text(max_size=3).map(lambda text: (text + "long ü ") * 1_200)
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from(["x" * 5_999, "x" * 6_000, "x" * 6_001, "ß" * 6_000])
    | st.lists(st.integers() | st.text(max_size=5), max_size=4)
)
keys = st.text(max_size=12) | st.sampled_from(["a/../b", "..", "a;b", "x" * 300, "plain", "Fast", "fast"])
instants = st.integers(min_value=0, max_value=2**45)


@st.composite
def trials(draw: st.DrawFn, number: int) -> TrialRecord:
    state = draw(st.sampled_from(["complete", "fail", "pruned"]))
    return trial(
        number,
        params=draw(st.dictionaries(keys, values, max_size=8)),
        metrics=draw(st.dictionaries(keys, st.floats(), max_size=8)),
        state=state,
        values=(draw(st.floats()),) if state == "complete" else (),
        reason=draw(st.none() | texts | st.just("undefined: no trade")),
        # The clock is taken for a time of 0, which two writers do at two times.
        started_ms=1 + draw(instants),
        ended_ms=1 + draw(instants),
        cached=draw(st.booleans()),
    )


numbers = itertools.count()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_both_ways_leave_the_same(stores: Stores, kind: str, data: st.DataObject) -> None:
    """Unicode, long values, odd keys, values that are not finite, every state."""
    records = [data.draw(trials(next(numbers))) for _ in range(data.draw(st.integers(1, 3)))]
    stores.compare(kind, records)


def test_many_values_are_the_same(stores: Stores, kind: str) -> None:
    """More parameters, metrics and tags than a request of the client may hold."""
    rng = np.random.default_rng(SEED)
    metrics = {f"m{ix}": float(value) for ix, value in enumerate(rng.normal(size=1_300))}
    undefined = {f"u{ix}": float("nan") for ix in range(120)}
    params = {f"p{ix}": ix for ix in range(250)}
    hundred = {f"p{ix}": float(ix) for ix in range(100)}
    records = [
        trial(next(numbers), params=params, metrics=metrics | undefined),
        trial(next(numbers), params=hundred),
        trial(next(numbers), params={}, metrics={}),
    ]
    stores.compare(kind, records)


def test_pandas_sees_the_same(stores: Stores) -> None:
    import mlflow

    records = [trial(next(numbers)) for _ in range(5)]
    by_bulk, by_client = stores.compare("sqlite", records)
    names = [trial_name(record.number) for record in records]
    frames = []
    for links in (by_bulk, by_client):
        mlflow.set_tracking_uri(links.tracking_uri)
        try:
            frame = mlflow.search_runs([links.experiment_id], max_results=10_000)
        finally:
            mlflow.set_tracking_uri(None)
        assert list(frame["tags.akq.number"].dropna().astype(int))  # the table of runs is filled
        frame = frame[frame["tags.mlflow.runName"].isin(names)].sort_values("tags.mlflow.runName")
        unlike = ["run_id", "experiment_id", "artifact_uri", "tags.mlflow.parentRunId"]
        frames.append(frame.drop(columns=unlike).dropna(axis="columns", how="all").reset_index(drop=True))
    assert len(frames[0]) == 5
    assert frames[0].equals(frames[1][frames[0].columns])
    assert set(frames[0].columns) == set(frames[1].columns)


def test_a_batch_that_is_replayed_changes_nothing(store: Store) -> None:
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    records = [trial(number) for number in range(300)]
    records[7] = trial(7, params={"text": "long " * 2_000})
    tracker.record(records[:200])
    tracker.record(records[100:])
    tracker.detail([details(3), details(7)])
    written = store.rows(links)
    tracker.record(records)
    again = store.tracker()
    assert again.open(sweep_info()) == links
    again.record(records[::-1])
    again.record([trial(5, metrics={"other": 1.0}, ended_ms=1)])
    assert store.rows(links) == written
    assert sorted(row["runs"][0]["name"] for row in written.values()) == [
        trial_name(number) for number in range(300)
    ]
    ids = sorted(written)
    assert [written[ident]["runs"][0]["name"] for ident in ids] == sorted(
        row["runs"][0]["name"] for row in written.values()
    ), "ids stand in number order, so that every index grows at one place"
    again.finish("finished", all_trials(300), {})


def test_tables_find_their_runs(store: Store) -> None:
    from mlflow import MlflowClient

    tracker = store.tracker()
    links = tracker.open(sweep_info())
    tracker.record([trial(number) for number in range(3)])
    tracker.detail([details(2), details(700)])
    client = MlflowClient(tracking_uri=store.uri)
    ident = bulk.run_id(links.run_id, 2)
    assert client.get_run(ident).data.tags["akq.artifacts"] == "equity,trades,metrics"
    assert {file.path for file in client.list_artifacts(ident)} == {
        "equity.parquet", "trades.parquet", "metrics.parquet",
    }  # fmt: skip
    assert [file.path for file in client.list_artifacts(links.run_id, "trials")] == ["trials/trial-000700"]


def test_a_store_of_another_revision_is_written_by_the_client(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SCHEMA_REVISIONS", {"0": "another"})
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    tracker.record([trial(number) for number in range(3)])
    assert writer_of(store, links) == "public"
    monkeypatch.undo()
    resumed = store.tracker()
    resumed.open(sweep_info())
    resumed.record([trial(number) for number in range(5)])
    assert writer_of(store, links) == "public", "a study continues with the writer it began with"
    assert store.names(links) == [trial_name(number) for number in range(5)]
    assert not {bulk.run_id(links.run_id, number) for number in range(5)} & set(store.rows(links))


@pytest.mark.parametrize("at_open", [True, False], ids=["between sessions", "within a session"])
def test_a_store_that_is_upgraded_goes_on_with_the_client(
    store: Store, monkeypatch: pytest.MonkeyPatch, at_open: bool
) -> None:
    """The client finds what was written in bulk, and the study stays with it from then on."""
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    tracker.record([trial(number) for number in range(3)])
    assert writer_of(store, links) == "bulk"
    monkeypatch.setattr(bulk, "SCHEMA_REVISIONS", {"0": "another"})
    if at_open:
        tracker = store.tracker()
        tracker.open(sweep_info())
    tracker.record([trial(number) for number in range(5)])
    assert writer_of(store, links) == "public"
    monkeypatch.undo()
    for again in (tracker, store.tracker()):
        again.open(sweep_info())
        again.record([trial(number) for number in range(7)])
    assert writer_of(store, links) == "public"
    assert store.names(links) == [trial_name(number) for number in range(7)]


def test_a_study_of_an_older_release_goes_on_with_the_client(store: Store) -> None:
    """Its parent has no tag that names a writer."""
    from mlflow import MlflowClient

    older = store.tracker(BY_CLIENT)
    links = older.open(sweep_info())
    older.record([trial(number) for number in range(3)])
    MlflowClient(tracking_uri=store.uri).delete_tag(links.run_id, "akq.writer")
    resumed = store.tracker()
    assert resumed.open(sweep_info()) == links
    resumed.record([trial(number) for number in range(5)])
    assert writer_of(store, links) == "public"
    assert store.names(links) == [trial_name(number) for number in range(5)]


def test_a_trial_that_the_database_refuses_goes_through_the_client(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bulk._Inserts.named

    def refusing(self: Any, connection: Any, table: str, found: Sequence[Any]) -> None:
        if any("odd" in values for _, values in found):
            raise ValueError("a value that cannot be stored")
        plain(self, connection, table, found)

    monkeypatch.setattr(bulk._Inserts, "named", refusing)
    records = [trial(number) for number in range(20)]
    records[13] = trial(13, params={"odd": 1})
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    for _ in range(2):
        tracker.record(records)
        assert store.names(links) == [trial_name(number) for number in range(20)]
    assert bulk.run_id(links.run_id, 12) in store.rows(links)
    assert bulk.run_id(links.run_id, 13) not in store.rows(links)


def test_runs_that_were_deleted_can_be_recorded_again(store: Store) -> None:
    from mlflow import MlflowClient

    records = [trial(number) for number in range(3)]
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    tracker.record(records)
    client = MlflowClient(tracking_uri=store.uri)
    for ident in [*store.rows(links), links.run_id]:
        client.delete_run(ident)
    tracker.record(records)
    again = store.tracker()
    renewed = again.open(sweep_info())
    assert renewed.run_id != links.run_id
    again.record(records)
    assert store.names(renewed) == [trial_name(number) for number in range(3)]


def test_deleted_experiment_is_one_clear_error(store: Store) -> None:
    from mlflow import MlflowClient

    tracker = store.tracker()
    links = tracker.open(sweep_info())
    MlflowClient(tracking_uri=store.uri).delete_experiment(links.experiment_id)
    with pytest.raises(TrackerError, match="has been deleted; restore it"):
        tracker.record([trial(0)])


N_KILLED = 1_200
_WRITER = """
import sys
from akq_dist.track import MlflowTracker
from tests.differential.test_mlflow_bulk import N_KILLED, killed_trial
from tests.unit.track.tracked import sweep_info
tracker = MlflowTracker(sys.argv[1], "demo")
tracker.open(sweep_info())
for first in range(0, N_KILLED, 60):
    tracker.record([killed_trial(number) for number in range(first, first + 60)])
"""


def killed_trial(number: int) -> TrialRecord:
    """Every fiftieth has a file, so that its run is made and ended by two requests."""
    return trial(number, params={"fast": number, "text": "long " * 2_000 if number % 50 == 49 else "short"})


@pytest.mark.parametrize("n_kills", [2, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_a_killed_writer_loses_and_doubles_nothing(store: Store, n_kills: int) -> None:
    kill_and_go_on(store, n_kills)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_writer_of_postgresql_loses_and_doubles_nothing(
    postgresql: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(postgresql())
    try:
        kill_and_go_on(store, 8)
    finally:
        store.close()


def kill_and_go_on(store: Store, n_kills: int) -> None:
    """Kill a writer at random numbers of runs, let another end its work, compare with one that nobody killed."""
    rng = random.Random(SEED + n_kills)
    thresholds = sorted(rng.randrange(N_KILLED - 60) for _ in range(n_kills))
    print(f"kills at {thresholds} of {N_KILLED} runs, seed {SEED + n_kills}")
    for threshold in thresholds:
        command = [sys.executable, "-W", "ignore", "-c", _WRITER, store.uri]
        root = Path(__file__).parents[2]
        with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as writer:
            deadline = time.monotonic() + 90
            while writer.poll() is None and count_runs(store.uri) < threshold:
                assert time.monotonic() < deadline, "the writer is stuck"
            writer.send_signal(signal.SIGKILL)
            error = writer.stderr.read() if writer.stderr else ""
            assert writer.wait(10) in (0, -signal.SIGKILL), error
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    tracker.record([killed_trial(number) for number in range(N_KILLED)])
    assert store.names(links) == [trial_name(number) for number in range(N_KILLED)]
    reference = store.tracker(experiment="undisturbed")
    whole = reference.open(sweep_info())
    reference.record([killed_trial(number) for number in range(N_KILLED)])
    assert by_name(store.rows(links)) == by_name(store.rows(whole))


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_ten_thousand_runs_stay_searchable(store: Store) -> None:
    from mlflow import MlflowClient

    n_runs = 10_000
    tracker = store.tracker()
    links = tracker.open(sweep_info())
    began_s = time.perf_counter()
    for first in range(0, n_runs, 100):
        tracker.record([wide_trial(number) for number in range(first, first + 100)])
    took_s = time.perf_counter() - began_s
    tracker.finish("finished", all_trials(n_runs), {})
    client = MlflowClient(tracking_uri=store.uri)
    times_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        page = client.search_runs(
            [links.experiment_id], max_results=100, order_by=["metrics.`metric_3` DESC"]
        )
        times_s.append(time.perf_counter() - began_s)
    print(f"{n_runs / took_s:.0f} runs/s, ordered search {min(times_s):.2f} s of {n_runs} runs")
    found = [run.data.metrics["metric_3"] for run in page]
    wanted = sorted((wide_trial(number).metrics["metric_3"] for number in range(n_runs)), reverse=True)
    assert found == wanted[:100]
    # It takes eleven seconds where the store has not counted its tables.
    assert min(times_s) < 3.0


def wide_trial(number: int) -> TrialRecord:
    """Ten parameters and twenty metrics."""
    rng = np.random.default_rng(number)
    metrics = {f"metric_{ix}": float(value) for ix, value in enumerate(rng.normal(size=20))}
    params = {f"param_{ix}": float(value) for ix, value in enumerate(rng.normal(size=10))}
    return trial(number, params=params, metrics=metrics, values=(metrics["metric_0"],))


Rows = dict[str, dict[str, list[dict[str, Any]]]]
"""Rows by run and table."""


@dataclass
class Store:
    """A store and how to look into its tables."""

    uri: str
    made: list[MlflowTracker] = field(default_factory=list)

    def tracker(self, options: MlflowOptions | None = None, experiment: str = "demo") -> MlflowTracker:
        self.made.append(MlflowTracker(self.uri, experiment, options=options))
        return self.made[-1]

    def close(self) -> None:
        for tracker in self.made:
            tracker.close()

    def names(self, links: TrackerLinks) -> list[str]:
        """Names of the child runs that have ended, deleted ones left out."""
        return sorted(
            row["runs"][0]["name"]
            for row in self.rows(links).values()
            if row["runs"][0]["lifecycle_stage"] == "active" and row["runs"][0]["status"] != "RUNNING"
        )

    def rows(self, links: TrackerLinks, names: Sequence[str] = ()) -> Rows:
        """Everything the database holds of child runs; all of them, or those of some names."""
        import sqlalchemy as sa

        engine = sa.create_engine(self.uri)
        try:
            with engine.connect() as connection:
                ids = set(
                    connection.execute(
                        sa.text("SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :id"),
                        {"id": links.run_id},
                    ).scalars()
                )
                if names:
                    ids &= set(
                        connection.execute(
                            sa.text("SELECT run_uuid FROM runs WHERE name IN :names").bindparams(
                                sa.bindparam("names", expanding=True)
                            ),
                            {"names": list(names)},
                        ).scalars()
                    )
                found: Rows = {ident: {} for ident in ids}
                for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
                    for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings():
                        if row["run_uuid"] in found:
                            found[row["run_uuid"]].setdefault(table, []).append(dict(row))
                # Ids of inputs are random where the client makes them.
                inputs = (
                    "SELECT i.source_type, d.name AS dataset, d.digest, i.destination_type, i.destination_id, i.step, "
                    "t.name, t.value FROM inputs i JOIN input_tags t ON t.input_uuid = i.input_uuid "
                    "JOIN datasets d ON d.dataset_uuid = i.source_id"
                )
                for row in connection.execute(sa.text(inputs)).mappings():
                    if row["destination_id"] in found:
                        found[row["destination_id"]].setdefault("inputs", []).append(dict(row))
        finally:
            engine.dispose()
        for tables in found.values():
            for rows in tables.values():
                # As text, because it tells 0 from 0.0 and -0.0, and orders anything.
                rows.sort(key=lambda row: json.dumps(row, default=str))
        return found


class Stores:
    """The same trials written both ways into two experiments of a store."""

    def __init__(self, empty_store: Path, folder: Path) -> None:
        self._empty_store = empty_store
        self._folder = folder
        self._open: dict[str, tuple[Store, list[tuple[MlflowTracker, TrackerLinks]]]] = {}
        self.database: str | None = None
        """An empty database of a server."""

    def compare(self, kind: str, records: list[TrialRecord]) -> list[TrackerLinks]:
        """Write records both ways and compare what MLflow's client and the tables say."""
        store, ways = self._ways(kind)
        names = [trial_name(record.number) for record in records]
        tables, runs, files = [], [], []
        for tracker, links in ways:
            tracker.record(records)
            rows = store.rows(links, names)
            assert len(rows) == len(records)
            tables.append(by_name(rows))
            entities = self._runs(store, links, list(rows))
            runs.append({name: entity for name, (entity, _) in entities.items()})
            files.append({name: texts for name, (_, texts) in entities.items()})
        assert tables[0] == tables[1]
        assert runs[0] == runs[1]
        assert files[0] == files[1]
        return [links for _, links in ways]

    def close(self) -> None:
        for store, _ in self._open.values():
            store.close()

    def _ways(self, kind: str) -> tuple[Store, list[tuple[MlflowTracker, TrackerLinks]]]:
        if kind not in self._open:
            if kind == "sqlite":
                copy_store(self._empty_store, self._folder / "mlflow.db")
                store = Store(f"sqlite:///{self._folder}/mlflow.db")
            else:
                assert self.database is not None
                store = Store(self.database)
            ways = []
            info = sweep_info(study_id=f"study-{time.time_ns()}")
            for name, options in (("bulk", None), ("public", BY_CLIENT)):
                tracker = MlflowTracker(
                    store.uri, name, artifact_root=str(self._folder / kind), options=options
                )
                store.made.append(tracker)
                links = tracker.open(info)
                assert writer_of(store, links) == name
                ways.append((tracker, links))
            self._open[kind] = store, ways
        return self._open[kind]

    def _runs(self, store: Store, links: TrackerLinks, ids: list[str]) -> dict[str, tuple[Any, Any]]:
        """What the client says of runs by name: entities as JSON, metric histories, and texts of files."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=store.uri)
        found = {}
        for ident in ids:
            run = client.get_run(ident)
            histories = {
                key: [(point.value, point.step, point.timestamp) for point in points]
                for key in sorted(run.data.metrics)[:3]
                if (points := client.get_metric_history(ident, key))
            }
            entity = json.dumps([run.to_dictionary(), histories], sort_keys=True, default=str)
            for known, mask in (
                (ident, RUN),
                (links.run_id, PARENT),
                (self._location(client, links), LOCATION),
            ):
                entity = entity.replace(known, mask)
            texts = {}
            for folder in client.list_artifacts(ident):
                for file in client.list_artifacts(ident, folder.path):
                    local = Path(client.download_artifacts(ident, file.path))
                    texts[file.path] = local.read_bytes()
            clean = json.loads(entity)
            clean[0]["info"].pop("experiment_id")
            found[str(run.info.run_name)] = (clean, texts)
        return found

    @staticmethod
    def _location(client: Any, links: TrackerLinks) -> str:
        return str(client.get_experiment(links.experiment_id).artifact_location)


def by_name(rows: Rows) -> dict[str, str]:
    """Rows of runs by name, as text and without what is the run's own."""
    found = {}
    for ident, tables in rows.items():
        (run,) = tables["runs"]
        folder = run["artifact_uri"]
        assert folder.endswith(f"/{ident}/artifacts")
        masked: dict[str, list[Any]] = {}
        for table, table_rows in tables.items():
            for row in table_rows:
                own = {"run_uuid", "experiment_id", "destination_id"}
                row = {key: value for key, value in row.items() if key not in own}
                if row.get("key") == "mlflow.parentRunId":
                    row["value"] = ""
                if table == "runs":
                    row["artifact_uri"] = ""
                masked.setdefault(table, []).append(repr(sorted(row.items())))
        assert run["name"] not in found, "two runs of one trial"
        found[run["name"]] = json.dumps({table: sorted(texts) for table, texts in masked.items()})
    return found


def writer_of(store: Store, links: TrackerLinks) -> str | None:
    from mlflow import MlflowClient

    tags = MlflowClient(tracking_uri=store.uri).get_run(links.run_id).data.tags
    writer: str | None = tags.get("akq.writer")
    return writer


def count_runs(uri: str) -> int:
    """Read the number of runs while somebody else writes; 0 while there is no table."""
    import sqlalchemy as sa

    engine = sa.create_engine(uri)
    try:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM runs")).scalar() or 0)
    except (sa.exc.OperationalError, sa.exc.ProgrammingError):
        return 0
    finally:
        engine.dispose()
