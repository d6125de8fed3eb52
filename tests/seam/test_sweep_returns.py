"""The trial return matrix: the returns of the very trials that the ledger has."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import yaml

import akq_dist as akq
from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.search import returns as returns_module
from akq_dist.sweep import Sweep, sweep

from .test_sweep_end_to_end import SPEC

if TYPE_CHECKING:
    from pathlib import Path

STRATEGY = """
import akq_dist as akq

class Hold(akq.Strategy):
    days: int = akq.Param(5)

    def on_bar(self, bar):
        if self.days == 7:
            raise ValueError("seven")
        if bar.index % 20 == 0:
            self.buy(pct_equity=0.3)
        if bar.index % 20 == self.days:
            self.close()
"""
HOLD: dict[str, Any] = {
    "strategy": {"python": "hold.py:Hold"},
    "space": {"days": {"int": [3, 9]}},
    "where": [],
    "search": {"sampler": "grid"},
    "run": {"executor": "serial", "max_failures": "100%"},
}


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "hold.py").write_text(STRATEGY)
    return folder


def run(folder: Path, **sections: Any) -> Sweep:
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SPEC, **sections}))
    return sweep("sweep.yaml").run()


def by_hand(params: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Returns of the sum over accounts of the last equity of each date, from a plain backtest."""
    equity: np.ndarray[Any, Any] = (
        akq.backtest("sweep.yaml", params=params)
        .equity.sort("symbol", "ts")
        .group_by("symbol", "date", maintain_order=True)
        .agg(pl.col("equity").last())
        .group_by("date")
        .agg(pl.col("equity").sum())
        .sort("date")["equity"]
        .to_numpy()
    )
    returns: np.ndarray[Any, Any] = np.diff(equity) / equity[:-1]
    return returns


@pytest.mark.parametrize("settings", [{}, HOLD], ids=["rules", "python"])
@pytest.mark.parametrize("mode", ["per_asset", "portfolio"])
def test_columns_are_the_returns_of_plain_backtests(
    folder: Path, settings: dict[str, Any], mode: str
) -> None:
    objective = {"metric": "sharpe"} if mode == "portfolio" else SPEC["objective"]
    handle = run(folder, **settings, mode=mode, objective=objective)
    rows = handle.results().filter(pl.col("state") == "complete").to_dicts()
    assert len(rows) >= 6
    matrix = handle.returns()
    assert matrix.columns == ["date", *(str(row["number"]) for row in rows)]
    assert matrix["date"].is_sorted()
    for row in rows[:3]:
        expected = by_hand({name: row[f"params_{name}"] for name in handle.spec.space.names})
        assert np.any(expected != 0.0)
        np.testing.assert_allclose(matrix[str(row["number"])].to_numpy(), expected, rtol=1e-12, atol=1e-15)
    handle.close()


def test_chosen_trials_come_in_the_order_of_numbers_and_a_failed_one_has_no_value(folder: Path) -> None:
    handle = run(folder, **HOLD)
    assert handle.results()["state"].to_list()[4] == "fail"
    assert "4" not in handle.returns().columns
    chosen = handle.returns([4, 0])
    assert chosen.columns == ["date", "0", "4"]
    assert chosen["4"].is_nan().all()
    assert not chosen["0"].is_nan().any()
    with pytest.raises(AkqStudyError, match="has no trial 7; it has 7 trials"):
        handle.returns([7])
    with pytest.raises(AkqUsageError, match="expected numbers of trials"):
        handle.returns([True])
    handle.close()


def test_a_handle_that_has_not_run_reads_the_recorded_study(folder: Path) -> None:
    ran = run(folder)
    expected = ran.returns()
    ran.close()
    again = sweep("sweep.yaml")
    assert again.returns().equals(expected)
    again.close()


def test_windows_of_a_validation_do_not_cut_the_returns_but_the_holdout_does(folder: Path) -> None:
    handle = run(
        folder,
        search={**SPEC["search"], "trials": 5},
        validate={"scheme": "walk_forward", "train": "2m", "test": "1m", "holdout": {"from": "2020-05-15"}},
    )
    dates = handle.returns()["date"]
    assert (str(dates[0]), str(dates[-1])) == ("2020-01-02", "2020-05-14")
    handle.close()


def test_returns_that_are_not_those_of_the_record_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = run(folder)
    monkeypatch.setattr(returns_module, "MAX_CELLS", 1_000)
    with pytest.raises(AkqUsageError, match="at most 6 trials"):
        handle.returns()
    assert handle.returns([0, 1]).width == 3
    handle.close()
    with closing(sqlite3.connect("akq/ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE trial SET hash = 'other' WHERE number = 1")
    again = sweep("sweep.yaml")
    with pytest.raises(AkqStudyError, match="trial 1 gives another result"):
        again.returns([0, 1])
    again.close()
    changed = sweep("sweep.yaml", overrides=["market.cash=5"])
    with pytest.raises(AkqStudyError, match=r"market\.cash"):
        changed.returns([0])
    changed.close()
