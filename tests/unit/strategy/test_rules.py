"""Rule expressions written in Python render to the text of the rule language."""

from __future__ import annotations

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.strategy import rules
from akq_dist.strategy.rules import Function, close, column, high, low, param, plain, volume

sma, highest = Function("sma"), Function("highest")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (sma(close, param("fast")) > sma(close, 50), "sma(close, fast) > sma(close, 50)"),
        ((close - low) / (high - low), "(close - low) / (high - low)"),
        (close - (high - low), "close - (high - low)"),
        (close - high - low, "close - high - low"),
        (2 * close + 1, "2 * close + 1"),
        (1 / (2 * close), "1 / (2 * close)"),
        (-(close + 1), "-(close + 1)"),
        (close * -1.5, "close * -1.5"),
        ((close > 1) & (low < 2) | (high == 3), "close > 1 and low < 2 or high == 3"),
        ((close > 1) & ((low < 2) | (high != 3)), "close > 1 and (low < 2 or high != 3)"),
        (~(close > rules.open), "not close > open"),
        (~((close > 1) & (low > 1)), "not (close > 1 and low > 1)"),
        ((close > rules.open) > 0, "(close > open) > 0"),
        (close > 0.5, "close > 0.5"),
        (highest(high, n=param("n")), "highest(high, n=n)"),
        (column("vwap") >= volume, "vwap >= volume"),
        (close * 1e-7, "close * 1e-07"),
    ],
)
def test_an_expression_renders_with_the_parentheses_it_needs(expression: rules.Expr, text: str) -> None:
    assert str(expression) == text


def test_slots_hold_plain_text() -> None:
    slots = {"enter": close > 1, "size": {"pct_equity": param("share"), "size_at": "fill"}, "n": 3}
    assert plain(slots) == {"enter": "close > 1", "size": {"pct_equity": "share", "size_at": "fill"}, "n": 3}


def test_python_logic_on_a_rule_is_refused_with_the_way_out() -> None:
    with pytest.raises(AkqUsageError, match=r"& \| ~"):
        bool((close > 1) and (close < 2))
    with pytest.raises(AkqUsageError, match=r"param\('fast'\)"):
        sma(close, "fast")  # type: ignore[arg-type]
    with pytest.raises(AkqUsageError, match="is a function: call it"):
        _ = close > sma  # type: ignore[operator]
    with pytest.raises(AkqUsageError, match="not a finite number"):
        _ = close > float("nan")
    with pytest.raises(AkqUsageError, match="cannot be part of a rule"):
        _ = close > [1]  # type: ignore[operator]
    with pytest.raises(AkqUsageError, match="a name has letters"):
        param("a b")
