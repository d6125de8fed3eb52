"""A trial as MLflow has it: everything that running it again takes, read back from its run and the sweep's."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from akq_dist.errors import AkqStudyError
from akq_dist.record.protocols import REPLAY_FILE, STRATEGY_FOLDER
from akq_dist.track import mlflow_env, store
from akq_dist.track.run_values import clean_key

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class TrackedTrial:
    """One trial and the sweep it belongs to."""

    study: str
    number: int
    params: Mapping[str, str]
    """Values of the searched parameters, as text."""
    metrics: Mapping[str, float]
    """Defined metrics by the names they have in MLflow."""
    state: str
    hash: str
    build: str
    data_digest: str
    settings: Mapping[str, Any]
    """The sweep file as resolved."""
    replay: Mapping[str, Any]
    """Folder of relative paths, reference of a Python strategy, its fixed parameters."""
    modules: Mapping[str, str]
    """Texts of a Python strategy by path."""

    def metric(self, output: str) -> float | None:
        """Return a metric by the name of its output; None when it is undefined."""
        return self.metrics.get(clean_key(output))


def read_trial(uri: str, run_id: str) -> TrackedTrial:
    """Read a trial by the id of its run, or the winner by that of the sweep's run.

    Raises AkqStudyError when the run is not one of ours or lacks something, TrackerError when MLflow is away.
    """
    uri = store.absolute_uri(uri)
    mlflow_env.knock(uri)
    client = mlflow_env.import_client()(tracking_uri=uri)
    try:
        run = client.get_run(run_id)
        tags = run.data.tags
        if tags.get("akq.kind") == "sweep":
            winner = tags.get("akq.winner")
            if winner is None:
                raise AkqStudyError(f"run {run_id} is a sweep without a winner; name the run of a trial.")
            run = client.get_run(winner)
            tags = run.data.tags
        parent_id = tags.get("mlflow.parentRunId")
        if tags.get("akq.kind") != "trial" or parent_id is None:
            raise AkqStudyError(f"run {run_id} is not a trial of a sweep.")
        parent = client.get_run(parent_id)
        with tempfile.TemporaryDirectory(prefix="akq-") as folder:
            files = _texts(Path(client.download_artifacts(parent_id, "", folder)))
    except mlflow_env.store_errors() as error:
        raise mlflow_env.explain(error, uri) from None
    missing = [name for name in ("sweep.yaml", REPLAY_FILE) if name not in files]
    if missing:
        raise AkqStudyError(
            f"the run of the sweep has no {missing[0]}: it was recorded by an older version. "
            "Replay the trial from its ledger."
        )
    prefix = f"{STRATEGY_FOLDER}/"
    return TrackedTrial(
        study=parent.info.run_name,
        number=int(tags["akq.number"]),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        state=tags["akq.state"],
        hash=tags["akq.result_hash"],
        build=tags["akq.build"],
        data_digest=tags["akq.data_digest"],
        settings=yaml.safe_load(files["sweep.yaml"]),
        replay=json.loads(files[REPLAY_FILE]),
        modules={name.removeprefix(prefix): text for name, text in files.items() if name.startswith(prefix)},
    )


def _texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".yaml", ".json", ".py"} and path.is_file()
    }
