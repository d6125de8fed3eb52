"""Properties of the engine through its Python face: four forms of one strategy agree, the future reaches nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist import _core, indicator
from akq_dist.runner import StrategyRunner
from akq_dist.strategy import Param, Strategy
from akq_dist.strategy.signals import SignalStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping

N_BARS = 90

MARKET = {
    "commission": {"rate": 0.0005, "minimum": 1.0},
    "slippage_bps": 2.0,
}


def make_panel(seed: int, n_assets: int = 1, changed_from: int | None = None) -> pa.Table:
    """Random bars; from `changed_from` on every price is another one."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {name: [] for name in ("open", "high", "low", "close")}
    for _ in range(n_assets):
        close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, N_BARS)))
        opening = np.concatenate([[50.0], close[:-1]]) * np.exp(rng.normal(0.0, 0.01, N_BARS))
        high = np.maximum(opening, close) * np.exp(rng.uniform(0.0, 0.01, N_BARS))
        low = np.minimum(opening, close) * np.exp(-rng.uniform(0.0, 0.01, N_BARS))
        if changed_from is not None:
            for column in (opening, high, low, close):
                column[changed_from:] = column[changed_from:] * 1.5 + 1.0
        for name, column in zip(rows, (opening, high, low, close), strict=True):
            rows[name].append(column)
    steps = np.tile(np.arange(N_BARS), n_assets)
    columns: dict[str, Any] = {
        "ts": pa.array(steps.astype("i8") * 86_400_000_000_000).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array(steps.astype("i4")).cast(pa.date32()),
    }
    columns |= {name: np.concatenate(parts) for name, parts in rows.items()}
    metadata = {
        "akq.symbols": json.dumps([f"S{ix}" for ix in range(n_assets)]),
        "akq.offsets": json.dumps([ix * N_BARS for ix in range(n_assets + 1)]),
        "akq.digest": f"{seed}",
    }
    return pa.table(columns).replace_schema_metadata(metadata)


class Breakout(Strategy):
    """Buys above the highest high of the bars before, sells below the lowest low, with a protective stop."""

    entry: int = Param(10, low=1, high=60)
    leave: int = Param(5, low=1, high=60)

    def on_bar(self, bar: _core.Bar) -> None:
        high = self.history("high", self.entry + 1)
        low = self.history("low", self.leave + 1)
        above = len(high) == self.entry + 1 and bar.close > high[:-1].max()
        below = len(low) == self.leave + 1 and bar.close < low[:-1].min()
        if self.position() > 0.0:
            if below:
                self.close()
        elif above and not below:
            self.buy(10, stop_loss={"pct": 0.04}, tag="entry")


class BreakoutSignals(SignalStrategy):
    """The same decisions as columns."""

    entry: int = Param(10, low=1, high=60)
    leave: int = Param(5, low=1, high=60)

    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        return {
            "enter": pl.col("close") > pl.col("high").rolling_max(self.entry).shift(1),
            "exit": pl.col("close") < indicator.shift(indicator.lowest(pl.col("low"), self.leave), 1),
            "size": {"qty": 10},
            "stop_loss": {"pct": 0.04},
        }


RULES = {
    "enter": "close > shift(highest(high, entry), 1)",
    "exit": "close < shift(lowest(low, leave), 1)",
    "size": {"kind": "qty", "value": "10"},
    "stop_loss": {"kind": "pct", "value": "0.04"},
}


def fills_of(
    table: pa.Table, strategy: Any, params: dict[str, int], fill: str, mode: str = "per_asset"
) -> tuple[pl.DataFrame, list[float]]:
    """Fills and equity of one run of any form."""
    panel = _core.Panel.from_arrow(table)
    spec = {
        "strategy": {"callback": True} if isinstance(strategy, type) else strategy,
        "params": list(params),
        "mode": mode,
        "market": {**MARKET, "fill": fill},
        "outputs": [["final_equity", "sum" if mode == "per_asset" else None]],
    }
    if "rust" in spec["strategy"]:
        spec["constants"] = {"qty": 10, "stop": 0.04}
    if isinstance(strategy, type):
        runner = StrategyRunner(strategy, table, panel, json.dumps(spec), list(params))
        result = runner.run(params, 0, details=True)
    else:
        result = _core.Plan(json.dumps(spec)).run_one(panel, [float(value) for value in params.values()])
    return pl.DataFrame(result.fills()), pl.DataFrame(result.equity())["equity"].to_list()


FORMS = {
    "rules": {"rules": RULES},
    "callbacks": Breakout,
    "signals": BreakoutSignals,
    "rust": {"rust": "donchian"},
}
forms = pytest.mark.parametrize("strategy", list(FORMS.values()), ids=list(FORMS))


@settings(max_examples=40, deadline=None, print_blob=True)
@given(
    seed=st.integers(0, 10**6),
    entry=st.integers(1, 30),
    leave=st.integers(1, 30),
    fill=st.sampled_from(["next_open", "close"]),
    n_assets=st.integers(1, 3),
    mode=st.sampled_from(["per_asset", "portfolio"]),
)
def test_four_forms_of_one_strategy_agree_to_the_bit(
    seed: int, entry: int, leave: int, fill: str, n_assets: int, mode: str
) -> None:
    table = make_panel(seed, n_assets)
    params = {"entry": entry, "leave": leave}
    by_rules = fills_of(table, FORMS["rules"], params, fill, mode)
    for name, form in FORMS.items():
        fills, equity = fills_of(table, form, params, fill, mode)
        assert by_rules[0].equals(fills), name
        assert by_rules[1] == equity, name


@settings(max_examples=20, deadline=None, print_blob=True)
@given(seed=st.integers(0, 10**6), entry=st.integers(1, 30), leave=st.integers(1, 30))
def test_a_batch_of_rust_is_the_batch_of_its_rules(seed: int, entry: int, leave: int) -> None:
    panel = _core.Panel.from_arrow(make_panel(seed, 3))
    rows = np.array([[entry, leave], [leave, entry]], dtype=float)
    hashes = []
    for strategy, constants in ((FORMS["rules"], {}), (FORMS["rust"], {"qty": 10, "stop": 0.04})):
        spec = {
            "strategy": strategy,
            "params": ["entry", "leave"],
            "constants": constants,
            "outputs": [["sharpe", "median"]],
        }
        table = pl.DataFrame(_core.Plan(json.dumps(spec)).run_batch(panel, rows, threads=2))
        assert table["error"].null_count() == 2
        hashes.append(table["hash"].to_list())
    assert hashes[0] == hashes[1]


@forms
@settings(max_examples=25, deadline=None, print_blob=True)
@given(seed=st.integers(0, 10**6), t=st.integers(5, N_BARS - 2), fill=st.sampled_from(["next_open", "close"]))
def test_changing_the_future_leaves_the_past_unchanged(strategy: Any, seed: int, t: int, fill: str) -> None:
    params = {"entry": 7, "leave": 4}
    before, equity_before = fills_of(make_panel(seed), strategy, params, fill)
    after, equity_after = fills_of(make_panel(seed, changed_from=t + 1), strategy, params, fill)
    assert before.filter(pl.col("row") <= t).equals(after.filter(pl.col("row") <= t))
    assert equity_before[: t + 1] == equity_after[: t + 1]


@settings(max_examples=25, deadline=None, print_blob=True)
@given(
    seed=st.integers(0, 10**6),
    n_assets=st.integers(1, 4),
    pairs=st.lists(st.integers(1, 30), min_size=1, max_size=6),
)
def test_a_batch_is_its_trials_on_any_number_of_threads(seed: int, n_assets: int, pairs: list[int]) -> None:
    table = make_panel(seed, n_assets)
    panel = _core.Panel.from_arrow(table)
    spec = {"strategy": {"rules": RULES}, "params": ["entry", "leave"], "outputs": [["sharpe", "median"]]}
    plan = _core.Plan(json.dumps(spec))
    rows = np.array([[entry, 5] for entry in pairs], dtype=float)
    batches = [pl.DataFrame(plan.run_batch(panel, rows, threads=threads)) for threads in (1, 2, 8)]
    assert batches[0].equals(batches[1])
    assert batches[0].equals(batches[2])
    for row, digest in zip(rows, batches[0]["hash"], strict=True):
        assert plan.run_one(panel, row.tolist(), details=False).hash == digest
