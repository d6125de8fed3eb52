"""A recorded sweep read back through Optuna and MLflow: every value of every trial is the ledger's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 5_000


def read_back(study: Any, n_trials: int) -> None:
    """Compare what the ledger holds with what Optuna and MLflow give; trials are read once, in pages where possible."""
    held = study.results().sort("number")
    assert held["number"].to_list() == list(range(n_trials))
    in_optuna(study, held)
    in_mlflow(study, held)


def in_optuna(study: Any, held: Any) -> None:
    import optuna
    from optuna.trial import TrialState

    url = study.spec.storage.optuna
    summaries = {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage=url)}
    assert summaries[study.spec.name] == held.height
    trials = optuna.load_study(study_name=study.spec.name, storage=url).get_trials(deepcopy=False)
    for trial, row in zip(trials, held.iter_rows(named=True), strict=True):
        assert trial.number == row["number"]
        complete = row["state"] == "complete"
        assert trial.state is (TrialState.COMPLETE if complete else TrialState.FAIL)
        assert trial.value == row["value"]
        assert trial.params == params_of(row)
        attributes = dict(trial.user_attrs)
        assert attributes.pop("akq.key") == row["key"]
        assert attributes.pop("akq.hash") == row["hash"]
        assert attributes.pop("akq.reason", None) == row["reason"]
        # Those of the metrics that the page of a study shows.
        assert attributes
        assert attributes == {name: row[name] for name in attributes}


def in_mlflow(study: Any, held: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=study.spec.track.mlflow)
    experiment = client.get_experiment_by_name(study.spec.experiment)
    assert experiment is not None
    outputs = held.columns[held.columns.index("value") + 1 : held.columns.index("reason")]
    outputs = [name for name in outputs if not name.startswith("params_")]
    seen = bytearray(held.height)
    for run in children(client, experiment.experiment_id, study.mlflow_run_id):
        number = int(run.data.tags["akq.number"])
        seen[number] += 1
        row = held.row(number, named=True)
        complete = row["state"] == "complete"
        assert run.info.status == ("FINISHED" if complete else "FAILED")
        assert run.info.run_name == f"trial-{number:06d}"
        assert run.data.tags["akq.result_hash"] == row["hash"]
        assert run.data.tags["akq.key"] == row["key"]
        assert run.data.params == {name: str(value) for name, value in params_of(row).items()}
        metrics = {name: row[name] for name in outputs if row[name] is not None and math.isfinite(row[name])}
        if complete:
            metrics["objective"] = row["value"]
        assert run.data.metrics == metrics
        assert len(run.inputs.dataset_inputs) == 1
    assert seen == b"\x01" * held.height, "a trial has no run, or two"


def params_of(row: dict[str, Any]) -> dict[str, Any]:
    prefix = "params_"
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def children(client: Any, experiment: str, parent: str) -> Iterator[Any]:
    """Every child run, a page at a time."""
    token = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=_PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return
