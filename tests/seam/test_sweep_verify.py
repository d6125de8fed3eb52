"""The proof that ledger, Optuna and MLflow agree: it finds what was tampered with, and repair undoes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.errors import AkqStudyError
from akq_dist.sweep import sweep, verify

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_TRIALS = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small sweep, recorded in Optuna and MLflow."""
    folder = tmp_path_factory.mktemp("recorded")
    write_bars(folder / "bars.parquet")
    spec = {
        **SPEC,
        "data": {"path": str(folder / "bars.parquet")},
        "search": {**SPEC["search"], "trials": N_TRIALS},
        "constraints": ["sum(n_trades) >= 1"],
        "track": {"mlflow": f"sqlite:///{folder}/mlflow.db", "artifacts": "none"},
        "storage": {"optuna": f"sqlite:///{folder}/optuna.db", "ledger": str(folder / "ledger.db")},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))
    handle = sweep(folder / "sweep.yaml").run()
    assert handle.warnings == ()
    handle.close()
    return folder


def edit(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


def lines_of(folder: Path, view: str) -> list[str]:
    found = verify(folder / "sweep.yaml")
    return [line for check in found.checks if check.view == view for line in check.lines]


def test_a_recorded_sweep_agrees(recorded: Path) -> None:
    found = verify(recorded / "sweep.yaml")
    assert found.ok, found.to_dict()
    assert [(check.view, check.n_expected, check.n_found) for check in found.checks] == [
        (view, N_TRIALS, N_TRIALS) for view in ("ledger", "optuna", "mlflow")
    ]


def optuna_value(folder: Path) -> str:
    edit(folder / "optuna.db", "UPDATE trial_values SET value = value + 1e-12 WHERE trial_id = 3")
    return "trial 2: the value is"


def optuna_running(folder: Path) -> str:
    edit(
        folder / "optuna.db",
        "INSERT INTO trials (number, study_id, state) SELECT 12, study_id, 'RUNNING' FROM studies",
    )
    return "trial 12 is left RUNNING"


def optuna_lost(folder: Path) -> str:
    last = "(SELECT trial_id FROM trials WHERE number >= 10)"
    children = ("trial_params", "trial_values", "trial_user_attributes", "trial_system_attributes")
    edit(
        folder / "optuna.db",
        *(f"DELETE FROM {table} WHERE trial_id IN {last}" for table in children),
        "DELETE FROM trials WHERE number >= 10",
    )
    return "2 of 12 trials are missing: 10, 11"


def mlflow_metric(folder: Path) -> str:
    run = "SELECT run_uuid FROM tags WHERE key = 'akq.number' AND value = '4'"
    edit(
        folder / "mlflow.db",
        f"UPDATE latest_metrics SET value = 9.5 WHERE key = 'objective' AND run_uuid = ({run})",
    )
    return "trial 4: a metric is"


def mlflow_double(folder: Path) -> str:
    edit(folder / "mlflow.db", "UPDATE tags SET value = '5' WHERE key = 'akq.number' AND value = '6'")
    return "trial 5 has two runs"


def mlflow_lost(folder: Path) -> str:
    edit(
        folder / "mlflow.db",
        "UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'trial-000007'",
    )
    return "1 of 12 trials are missing: 7"


@pytest.mark.parametrize(
    "tamper", [optuna_value, optuna_running, optuna_lost, mlflow_metric, mlflow_double, mlflow_lost]
)
def test_a_difference_is_named_and_repaired(recorded: Path, tamper: Callable[[Path], str]) -> None:
    expected = tamper(recorded)
    view = tamper.__name__.partition("_")[0]
    lines = lines_of(recorded, view)
    assert any(line.startswith(expected) for line in lines), lines
    repaired = verify(recorded / "sweep.yaml", repair=True)
    assert repaired.ok, repaired.to_dict()
    assert repaired.repaired


def test_a_study_of_somebody_else_is_left_alone(recorded: Path, tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path}/other.db"
    other = optuna.create_study(storage=url, study_name="cross", direction="maximize")
    other.add_trial(optuna.create_trial(value=1.0))
    found = verify(recorded / "sweep.yaml", overrides=[f"storage.optuna={url}"], repair=True)
    assert not found.ok
    assert len(optuna.load_study(storage=url, study_name="cross").trials) == 1


def test_a_damaged_ledger_is_named_and_nothing_is_rebuilt_from_it(recorded: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ledger.db"
    with closing(sqlite3.connect(recorded / "ledger.db")) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    edit(copy, 'UPDATE trial SET "values" = NULL WHERE number = 1', "DELETE FROM trial WHERE number = 5")
    overrides = [f"storage.ledger={copy}"]
    found: Any = verify(recorded / "sweep.yaml", overrides=overrides)
    assert not found.ok
    lines = found.checks[0].lines
    assert "trial numbers have gaps: 11 trials, the last is 11" in lines
    assert "trial 1: is complete without a finite value" in lines
    with pytest.raises(AkqStudyError, match="damaged itself"):
        verify(recorded / "sweep.yaml", overrides=overrides, repair=True)
