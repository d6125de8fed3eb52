"""A recorded sweep read back through Optuna and MLflow: every value of every trial is the ledger's."""

from __future__ import annotations

import math
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 5_000
_MANY = 5_000


def read_back(study: Any, n_trials: int) -> None:
    """Compare what the ledger holds with what Optuna and MLflow give; trials are read once, in pages where possible.

    Many trials are read from both at a time, in processes: objects are what it costs.
    """
    held = study.results().sort("number")
    assert held["number"].to_list() == list(range(n_trials))
    pool: Executor = (
        ProcessPoolExecutor(2, get_context("spawn"))
        if n_trials >= _MANY
        else ThreadPoolExecutor(max_workers=1)
    )
    with pool:
        found = [
            pool.submit(in_optuna, held, study.spec.storage.optuna, study.spec.name),
            pool.submit(in_mlflow, held, study.spec.track.mlflow, study.spec.experiment, study.mlflow_run_id),
        ]
        for reading in found:
            reading.result()


def in_optuna(held: Any, url: str, name: str) -> None:
    import optuna
    from optuna.trial import TrialState

    summaries = {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage=url)}
    assert summaries[name] == held.height
    trials = optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)
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


def in_mlflow(held: Any, uri: str, experiment_name: str, parent: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(experiment_name)
    assert experiment is not None
    outputs = held.columns[held.columns.index("value") + 1 : held.columns.index("reason")]
    outputs = [name for name in outputs if not name.startswith("params_")]
    seen = bytearray(held.height)
    for run in children(client, experiment.experiment_id, parent):
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
