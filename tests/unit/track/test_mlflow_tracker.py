"""The tracker against a real SQLite store: what is written is read back through MLflow's own client."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from akq_dist.errors import TrackerError
from akq_dist.track import MlflowOptions, MlflowTracker
from akq_dist.track.notes import view_tag
from akq_dist.track.run_values import trial_name
from akq_dist.track.sweeps import find_sweeps

from .tracked import SPEC, all_trials, details, sweep_info, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from akq_dist.record.protocols import TrackerLinks


# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def client(store_uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store_uri)


def children(store_uri: str, links: TrackerLinks) -> dict[str, Run]:
    """Child runs by name; a name that occurs twice fails the test."""
    found: dict[str, Run] = {}
    token: str | None = None
    while True:
        page = client(store_uri).search_runs(
            [links.experiment_id], f"tags.mlflow.parentRunId = '{links.run_id}'", page_token=token
        )
        for run in page:
            assert run.info.run_name not in found, "two runs of one trial"
            found[str(run.info.run_name)] = run
        token = page.token
        if not token:
            return found


def artifact(store_uri: str, run_id: str, path: str, folder: Path) -> Path:
    from pathlib import Path

    return Path(client(store_uri).download_artifacts(run_id, path, str(folder)))


def test_a_sweep_is_read_back_whole(
    make_tracker: Callable[..., MlflowTracker], store_uri: str, tmp_path: Path
) -> None:
    tracker = make_tracker()
    links = tracker.open(sweep_info())
    records = [trial(number) for number in range(5)]
    records[1] = trial(1, state="fail", values=(), metrics={}, reason="ValueError: bad")
    records[2] = trial(2, state="pruned", values=(), metrics={"n_trades.sum": 1.0}, reason="pruned")
    tracker.record(records)
    tracker.progress(2, {"best": 0.5, "odd": float("nan")})
    tracker.progress(5, {"best": 0.75})
    page = {"report.html": "<p>Über</p>"}
    tracker.promote(records[3])
    tracker.finish("finished", all_trials(5), {"best.value": 0.75, "bad": float("inf")}, page)

    assert links.tracking_uri == store_uri
    parent = client(store_uri).get_run(links.run_id)
    assert parent.info.run_name == "demo"
    assert parent.info.status == "FINISHED"
    assert parent.data.params["search.sampler"] == "random"
    assert parent.data.params["space.fast.int"] == "[2, 60]"
    assert parent.data.tags["akq.study_id"] == "6b8c0f1e-demo"
    assert parent.data.tags["akq.seed"] == "7"
    assert parent.data.tags["akq.build"] == "0.1.0-release-abc"
    assert parent.data.tags["mlflow.source.git.commit"] == "0123abcd"
    assert "maximize sharpe.median" in parent.data.tags["mlflow.note.content"]
    assert "**Winner**: trial-000003" in parent.data.tags["mlflow.note.content"]
    assert f"akq replay --run {links.run_id}" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["mlflow.source.name"] == "akq sweep"
    view = client(store_uri).get_experiment(links.experiment_id).tags[view_tag(links.run_id)]
    assert links.run_id in json.loads(view)["searchFilter"]
    held = next(sweep for sweep in find_sweeps(store_uri) if sweep.links == links)
    about, table = held.urls("http://127.0.0.1:5000")
    assert about.startswith(f"http://127.0.0.1:5000/#/experiments/{links.experiment_id}/runs/{links.run_id}")
    assert table.endswith(f"viewStateShareKey=akq-{links.run_id}")
    assert parent.data.tags["undefined.bad"] == "inf"
    assert parent.data.metrics == {"best": 0.75, "best.value": 0.75}
    history = client(store_uri).get_metric_history(links.run_id, "best")
    assert [(metric.step, metric.value) for metric in history] == [(2, 0.5), (5, 0.75)]
    (dataset_input,) = parent.inputs.dataset_inputs
    assert len(dataset_input.dataset.digest) <= 36
    assert sweep_info().data_digest == f"sha256:{dataset_input.dataset.digest}{'ab12' * 7}"
    assert json.loads(dataset_input.dataset.profile)["num_rows"] == 619_040
    assert artifact(store_uri, links.run_id, "sweep.yaml", tmp_path).read_text(encoding="utf-8") == SPEC
    page_held = artifact(store_uri, links.run_id, "report.html", tmp_path).read_text(encoding="utf-8")
    assert page_held == page["report.html"]
    environment = artifact(store_uri, links.run_id, "environment.json", tmp_path).read_text(encoding="utf-8")
    assert json.loads(environment) == {"python": "3.11", "ray": "2.60.0"}
    assert pq.read_table(artifact(store_uri, links.run_id, "trials.parquet", tmp_path)).equals(all_trials(5))

    found = children(store_uri, links)
    assert sorted(found) == [trial_name(number) for number in range(5)]
    statuses = {name: run.info.status for name, run in found.items()}
    assert statuses["trial-000001"] == "FAILED"
    assert statuses["trial-000002"] == "KILLED"
    assert {statuses[trial_name(number)] for number in (0, 3, 4)} == {"FINISHED"}
    assert found["trial-000001"].data.tags["akq.reason"] == "ValueError: bad"
    record, run = records[3], found["trial-000003"]
    assert run.data.params == {"fast": "8", "slow": "53", "stop": "0.05"}
    assert run.data.metrics == {**record.metrics, "objective": record.values[0]}
    assert run.data.tags["akq.result_hash"] == "hash-3"
    assert run.data.tags["mlflow.source.name"] == "akq sweep"
    assert run.data.tags["mlflow.source.type"] == "LOCAL"
    assert (run.info.start_time, run.info.end_time) == (record.started_ms, record.ended_ms)


def test_artifact_folder_is_absolute_and_beside_the_store(
    make_tracker: Callable[..., MlflowTracker], store_uri: str, tmp_path: Path
) -> None:
    links = make_tracker("odd/../name").open(sweep_info())
    experiment = client(store_uri).get_experiment(links.experiment_id)
    assert experiment.name == "odd/../name"
    assert experiment.artifact_location.startswith((tmp_path / "mlflow-artifacts" / "odd-name-").as_uri())


def test_everything_twice_changes_nothing(make_tracker: Callable[..., MlflowTracker], store_uri: str) -> None:
    tracker = make_tracker()
    links = tracker.open(sweep_info())
    records = [trial(number) for number in range(120)]
    tracker.record(records[:110])
    tracker.record(records[90:])
    tracker.record(records)
    tracker.finish("finished", all_trials(120), {})
    again = make_tracker()
    assert again.open(sweep_info()) == links
    again.record(records)
    again.finish("finished", all_trials(120), {})
    found = children(store_uri, links)
    assert len(found) == 120
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert len(client(store_uri).get_run(links.run_id).inputs.dataset_inputs) == 1
    assert len(client(store_uri).get_metric_history(found["trial-000007"].info.run_id, "objective")) == 1


@pytest.mark.parametrize("nth", range(12))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_death_at_any_request_leaves_no_double_and_no_orphan(
    make_tracker: Callable[..., MlflowTracker],
    store_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
    after: bool,
) -> None:
    """The n-th request of recording four trials fails, before or after the store has done it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    records = [trial(number) for number in range(4)]
    by_client = MlflowOptions(bulk=False)
    tracker = make_tracker(options=by_client)
    links = tracker.open(sweep_info())
    count = 0

    def failing(name: str) -> Callable[..., Any]:
        plain = getattr(MlflowClient, name)

        def call(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count - 1 != nth:
                return plain(self, *args, **kwargs)
            if after:
                plain(self, *args, **kwargs)
            raise MlflowException("the connection was cut")

        return call

    with monkeypatch.context() as patch:
        for name in ("create_run", "log_batch", "set_terminated"):
            patch.setattr(MlflowClient, name, failing(name))
        with pytest.raises(TrackerError, match="the connection was cut"):
            tracker.record(records)
    resumed = make_tracker(options=by_client) if nth % 2 else tracker
    if resumed is not tracker:
        assert resumed.open(sweep_info()) == links, "the parent of the dead driver is found"
    resumed.record(records)
    resumed.finish("finished", all_trials(4), {})
    found = children(store_uri, links)
    assert len(found) == 4
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    for number in range(4):
        run = found[trial_name(number)]
        assert run.data.metrics["objective"] == records[number].values[0]
        assert len(run.data.params) == 3
    assert client(store_uri).get_run(links.run_id).info.status == "FINISHED"


def test_a_study_of_the_same_name_made_anew_has_its_own_parent(
    make_tracker: Callable[..., MlflowTracker], store_uri: str
) -> None:
    first, second = make_tracker(), make_tracker()
    one = first.open(sweep_info(study_id="one"))
    two = second.open(sweep_info(study_id="two"))
    assert one.run_id != two.run_id
    assert one.experiment_id == two.experiment_id
    first.record([trial(0)])
    second.record([trial(0), trial(1)])
    again = make_tracker()
    again.open(sweep_info(study_id="one"))
    again.record([trial(0), trial(1)])
    assert len(children(store_uri, one)) == len(children(store_uri, two)) == 2


def test_resume_with_other_settings_keeps_what_was_written(
    make_tracker: Callable[..., MlflowTracker], store_uri: str
) -> None:
    make_tracker().open(sweep_info())
    changed = SPEC.replace("trials: 30", "trials: 60") + "run: {workers: 4}\n"
    links = make_tracker().open(sweep_info(spec_yaml=changed))
    params = client(store_uri).get_run(links.run_id).data.params
    assert params["search.trials"] == "30"
    assert params["run.workers"] == "4"


def test_finished_parent_runs_again_while_it_is_written(
    make_tracker: Callable[..., MlflowTracker], store_uri: str
) -> None:
    tracker = make_tracker()
    links = tracker.open(sweep_info())
    tracker.finish("interrupted", all_trials(0), {})
    assert client(store_uri).get_run(links.run_id).info.status == "KILLED"
    make_tracker().open(sweep_info())
    assert client(store_uri).get_run(links.run_id).info.status == "RUNNING"


def test_odd_values_arrive(
    make_tracker: Callable[..., MlflowTracker], store_uri: str, tmp_path: Path
) -> None:
    tracker = make_tracker()
    links = tracker.open(sweep_info())
    text = "long " * 2_000
    odd = {"a;b": "x", "..": "y", "text": text, "none": None, "flag": True, "empty": ""}
    many = {f"m{ix}": float(ix) for ix in range(2_500)} | {"a/../b": 1.0, "inf": float("inf")}
    tracker.record([trial(0, params=odd, metrics=many), trial(1, params={f"p{ix}": ix for ix in range(250)})])
    found = children(store_uri, links)
    run = found["trial-000000"]
    assert run.info.status == found["trial-000001"].info.status == "FINISHED"
    assert len(run.data.metrics) == 2_502
    assert len(run.data.params) == 6
    assert run.data.params["flag"] == "true"
    assert run.data.tags["undefined.inf"] == "inf"
    assert len(found["trial-000001"].data.params) == 250
    kept = artifact(store_uri, run.info.run_id, "params/text.txt", tmp_path)
    assert kept.read_text(encoding="utf-8") == text


def test_tables_of_trials(make_tracker: Callable[..., MlflowTracker], store_uri: str, tmp_path: Path) -> None:
    tracker = make_tracker()
    links = tracker.open(sweep_info())
    tracker.record([trial(0), trial(1)])
    tracker.detail([details(1), details(700)])
    tracker.detail([details(1)])
    run = children(store_uri, links)["trial-000001"]
    files = sorted(entry.path for entry in client(store_uri).list_artifacts(run.info.run_id))
    assert files == ["equity.parquet", "metrics.parquet", "trades.parquet"]
    assert run.data.tags["akq.artifacts"] == "equity,trades,metrics"
    equity = pq.read_table(artifact(store_uri, run.info.run_id, "equity.parquet", tmp_path))
    assert equity.equals(details(1).tables["equity"])
    kept = artifact(store_uri, links.run_id, "trials/trial-000700/equity.parquet", tmp_path)
    assert pq.read_table(kept).num_rows == 3, "a trial without a run keeps its tables with the sweep"


def test_deleted_experiment_is_one_clear_error(
    make_tracker: Callable[..., MlflowTracker], store_uri: str
) -> None:
    links = make_tracker().open(sweep_info())
    client(store_uri).delete_experiment(links.experiment_id)
    with pytest.raises(TrackerError, match="has been deleted; restore it"):
        make_tracker().open(sweep_info())


def test_store_that_breaks_is_a_tracker_error(
    make_tracker: Callable[..., MlflowTracker], tmp_path: Path
) -> None:
    tracker = make_tracker()
    tracker.open(sweep_info())
    for name in ("mlflow.db", "mlflow.db-wal"):
        (tmp_path / name).write_bytes(b"this is no database" * 1_000)
    with pytest.raises(TrackerError, match="MLflow at sqlite"):
        tracker.record([trial(0)])


def test_use_before_open_is_refused(make_tracker: Callable[..., MlflowTracker]) -> None:
    with pytest.raises(TrackerError, match="before it has been opened"):
        make_tracker().record([trial(0)])
    with pytest.raises(TrackerError, match="before it has been opened"):
        make_tracker().finish("finished", pa.table({"number": [1]}), {})


def test_folder_that_cannot_be_made_is_a_tracker_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(TrackerError, match="cannot be made"):
        MlflowTracker(f"sqlite:///{tmp_path}/file/mlflow.db", "demo").open(sweep_info())


@pytest.mark.parametrize(
    "uri",
    [
        "http://joe:s3cret@127.0.0.1:1",
        "postgresql://joe:s3cret@127.0.0.1:1/mlflow",
        "postgresql+psycopg://joe:s3cret@127.0.0.1:1/mlflow",
    ],
)
def test_store_that_is_down_is_told_at_once_without_its_password(uri: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(TrackerError) as caught:
        MlflowTracker(uri, "demo").open(sweep_info())
    assert time.monotonic() - began_s < 8
    assert "127.0.0.1:1" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_server_that_answers_nonsense_is_a_tracker_error_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_answer_nonsense, args=(listener,), daemon=True)
        answering.start()
        uri = f"http://joe:s3cret@127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TrackerError) as caught:
            MlflowTracker(uri, "demo").open(sweep_info())
        assert "s3cret" not in str(caught.value)
        assert "joe" in str(caught.value)
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
    answering.join(10)


def test_environment_of_the_user_is_kept(
    make_tracker: Callable[..., MlflowTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    make_tracker().open(sweep_info())
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def _answer_nonsense(listener: socket.socket) -> None:
    """Take connections and send something that is no HTTP, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"nonsense\r\n\r\n")
