"""Ticks from Python: which data are ticks, what a strategy hears, what fills at which price."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import akq_dist as akq
from akq_dist.errors import AkqDataError, AkqUsageError

if TYPE_CHECKING:
    from pathlib import Path

TRADES = pl.DataFrame(
    {
        "ts": [dt.datetime(2024, 1, 2, 14, 30, second, tzinfo=dt.UTC) for second in (0, 1, 1, 2)],
        "price": [10.0, 10.1, 10.2, 10.3],
        "size": [100.0, 50.0, 8.0, 100.0],
        "bid": [9.99, 10.08, None, 10.25],
        "ask": [10.01, 10.12, None, 10.35],
    }
)


class Buyer(akq.Strategy):
    heard: list[akq.Tick]
    prices: list[float]

    def on_start(self) -> None:
        type(self).heard = []

    def on_tick(self, tick: akq.Tick) -> None:
        self.heard.append(tick)
        if tick.index == 0:
            self.buy(5.0)
        elif tick.index == 1:
            self.buy(1.0)
        elif tick.index == 2:
            self.sell(6.0)
            type(self).prices = self.history("price", 2).tolist()


def test_a_strategy_hears_ticks_and_fills_at_quotes() -> None:
    result = akq.backtest(strategy=Buyer, data=TRADES)
    ticks = [(tick.index, tick.price, tick.size, tick.bid, tick.ask) for tick in Buyer.heard]
    assert ticks == list(zip(range(4), *TRADES.drop("ts").to_dict(as_series=False).values(), strict=True))
    # The ask of the second trade, the price of the third, which has no quote, the bid of the fourth.
    assert result.fills.select("row", "side", "qty", "price").rows() == [
        (1, "buy", 5.0, 10.12),
        (2, "buy", 1.0, 10.2),
        (3, "sell", 6.0, 10.25),
    ]
    assert Buyer.prices == [10.1, 10.2]
    assert result.equity["ts"].to_list() == TRADES["ts"].to_list()


class BarsOnly(akq.Strategy):
    def on_bar(self, bar: akq.Bar) -> None:
        assert bar.open == bar.high == bar.low == bar.close
        if bar.index == 0:
            self.buy(bar.volume)


def test_a_strategy_of_bars_and_rules_take_ticks_for_bars(tmp_path: Path) -> None:
    assert akq.backtest(strategy=BarsOnly, data=TRADES).fills["qty"].to_list() == [100.0]
    path = tmp_path / "trades.csv"
    TRADES.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
    rules = {"rules": {"enter": "close > 10.05", "exit": "close > 10.15", "size": {"qty": "1"}}}
    filled = akq.backtest(strategy=rules, data={"path": str(path), "kind": "ticks"}).fills
    assert filled.select("row", "price").rows()[0] == (2, 10.2)


def test_participation_is_a_share_of_the_size() -> None:
    market: dict[str, Any] = {"execution": {"max_participation": 0.5}, "lot": 1}
    result = akq.backtest(
        strategy=Buyer, data=TRADES.with_columns(size=pl.Series([9.0, 8.0, 8.0, 9.0])), market=market
    )
    assert result.fills.select("row", "side", "qty").rows()[0] == (1, "buy", 4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": [10.0, -1.0, 10.2, 10.3]}, "price is -1"),
        ({"size": [1.0, 2.0, -3.0, 4.0]}, "size is -3"),
        ({"bid": [9.0, 11.0, None, 10.0]}, "bid 11.0 is above the ask"),
        ({"ask": [11.0, 0.0, 11.0, 11.0]}, "ask is 0.0, expected a positive price"),
    ],
)
def test_bad_ticks_are_refused_with_their_place(change: dict[str, Any], message: str) -> None:
    bad = TRADES.with_columns(**{name: pl.Series(values) for name, values in change.items()})
    with pytest.raises(AkqDataError, match=message):
        akq.backtest(strategy=Buyer, data=bad)


def test_ticks_out_of_order_are_refused_or_sorted_and_repeats_stay() -> None:
    late = TRADES[[1, 0, 2, 3]]
    with pytest.raises(AkqDataError, match="unsorted"):
        akq.backtest(strategy=Buyer, data=late)
    result = akq.backtest(strategy=Buyer, data={"table": late, "on_bad": "drop_rows"})
    assert result.n_bars == 4
    assert [tick.price for tick in Buyer.heard] == [10.0, 10.1, 10.2, 10.3]


def test_prices_alone_are_no_ticks_unless_said_so() -> None:
    alone = TRADES.select("ts", "price")
    with pytest.raises(AkqDataError, match="required column open is missing"):
        akq.backtest(strategy=Buyer, data=alone)
    assert akq.backtest(strategy=Buyer, data={"table": alone, "kind": "ticks"}).n_bars == 4
    with pytest.raises(AkqUsageError, match="common is for bars"):
        akq.backtest(strategy=Buyer, data={"table": TRADES, "align": "common"})
