"""A trial run again from MLflow alone: no ledger, no sweep file, no strategy file; and the winner in the registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.cli.app import app
from akq_dist.errors import AkqStudyError
from akq_dist.sweep import replay_run, sweep

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

STRATEGY = """
from helper import WORD
from akq_dist import Param, Strategy


class Cross(Strategy):
    fast: int = Param(5, low=2)
    slow: int = Param(20, low=2)
    word: str = Param("a")

    def on_bar(self, bar):
        closes = self.history("close", self.slow)
        if len(closes) < self.slow:
            return
        above = closes[-self.fast :].mean() > closes.mean()
        if above and self.position() == 0 and WORD == "long":
            self.buy(10 if self.word == "a" else 20)
        elif not above and self.position() > 0:
            self.close()
"""


def run(folder: Path, changed: dict[str, Any]) -> tuple[str, MlflowClient, Any]:
    """A small sweep in a folder; returns the sweep's run, a client and the recorded trials."""
    from mlflow import MlflowClient

    write_bars(folder / "bars.parquet")
    uri = f"sqlite:///{folder}/akq/mlflow.db"
    spec = {
        **SPEC,
        "search": {"sampler": "random", "trials": 6, "seed": 3},
        "run": {"executor": "serial"},
        "storage": {"optuna": None},
        "track": {"mlflow": uri, "artifacts": "none"},
        **changed,
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))
    handle = sweep(folder / "sweep.yaml")
    handle.run()
    parent = handle.mlflow_run_id
    assert parent is not None
    held = handle.results()
    handle.close()
    return parent, MlflowClient(tracking_uri=uri), held


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rules_are_run_again_from_any_run_and_the_winner_is_in_the_registry(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, client, held = run(here, {})
    uri = f"sqlite:///{here}/akq/mlflow.db"
    shutil.move(here / "akq" / "ledger.db", here / "gone.db")
    (here / "sweep.yaml").unlink()
    experiment = client.get_run(parent).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len(runs) == 6
    for found in runs[:3]:
        report = replay_run(found.info.run_id, tracking_uri=uri)
        assert report.same, report.differences
        assert report.hash == found.data.tags["akq.result_hash"] != ""
        # The data set is an input of every run, and its digest fits what MLflow takes.
        (given,) = found.inputs.dataset_inputs
        assert len(given.dataset.digest) <= 36
        assert (
            found.data.tags["akq.data_digest"].endswith(given.dataset.digest)
            or given.dataset.digest in (found.data.tags["akq.data_digest"])
        )
    best = held.filter(held["state"] == "complete").sort("value", descending=True)["number"][0]
    winner = replay_run(parent, tracking_uri=uri)
    assert winner.same
    assert winner.number == best
    (model,) = client.search_registered_models()
    version = client.get_model_version_by_alias(model.name, "candidate")
    assert version.tags["akq.number"] == str(best)
    folder = Path(version.source.removeprefix("file://"))
    assert json.loads((folder / "trial.json").read_text())["hash"] == winner.hash
    assert yaml.safe_load((folder / "sweep.yaml").read_text())["name"] == "cross"
    assert app(["replay", "--run", parent, "--mlflow", uri], standalone_mode=False) == 0
    assert "identical, bit for bit" in capsys.readouterr().out

    write_bars(here / "bars.parquet", seed=6)
    with pytest.raises(AkqStudyError, match="the data have changed"):
        replay_run(parent, tracking_uri=uri)
    other = client.create_run(experiment)
    with pytest.raises(AkqStudyError, match="is not a trial of a sweep"):
        replay_run(other.info.run_id, tracking_uri=uri)


def test_a_python_strategy_is_run_as_it_was_recorded(here: Path) -> None:
    (here / "lib").mkdir()
    (here / "lib" / "cross.py").write_text(STRATEGY.replace("from helper", "from lib.helper"))
    (here / "lib" / "helper.py").write_text('WORD = "long"\n')
    changed = {
        "strategy": {"python": "lib/cross.py:Cross"},
        "space": {"fast": {"int": [2, 8]}, "slow": {"int": [15, 30]}, "word": {"choice": ["a", "b"]}},
    }
    parent, client, _ = run(here, changed)
    shutil.rmtree(here / "lib")
    experiment = client.get_run(parent).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=2)
    for one in found:
        report = replay_run(one.info.run_id, tracking_uri=f"sqlite:///{here}/akq/mlflow.db")
        assert report.same, report.differences
