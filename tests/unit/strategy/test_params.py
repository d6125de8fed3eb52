"""Declared parameters: types, bounds and misspelt names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.strategy import Param, Strategy


class Cross(Strategy):
    fast: int = Param(10, low=2, high=60)
    slow: int = Param(50)
    stop: float = Param(0.1, low=0.0)
    loud: bool = Param(False)
    kind: str = Param("sma", choices=("sma", "ema"))


class Faster(Cross):
    fast: int = Param(3, low=2, high=60)
    extra: float | None = Param(None)


def test_defaults_and_given_values_come_in_their_declared_type() -> None:
    made = Cross(fast=np.int64(7), stop=1, loud=True)
    assert made.params == {"fast": 7, "slow": 50, "stop": 1.0, "loud": True, "kind": "sma"}
    assert type(made.fast) is int
    assert type(made.stop) is float
    assert repr(made) == "Cross(fast=7, slow=50, stop=1.0, loud=True, kind='sma')"


def test_a_subclass_declares_over_its_base() -> None:
    assert Faster().params == {
        "fast": 3,
        "slow": 50,
        "stop": 0.1,
        "loud": False,
        "kind": "sma",
        "extra": None,
    }
    assert Faster(extra=2).extra == 2.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fasst": 1}, "unknown parameter 'fasst', did you mean 'fast'?"),
        ({"fast": 1}, "Cross.fast: 1 is below its low of 2"),
        ({"fast": 61}, "above its high of 60"),
        ({"fast": 10.5}, "Cross.fast: 10.5 is not a whole number"),
        ({"fast": "10"}, "Cross.fast: '10' is not a whole number"),
        ({"fast": True}, "not a whole number"),
        ({"fast": None}, "not a whole number"),
        ({"stop": float("nan")}, "not a finite number"),
        ({"stop": "wide"}, "not a number"),
        ({"loud": 1}, "not true or false"),
        ({"kind": "wma"}, "'wma' is not one of 'sma', 'ema'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(AkqUsageError) as caught:
        Cross(**given)
    assert message in str(caught.value)


def test_a_parameter_without_default_has_to_be_given() -> None:
    class Needs(Strategy):
        n: int = Param()

    with pytest.raises(AkqUsageError, match="'n' has no default and was not given"):
        Needs()
    assert Needs(n=3).n == 3


def test_a_parameter_does_not_change_during_a_run() -> None:
    made = Cross()
    with pytest.raises(AttributeError, match="does not change"):
        made.fast = 4


def test_a_declaration_that_makes_no_sense_is_refused() -> None:
    class Untyped(Strategy):
        n = Param()

    class Outside(Strategy):
        n: int = Param(1, low=2)

    class Odd(Strategy):
        n: list = Param([1])  # type: ignore[type-arg]

    with pytest.raises(AkqUsageError, match="has no type"):
        Untyped(n=1)
    with pytest.raises(AkqUsageError, match="below its low"):
        Outside()
    with pytest.raises(AkqUsageError, match="has the type 'list'"):
        Odd()


def test_an_own_init_that_forgets_super_is_explained() -> None:
    class Own(Strategy):
        n: int = Param(1)

        def __init__(self) -> None:
            pass

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        _ = Own().n


def test_names_of_the_base_class_cannot_be_taken() -> None:
    with pytest.raises(AkqStrategyError, match=r"Bad\.history: the name belongs to Strategy"):
        type("Bad", (Strategy,), {"history": 3})
