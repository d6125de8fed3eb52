"""`akq ui` finds the stores of a study by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from akq_dist.cli.ui_command import _stores

if TYPE_CHECKING:
    from .conftest import Akq

SPEC: dict[str, Any] = {
    "track": {"mlflow": "sqlite:///akq/mlflow.db"},
    "storage": {"optuna": "sqlite:///akq/optuna.db", "ledger": "akq/ledger.db"},
}


def test_stores_are_found_from_another_folder() -> None:
    assert _stores(SPEC, Path("/data/akq/ledger.db")) == (
        "sqlite:////data/akq/mlflow.db",
        "sqlite:////data/akq/optuna.db",
    )


def test_stores_are_found_from_the_folder_of_the_sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    mlflow, optuna = _stores(SPEC, Path("akq/ledger.db"))
    assert mlflow == f"sqlite:///{tmp_path}/akq/mlflow.db"
    assert optuna == f"sqlite:///{tmp_path}/akq/optuna.db"


@pytest.mark.parametrize(
    ("changes", "ledger"),
    [
        ({"storage": {"optuna": None, "ledger": "/x/ledger.db"}}, "/data/akq/ledger.db"),
        ({"storage": {"optuna": None, "ledger": "other/ledger.db"}}, "/data/akq/ledger.db"),
    ],
)
def test_stores_stay_as_they_are_where_the_ledger_was_moved(changes: dict[str, Any], ledger: str) -> None:
    assert _stores(SPEC | changes, Path(ledger)) == ("sqlite:///akq/mlflow.db", None)


def test_addresses_of_servers_stay_as_they_are() -> None:
    spec = {
        "track": {"mlflow": "http://host:5000"},
        "storage": {"optuna": "postgresql://host/x", "ledger": "akq/ledger.db"},
    }
    assert _stores(spec, Path("/data/akq/ledger.db")) == ("http://host:5000", "postgresql://host/x")


def test_a_study_or_a_file_that_is_not_there_is_named(akq: Akq) -> None:
    akq("sweep", "run", "small.yaml")
    for target, words in (
        ("smal", "did you mean 'small'"),
        ("smal.yaml", "there is no sweep file smal.yaml"),
    ):
        for command in (("ui",), ("study", "best"), ("sweep", "status")):
            shown = akq(*command, target)
            assert shown.returncode == 2
            assert words in shown.stderr
    nothing = akq("ui")
    assert nothing.returncode == 2
    assert "neither track.mlflow nor storage.optuna is set" in nothing.stderr
    assert akq("study", "best", "small.yaml").stdout == akq("study", "best", "small").stdout
    assert "nothing was left to run" in akq("sweep", "run", "small.yaml").stderr
