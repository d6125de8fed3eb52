"""Constraints on metrics: how they are written and when they hold."""

from __future__ import annotations

import math

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.specs import MetricConstraint


def test_a_constraint_is_read_from_text() -> None:
    constraint = MetricConstraint.parse("sum(n_trades) >= 50")
    assert (constraint.metric, constraint.aggregate, constraint.op, constraint.bound) == (
        "n_trades",
        "sum",
        ">=",
        50.0,
    )
    assert MetricConstraint.parse(" q05( sharpe )<-1e-2").aggregate == "q05"
    assert MetricConstraint.parse("max_drawdown >= -0.35").aggregate is None
    assert MetricConstraint.parse(constraint.text) == constraint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected aggregate"),
        ("foo(x) > 1", "unknown aggregate 'foo'"),
        ("medain(x) > 1", "did you mean 'median'"),
        ("sum(n_trades)", "expected aggregate"),
        ("sum(n_trades) >= many", "expected aggregate"),
        ("n >= 1e999", "not a finite number"),
        (5, "expected aggregate"),
    ],
)
def test_what_is_no_constraint_is_refused(text: object, message: str) -> None:
    with pytest.raises(AkqUsageError, match=message):
        MetricConstraint.parse(text)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("n >= 50", 50, True),
        ("n >= 50", 49, False),
        ("n > 50", 50, False),
        ("n < 50", 50, False),
        ("n <= 50", 50, True),
        ("n <= 50", math.nan, False),
        ("n >= 50", math.nan, False),
    ],
)
def test_a_constraint_holds_or_not(text: str, value: float, holds: bool) -> None:
    constraint = MetricConstraint.parse(text)
    assert constraint.holds(value) is holds
    assert (constraint.violation(value) <= 0) is holds
