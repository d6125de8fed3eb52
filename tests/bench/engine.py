"""This engine at the work: panels, plans, and what a run gives back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from akq_dist import _core
from akq_dist.strategy import Strategy
from akq_dist.strategy.factory import make_factory
from tests.bench.work import COLUMNS, COMMISSION, QTY, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.work import Work

RULES = {
    "enter": "cross_above(sma(close, fast), sma(close, slow))",
    "exit": "cross_below(sma(close, fast), sma(close, slow))",
    "size": {"kind": "qty", "value": str(QTY)},
}


def table(work: Work, bars: Any) -> pa.Table:
    """Bars of shape (open high low close, assets, bars) in the layout of a panel."""
    steps = np.tile(np.arange(work.n_rows), work.n_assets)
    columns: dict[str, Any] = {
        "ts": pa.array(steps.astype("i8") * 60_000_000_000).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array((steps // work.bars_a_day).astype("i4")).cast(pa.date32()),
        **{name: column.ravel() for name, column in zip(COLUMNS, bars, strict=True)},
    }
    metadata = {
        "akq.symbols": json.dumps([f"S{ix:04}" for ix in range(work.n_assets)]),
        "akq.offsets": json.dumps([ix * work.n_rows for ix in range(work.n_assets + 1)]),
        "akq.digest": "bench",
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def rules_plan(work: Work) -> _core.Plan:
    """The crossing strategy; every metric is computed, since the hash of a trial covers all of them."""
    over_assets = (None, None, None) if work.shared_cash else ("mean", "sum", "median")
    spec = {
        "mode": "portfolio" if work.shared_cash else "per_asset",
        "strategy": {"rules": RULES},
        "params": ["fast", "slow"],
        "market": {"cash": work.cash, "commission": {"rate": COMMISSION}},
        "outputs": list(zip(("final_equity", "n_trades", "sharpe"), over_assets, strict=True)),
    }
    return _core.Plan(json.dumps(spec))


def rules(work: Work, bars: Any, pairs: Any, threads: int) -> Callable[[], Outcome]:
    """Runs all backtests of the work as one batch."""
    panel = _core.Panel.from_arrow(table(work, bars))
    plan = rules_plan(work)
    equity, trades, _ = plan.outputs
    n_accounts = 1 if work.shared_cash else work.n_assets

    def run() -> Outcome:
        found = pa.table(plan.run_batch(panel, pairs, threads=threads))
        assert found["error"].null_count == len(pairs), found["error"]
        return Outcome(
            equity=(found[equity].to_numpy() * n_accounts).tolist(),
            trades=found[trades].to_numpy().astype(int).tolist(),
        )

    return run


class Idle(Strategy):
    """Does nothing at every bar."""

    def on_bar(self, bar: _core.Bar) -> None:
        pass


class Reader(Strategy):
    """Reads a window and trades on it."""

    def on_bar(self, bar: _core.Bar) -> None:
        close = self.history("close", 20)
        if len(close) < 20:
            return
        held = self.position()
        if held == 0.0 and close[-1] > close[0] * 1.01:
            self.buy(100)
        elif held > 0.0 and close[-1] < close[0]:
            self.close()


def callbacks(strategy: type[Strategy], work: Work, bars: Any) -> Callable[[], Outcome]:
    """Runs a callback strategy over the first asset."""
    data = table(work, bars)
    panel = _core.Panel.from_arrow(data)
    spec = {
        "strategy": {"callback": True},
        "market": {"cash": work.cash},
        "outputs": [["final_equity", None], ["n_trades", None]],
    }
    plan = _core.Plan(json.dumps(spec))
    factory = make_factory(strategy, {}, data, 0)

    def run() -> Outcome:
        equity, trades = plan.run_one(panel, [], strategy=factory, details=False).values
        return Outcome(equity=[equity], trades=[int(trades)])

    return run
