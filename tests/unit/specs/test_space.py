"""Spaces: parsing, the numbers of a row, the grid, and the map from the unit cube."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akq_dist.errors import AkqUsageError
from akq_dist.specs import Space

SPACE = Space.from_mapping(
    {
        "fast": {"int": [2, 60]},
        "slow": {"int": [20, 250], "step": 5},
        "stop": {"float": [0.1, 0.5], "step": 0.1},
        "kind": {"choice": ["a", "b", True, 2.5]},
    }
)
CONTINUOUS = Space.from_mapping({"x": {"float": [-1.0, 1.0]}, "y": {"float": [0.01, 0.2], "log": True}})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"fast": {"int": [60, 2]}}, "space.fast: low 60 is above high 2"),
        ({"fast": [60, 2]}, r"write \{int: \[2, 60\]\} or \{choice: \[60, 2\]\}"),
        ({"fast": 5}, "a fixed value goes under params"),
        ({"fast": {"int": [1.5, 3]}}, "expected a whole number"),
        ({"fast": {"int": [1, 2, 3]}}, r"expected \[low, high\]"),
        ({"fast": {"int": [True, 3]}}, "expected a number"),
        ({"fast": {"float": [0, 1], "log": True}}, "log: true needs"),
        ({"fast": {"int": [0, 9], "log": True}}, "log: true needs"),
        ({"fast": {"float": [1, 2], "log": True, "step": 0.1}}, "cannot be combined"),
        ({"fast": {"float": [1, float("inf")]}}, "expected a number"),
        ({"fast": {"float": [1, 2], "step": 0}}, "above 0"),
        ({"fast": {"int": [1, 2], "step": 0.5}}, "at least 1"),
        ({"fast": {"choice": []}}, "at least one value"),
        ({"fast": {"choice": [1, 1.0]}}, "has a value twice"),
        ({"fast": {"choice": [None]}}, "expected a number, text, true or false"),
        ({"fast": {"int": [1, 2], "float": [1, 2]}}, "exactly one of"),
        ({"fast": {"itn": [1, 2]}}, "unknown key 'itn', did you mean 'int'"),
        ({"fast": {"int": [1, 2], "when": "fast > 1"}}, "when: .*unknown parameter 'fast'"),
        ({"fast": {"int": [1, 2], "when": 3}}, "expected a condition"),
        ({"fast": {"int": [1, 2], "else": 1}}, "has else without when"),
        ({"close": {"int": [1, 2]}}, "the name of a series"),
        ({"a-b": {"int": [1, 2]}}, "is not a name"),
    ],
)
def test_a_mistake_in_a_space_names_the_parameter_and_the_remedy(
    written: dict[str, Any], message: str
) -> None:
    with pytest.raises(AkqUsageError, match=message) as caught:
        Space.from_mapping(written)
    assert f"space.{next(iter(written))}" in str(caught.value)


def test_every_bad_parameter_is_reported_at_once() -> None:
    with pytest.raises(AkqUsageError) as caught:
        Space.from_mapping({"a": {"int": [2, 1]}, "b": 3})
    assert "space.a" in str(caught.value)
    assert "space.b" in str(caught.value)


def test_the_number_of_points_is_exact() -> None:
    assert SPACE.cardinality() == 59 * 47 * 5 * 4
    assert CONTINUOUS.cardinality() is None
    assert Space.from_mapping({"x": {"float": [1, 1]}}).cardinality() == 1
    assert Space().cardinality() == 1


def test_the_grid_is_complete_distinct_and_the_last_parameter_is_fastest() -> None:
    space = Space.from_mapping({"a": {"int": [1, 2]}, "b": {"choice": ["x", "y", "z"]}})
    points = [space.decode(space.grid_point(i)) for i in range(6)]
    assert points == [{"a": a, "b": b} for a in (1, 2) for b in "xyz"]


def test_decimal_steps_give_decimal_values() -> None:
    values = [SPACE["stop"].value_at(i) for i in range(5)]
    assert values == [0.1, 0.2, 0.3, 0.4, 0.5]


@given(st.integers(0, 59 * 47 * 5 * 4 - 50), st.integers(0, 50))
def test_a_block_of_the_grid_is_its_points_one_by_one(start: int, length: int) -> None:
    block = SPACE.grid_rows(start, start + length)
    alone = [SPACE.grid_point(i) for i in range(start, start + length)]
    assert block.tolist() == [row.tolist() for row in alone]


def test_a_grid_over_a_continuum_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(AkqUsageError, match=r"space\.x has no steps.*give step or choice"):
        CONTINUOUS.grid_point(0)


@given(st.lists(st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4), min_size=1, max_size=20))
def test_the_unit_cube_maps_into_the_space(points: list[list[float]]) -> None:
    rows = SPACE.unit_to_rows(np.array(points))
    for row in rows:
        params = SPACE.decode(row)
        assert SPACE.encode(params).tolist() == row.tolist()


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_continuum_stays_inside_its_bounds(u: float, v: float) -> None:
    x, y = CONTINUOUS.unit_to_rows(np.array([[u, v]]))[0]
    assert -1.0 <= x <= 1.0
    assert 0.01 <= y <= 0.2


def test_every_value_of_a_stepped_parameter_has_an_equal_share() -> None:
    space = Space.from_mapping({"n": {"int": [3, 12], "step": 3}, "m": {"int": [1, 1000], "log": True}})
    u = (np.arange(40_000) + 0.5) / 40_000
    rows = space.unit_to_rows(np.column_stack([u, u]))
    assert np.unique(rows[:, 0], return_counts=True)[1].tolist() == [10_000] * 4
    assert rows[:, 1].min() == 1
    assert rows[:, 1].max() == 1000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fast": 1}, r"fast: 1 is outside \[2, 60\]"),
        ({"fast": 2.5}, "fast: found 2.5, expected a whole number"),
        ({"fast": "x"}, "fast: found 'x'"),
        ({"fast": True}, "fast: found true"),
        ({"fast": float("nan")}, "fast: found nan"),
        ({"slow": 21}, "slow: 21 is not on the steps of 5 from 20"),
        ({"kind": "c"}, "kind: found 'c', expected one of 'a', 'b', True, 2.5"),
        ({"kind": 1}, "kind: found 1"),
        ({"fats": 1}, "unknown parameter 'fats', did you mean 'fast'"),
    ],
)
def test_a_bad_value_names_the_parameter(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"fast": 10, "slow": 50, "stop": 0.3, "kind": "a"}
    assert SPACE.decode(SPACE.encode(good)) == good
    with pytest.raises(AkqUsageError, match=message):
        SPACE.encode({**good, **changed})
    with pytest.raises(AkqUsageError, match="no value for the parameter stop"):
        SPACE.encode({name: value for name, value in good.items() if name != "stop"})


def test_a_value_a_few_bits_off_its_step_is_put_back_on_it() -> None:
    row = SPACE.encode({"fast": 10.0, "slow": 50, "stop": 0.1 + 0.2, "kind": True})
    assert SPACE.decode(row) == {"fast": 10, "slow": 50, "stop": 0.3, "kind": True}


def test_rules_get_the_values_of_choices_and_refuse_text() -> None:
    space = Space.from_mapping({"n": {"choice": [5, 10.5, True]}, "m": {"int": [1, 3]}})
    rows = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])
    assert space.rule_values(rows).tolist() == [[5.0, 1.0], [10.5, 2.0], [1.0, 3.0]]
    assert space.rule_values(rows[1]).tolist() == [10.5, 2.0]
    with pytest.raises(AkqUsageError, match=r"space\.kind: rules need numbers"):
        SPACE.rule_values(SPACE.grid_point(0))


def test_a_space_survives_pickling_and_its_written_form() -> None:
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    again = Space.from_mapping(SPACE.to_mapping())
    assert again == SPACE
    assert again.content_hash() == SPACE.content_hash()


def test_the_hash_of_a_space_depends_on_bounds_and_order() -> None:
    a, b = {"int": [1, 2]}, {"int": [1, 3]}
    hashes = {
        Space.from_mapping(m).content_hash() for m in ({"a": a, "b": b}, {"b": b, "a": a}, {"a": b, "b": b})
    }
    assert len(hashes) == 3
