"""Sizers, brackets and what callbacks receive, through the engine."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import akq_dist as akq
from akq_dist.strategy.sizing import FixedQty, FixedValue, PctEquity, RiskPerTrade, Sizer, VolatilityTarget

if TYPE_CHECKING:
    from collections.abc import Callable

Ohlc = tuple[float, float, float, float]


def flat(price: float, n: int = 1) -> list[Ohlc]:
    return [(price, price, price, price)] * n


def table(bars: list[Ohlc], symbols: tuple[str, ...] = ("A",)) -> pl.DataFrame:
    days = pl.date_range(pl.date(2021, 1, 4), pl.date(2022, 1, 1), eager=True).head(len(bars))
    columns = {name: [bar[ix] for bar in bars] for ix, name in enumerate(("open", "high", "low", "close"))}
    return pl.concat([pl.DataFrame({"symbol": symbol, "date": days, **columns}) for symbol in symbols])


def run(act: Callable[[Any, akq.Bar], object], bars: list[Ohlc], **settings: Any) -> akq.BacktestResult:
    class Acts(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            act(self, bar)

    return akq.backtest(strategy=Acts, data=table(bars), **settings)


def fills(result: akq.BacktestResult) -> list[tuple[int, float, float]]:
    rows = result.fills.select("row", "side", "qty", "price").iter_rows()
    return [(row, qty if side == "buy" else -qty, price) for row, side, qty, price in rows]


@pytest.mark.parametrize(
    ("sizer", "qty"),
    [
        (FixedQty(7), 7.0),
        (FixedValue(1_050.0), 10.0),  # 10 at 100, the eleventh does not fit
        (PctEquity(0.255), 25.0),  # a quarter of 10,000 and a bit: 25.5 floored
        (RiskPerTrade(0.01, {"abs": 2.5}), 40.0),  # 1 % of 10,000 is 100, and 40 units lose 2.5 each
        (RiskPerTrade(0.01, {"pct": 0.05}), 20.0),  # a unit loses 5
        (RiskPerTrade(0.01, {"abs": 0.5}, max_share=1.0), 100.0),  # 200 units are more than there is
    ],
    ids=repr,
)
def test_a_sizer_decides_the_quantity(sizer: Sizer, qty: float) -> None:
    def act(strategy: akq.Strategy, bar: akq.Bar) -> None:
        if bar.index == 0:
            strategy.buy(size=sizer)

    result = run(act, flat(100.0, 3), market={"cash": 10_000.0})
    assert fills(result) == [(1, qty, 100.0)]


def test_the_multiplier_of_a_contract_counts_in_the_risk_of_a_trade() -> None:
    def act(strategy: akq.Strategy, bar: akq.Bar) -> None:
        if bar.index == 0:
            strategy.buy(size=RiskPerTrade(0.01, {"abs": 2.5}))

    result = run(act, flat(100.0, 3), market={"cash": 10_000.0, "multiplier": 10.0})
    assert fills(result) == [(1, 4.0, 100.0)]  # 4 contracts of 10 lose 2.5 each: 100


def test_a_volatility_target_scales_with_the_returns_it_has_seen() -> None:
    closes = [100.0, 102.0, 99.0, 101.0, 100.0, 100.0, 100.0]
    returns = np.diff(np.log(closes[:5]))
    volatility = float(returns.std(ddof=1)) * math.sqrt(252.0)

    def act(strategy: akq.Strategy, bar: akq.Bar) -> None:
        if bar.index in (2, 4):
            strategy.buy(size=VolatilityTarget(0.1, n=4))

    bars: list[Ohlc] = [(c, c, c, c) for c in closes]
    result = run(act, bars, market={"cash": 10_000.0, "lot": 0})
    assert [(row, price) for row, _, price in fills(result)] == [(5, 100.0)]
    assert fills(result)[0][1] == pytest.approx(0.1 / volatility * 10_000.0 / 100.0)
    # Before there are enough returns it asks for nothing.
    assert result.rejects.select("reason", "n").rows() == [("zero_quantity", 1)]
    still = run(lambda s, bar: s.buy(size=VolatilityTarget(0.1, n=3)), flat(100.0, 5))
    assert still.fills.is_empty()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedQty(0), "qty is 0, expected a number above zero"),
        (lambda: RiskPerTrade(0.01, {"atr": 2.0}), "expected pct or abs"),
        (lambda: RiskPerTrade(math.nan, {"abs": 2.0}), "share is nan"),
        (lambda: VolatilityTarget(0.1, n=1), "at least 2 returns"),
    ],
)
def test_a_sizer_without_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(akq.AkqStrategyError, match=message):
        make()


def test_a_sizer_stands_alone_and_answers_in_known_words() -> None:
    class Odd:
        def size(self, _strategy: akq.Strategy, _symbol: str, /) -> Any:
            return "units", 5.0

    with pytest.raises(akq.AkqStrategyError, match="exactly one size"):
        run(lambda s, bar: s.buy(5, size=FixedQty(1)), flat(100.0, 2))
    with pytest.raises(akq.AkqStrategyError, match="answered 'units'"):
        run(lambda s, bar: s.buy(size=Odd()), flat(100.0, 2))


@pytest.mark.parametrize(
    ("side", "later", "exit_"),
    [
        ("buy", (100.0, 112.0, 99.0, 100.0), (-2.0, 110.0)),
        ("buy", (100.0, 101.0, 93.0, 100.0), (-2.0, 95.0)),
        ("sell", (100.0, 101.0, 88.0, 100.0), (2.0, 90.0)),
        ("sell", (100.0, 107.0, 99.0, 100.0), (2.0, 105.0)),
    ],
)
def test_a_bracket_ends_at_its_stop_or_at_its_target(
    side: Any, later: Ohlc, exit_: tuple[float, float]
) -> None:
    prices: dict[str, Any] = {"stop_price": 95.0, "target_price": 110.0}
    if side == "sell":
        prices = {"stop_price": 105.0, "target_price": 90.0}

    def act(strategy: akq.Strategy, bar: akq.Bar) -> None:
        if bar.index == 0:
            assert strategy.bracket(2, side=side, **prices) == (1, 2, 3)

    result = run(act, [*flat(100.0, 3), later, *flat(100.0, 2)])
    entry = 2.0 if side == "buy" else -2.0
    assert fills(result) == [(1, entry, 100.0), (3, *exit_)]
    assert sorted(result.orders["status"].to_list()) == ["cancelled", "filled", "filled"]


def test_a_bracket_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(akq.AkqStrategyError, match="a bracket to buy has its target above its stop"):
        run(lambda s, bar: s.bracket(1, stop_price=110.0, target_price=95.0), flat(100.0, 2))
    with pytest.raises(akq.AkqStrategyError, match="a bracket has a quantity"):
        run(lambda s, bar: s.bracket(pct_equity=0.5, stop_price=95.0, target_price=110.0), flat(100.0, 2))


def test_of_two_orders_of_a_new_group_one_fills() -> None:
    def act(strategy: akq.Strategy, bar: akq.Bar) -> None:
        if bar.index == 0:
            group, other = strategy.new_group(), strategy.new_group()
            assert group != other
            strategy.buy(1, limit=95.0, oco=group)
            strategy.buy(2, stop=105.0, oco=group)
            strategy.buy(3, stop=104.0, oco=other)

    result = run(act, [*flat(100.0), (100.0, 106.0, 99.0, 106.0), (100.0, 106.0, 90.0, 100.0)])
    assert sorted(fills(result)) == [(1, 2.0, 105.0), (1, 3.0, 104.0)]


def test_a_callback_receives_whole_orders_trades_and_positions() -> None:
    heard: dict[str, list[Any]] = {"orders": [], "trades": [], "positions": []}

    class Listens(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            if bar.index == 0 and bar.symbol == "A":
                self.buy(4, "A", limit=101.0, tag="in")
                self.sell(2, "B", limit=150.0, stop=95.0)
            if bar.index == 2 and bar.symbol == "B":
                heard["positions"].append(dict(self.positions))

        def on_order(self, order: akq.Order) -> None:
            heard["orders"].append(order)

        def on_trade(self, trade: akq.Trade) -> None:
            heard["trades"].append(trade)

    data = table([*flat(100.0), (100.0, 101.0, 98.0, 99.0), *flat(110.0, 2)], ("A", "B"))
    market = {"commission": {"rate": 0.01}, "slippage": {"bps": 10.0}}
    akq.backtest(strategy=Listens, data=data, mode="portfolio", market=market)
    first = heard["orders"][0]
    day_ns = 86_400_000_000_000
    start = 18_631 * day_ns  # 2021-01-04
    assert first == akq.Order(
        1, "A", 1, 4.0, 101.0, "accepted", None, "in", kind="limit", limit=101.0, ts=start
    )
    assert (first.remaining, first.is_buy, first.is_final) == (4.0, True, False)
    stop_limit = next(order for order in heard["orders"] if order.symbol == "B")
    assert (stop_limit.kind, stop_limit.limit, stop_limit.stop) == ("stop_limit", 150.0, 95.0)
    filled = next(order for order in heard["orders"] if order.status == "filled")
    assert (filled.id, filled.filled, filled.remaining, filled.is_final) == (1, 4.0, 0.0, True)
    assert heard["trades"] == [akq.Trade(1, "A", 1, 4.0, 100.0, 4.0, "in", 0.0, start + day_ns, 1)]
    (held,) = heard["positions"]
    assert held == {"A": akq.Position("A", 4.0, 100.0, 110.0)}
    assert held["A"].is_long
    assert held["A"].gain == pytest.approx(0.1)


def test_pitfall_7_every_callback_comes_exactly_once() -> None:
    calls: Counter[str] = Counter()

    class Counts(akq.Strategy):
        def on_start(self) -> None:
            calls["start"] += 1

        def on_bar(self, bar: akq.Bar) -> None:
            calls[f"bar {bar.symbol} {bar.index}"] += 1
            if bar.index == 0:
                self.buy(3)
                self.buy(2, limit=1.0, valid_bars=1)

        def on_bars(self, bars: akq.Bars) -> None:
            calls[f"bars {bars['A'].index}"] += 1

        def on_order(self, order: akq.Order) -> None:
            calls[f"order {order.id} {order.status}"] += 1

        def on_trade(self, trade: akq.Trade) -> None:
            calls[f"trade {trade.order}"] += 1

        def on_stop(self) -> None:
            calls["stop"] += 1

    akq.backtest(strategy=Counts, data=table(flat(100.0, 3), ("A", "B")), mode="portfolio")
    assert set(calls.values()) == {1}
    rows = {f"bar {symbol} {ix}" for symbol in "AB" for ix in range(3)} | {f"bars {ix}" for ix in range(3)}
    orders = {f"order {ix} accepted" for ix in range(1, 5)}
    ends = {"order 1 filled", "order 2 expired", "order 3 filled", "order 4 expired", "trade 1", "trade 3"}
    assert set(calls) == {"start", "stop"} | rows | orders | ends


def test_a_bar_that_is_kept_stays_what_it_is() -> None:
    kept: list[akq.Bar] = []
    seen: list[tuple[str, int, float]] = []

    class Keeps(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            seen.append((bar.symbol, bar.index, bar.close))
            if bar.index % 2 == 0:
                kept.append(bar)

    bars: list[Ohlc] = [(c, c, c, c) for c in (100.0, 101.0, 102.0, 103.0, 104.0)]
    akq.backtest(strategy=Keeps, data=table(bars, ("A", "B")), mode="portfolio")
    expected = [row for row in seen if row[1] % 2 == 0]
    assert [(bar.symbol, bar.index, bar.close) for bar in kept] == expected
    assert repr(kept[0]) == "Bar(A, index=0, open=100, high=100, low=100, close=100)"


def test_history_outlives_the_run_as_a_view() -> None:
    kept: list[np.ndarray[Any, Any]] = []

    class Keeps(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            kept.append(self.history("close", 2))

    bars: list[Ohlc] = [(c, c, c, c) for c in (100.0, 101.0, 102.0)]
    akq.backtest(strategy=Keeps, data=table(bars))
    assert [list(view) for view in kept] == [[100.0], [100.0, 101.0], [101.0, 102.0]]
    assert all(not view.flags.owndata and not view.flags.writeable for view in kept)
    assert np.shares_memory(kept[1], kept[2])
