"""The winner of a sweep in MLflow's model registry."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akq_dist.record.protocols import SweepInfo, TrialRecord

ALIAS = "candidate"
_FOLDER = "winner"
_RESULT_TAG = "akq.result_hash"


def promote(
    client: Any, name: str, parent_id: str, run_id: str | None, trial: TrialRecord, info: SweepInfo
) -> None:
    """Make the trial the version of the registered model `name` that the alias names, unless it is already."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name,
            {"akq.kind": "sweep"},
            "Winners of sweeps: parameters and sweep file, to be run by `akq replay`.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    facts = {
        "study": info.study,
        "number": trial.number,
        "params": dict(trial.params),
        "values": list(trial.values),
        "metrics": dict(trial.metrics),
        "key": trial.key,
        "hash": trial.hash,
        "seed": info.seed,
        "build": info.build,
        "data_digest": info.data_digest,
        "data_source": info.data_source,
    }
    tags = {
        "akq.study_id": info.study_id,
        "akq.number": str(trial.number),
        "akq.key": trial.key,
        _RESULT_TAG: trial.hash,
        "akq.data_digest": info.data_digest,
        "akq.build": info.build,
    }
    if _is_candidate(client, name, tags):
        return
    # A server takes a version only from the files of the run that it names.
    owner = run_id or parent_id
    with tempfile.TemporaryDirectory(prefix="akq-") as folder:
        texts = {"sweep.yaml": info.spec_yaml, "trial.json": json.dumps(facts, indent=2, sort_keys=True)}
        for file, text in {**texts, **info.files}.items():
            path = Path(folder) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        client.log_artifacts(owner, folder, _FOLDER)
    source = f"{client.get_run(owner).info.artifact_uri}/{_FOLDER}"
    goal = ", ".join(
        f"{output} {value:.6g}" for (output, _), value in zip(info.objectives, trial.values, strict=False)
    )
    version = client.create_model_version(
        name, source, owner, tags, description=f"Trial {trial.number} of {info.study}: {goal}"
    )
    client.set_registered_model_alias(name, ALIAS, version.version)


def _is_candidate(client: Any, name: str, tags: dict[str, str]) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        held = client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return False
        raise
    return all(held.tags.get(key) == value for key, value in tags.items())
