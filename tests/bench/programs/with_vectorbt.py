"""vectorbt with its Rust engine, which it takes by itself for what that supports.

Signals are moved to the next bar and filled at its open. A block of pairs at a time, so that a block has at most
2,500 columns: with twice as many it takes twice as long, and all of W3 at once takes 9 GB. Its metrics are the final
value, closed trades, total return, Sharpe ratio and largest drawdown.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import vectorbt as vbt

from tests.bench.programs import common
from tests.bench.work import COMMISSION, QTY, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.work import Work

MAX_COLUMNS = 2_500


def prepare(work: Work, bars: Any, pairs: Any) -> Callable[[], Outcome] | str:
    if work.n_pairs == 0:
        return "it has no callback a bar in Python"
    freq = "1D" if work.bars_a_day == 1 else "1min"
    index = pd.date_range("2000-01-03", periods=work.n_rows, freq=freq)
    opens = np.ascontiguousarray(bars[0].T)
    closes = pd.DataFrame(np.ascontiguousarray(bars[3].T), index=index)
    n_block = max(1, MAX_COLUMNS // work.n_assets)

    def run_block(pairs: Any) -> tuple[Any, ...]:
        n = len(pairs)
        fast = vbt.MA.run(closes, pairs[:, 0].astype(int).tolist(), short_name="fast")
        slow = vbt.MA.run(closes, pairs[:, 1].astype(int).tolist(), short_name="slow")
        up, down = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
        portfolio = vbt.Portfolio.from_signals(
            pd.DataFrame(np.tile(closes.to_numpy(), n), index=index, columns=up.columns),
            up.vbt.signals.fshift(1),
            down.vbt.signals.fshift(1),
            price=np.tile(opens, n),
            size=QTY,
            fees=COMMISSION,
            init_cash=work.cash,
            freq=freq,
            group_by=np.repeat(np.arange(n), work.n_assets) if work.shared_cash else None,
            cash_sharing=work.shared_cash,
        )
        portfolio.total_return()
        portfolio.sharpe_ratio()
        portfolio.max_drawdown()
        equity, trades = portfolio.final_value(), portfolio.trades.closed.count()
        return tuple(np.reshape(values, (n, -1)).sum(axis=1) for values in (equity, trades))

    def run() -> Outcome:
        blocks = [run_block(pairs[first : first + n_block]) for first in range(0, len(pairs), n_block)]
        equity, trades = (np.concatenate(values) for values in zip(*blocks, strict=True))
        return Outcome(equity=equity.tolist(), trades=trades.astype(int).tolist())

    return run


if __name__ == "__main__":
    common.main(version("vectorbt"), prepare)
