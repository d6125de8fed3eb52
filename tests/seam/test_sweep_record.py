"""A sweep as other tools find it: Optuna and MLflow read through their public interfaces, and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import mlflow
import optuna
import polars as pl
import pytest
import yaml
from mlflow import MlflowClient

from akq_dist.sweep import sweep

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from akq_dist.sweep import Sweep

# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
N_TRIALS = 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet")
    before = mlflow.get_tracking_uri()
    yield tmp_path
    mlflow.set_tracking_uri(before)


def run(here: Path, track: dict[str, Any]) -> tuple[Sweep, pl.DataFrame]:
    spec = {
        **SPEC,
        "search": {"sampler": "random", "trials": N_TRIALS, "seed": 3},
        "run": {"executor": "serial"},
        "storage": {"optuna": f"sqlite:///{here}/akq/optuna.db"},
        "track": {"mlflow": f"sqlite:///{here}/akq/mlflow.db", **track},
    }
    (here / "sweep.yaml").write_text(yaml.safe_dump(spec))
    handle = sweep(here / "sweep.yaml")
    handle.run()
    return handle, handle.results()


def test_optuna_and_mlflow_hold_every_trial_as_the_ledger_does(here: Path) -> None:
    handle, held = run(here, {"artifacts": "best:2"})
    facts = handle.summary()
    best = facts["best"]
    url = f"sqlite:///{here}/akq/optuna.db"

    study = optuna.load_study(study_name=facts["study"], storage=url)
    (summary,) = optuna.study.get_all_study_summaries(storage=url)
    assert summary.study_name == study.study_name == facts["study"]
    assert summary.n_trials == len(study.trials) == N_TRIALS
    assert summary.best_trial is not None
    assert summary.best_trial.number == study.best_trial.number == best["number"]
    assert study.best_params == best["params"]
    (goal,) = study.metric_names or [""]
    frame = study.trials_dataframe()
    assert frame["number"].tolist() == held["number"].to_list()
    assert all(state in {"COMPLETE", "FAIL"} for state in frame["state"])

    mlflow.set_tracking_uri(f"sqlite:///{here}/akq/mlflow.db")
    parent = handle.mlflow_run_id
    assert parent is not None
    runs = mlflow.search_runs(
        experiment_names=[handle.spec.experiment], filter_string=f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert len(runs) == N_TRIALS
    for trial in study.trials:
        (row,) = runs[runs["tags.akq.number"] == str(trial.number)].to_dict("records")
        assert row["tags.mlflow.runName"] == f"trial-{trial.number:06d}"
        assert row["tags.akq.key"] == trial.user_attrs["akq.key"]
        assert row["tags.akq.result_hash"] == trial.user_attrs["akq.hash"]
        assert {name: row[f"params.{name}"] for name in trial.params} == {
            name: str(value) for name, value in trial.params.items()
        }
        if trial.value is None:
            assert row["status"] == "FAILED"
            assert math.isnan(row["metrics.objective"])
        else:
            assert row["status"] == "FINISHED"
            assert row["metrics.objective"] == row[f"metrics.{goal}"] == trial.value
        named = {name: value for name, value in trial.user_attrs.items() if not name.startswith("akq.")}
        assert named.items() <= {name: row[f"metrics.{name}"] for name in named}.items()

    client = MlflowClient(tracking_uri=f"sqlite:///{here}/akq/mlflow.db")
    whole = client.get_run(parent)
    assert whole.data.metrics[f"best.{goal}"] == best["values"][0]
    assert whole.data.tags["mlflow.source.name"] == "akq sweep"
    assert f"trial-{best['number']:06d}" in whole.data.tags["mlflow.note.content"]
    files = {file.path for file in client.list_artifacts(parent)}
    assert {"sweep.yaml", "trials.parquet", "report.html", "environment.json", "replay.json"} <= files
    table = pl.read_parquet(client.download_artifacts(parent, "trials.parquet", str(here)))
    assert table["number"].to_list() == held["number"].to_list()
    winner = client.get_run(whole.data.tags["akq.winner"])
    assert winner.data.tags["akq.number"] == str(best["number"])
    with_tables = [
        row for row in client.search_runs([whole.info.experiment_id]) if "akq.artifacts" in row.data.tags
    ]
    assert len(with_tables) == 2, "artifacts: best:2"
    assert winner.info.run_id in {row.info.run_id for row in with_tables}
    handle.close()


@pytest.mark.parametrize(("runs", "expected"), [("top:3", 3), ("none", 0)])
def test_fewer_runs_are_the_best_and_the_table_has_all(here: Path, runs: str, expected: int) -> None:
    handle, held = run(here, {"runs": runs, "artifacts": "none"})
    client = MlflowClient(tracking_uri=f"sqlite:///{here}/akq/mlflow.db")
    parent = handle.mlflow_run_id
    assert parent is not None
    experiment = client.get_run(parent).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    best = held.filter(pl.col("state") == "complete").sort("value", "number", descending=[True, False])
    assert {row.data.tags["akq.number"] for row in found} == {str(n) for n in best["number"][:expected]}
    table = pl.read_parquet(client.download_artifacts(parent, "trials.parquet", str(here)))
    assert table["number"].to_list() == held["number"].to_list()
    handle.close()
