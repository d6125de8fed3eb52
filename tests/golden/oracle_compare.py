"""Reads a case of the oracle, runs it, and compares fills, equity and metrics."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import akq_dist as akq

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from akq_dist.result import BacktestResult

METRICS = {
    "total_return": "total_return",
    "annual_return": "cagr",
    "annual_volatility": "volatility",
    "sharpe": "sharpe",
    "sortino": "sortino",
    "max_drawdown": "max_drawdown",
    "calmar": "calmar",
    "n_round_trips": "n_trades",
    "win_rate": "win_rate",
    "profit_factor": "profit_factor",
    "total_commission": "fees",
}
LOOSE = {"annual_return": 1e-8, "calmar": 1e-8}


def read_case(path: Path) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(path.read_text())
    case["folder"] = path.parent
    return case


def bars(case: Mapping[str, Any]) -> pl.DataFrame:
    """All bars of a case, one symbol after the other."""
    frames = [
        pl.read_parquet(case["folder"] / entry["file"]).with_columns(symbol=pl.lit(entry["symbol"]))
        for entry in case["data"]
    ]
    return pl.concat(frames)


def run_case(case: Mapping[str, Any], strategy: Any, params: Mapping[str, Any]) -> BacktestResult:
    """Run a case on the market that it states."""
    cost = case["cost"]
    periods = case["expected"]["periods_per_year"]
    return akq.backtest(
        strategy=strategy,
        params=params,
        data={
            "table": bars(case),
            "align": "common" if len(case["data"]) > 1 else "union",
            "priority": [entry["symbol"] for entry in case["data"]],
            "tz": "UTC",
        },
        mode="portfolio",
        market={
            "cash": case["initial_cash"],
            "fill": {"next_open": "next_open", "same_close": "close"}[case["fill_mode"]],
            "slippage": {"bps": cost.get("slip_bps", 0.0)},
            "commission": {name: cost.get(name, 0.0) for name in ("rate", "per_share", "minimum")},
            "multiplier": case["contract"]["multiplier"],
            "daily_settlement": case["contract"].get("futures_daily_settlement"),
        },
        metrics={"returns": "daily" if periods == 252 else "bar", "periods_per_year": periods},
    )


def compare(case: Mapping[str, Any], result: BacktestResult) -> None:
    """Fail on the first difference, naming what and where."""
    expected = case["expected"]
    timeline = _timeline(case)
    fills = result.fills.with_columns(pl.col("ts").dt.epoch("ns")).to_dicts()
    found = [(timeline[fill["ts"]], fill["symbol"], fill["side"]) for fill in fills]
    wanted = [(fill["bar"], fill["symbol"], fill["side"]) for fill in expected["fills"]]
    assert found == wanted, _first_difference(found, wanted)
    for fill, want in zip(fills, expected["fills"], strict=True):
        for ours, theirs in (("qty", "qty"), ("price", "price"), ("fees", "commission")):
            assert _close(fill[ours], want[theirs], 1e-9), (ours, fill, want)
    equity = result.equity["equity"].to_numpy()
    want_equity = np.array(expected["equity_at_close"])
    if case["contract"].get("futures_daily_settlement"):
        # Variation has moved to cash: it is all there is.
        assert np.allclose(result.equity["cash"].to_numpy(), equity, rtol=1e-12)
    assert len(equity) == len(want_equity) == expected["n_bars"]
    worst = int(np.argmax(np.abs(equity / want_equity - 1.0)))
    assert _close(equity[worst], want_equity[worst], 1e-9), (worst, equity[worst], want_equity[worst])
    for name, want in expected["metrics"].items():
        value = result.metrics[METRICS[name]]
        if want is None:
            assert math.isnan(value), (name, value)
        else:
            assert _close(value, want, LOOSE.get(name, 1e-9)), (name, value, want)


def _timeline(case: Mapping[str, Any]) -> dict[Any, int]:
    """Index of each timestamp that all symbols of a case share."""
    frame = bars(case)
    stamps = [set(group["timestamp"].dt.epoch("ns").to_list()) for group in frame.partition_by("symbol")]
    shared = sorted(set.intersection(*stamps))
    return {stamp: ix for ix, stamp in enumerate(shared)}


def _close(value: float, want: float, tolerance: float) -> bool:
    return math.isclose(value, want, rel_tol=tolerance, abs_tol=1e-12)


def _first_difference(found: list[Any], wanted: list[Any]) -> str:
    for ix, (ours, theirs) in enumerate(zip(found, wanted, strict=False)):
        if ours != theirs:
            return f"fill {ix}: {ours}, expected {theirs}"
    return f"{len(found)} fills, expected {len(wanted)}"
