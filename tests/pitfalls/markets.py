"""Small markets for one fault each: bars by hand, a strategy in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import akq_dist as akq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.result import BacktestResult

Ohlc = tuple[float, float, float, float]


def flat(price: float, n: int = 1) -> list[Ohlc]:
    return [(price, price, price, price)] * n


def frame(bars: Sequence[Ohlc], symbol: str = "A", volume: Sequence[float] | None = None) -> pl.DataFrame:
    """Daily bars from 2024-01-01 on."""
    made = pl.DataFrame(bars, schema=["open", "high", "low", "close"], orient="row").select(
        pl.lit(symbol).alias("symbol"),
        pl.date_range(pl.date(2024, 1, 1), pl.date(2100, 1, 1), eager=True).head(len(bars)).alias("date"),
        pl.all(),
    )
    return made if volume is None else made.with_columns(volume=pl.Series(volume, dtype=pl.Float64))


def walk(n: int = 300, symbol: str = "A", seed: int = 7) -> pl.DataFrame:
    """A random walk with gaps."""
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
    opening = close * np.exp(rng.normal(0.0, 0.01, n))
    high = np.maximum(opening, close) * (1.0 + rng.uniform(0.0, 0.01, n))
    low = np.minimum(opening, close) * (1.0 - rng.uniform(0.0, 0.01, n))
    made = frame(
        list(zip(opening.tolist(), high.tolist(), low.tolist(), close.tolist(), strict=True)), symbol
    )
    return made.with_columns(volume=pl.Series(rng.integers(100, 5_000, n).astype(float)))


def trade(act: Callable[[Any, int], Any], data: pl.DataFrame, **settings: Any) -> BacktestResult:
    """Run a strategy that calls `act(strategy, row)` at every bar."""

    class Acts(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            act(self, bar.index)

    return akq.backtest(strategy=Acts, data=data, **settings)


def at(row: int, ask: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    return lambda strategy, now: ask(strategy) if now == row else None


def fills(result: BacktestResult) -> list[tuple[Any, ...]]:
    return result.fills.select("row", "side", "qty", "price").rows()
