"""A driver killed while its copies are written: resuming leaves every trial once in the ledger, Optuna and MLflow."""

from __future__ import annotations

import gc
import random
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.sweep import resume_study, sweep, verify

from .test_sweep_end_to_end import SPEC, write_bars
from .test_sweep_kill import run_and_kill

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 23
TRIALS = 400
# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def spec(optuna: str, mlflow: str) -> dict[str, Any]:
    return {
        **SPEC,
        "space": {**SPEC["space"], "lot": {"float": [0.1, 1.0]}},
        "strategy": {"rules": {**SPEC["strategy"]["rules"], "size": {"pct_equity": "lot"}}},
        "search": {"sampler": "random", "trials": TRIALS, "seed": 3},
        "run": {"executor": "serial", "threads": 1, "batch": 5},
        "track": {"mlflow": mlflow, "artifacts": "none"},
        "storage": {"optuna": optuna},
    }


@pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.timeout(590)
def test_every_copy_in_sqlite_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_kills: int) -> None:
    monkeypatch.chdir(tmp_path)
    kill_and_resume(tmp_path, spec("sqlite:///akq/optuna.db", "sqlite:///akq/mlflow.db"), n_kills)


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:.*psycopg\.Connection:ResourceWarning")
@pytest.mark.timeout(590)
def test_every_copy_in_postgresql_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: Callable[[], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kill_and_resume(tmp_path, spec(postgresql(), postgresql()), 6)
    with warnings.catch_warnings():
        # Optuna leaves the pool of its connections to the collector, of which the driver complains.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def kill_and_resume(folder: Path, settings: dict[str, Any], n_kills: int) -> None:
    write_bars(folder / "bars.parquet")
    (folder / "sweep.yaml").write_text(yaml.safe_dump(settings))
    alone = ["storage={optuna: null, ledger: whole/ledger.db}", "track.mlflow=null"]
    whole = sweep("sweep.yaml", overrides=alone).run()
    expected = whole.summary()["result_hash"]
    whole.close()
    rng = random.Random(SEED)
    # In turn when the ledger, and when the slower of the two copies, has come to a number.
    instants = sorted(rng.randrange(1, TRIALS) for _ in range(n_kills))
    print(f"seed {SEED}, instants {instants}")
    for ix, instant in enumerate(instants):
        if ix % 2:
            run_and_kill(instant, "SELECT count(*) FROM trial WHERE state != 'asked'")
        else:
            run_and_kill(instant, "SELECT CASE WHEN count(*) > 1 THEN min(watermark) ELSE 0 END FROM view")
    handle = resume_study(Path("sweep.yaml")).run()
    assert handle.summary()["result_hash"] == expected
    assert handle.warnings == ()
    handle.close()
    found = verify("sweep.yaml")
    assert found.ok, found.to_dict()
    assert [(check.view, check.n_expected, check.n_found) for check in found.checks] == [
        (view, TRIALS, TRIALS) for view in ("ledger", "optuna", "mlflow")
    ]
