"""Faults of other engines in filling and sizing orders, each shown to be absent here (rows of tests/README.md)."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import akq_dist as akq
from tests.pitfalls.markets import Ohlc, at, fills, flat, frame, trade

GAP_UP = [*flat(100.0, 2), (1_000.0, 1_000.0, 1_000.0, 1_000.0), *flat(1_000.0)]
CASH = {"cash": 100_000.0, "buying_power": "cash"}


@pytest.mark.parametrize(
    ("size", "on_insufficient_cash", "bought"),
    [
        ({"pct_equity": 1.0}, "reject", None),
        ({"pct_equity": 1.0}, "reduce", 100.0),
        ({"pct_equity": 1.0, "size_at": "fill"}, "reject", 100.0),
        ({"qty": 1_000.0}, "reduce", 100.0),
    ],
)
def test_an_order_at_a_gap_up_never_spends_more_than_there_is(
    size: dict[str, Any], on_insufficient_cash: str, bought: float | None
) -> None:
    market = {**CASH, "on_insufficient_cash": on_insufficient_cash}
    result = trade(at(1, lambda s: s.buy(**size)), frame(GAP_UP), market=market)
    assert fills(result) == ([] if bought is None else [(2, "buy", bought, 1_000.0)])
    assert result.equity["cash"].min() == pytest.approx(100_000.0 if bought is None else 0.0)


def test_a_stop_fills_at_its_level_or_at_a_worse_open() -> None:
    def ask(s: Any) -> None:
        s.buy(2)
        s.sell(1, stop=95.0)
        s.sell(1, stop=101.0)

    bars = [*flat(102.0), (100.0, 100.0, 88.0, 90.0), *flat(90.0)]
    assert fills(trade(at(0, ask), frame(bars)))[1:] == [(1, "sell", 1.0, 95.0), (1, "sell", 1.0, 100.0)]


@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_an_order_for_another_symbol_does_not_fill_before_it_was_placed(fill: str) -> None:
    bars: list[Ohlc] = [(10.0, 13.0, 9.0, 12.0), (11.0, 15.0, 10.0, 14.0), (16.0, 17.0, 15.0, 16.5)]
    data = pl.concat([frame(bars, "A"), frame(bars, "B")])

    class OtherWay(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            if bar.index == 0:
                self.buy(1, symbol="B" if bar.symbol == "A" else "A")

    result = akq.backtest(strategy=OtherWay, data=data, mode="portfolio", market={"fill": fill})
    price = 11.0 if fill == "next_open" else 12.0
    row = 1 if fill == "next_open" else 0
    assert result.fills.select("symbol", "row", "price").rows() == [("B", row, price), ("A", row, price)]


def test_with_fills_at_the_close_a_limit_does_not_see_its_own_bar() -> None:
    # The bar of the decision reaches both prices; the next one reaches neither.
    def ask(s: Any) -> None:
        s.buy(1, limit=95.0)
        s.buy(2, stop=105.0)
        s.buy(3)

    bars = [(100.0, 110.0, 90.0, 100.0), *flat(100.0), (100.0, 106.0, 94.0, 100.0), *flat(100.0)]
    result = trade(at(0, ask), frame(bars), market={"fill": "close"})
    assert fills(result) == [(0, "buy", 3.0, 100.0), (2, "buy", 2.0, 105.0), (2, "buy", 1.0, 95.0)]


def test_every_hook_is_called_once_for_what_happened_once() -> None:
    heard: list[str] = []

    class Listens(akq.Strategy):
        def on_start(self) -> None:
            heard.append("start")

        def on_bar(self, bar: akq.Bar) -> None:
            if bar.index == 0:
                self.buy(3)

        def on_order(self, order: Any) -> None:
            heard.append(order.status)

        def on_trade(self, trade: Any) -> None:
            heard.append(f"trade of {trade.qty}")

        def on_stop(self) -> None:
            heard.append(f"stop with {self.position()}")

    akq.backtest(strategy=Listens, data=frame(flat(10.0, 3)))
    assert heard == ["start", "accepted", "filled", "trade of 3.0", "stop with 3.0"]


def test_slippage_never_moves_a_limit() -> None:
    bars = [*flat(100.0), (100.0, 101.0, 94.0, 96.0), *flat(96.0)]
    result = trade(at(0, lambda s: s.buy(1, limit=95.0)), frame(bars), market={"slippage": {"bps": 500.0}})
    assert fills(result) == [(1, "buy", 1.0, 95.0)]


@pytest.mark.parametrize("way", ["target_pct", "pct_equity", "budget", "value"])
def test_the_contract_multiplier_is_part_of_every_size(way: str) -> None:
    # A contract is worth 4,000 x 50 = 200,000: a million buys five of them, not 250.
    ask = {
        "target_pct": lambda s: s.target_pct(1.0),
        "pct_equity": lambda s: s.buy(pct_equity=1.0),
        "budget": lambda s: s.buy(pct_equity=1.0, size_at="fill"),
        "value": lambda s: s.buy(value=1_000_000.0),
    }[way]
    bars = [*flat(4_000.0, 2), *flat(4_100.0, 2)]
    result = trade(at(0, ask), frame(bars), market={"multiplier": 50.0})
    assert fills(result) == [(1, "buy", 5.0, 4_000.0)]
    assert result.metrics["final_equity"] == 1_000_000.0 + 5.0 * 50.0 * 100.0


def test_an_expired_order_is_final() -> None:
    bars = [*flat(100.0), *flat(100.0), (100.0, 100.0, 80.0, 100.0), *flat(100.0)]
    result = trade(at(0, lambda s: s.buy(1, limit=90.0, tif="day")), frame(bars))
    assert fills(result) == []
    assert result.orders.select("status", "reason").rows() == [("expired", "time_in_force")]


def test_a_series_without_volume_trades_and_one_of_volume_zero_can_be_told_apart() -> None:
    bars = flat(100.0, 4)
    for volume in (None, [0.0] * 4, [1.0] * 4):
        result = trade(at(0, lambda s: s.buy(5)), frame(bars, volume=volume))
        assert fills(result) == [(1, "buy", 5.0, 100.0)], volume


def test_too_little_cash_leaves_a_reason_and_not_an_exception() -> None:
    result = trade(at(0, lambda s: s.buy(5)), frame(flat(100.0, 3)), market={**CASH, "cash": 400.0})
    assert result.orders.select("status", "reason").rows() == [("rejected", "insufficient_cash")]
    assert result.metrics["n_rejects"] == 1.0
