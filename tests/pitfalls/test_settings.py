"""Every setting of the market, of execution and of risk acts: with it the fills are others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from akq_dist import _core
from akq_dist.strategy import Strategy
from akq_dist.strategy.factory import make_factory
from tests.differential.worlds import Ohlcv, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Two days of a quiet market, a wide bar, a gap; the volume is 40, then none at all.
BARS = [
    Ohlcv(100.0, 100.0, 100.0, 100.0, 40.0),
    Ohlcv(100.0, 101.0, 99.0, 100.5, 40.0),
    Ohlcv(100.0, 110.0, 90.0, 104.0, 40.0),
    Ohlcv(120.0, 121.0, 119.0, 120.0, 0.0),
    Ohlcv(115.0, 118.0, 112.0, 113.0, 40.0),
    Ohlcv(113.0, 113.0, 113.0, 113.0, 40.0),
]


class Busy(Strategy):
    """Asks for a bit of everything; what comes of it depends on every setting."""

    def on_bar(self, bar: _core.Bar) -> None:
        if bar.asset != 0:
            return
        if bar.index == 0:
            self.buy(pct_equity=0.33, stop_loss={"pct": 0.04}, take_profit={"pct": 0.04})
            self.buy(7.5, limit=99.125)
            self.sell(60, stop=99.5)
        if bar.index == 2:
            self.buy(value=1_000.0)
            self.sell(5)
        if bar.index == 3:
            self.buy(pct_equity=5.0)
            # Two that never fill, and more together than a small account has.
            self.buy(300, limit=50.0)
            self.buy(300, limit=51.0)


def outcome(plan: Mapping[str, Any]) -> str:
    table = table_of([dict(enumerate(BARS))] * 2)
    spec = {"strategy": {"callback": True}, "outputs": [["final_equity", None]], "mode": "portfolio", **plan}
    factory = make_factory(Busy, {}, table, 0)
    result = _core.Plan(json.dumps(spec)).run_one(_core.Panel.from_arrow(table), [], strategy=factory)
    columns = ["row", "side", "qty", "price", "fees"]
    orders = pl.DataFrame(result.orders()).select("status", "reason").rows()
    return repr((pl.DataFrame(result.fills()).select(columns).rows(), orders, result.values))


MARKET: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # The setting as it is by default or needs beside it, and the change that has to act.
    "cash": ({}, {"cash": 20_000.0}),
    "fill": ({}, {"fill": "close"}),
    "slippage_bps": ({}, {"slippage_bps": 10.0}),
    "commission.rate": ({}, {"commission": {"rate": 0.001}}),
    "commission.per_share": ({}, {"commission": {"per_share": 0.01}}),
    "commission.minimum": ({}, {"commission": {"minimum": 5.0}}),
    "sell_tax": ({}, {"sell_tax": 0.001}),
    "lot": ({}, {"lot": 7.0}),
    "multiplier": ({}, {"multiplier": 10.0}),
    "shorts": ({"cash": 9_000.0}, {"shorts": False}),
    "buying_power": ({"cash": 9_000.0}, {"buying_power": "cash"}),
    "on_insufficient_cash": ({"cash": 9_000.0, "buying_power": "cash"}, {"on_insufficient_cash": "reduce"}),
}
EXECUTION: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_participation": ({}, {"max_participation": 0.25}),
    "halt_on_zero_volume": ({}, {"halt_on_zero_volume": True}),
    "slippage.ticks": ({"tick": 0.5}, {"slippage": {"ticks": 1.0}}),
    "slippage.bps": ({}, {"slippage": {"bps": 10.0}}),
    "slippage.square_root": (
        {},
        {"slippage": {"volume_impact": {"formula": "square_root", "coefficient": 0.1}}},
    ),
    "slippage.linear": ({}, {"slippage": {"volume_impact": {"formula": "linear", "coefficient": 0.1}}}),
    "tick": ({"tick": 0.5, "slippage": {"ticks": 1.0}}, {"tick": 0.25}),
    "cap_to_bar": ({"slippage": {"bps": 500.0}}, {"cap_to_bar": True}),
    "intrabar": ({}, {"intrabar": "optimistic"}),
    "intrabar.ohlc": ({"intrabar": "optimistic"}, {"intrabar": "ohlc"}),
}
RISK: dict[str, dict[str, Any]] = {
    "sellable": {"sellable": False},
    "cash": {"cash": False},
    "lot": {"lot": True},
    "tick": {"tick": True},
    "tradable": {"tradable": ["S1"]},
    "restricted": {"restricted": ["S0"]},
    "max_order_qty": {"max_order_qty": 50.0},
    "max_order_value": {"max_order_value": 2_000.0},
    "max_position_qty": {"max_position_qty": 50.0},
    "max_position_value": {"max_position_value": 2_000.0},
    "max_concentration": {"max_concentration": 0.01},
    "max_gross_exposure": {"max_gross_exposure": 0.01},
    "max_net_exposure": {"max_net_exposure": 0.01},
    "max_drawdown": {"max_drawdown": 0.001},
    "max_daily_loss": {"max_daily_loss": 0.001},
    "max_orders_per_step": {"max_orders_per_step": 1},
    "max_orders_per_day": {"max_orders_per_day": 1},
}
# What a check needs of the market before it can refuse anything.
RISK_MARKET: dict[str, dict[str, Any]] = {
    "sellable": {"shorts": False},
    "cash": {"cash": 9_000.0, "buying_power": "cash"},
    "tick": {"execution": {"tick": 0.5}},
}


@pytest.mark.parametrize("name", MARKET)
def test_every_setting_of_the_market_acts(name: str) -> None:
    base, change = MARKET[name]
    assert outcome({"market": base}) != outcome({"market": {**base, **change}})


@pytest.mark.parametrize("name", EXECUTION)
def test_every_setting_of_execution_acts(name: str) -> None:
    base, change = EXECUTION[name]
    plans = [{"market": {"execution": execution}} for execution in (base, {**base, **change})]
    assert outcome(plans[0]) != outcome(plans[1])


@pytest.mark.parametrize("name", RISK)
def test_every_check_of_risk_acts(name: str) -> None:
    market = RISK_MARKET.get(name, {})
    assert outcome({"market": market}) != outcome({"market": market, "risk": RISK[name]})


@pytest.mark.parametrize(("reference", "stop"), [("fill", 96.0 * 1.01), ("signal", 96.0)])
def test_a_stop_is_measured_from_what_the_setting_names(reference: str, stop: float) -> None:
    bars = dict(enumerate([*BARS[:1] * 2, Ohlcv(100.0, 100.0, 50.0, 60.0, 1.0), BARS[0]]))
    table = table_of([bars])
    rules = {
        "enter": "bar_index == 0",
        "size": {"kind": "qty", "value": "1"},
        "stop_loss": {"kind": "pct", "value": "0.04", "from": reference},
    }
    plan = {
        "strategy": {"rules": rules},
        "market": {"slippage_bps": 100.0, "execution": {}},
        "outputs": [["final_equity", "sum"]],
    }
    result = _core.Plan(json.dumps(plan)).run_one(_core.Panel.from_arrow(table), [])
    price = pl.DataFrame(result.fills())["price"][1]
    assert price == pytest.approx(stop * 0.99)


def test_a_reversal_is_two_fills_with_fees_of_their_own() -> None:
    class Turns(Strategy):
        def on_bar(self, bar: _core.Bar) -> None:
            self.target_qty(10 if bar.index < 2 else -10)

    table = table_of([dict(enumerate(BARS[:1] * 5))])
    plan = {
        "strategy": {"callback": True},
        "market": {"commission": {"minimum": 5.0}},
        "outputs": [["fees", "sum"]],
    }
    result = _core.Plan(json.dumps(plan)).run_one(
        _core.Panel.from_arrow(table), [], strategy=make_factory(Turns, {}, table, 0)
    )
    assert pl.DataFrame(result.fills())["qty"].to_list() == [10.0, 10.0, 10.0]
    assert result.values == [15.0]
