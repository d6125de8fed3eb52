"""Conditions between parameters: the same answers as Python, and nothing but conditions."""

from __future__ import annotations

import pickle
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.errors import AkqUsageError
from akq_dist.specs import Space, Where

SPACE = Space.from_mapping(
    {
        "fast": {"int": [0, 6]},
        "slow": {"int": [0, 6]},
        "stop": {"float": [0.0, 1.0], "step": 0.25},
        "kind": {"choice": ["a", "b"]},
        "on": {"choice": [True, False]},
    }
)


def test_a_condition_filters_points_and_agrees_with_python() -> None:
    texts = [
        "fast < slow",
        "not (kind == 'a' and on) or slow - fast >= 3",
        "0 <= stop < 0.8",
        "-fast + slow * 2 != 7",
    ]
    where = Where.compile(texts, SPACE)
    rows = SPACE.grid_rows(0, SPACE.cardinality() or 0)
    expected = [all(eval(text, {}, SPACE.decode(row)) for text in texts) for row in rows]
    assert where.mask(SPACE, rows).tolist() == expected
    assert [where.check(SPACE.decode(row)) for row in rows[::97]] == expected[::97]
    assert 0 < sum(expected) < len(expected)


_NUMBERS = st.recursive(
    st.sampled_from(["fast", "slow", "stop", "1", "2.5"]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=4,
)
_CONDITIONS = st.recursive(
    st.tuples(_NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _NUMBERS).map(" ".join),
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
    ),
    max_leaves=5,
)


@settings(max_examples=60)
@given(_CONDITIONS, st.integers(0, 10**6))
def test_any_condition_agrees_with_python(text: str, seed: int) -> None:
    where = Where.compile([text], SPACE)
    rows = SPACE.unit_to_rows(np.random.default_rng(seed).random((20, 5)))
    assert where.mask(SPACE, rows).tolist() == [bool(eval(text, {}, SPACE.decode(row))) for row in rows]


def test_a_division_by_zero_makes_a_comparison_false() -> None:
    where = Where.compile(["slow / fast >= 1"], SPACE)
    assert not where.check({"fast": 0, "slow": 3, "stop": 0.0, "kind": "a", "on": True})
    assert where.check({"fast": 1, "slow": 3, "stop": 0.0, "kind": "a", "on": True})


def test_fixed_values_can_be_named() -> None:
    where = Where.compile(["fast < limit"], SPACE, {"limit": 3})
    rows = SPACE.grid_rows(0, SPACE.cardinality() or 0)
    assert where.mask(SPACE, rows).tolist() == (rows[:, 0] < 3).tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fst < slow", "unknown parameter 'fst', did you mean 'fast'"),
        ("__import__('os').system('x')", "is not allowed"),
        ("fast.real < 3", "is not allowed"),
        ("[x for x in (1,)]", "is not allowed"),
        ("fast ** 999999 > 1", "is not allowed"),
        ("lambda: 1", "is not allowed"),
        ("fast if slow else 1", "is not allowed"),
        ("fast in (1, 2)", "is not allowed"),
        ("fast is slow", "is not allowed"),
        ("(fast := 3) < 4", "is not allowed"),
        ("fast", "this is a number, expected a condition"),
        ("fast and slow", "is a number, expected a condition"),
        ("kind < 'b'", "only be compared by == and !="),
        ("kind == 1", "a text is compared with a number"),
        ("fast <", "at character"),
        ("", "where"),
        ("(" * 5000, "where"),
        ("-" * 500 + "1 > 0", "where"),
        ("fast < 1\0", "where"),
        ("x" * 5000, "characters, at most"),
        (f"fast < {'9' * 400}", "too large"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    with pytest.raises(AkqUsageError, match=message.replace("(", r"\(")):
        Where.compile([text], SPACE)


@settings(max_examples=200)
@given(st.text(alphabet="fastslow<>=()+-*/%'\" 0123456789.andornt\\[]{}:,", max_size=40))
def test_no_text_escapes_as_another_error(text: str) -> None:
    with suppress(AkqUsageError):
        Where.compile([text], SPACE).mask(SPACE, SPACE.grid_rows(0, 5))


def test_conditions_survive_pickling() -> None:
    where = Where.compile(["fast < slow"], SPACE)
    again: Any = pickle.loads(pickle.dumps(where))
    rows = SPACE.grid_rows(0, 100)
    assert again == where
    assert again.mask(SPACE, rows).tolist() == where.mask(SPACE, rows).tolist()
