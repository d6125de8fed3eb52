"""The checks of risk asked from outside of a run answer as those of a run do."""

from __future__ import annotations

import pickle
from typing import Any

import polars as pl
import pytest

import akq_dist as akq
from akq_dist.risk import Decision

PRICES = {"A": 100.0, "B": 50.0}
FLAT = akq.AccountState(cash=10_000.0, prices=PRICES)
HELD = akq.AccountState(cash=5_000.0, prices=PRICES, positions={"A": 50.0})


@pytest.mark.parametrize(
    ("limits", "account", "order", "expected"),
    [
        ({}, FLAT, {"qty": 5}, Decision(5.0, None)),
        ({}, FLAT, {"pct_equity": 0.255}, Decision(25.0, None)),
        ({}, FLAT, {"value": 1_050.0}, Decision(10.0, None)),
        ({}, FLAT, {"value": 10.0}, Decision(0.0, "zero_quantity")),
        ({}, FLAT, {"qty": -1}, Decision(0.0, "bad_quantity")),
        ({}, FLAT, {"qty": 1, "limit": 0.0}, Decision(0.0, "bad_price")),
        ({"max_order_qty": 5}, FLAT, {"qty": 6}, Decision(6.0, "order_quantity")),
        ({"max_order_value": 500}, FLAT, {"qty": 6, "limit": 80.0}, Decision(6.0, None)),
        ({"max_order_value": 500}, FLAT, {"qty": 6}, Decision(6.0, "order_value")),
        ({"max_position_qty": 51}, HELD, {"qty": 2}, Decision(2.0, "position_limit")),
        ({"max_position_qty": 51}, HELD, {"qty": 2, "symbol": "B"}, Decision(2.0, None)),
        ({"max_concentration": 0.5}, HELD, {"qty": 1}, Decision(1.0, "concentration")),
        ({"max_gross_exposure": 0.6}, HELD, {"qty": 21, "symbol": "B"}, Decision(21.0, "gross_exposure")),
        ({"max_gross_exposure": 0.6}, HELD, {"qty": 50, "side": "sell"}, Decision(50.0, None)),
        ({"max_net_exposure": 0.1}, FLAT, {"qty": 11, "side": "sell"}, Decision(11.0, "net_exposure")),
        ({"restricted": ["A"]}, HELD, {"qty": 1}, Decision(1.0, "restricted")),
        ({"restricted": ["A"]}, HELD, {"qty": 1, "side": "sell"}, Decision(1.0, None)),
        ({"tradable": ["A"]}, HELD, {"qty": 1, "symbol": "B"}, Decision(1.0, "not_tradable")),
    ],
)
def test_an_order_is_accepted_or_refused_with_its_reason(
    limits: dict[str, Any], account: akq.AccountState, order: dict[str, Any], expected: Decision
) -> None:
    asked = {"symbol": "A", "side": "buy", **order}
    answer = akq.RiskManager(**limits).check(account, asked.pop("symbol"), asked.pop("side"), **asked)
    assert answer == expected
    assert answer.accepted == (expected.reason is None)


def test_peaks_and_the_equity_before_the_date_halt_new_risk() -> None:
    manager = akq.RiskManager(max_drawdown=0.2, max_daily_loss=0.05)
    fallen = akq.AccountState(cash=7_900.0, prices=PRICES, peak_equity=10_000.0)
    assert manager.check(fallen, "A", "buy", qty=1).reason == "max_drawdown"
    today = akq.AccountState(cash=9_400.0, prices=PRICES, peak_equity=10_000.0, date_equity=10_000.0)
    assert manager.check(today, "A", "buy", qty=1).reason == "daily_loss"
    assert manager.check(FLAT, "A", "buy", qty=1).accepted


def test_the_market_of_the_question_counts() -> None:
    manager = akq.RiskManager()
    cash = {"buying_power": "cash", "shorts": False, "commission": {"rate": 0.01}}
    assert manager.check(FLAT, "A", "buy", qty=99, market=cash).accepted
    assert manager.check(FLAT, "A", "buy", qty=100, market=cash).reason == "insufficient_cash"
    assert manager.check(HELD, "A", "sell", qty=50, market=cash).accepted
    assert manager.check(HELD, "A", "sell", qty=51, market=cash).reason == "short_not_allowed"
    lots = akq.AccountState(cash=1e6, prices={"600000": 10.0}, positions={"600000": 300.0})
    for qty, reason in ((200, None), (400, "short_not_allowed")):
        assert manager.check(lots, "600000", "sell", qty=qty, market={"profile": "cn_stock"}).reason == reason
    assert manager.check(lots, "600000", "buy", qty=50, market={"profile": "cn_stock"}).reason == "lot"


def test_a_run_refuses_what_the_question_says() -> None:
    """The same limits in a backtest, and the same state asked about beforehand."""
    manager = akq.RiskManager(max_concentration=0.3)
    answers: list[str | None] = []

    class Asks(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            held = {symbol: position.qty for symbol, position in self.positions.items()}
            state = akq.AccountState(cash=self.cash, prices={bar.symbol: bar.close}, positions=held)
            answers.append(manager.check(state, bar.symbol, "buy", qty=10).reason)
            self.buy(10)

    days = pl.date_range(pl.date(2021, 1, 4), pl.date(2021, 1, 15), eager=True)
    data = pl.DataFrame({"date": days, **dict.fromkeys(("open", "high", "low", "close"), 100.0)})
    result = akq.Engine(data, market={"cash": 10_000.0}, risk=manager).add_strategy(Asks).run()
    refused = [
        reason if status == "rejected" else None
        for status, reason in result.orders.select("status", "reason").rows()
    ]
    # An order placed at the last close ends with the data before anything looks at it.
    assert answers[:-1] == refused[:-1]
    assert result.rejects_by_reason() == {"concentration": len(answers) - 4}


def test_a_question_without_sense_is_refused() -> None:
    manager = akq.RiskManager()
    with pytest.raises(akq.AkqUsageError, match="no price of 'AA', did you mean 'A'"):
        manager.check(FLAT, "AA", "buy", qty=1)
    with pytest.raises(akq.AkqUsageError, match="exactly one size"):
        manager.check(FLAT, "A", "buy")
    with pytest.raises(akq.AkqUsageError, match="side is 'long'"):
        manager.check(FLAT, "A", "long", qty=1)  # type: ignore[arg-type]
    with pytest.raises(akq.AkqUsageError, match="a position in 'C' without a price"):
        manager.check(akq.AccountState(1.0, PRICES, {"C": 1.0}), "A", "buy", qty=1)
    with pytest.raises(akq.AkqUsageError, match="cannot be held"):
        manager.check(akq.AccountState(1.0, {"A": 0.0}), "A", "buy", qty=1)
    with pytest.raises(
        akq.AkqUsageError, match=r"risk\.max_drawdwn: unknown key, did you mean 'max_drawdown'"
    ):
        akq.RiskManager(max_drawdwn=0.2)


def test_a_risk_manager_is_a_value() -> None:
    manager = akq.RiskManager(max_drawdown=0.2, restricted=["A"])
    assert (
        manager == akq.RiskManager(restricted=["A"], max_drawdown=0.2) == pickle.loads(pickle.dumps(manager))
    )
    assert manager != akq.RiskManager(max_drawdown=0.3)
    assert len({manager, akq.RiskManager(max_drawdown=0.2, restricted=["A"])}) == 1
    assert repr(manager) == "RiskManager(restricted=('A',), max_drawdown=0.2)"
    assert manager.limits.max_drawdown == 0.2
