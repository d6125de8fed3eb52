"""Market items through Python: what a sweep file or a call says reaches the engine, with the arithmetic shown."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import akq_dist as akq
from akq_dist.strategy import Strategy

if TYPE_CHECKING:
    from akq_dist._core import Bar
    from akq_dist.result import BacktestResult


class HoldThree(Strategy):
    """Buys 1,000 at the close of the first bar and sells them at that of the third."""

    def on_bar(self, bar: Bar) -> None:
        if bar.index == 0:
            self.buy(1_000)
        if bar.index == 2:
            self.sell(1_000)


def bars(symbol: str, closes: list[float], **columns: list[float]) -> pl.DataFrame:
    first = dt.date(2024, 3, 4)
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(closes),
            "date": [first + dt.timedelta(days=ix) for ix in range(len(closes))],
            **dict.fromkeys(("open", "high", "low", "close"), closes),
            **columns,
        }
    )


def run(frame: pl.DataFrame, **market: Any) -> BacktestResult:
    return akq.backtest(strategy=HoldThree, data={"table": frame}, mode="portfolio", market=market)


def equity(result: BacktestResult) -> list[float]:
    values: list[float] = result.equity["equity"].to_list()
    return values


def test_a_given_execution_item_leaves_those_of_the_profile() -> None:
    frame = bars("600000.SH", [10.0] * 5, volume=[1e5, 0.0, 2_000.0, 1e5, 1e5])
    fills = run(frame, profile="cn_stock", execution={"max_participation": 0.3}).fills
    # The second bar has no volume, which halts a share; the third gives 0.3 x 2,000 = 600 whole lots.
    assert fills["row"].to_list()[:2] == [2, 3]
    assert fills["qty"].to_list()[:2] == [600.0, 400.0]


def test_two_currencies_and_funding() -> None:
    rates = {"fx": [0.9, 0.9, 0.8, 0.8], "funding": [0.0, 0.0, 0.01, 0.0]}
    frame = bars("X", [50.0, 50.0, 60.0, 60.0], **rates)
    result = run(frame, cash=100_000, fx_column="fx", funding_column="funding")
    # Bought for 50 x 0.9 x 1,000; funding 1 % of 60 x 0.8 x 1,000 when the third bar begins.
    assert equity(result) == pytest.approx([100_000, 100_000, 103_000 - 480, 103_000 - 480])
    assert result.accounts["financing"].to_list() == pytest.approx([480.0])
    assert result.metrics["fees"] == 0.0


def test_an_option_ends_at_its_intrinsic_value() -> None:
    frame = bars("10006000", [0.1, 0.1, 0.2, 0.2], underlying_close=[2.5, 2.6, 2.7, 2.8])
    terms = {"symbol": "10006000", "right": "call", "strike": 2.5, "expiry": "2024-03-05"}
    result = run(frame, profile="cn_option", cash=2e6, options=[terms])
    # Premium 0.1 x 10,000 x 1,000 and 5 a contract; worth 2.6 - 2.5 at the expiry on the second date.
    assert equity(result)[1:] == pytest.approx([2e6 - 5_000.0] * 3)
    assert result.fills["tag"].to_list() == ["", "expiry"]
    assert result.orders["reason"].to_list()[-1] == "not_tradable"


def test_a_split_of_raw_prices_changes_no_equity() -> None:
    frame = bars("A", [30.0, 30.0, 20.0, 20.0])
    actions = [{"symbol": "A", "ex_date": "2024-03-06", "bonus": 0.5}]
    result = run(frame, cash=1e6, corporate_actions=actions)
    assert equity(result) == [1e6] * 4
    # 1,500 units after it, of which 1,000 are sold at the last bar: 10,000 is left in them.
    assert result.equity["exposure"].to_list()[-1] == 10_000.0
