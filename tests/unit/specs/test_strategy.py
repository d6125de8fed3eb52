"""The slots of a rule strategy and what cannot be combined."""

from __future__ import annotations

from typing import Any

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.specs import RulesSpec, StrategySpec


def test_numbers_and_expressions_are_kept_as_text() -> None:
    rules = RulesSpec.parse(
        {
            "enter": "close > sma(close, n)",
            "entry": {"limit": "close * 0.99"},
            "valid_bars": 3,
            "size": {"value": 10_000, "size_at": "fill"},
            "stop_loss": {"pct": "stop", "from": "signal"},
            "take_profit": {"abs": 2.5},
            "trailing": {"pct": 0.1, "on": "close"},
            "max_bars": "n * 2",
        }
    )
    assert rules.valid_bars == "3"
    assert (rules.size.kind, rules.size.amount, rules.size.size_at) == ("value", "10000", "fill")
    assert rules.stop_loss is not None
    assert (rules.stop_loss.kind, rules.stop_loss.distance, rules.stop_loss.from_) == (
        "pct",
        "stop",
        "signal",
    )
    assert rules.take_profit is not None
    assert (rules.take_profit.kind, rules.take_profit.distance, rules.take_profit.from_) == (
        "abs",
        "2.5",
        "fill",
    )
    assert rules.trailing is not None
    assert (rules.trailing.distance, rules.trailing.on) == ("0.1", "close")
    assert rules.entry.kind == "limit"
    assert RulesSpec.parse(rules.to_dict()) == rules


def test_an_entry_without_size_invests_all_equity() -> None:
    rules = RulesSpec.parse({"enter": "close > 1", "entry": "market"})
    assert (rules.size.kind, rules.size.amount, rules.size.size_at) == ("pct_equity", "1.0", "fill")
    assert rules.entry.kind == "market"
    assert rules.on_opposite is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "has no entry"),
        ({"enter": ""}, "enter: is empty"),
        ({"enter": True}, "expected a number or an expression"),
        ({"enter": "a", "exit_short": "b"}, "exit_short: has no effect without enter_short"),
        ({"enter_short": "a", "exit": "b"}, "exit: has no effect without enter"),
        ({"enter": "a", "entry_short": {"limit": "b"}}, "entry_short: has no effect"),
        ({"enter": "a", "on_opposite": "close"}, "on_opposite: has no effect"),
        ({"enter": "a", "valid_bars": 3}, "valid_bars: has no effect on market orders"),
        ({"enter": "a", "rebalance": {"every": 5}}, "rebalance: has no effect without weights"),
        ({"enter": "a", "weights": "1"}, "enter: cannot be combined with weights"),
        ({"weights": "1", "stop_loss": {"pct": 0.1}}, "stop_loss: cannot be combined with weights"),
        ({"enter": "a", "entry": {"limit": "b", "stop": "c"}}, "entry: has both limit and stop"),
        ({"enter": "a", "entry": "limit"}, "entry: found 'limit', expected market"),
        ({"enter": "a", "size": {"qty": 1, "value": 2}}, "size: has qty and value, expected exactly one"),
        ({"enter": "a", "size": {}}, "size: is incomplete"),
        ({"enter": "a", "size": {"qty": 1, "size_at": "fill"}}, "size.size_at: has no meaning with qty"),
        ({"enter": "a", "stop_loss": {}}, "stop_loss: is incomplete"),
        ({"enter": "a", "stop_loss": {"pct": 0.1, "form": "fill"}}, "unknown key, did you mean 'from'"),
        ({"enter": "a", "max_bars": float("nan")}, "max_bars: found nan"),
        ({"enter": "x" * 20_000}, "20000 characters long"),
    ],
)
def test_slots_that_do_not_fit_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(AkqUsageError, match=message):
        RulesSpec.parse(rules)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({}, "expected exactly one of rules, python"),
        ({"python": "a.py:B", "rules": {"enter": "x"}}, "has rules and python"),
        ({"python": "a.py"}, "expected a file and a class"),
        ({"rust": "sma", "rules": {"enter": "x"}}, "has rules and rust"),
        ({"rust": "sma cross"}, "expected the name of a strategy such as sma_cross"),
    ],
)
def test_a_strategy_has_one_form(strategy: dict[str, Any], message: str) -> None:
    with pytest.raises(AkqUsageError, match=message):
        StrategySpec.parse(strategy)


def test_a_portfolio_has_weights_and_a_rhythm() -> None:
    rules = RulesSpec.parse({"weights": "rank(roc(close, n))", "rebalance": {"every": 21, "top": "k"}})
    assert rules.rebalance is not None
    assert (rules.rebalance.every, rules.rebalance.top, rules.rebalance.offset) == ("21", "k", None)
