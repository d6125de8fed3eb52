"""The strategy's side of the engine contract, with a context that writes down what it is asked."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.strategy import Order, Param, Strategy, Trade, make_factory


class FakeBar:
    def __init__(self, symbol: str) -> None:
        self.symbol = symbol


class FakeContext:
    """Two assets; asset 1 starts a step later."""

    def __init__(self) -> None:
        self.symbols = ["AAA", "BBB"]
        self.universe = [0, 1]
        self.asset = 0
        self.step = 3
        self.cash = 50.0
        self.equity = 100.0
        self.held = [0.0, 0.0]
        self.calls: list[tuple[Any, ...]] = []

    def last_index(self, asset: int) -> int:
        return self.step - asset

    def bar(self, asset: int) -> FakeBar | None:
        return FakeBar(self.symbols[asset]) if self.step >= asset else None

    def position(self, asset: int) -> float:
        return self.held[asset]

    def working(self, asset: int | None = None) -> list[int]:
        return [4, 9]

    def submit(self, asset: int, side: int, qty: float, **options: Any) -> int:
        self.calls.append(
            ("submit", asset, side, qty, {k: v for k, v in options.items() if v not in (None, False, "")})
        )
        return len(self.calls)

    def amend(self, order: int, **changes: float) -> None:
        self.calls.append(("amend", order, changes))

    def cancel(self, order: int) -> None:
        self.calls.append(("cancel", order))

    def target(self, asset: int, value: float, kind: str, tag: str) -> None:
        self.calls.append(("target", asset, value, kind))


def panel() -> pa.Table:
    meta = {"akq.symbols": json.dumps(["AAA", "BBB"]), "akq.offsets": json.dumps([0, 6, 11])}
    table = pa.table({"close": np.arange(11.0), "vwap": np.arange(11.0) + 0.5})
    return table.replace_schema_metadata(meta)


def bound(cls: type[Strategy], **params: Any) -> tuple[Any, FakeContext]:
    ctx = FakeContext()
    strategy = make_factory(cls, params, panel(), seed=7)()
    strategy._bind(ctx)  # type: ignore[arg-type]
    return strategy, ctx


class Plain(Strategy):
    n: int = Param(1)


def test_only_overridden_hooks_are_called() -> None:
    class Some(Strategy):
        def on_bar(self, bar: Any) -> None: ...

        def on_trade(self, trade: Trade) -> None: ...

    strategy, _ = bound(Some)
    assert [hook is not None for hook in strategy._hooks()] == [
        *(False, False, False, False, True, False, False, True, False)
    ]
    assert bound(Plain)[0]._hooks() == (None,) * 9


def test_history_is_a_read_only_view_that_ends_at_the_current_bar() -> None:
    strategy, ctx = bound(Plain)
    view = strategy.history("close", 2)
    assert view.tolist() == [2.0, 3.0]
    assert not view.flags.writeable
    assert view.base is not None
    assert strategy.history("close", 99).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert strategy.history("vwap", 2, symbol="BBB").tolist() == [7.5, 8.5]
    ctx.step = 0
    assert strategy.history("close", 5, "BBB").tolist() == []
    with pytest.raises(AkqUsageError, match="unknown column 'clsoe', did you mean 'close'"):
        strategy.history("clsoe", 5)
    with pytest.raises(AkqStrategyError, match="at least 1"):
        strategy.history("close", 0)


def test_orders_reach_the_engine_with_their_options() -> None:
    strategy, ctx = bound(Plain)
    assert strategy.buy(10) == 1
    strategy.sell(3, "BBB", limit=9.5, valid_bars=2, oco=1, tag="exit")
    strategy.buy(pct_equity=0.5)
    strategy.buy(pct_equity=0.5, size_at="fill")
    strategy.buy(value=20, stop_loss={"pct": 0.1}, trailing={"pct": 0.2, "on": "close"})
    ctx.held = [-4.0, 0.0]
    strategy.close()
    assert strategy.close("BBB") is None
    strategy.target_pct(0.25, "BBB")
    strategy.cancel_all()
    assert ctx.calls == [
        ("submit", 0, 1, 10.0, {"size": "qty"}),
        ("submit", 1, -1, 3.0, {"size": "qty", "limit": 9.5, "valid_bars": 2, "oco": 1, "tag": "exit"}),
        ("submit", 0, 1, 0.5, {"size": "pct_equity"}),
        ("submit", 0, 1, 50.0, {"size": "budget_at_fill"}),
        (
            "submit", 0, 1, 20.0,
            {
                "size": "value",
                "protection": {"stop_loss": {"pct": 0.1}, "trailing": {"pct": 0.2, "on": "close"}},
            },
        ),
        ("submit", 0, 1, 4.0, {"tag": "exit"}),
        ("target", 1, 0.25, "pct"),
        ("cancel", 4),
        ("cancel", 9),
    ]  # fmt: skip


def test_kinds_ends_and_amendments_reach_the_engine() -> None:
    strategy, ctx = bound(Plain)
    strategy.buy(1, limit=9.0, stop=10.0, tif="ioc")
    strategy.sell(1, trail={"abs": 2.0}, good_till=dt.date(1970, 1, 11))
    strategy.sell(1, on_close=True, parent=1)
    strategy.amend(2, limit=9.5, qty=3)
    assert ctx.calls == [
        ("submit", 0, 1, 1.0, {"size": "qty", "limit": 9.0, "stop": 10.0, "tif": "ioc"}),
        ("submit", 0, -1, 1.0, {"size": "qty", "trail": {"abs": 2.0}, "good_till": 10}),
        ("submit", 0, -1, 1.0, {"size": "qty", "on_close": True, "parent": 1}),
        ("amend", 2, {"limit": 9.5, "qty": 3.0}),
    ]
    with pytest.raises(AkqStrategyError, match="changes nothing"):
        strategy.amend(2)
    with pytest.raises(AkqStrategyError, match="not a finite number"):
        strategy.amend(2, stop=math.inf)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"qty": math.nan}, "not a finite number"),
        ({"qty": "ten"}, "not a number"),
        ({}, "exactly one size"),
        ({"qty": 1, "value": 2.0}, "exactly one size"),
        ({"qty": 1, "symbol": "BBC"}, "unknown symbol 'BBC', did you mean 'BBB'"),
        ({"qty": 1, "size_at": "fill"}, "needs pct_equity"),
    ],
)
def test_an_order_that_makes_no_sense_is_a_fault_of_the_strategy(order: dict[str, Any], message: str) -> None:
    strategy, _ = bound(Plain)
    with pytest.raises(AkqStrategyError) as caught:
        strategy.buy(**order)
    assert message in str(caught.value)


def test_on_bars_shows_the_assets_with_a_bar_and_wants_a_symbol() -> None:
    seen: list[Any] = []

    class Cross(Strategy):
        def on_bars(self, bars: Any) -> None:
            seen.append(
                (bars.symbols, len(bars), "BBB" in bars, bars["AAA"].symbol, bars.get("BBB") is not None)
            )
            with pytest.raises(AkqStrategyError, match="say which one"):
                self.buy(1)
            with pytest.raises(AkqStrategyError, match="unknown symbol"):
                bars["ZZZ"]

    strategy, ctx = bound(Cross)
    on_bars = strategy._hooks()[5]
    on_bars()
    ctx.step = 0
    on_bars()
    assert seen == [(["AAA", "BBB"], 2, True, "AAA", True), (["AAA"], 1, False, "AAA", False)]
    strategy.buy(1)


def test_updates_are_frozen_and_name_the_default_symbol() -> None:
    seen: list[Any] = []

    class Told(Strategy):
        def on_order(self, order: Order) -> None:
            seen.append(order)

        def on_trade(self, trade: Trade) -> None:
            seen.append(trade)
            self.sell(trade.qty)

    strategy, ctx = bound(Told)
    hooks = strategy._hooks()
    raw = {
        "id": 1,
        "symbol": "BBB",
        "side": 1,
        "qty": 5.0,
        "price": None,
        "status": "accepted",
        "reason": None,
        "tag": "",
    }
    hooks[6](raw)
    hooks[7]({"order": 1, "symbol": "BBB", "side": 1, "qty": 5.0, "price": 2.0, "fees": 0.1, "tag": "x"})
    assert seen[0] == Order(1, "BBB", 1, 5.0, None, "accepted", None, "")
    assert seen[1] == Trade(1, "BBB", 1, 5.0, 2.0, 0.1, "x")
    assert ctx.calls == [("submit", 1, -1, 5.0, {"size": "qty"})]
    with pytest.raises(AttributeError):
        seen[1].qty = 3


def test_the_seed_makes_the_same_generator_for_every_instance() -> None:
    factory = make_factory(Plain, {}, panel(), seed=7)
    first, second = factory(), factory()
    assert first.seed == 7
    assert first is not second
    assert first.rng.random(3).tolist() == second.rng.random(3).tolist()


def test_parameters_are_checked_before_the_first_account() -> None:
    with pytest.raises(AkqUsageError, match="unknown parameter 'm'"):
        make_factory(Plain, {"m": 2}, panel(), seed=0)


def test_nothing_can_be_asked_before_the_run() -> None:
    with pytest.raises(AkqStrategyError, match="is not running"):
        _ = Plain().cash
    with pytest.raises(AkqUsageError, match="not a panel"):
        make_factory(Plain, {}, pa.table({"close": [1.0]}), seed=0)
