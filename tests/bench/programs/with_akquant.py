"""akquant: a run a pair, of all series together where they share their cash, otherwise one series after the other."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import akquant
import numpy as np
import pandas as pd

from tests.bench.programs import common
from tests.bench.work import COLUMNS, COMMISSION, QTY, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.work import Work


class Cross(akquant.Strategy):
    fast = akquant.IntParam(10)
    slow = akquant.IntParam(30)

    def on_start(self) -> None:
        self.averages: dict[str, tuple[Any, Any]] = {}
        self.sides: dict[str, bool] = {}

    def on_bar(self, bar: Any) -> None:
        symbol = bar.symbol
        if symbol not in self.averages:
            self.averages[symbol] = (akquant.SMA(self.params.fast), akquant.SMA(self.params.slow))
        fast, slow = (average.update(bar.close) for average in self.averages[symbol])
        if slow is None:
            return
        above = fast > slow
        before = self.sides.get(symbol, above)
        self.sides[symbol] = above
        if above == before:
            return
        held = self.get_position(symbol)
        if above and not held:
            self.buy(symbol=symbol, quantity=QTY)
        elif held and not above:
            self.close_position(symbol=symbol)


class Idle(akquant.Strategy):
    def on_bar(self, bar: Any) -> None:
        pass


def prepare(work: Work, bars: Any, pairs: Any) -> Callable[[], Outcome]:
    logging.disable(logging.INFO)
    index = pd.date_range(
        "2000-01-03", periods=work.n_rows, freq="D" if work.bars_a_day == 1 else "min", tz="UTC"
    )
    symbols = [f"S{ix:04}" for ix in range(work.n_assets)]
    frames = {}
    for asset, symbol in enumerate(symbols):
        columns = {name: bars[ix, asset] for ix, name in enumerate(COLUMNS)}
        frames[symbol] = pd.DataFrame({"date": index, **columns, "volume": 1e9, "symbol": symbol})
    together = work.shared_cash or work.n_assets == 1
    accounts = [symbols] if together else [[symbol] for symbol in symbols]
    windows = [{"fast": int(fast), "slow": int(slow)} for fast, slow in pairs] if work.n_pairs else [{}]

    def one(symbols: list[str], window: dict[str, int]) -> tuple[float, int]:
        made = akquant.run_backtest(
            data={symbol: frames[symbol] for symbol in symbols},
            strategy=Cross if window else Idle,
            symbols=symbols,
            initial_cash=work.cash,
            commission_policy={"type": "percent", "value": COMMISSION},
            fill_policy=akquant.NextOpen(),
            volume_limit_pct=1.0,
            timezone="UTC",
            show_progress=False,
            **window,
        )
        return made.metrics.end_market_value, len(made.trades_df)

    def run() -> Outcome:
        found = np.array([[one(symbols, window) for symbols in accounts] for window in windows])
        equity, trades = found.sum(axis=1).T
        return Outcome(equity=equity.tolist(), trades=trades.astype(int).tolist())

    return run


if __name__ == "__main__":
    common.main(version("akquant"), prepare)
