"""Values that MLflow would cut or bend: long parameters are kept whole in a file, undefined metrics are tags."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.sweep import sweep, verify
from tests.mlflow_server import MlflowServer

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = ["ä long tëxt, " * 600, "x" * 6_001, "x" * 6_000]
LARGEST = 1e300
"""MLflow writes infinity as the largest number there is."""
STRATEGY = """
import akq_dist as akq

class Wordy(akq.Strategy):
    text: str = akq.Param("")
    n: int = akq.Param(0)

    def on_bar(self, bar):
        if self.n and bar.index == 2:
            self.buy(self.n)
        if self.n and bar.index == 9:
            self.close()
"""
# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(params=["bulk", pytest.param("http", marks=pytest.mark.slow)])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "bulk":
        yield f"sqlite:///{tmp_path}/mlflow.db"
        return
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server.url
    server.stop()


def test_long_parameters_are_whole_and_undefined_metrics_are_tags(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "wordy.py").write_text(STRATEGY)
    spec: dict[str, Any] = {
        **SPEC,
        "strategy": {"python": "wordy.py:Wordy"},
        # Without a trade the profit factor is undefined, which is no failure of the trial.
        "space": {"text": {"choice": LONG}, "n": {"int": [0, 1]}},
        "where": [],
        "objective": {"metric": "total_return", "aggregate": "mean"},
        "constraints": ["mean(profit_factor) >= 0"],
        "search": {"sampler": "grid"},
        "track": {"mlflow": address, "artifacts": "none"},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    handle = sweep("sweep.yaml").run()
    assert handle.warnings == ()
    assert handle.summary()["trials"]["complete"] == 2 * len(LONG)
    frame = handle.results()
    experiment = handle.summary()["mlflow"]["experiment_id"]
    handle.close()
    found = verify("sweep.yaml")
    assert found.ok, found.to_dict()
    client = MlflowClient(address)
    runs = {
        int(run.data.tags["akq.number"]): run
        for run in client.search_runs([experiment], "tags.`akq.kind` = 'trial'")
    }
    assert sorted(runs) == list(range(2 * len(LONG)))
    n_undefined = 0
    for row in frame.rows(named=True):
        run, text = runs[row["number"]], row["params_text"]
        stored = run.data.params["text"]
        if len(text) <= 6_000:
            assert stored == text
        else:
            digest = hashlib.sha256(text.encode()).hexdigest()
            assert f"[{len(text)} characters in params/text.txt, sha256 {digest}]" in stored
            kept = Path(client.download_artifacts(run.info.run_id, "params/text.txt", str(tmp_path)))
            assert kept.read_text(encoding="utf-8") == text
        assert all(math.isfinite(value) and abs(value) < LARGEST for value in run.data.metrics.values())
        if not row["params_n"]:
            n_undefined += 1
            assert "profit_factor.mean" not in run.data.metrics
            assert "profit_factor.mean" in run.data.tags["undefined"].split(", ")
    assert n_undefined == len(LONG)
