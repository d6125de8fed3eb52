"""backtesting.py: one series and one pair after the other, with the averages computed ahead as it recommends."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

from tests.bench.programs import common
from tests.bench.work import COLUMNS, COMMISSION, QTY, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.work import Work


def average(values: Any, n: int) -> Any:
    return pd.Series(values).rolling(n).mean().to_numpy()


class Cross(Strategy):
    fast = 10
    slow = 30

    def init(self) -> None:
        self.quick = self.I(average, self.data.Close, self.fast)
        self.calm = self.I(average, self.data.Close, self.slow)

    def next(self) -> None:
        before = self.quick[-2] - self.calm[-2]
        now = self.quick[-1] - self.calm[-1]
        if before <= 0.0 < now:
            if not self.position:
                self.buy(size=QTY)
        elif before >= 0.0 > now and self.position:
            self.position.close()


class Idle(Strategy):
    def init(self) -> None:
        pass

    def next(self) -> None:
        pass


def prepare(work: Work, bars: Any, pairs: Any) -> Callable[[], Outcome] | str:
    if work.shared_cash:
        return "an account of it holds one series"
    warnings.simplefilter("ignore")  # a position that is open at the end is what all engines here leave
    index = pd.date_range("2000-01-03", periods=work.n_rows, freq="D" if work.bars_a_day == 1 else "min")
    tests = [
        Backtest(
            pd.DataFrame(
                {name.capitalize(): bars[ix, asset] for ix, name in enumerate(COLUMNS)}, index=index
            ),
            Cross if work.n_pairs else Idle,
            cash=work.cash,
            commission=COMMISSION,
        )
        for asset in range(work.n_assets)
    ]
    windows = [{"fast": int(fast), "slow": int(slow)} for fast, slow in pairs] if work.n_pairs else [{}]

    def run() -> Outcome:
        found = np.array(
            [
                [
                    (stats["Equity Final [$]"], stats["# Trades"])
                    for stats in (test.run(**window) for test in tests)
                ]
                for window in windows
            ]
        )
        equity, trades = found.sum(axis=1).T
        return Outcome(equity=equity.tolist(), trades=trades.astype(int).tolist())

    return run


if __name__ == "__main__":
    common.main(version("backtesting"), prepare)
