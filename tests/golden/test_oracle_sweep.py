"""Every row of the oracle's sweep, run in batches: a panel a symbol, all pairs of a fill mode at once."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from akq_dist import _core
from akq_dist.backtest import build_plan
from akq_dist.data import load_panel
from akq_dist.specs import SweepSpec

ORACLE = os.environ.get("AKQ_ORACLE")
DATA = os.environ.get("AKQ_REFERENCE_DATA")
needs_data = pytest.mark.skipif(
    not (ORACLE and DATA),
    reason="AKQ_ORACLE and AKQ_REFERENCE_DATA do not name the folders of expected results",
)
FILLS = {"next_open": "next_open", "same_close": "close"}
COSTS: dict[str, dict[str, Any]] = {
    "us": {"commission": {"rate": 0.0005}},
    "cn": {"commission": {"rate": 0.0003, "minimum": 5.0}, "sell_tax": 0.001},
}
SHARES = {"us": 100, "cn": 1000}
COLUMNS = {  # column of the oracle: (metric, relative tolerance)
    "n_fills": ("n_fills", 0.0),
    "final_equity": ("final_equity", 1e-9),
    "total_fees": ("fees", 1e-9),
    "max_drawdown": ("max_drawdown", 1e-9),
    "sharpe": ("sharpe", 1e-8),
}


def spec(name: str, fill: str, symbols: list[str]) -> SweepSpec:
    return SweepSpec.parse(
        {
            "name": "oracle",
            "strategy": {
                "rules": {
                    "enter": "cross_above(sma(close, fast), sma(close, slow))",
                    "exit": "cross_below(sma(close, fast), sma(close, slow))",
                    "size": {"qty": SHARES[name]},
                }
            },
            "data": {"path": f"{DATA}/{name}_daily.parquet", "symbols": symbols},
            "market": {"cash": 1_000_000, "fill": fill, **COSTS[name]},
            "space": {"fast": {"int": [1, 1000]}, "slow": {"int": [1, 1000]}},
        }
    )


def expected(name: str) -> pl.DataFrame:
    return pl.read_parquet(Path(ORACLE or "") / "sweep_sma.parquet").filter(pl.col("set") == name)


@needs_data
def test_the_sets_are_the_known_ones() -> None:
    table = pl.read_parquet(Path(ORACLE or "") / "sweep_sma.parquet")
    assert set(table["set"]) <= set(COSTS)
    assert set(table["mode"]) <= set(FILLS)


@needs_data
@pytest.mark.parametrize("name", sorted(COSTS))
def test_batches_give_the_expected_rows(name: str) -> None:
    rows = expected(name)
    assert rows.height > 0
    n_checked = 0
    for symbol in sorted(set(rows["symbol"])):
        loaded = load_panel(spec(name, "next_open", [symbol]).data, Path())
        panel = _core.Panel.from_arrow(loaded.table)
        for mode in sorted(set(rows["mode"])):
            part = rows.filter((pl.col("symbol") == symbol) & (pl.col("mode") == mode))
            asked = spec(name, FILLS[mode], [symbol])
            plan = _core.Plan(build_plan(asked, asked.space, [(m, None) for m, _ in COLUMNS.values()]))
            points = np.ascontiguousarray(part.select("fast", "slow").to_numpy(), dtype=np.float64)
            found = pa.table(plan.run_batch(panel, points, threads=2)).to_pylist()
            for want, got in zip(part.to_dicts(), found, strict=True):
                assert got["error"] is None, (want, got)
                for column, (metric, tolerance) in COLUMNS.items():
                    assert same(got[metric], want[column], tolerance), (want, column, got[metric])
                n_checked += 1
    assert n_checked == rows.height


@needs_data
@pytest.mark.parametrize("name", sorted(COSTS))
def test_many_symbols_in_one_panel_give_what_each_gives_alone(name: str) -> None:
    rows = expected(name)
    symbols = sorted(set(rows["symbol"]))
    point = rows.row(0, named=True)
    asked = spec(name, FILLS[point["mode"]], symbols)
    panel = _core.Panel.from_arrow(load_panel(asked.data, Path()).table)
    plan = _core.Plan(build_plan(asked, asked.space, n_assets=len(symbols)))
    run = plan.run_one(panel, [point["fast"], point["slow"]])
    accounts = {row["symbol"]: row for row in pa.table(run.metrics()).to_pylist()}
    same_point = rows.filter(
        (pl.col("fast") == point["fast"])
        & (pl.col("slow") == point["slow"])
        & (pl.col("mode") == point["mode"])
    )
    for want in same_point.to_dicts():
        for column, (metric, tolerance) in COLUMNS.items():
            assert same(accounts[want["symbol"]][metric], want[column], tolerance), (want, column)
    fees = dict(zip(plan.outputs, run.values, strict=True))["fees.sum"]
    assert math.isclose(fees, sum(row["fees"] for row in accounts.values()), rel_tol=1e-12)


def same(value: float, want: float | None, tolerance: float) -> bool:
    if want is None or math.isnan(want):
        return math.isnan(value)
    return math.isclose(value, want, rel_tol=tolerance, abs_tol=0.0 if tolerance == 0.0 else 1e-12)
