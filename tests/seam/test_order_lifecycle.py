"""Kinds, ends and changes of orders from Python through the engine."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

from akq_dist import _core
from akq_dist.strategy import Order, Strategy
from akq_dist.strategy.factory import make_factory

if TYPE_CHECKING:
    from collections.abc import Callable

Ohlc = tuple[float, float, float, float]


def panel_table(bars: list[Ohlc], volume: list[float] | None = None) -> pa.Table:
    """One asset with a bar a date from 1970-01-01 on."""
    days = list(range(len(bars)))
    columns: dict[str, Any] = {
        "ts": pa.array([day * 86_400_000_000_000 for day in days]).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array(days, pa.int32()).cast(pa.date32()),
    }
    for ix, name in enumerate(("open", "high", "low", "close")):
        columns[name] = pa.array([bar[ix] for bar in bars])
    if volume is not None:
        columns["volume"] = pa.array(volume)
    meta = {"akq.symbols": '["A"]', "akq.offsets": json.dumps([0, len(bars)]), "akq.digest": "0"}
    return pa.table(columns).replace_schema_metadata(meta)


def run(
    act: Callable[[Any, int], None],
    bars: list[Ohlc],
    volume: list[float] | None = None,
    **plan: Any,
) -> tuple[_core.RunResult, list[Order]]:
    """Run a strategy that calls `act(strategy, row)` at every bar; also what it heard of its orders."""
    heard: list[Order] = []

    class Scripted(Strategy):
        def on_bar(self, bar: _core.Bar) -> None:
            act(self, bar.index)

        def on_order(self, order: Order) -> None:
            heard.append(order)

    table = panel_table(bars, volume)
    spec = {"strategy": {"callback": True}, "outputs": [["final_equity", "sum"]], **plan}
    factory = make_factory(Scripted, {}, table, 0)
    result = _core.Plan(json.dumps(spec)).run_one(_core.Panel.from_arrow(table), [], strategy=factory)
    return result, heard


def fills(result: _core.RunResult) -> list[tuple[int, str, float, float]]:
    return pl.DataFrame(result.fills()).select("row", "side", "qty", "price").rows()


def at(row: int, ask: Callable[[Any], object]) -> Callable[[Any, int], None]:
    def act(strategy: Any, now: int) -> None:
        if now == row:
            ask(strategy)

    return act


def flat(price: float, n: int = 1) -> list[Ohlc]:
    return [(price, price, price, price)] * n


def test_every_kind_of_order_has_its_name_and_its_fill() -> None:
    bars: list[Ohlc] = [*flat(100.0), (101.0, 107.0, 97.0, 104.0), *flat(104.0, 2)]

    def ask(strategy: Any) -> None:
        strategy.buy(1, limit=106.0, stop=105.0)
        strategy.sell(2, trail={"pct": 0.02, "on": "close"})
        strategy.buy(3, on_close=True)

    result, _ = run(at(0, ask), bars)
    assert fills(result) == [(1, "buy", 1.0, 105.0), (1, "sell", 2.0, 98.0), (1, "buy", 3.0, 104.0)]
    kinds = pl.DataFrame(result.orders())["kind"].to_list()
    assert kinds == ["stop_limit", "trailing_stop", "market_on_close"]


@pytest.mark.parametrize(
    ("options", "status", "n_fills"),
    [
        ({"tif": "ioc"}, "cancelled", 1),
        ({"tif": "fok"}, "cancelled", 0),
        ({"tif": "day"}, "expired", 1),
        ({"day": True}, "expired", 1),
        ({"valid_bars": 2}, "expired", 2),
        ({"good_till": dt.date(1970, 1, 3)}, "expired", 2),
        ({"tif": "gtc"}, "expired", 3),
    ],
)
def test_an_order_in_parts_ends_as_it_was_told_to(options: dict[str, Any], status: str, n_fills: int) -> None:
    market = {"execution": {"max_participation": 0.1}}
    act = at(0, lambda strategy: strategy.buy(100, limit=10.0, **options))
    result, heard = run(act, flat(10.0, 4), [100.0] * 4, market=market)
    assert [fill[2] for fill in fills(result)] == [10.0] * n_fills
    assert heard[-1].status == status
    assert heard[-1].filled == 10.0 * n_fills
    assert [update.status for update in heard].count("partially_filled") == n_fills


def test_an_amendment_moves_a_limit_and_a_refused_one_is_heard_with_its_reason() -> None:
    bars: list[Ohlc] = [*flat(100.0, 2), (100.0, 100.0, 94.0, 100.0), *flat(100.0)]

    def act(strategy: Any, row: int) -> None:
        if row == 0:
            strategy.buy(1, limit=90.0)
        elif row == 1:
            strategy.amend(1, limit=95.0, qty=2)
            strategy.amend(1, stop=95.0)

    result, heard = run(act, bars)
    assert fills(result) == [(2, "buy", 2.0, 95.0)]
    assert [(update.status, update.reason, update.price) for update in heard] == [
        ("accepted", None, 90.0),
        ("accepted", None, 95.0),
        ("accepted", "no_such_price", 95.0),
        ("filled", None, 95.0),
    ]


def test_a_child_follows_its_parent() -> None:
    bars: list[Ohlc] = [*flat(100.0), (100.0, 112.0, 94.0, 100.0), (100.0, 111.0, 99.0, 100.0), *flat(100.0)]

    def ask(strategy: Any) -> None:
        parent = strategy.buy(1, limit=95.0)
        strategy.sell(1, limit=110.0, parent=parent)

    result, _ = run(at(0, ask), bars)
    assert fills(result) == [(1, "buy", 1.0, 95.0), (2, "sell", 1.0, 110.0)]


def test_refusals_are_counted_by_reason() -> None:
    def ask(strategy: Any) -> None:
        for qty in (5, 6, 7):
            strategy.buy(qty)
        strategy.buy(1, limit=-1.0)

    result, _ = run(at(0, ask), flat(10.0, 3), risk={"max_order_qty": 5.0})
    assert pl.DataFrame(result.rejects()).rows() == [("A", "bad_price", 1), ("A", "order_quantity", 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_close": True, "limit": 1.0}, "stand alone"),
        ({"trail": {"pct": 0.1}, "stop": 1.0}, "stand alone"),
        ({"trail": {"pct": -0.1}}, "above zero"),
        ({"tif": "gtx"}, "unknown tif"),
        ({"tif": "ioc", "valid_bars": 2}, "ends in one way"),
    ],
)
def test_options_that_contradict_each_other_are_a_fault_of_the_strategy(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(at(0, lambda strategy: strategy.buy(1, **options)), flat(10.0, 3))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"risk": {"max_order": 1}}, "unknown field `max_order`"),
        ({"risk": {"max_drawdown": 2.0}}, "risk.max_drawdown"),
        ({"market": {"execution": {"max_participation": 2.0}}}, "max_participation"),
        ({"market": {"execution": {"slippage": {"ticks": 1.0}}}}, "set tick"),
    ],
)
def test_settings_that_mean_nothing_are_refused_with_the_plan(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(_core.SpecError, match=message):
        run(at(0, lambda strategy: None), flat(10.0, 3), **plan)
