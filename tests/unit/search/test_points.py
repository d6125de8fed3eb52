"""Points that depend on no result: the same numbers however they are asked for, filtered before."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.search.points import (
    FilteredPoints,
    GridCandidates,
    RandomCandidates,
    SobolCandidates,
    count_points,
    grid_candidates,
)
from akq_dist.search.samplers import check_options, find_sampler
from akq_dist.specs import Space, Where

if TYPE_CHECKING:
    from collections.abc import Callable

    from akq_dist.search.points import Candidates

SPACE = Space.from_mapping(
    {"a": {"int": [1, 6]}, "b": {"float": [0.0, 1.0], "step": 0.25}, "c": {"choice": ["x", "y"]}}
)
ENDLESS = Space.from_mapping(
    {
        "a": {"int": [1, 100], "log": True},
        "b": {"float": [0.5, 2.0]},
        "c": {"choice": [1, 2, 3]},
        "d": {"int": [0, 9]},
        "e": {"float": [1, 9]},
    }
)


def everywhere(space: Space) -> Where:
    return Where.compile((), space)


def test_the_grid_has_every_combination_once_the_last_parameter_fastest() -> None:
    rows = FilteredPoints(GridCandidates(SPACE), SPACE, everywhere(SPACE)).take(1000)
    assert [tuple(row) for row in rows] == list(product(range(1, 7), (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 1.0)))


def test_where_filters_before_numbering_and_the_count_is_exact() -> None:
    where = Where.compile(["a > 3", "b < 0.6"], SPACE)
    points = FilteredPoints(GridCandidates(SPACE), SPACE, where)
    rows = points.take(1000)
    assert len(rows) == count_points(SPACE, where) == 3 * 3 * 2
    assert (rows[:, 0] > 3).all()
    assert not len(points.take(5)), "the sequence has ended"


@pytest.mark.parametrize("make", [lambda: RandomCandidates(ENDLESS, 7), lambda: SobolCandidates(ENDLESS, 7)])
@pytest.mark.parametrize("cuts", [[1000], [1, 2, 3, 994], [333, 333, 334], [999, 1]])
def test_points_do_not_depend_on_the_blocks_they_are_asked_in(
    make: Callable[[], Candidates], cuts: list[int]
) -> None:
    where = Where.compile(["a * b < 60"], ENDLESS)
    whole = FilteredPoints(make(), ENDLESS, where).take(1000)
    points = FilteredPoints(make(), ENDLESS, where)
    parts = np.concatenate([points.take(n) for n in cuts])
    np.testing.assert_array_equal(parts, whole)
    resumed = FilteredPoints(make(), ENDLESS, where)
    resumed.skip_to(617)
    np.testing.assert_array_equal(resumed.take(383), whole[617:])


def test_a_random_point_is_a_function_of_seed_and_number() -> None:
    candidates = RandomCandidates(ENDLESS, 7)
    rows = candidates.rows(0, 50)
    np.testing.assert_array_equal(candidates.rows(31, 32)[0], rows[31])
    assert not np.array_equal(RandomCandidates(ENDLESS, 8).rows(0, 50), rows)
    assert len({row.tobytes() for row in candidates.rows(0, 5000)}) == 5000


def test_random_points_are_uniform() -> None:
    space = Space.from_mapping({"a": {"int": [0, 9]}, "b": {"float": [-1.0, 1.0]}})
    rows = RandomCandidates(space, 3).rows(0, 20_000)
    counts = np.bincount(rows[:, 0].astype(int), minlength=10)
    assert counts.min() > 1800
    assert counts.max() < 2200
    assert abs(rows[:, 1].mean()) < 0.02
    assert abs(np.asarray(np.corrcoef(rows.T))[0, 1]) < 0.03


def test_points_to_skip_are_left_out() -> None:
    skip = [SPACE.encode({"a": 1, "b": 0.25, "c": "y"}), SPACE.encode({"a": 6, "b": 1.0, "c": "y"})]
    rows = FilteredPoints(GridCandidates(SPACE), SPACE, everywhere(SPACE), skip=skip).take(1000)
    assert len(rows) == 58
    assert not {row.tobytes() for row in rows} & {row.tobytes() for row in skip}


def test_a_conditional_grid_has_each_different_point_once() -> None:
    space = Space.from_mapping(
        {
            "kind": {"choice": ["none", "stop", "trail"]},
            "stop": {"int": [1, 5], "when": "kind != 'none'", "else": 3},
            "step": {"int": [1, 4], "when": "kind == 'trail' and stop > 2"},
        }
    )
    # none; stop with 5 values; trail with stop 1 or 2, and with 3 stops of 4 steps each.
    expected = 1 + 5 + 2 + 3 * 4
    rows = FilteredPoints(GridCandidates(space), space, everywhere(space)).take(1000)
    assert len(rows) == count_points(space, everywhere(space)) == expected
    assert len({row.tobytes() for row in rows}) == expected
    np.testing.assert_array_equal(space.canonical(rows), rows)
    assert [space.decode(row)["stop"] for row in rows if row[0] == 0.0] == [3]


def test_fixed_values_leave_a_smaller_grid() -> None:
    fixed = {"b": 0.5}
    rows = FilteredPoints(grid_candidates(SPACE, fixed), SPACE, everywhere(SPACE)).take(1000)
    assert [tuple(row) for row in rows] == list(product(range(1, 7), (0.5,), (0.0, 1.0)))
    assert count_points(SPACE, everywhere(SPACE), fixed=fixed) == 12
    assert count_points(ENDLESS, everywhere(ENDLESS), fixed={"b": 1.0, "e": 2.0}) == 100 * 3 * 10


def test_conditions_that_nothing_meets_are_named() -> None:
    with pytest.raises(AkqUsageError, match=r"none of the 60 points of the space meets 'a > 9' and 'b < 2'"):
        count_points(SPACE, Where.compile(["a > 9", "b < 2"], SPACE))
    never = Where.compile(["b > 100"], ENDLESS)
    with pytest.raises(AkqUsageError, match="points in a row meets 'b > 100'"):
        FilteredPoints(RandomCandidates(ENDLESS, 1), ENDLESS, never).take(1)


def test_a_grid_over_a_continuum_names_the_parameter() -> None:
    with pytest.raises(AkqUsageError, match=r"space\.b"):
        GridCandidates(ENDLESS)


def test_spaces_too_large_to_look_at_are_not_counted() -> None:
    large = Space.from_mapping({name: {"int": [1, 1000]} for name in "abcd"})
    assert count_points(large, Where.compile(["a < b"], large)) is None
    assert count_points(large, everywhere(large)) == 1000**4
    assert count_points(ENDLESS, everywhere(ENDLESS)) is None


def test_a_grid_is_lazy() -> None:
    large = Space.from_mapping({name: {"int": [1, 1_000_000]} for name in "abcd"})
    rows = FilteredPoints(GridCandidates(large), large, Where.compile(["d > 5000"], large)).take(3)
    assert rows.tolist() == [[1, 1, 1, 5001], [1, 1, 1, 5002], [1, 1, 1, 5003]]


def test_unknown_samplers_and_options_name_the_nearest() -> None:
    with pytest.raises(AkqUsageError, match="did you mean 'random'"):
        find_sampler("randon")
    with pytest.raises(
        AkqUsageError, match=r"search\.sampler_options\.n_startup_trails: .*did you mean 'n_startup_trials'"
    ):
        check_options("tpe", {"n_startup_trails": 5})
    with pytest.raises(AkqUsageError, match="expected a whole number"):
        check_options("tpe", {"n_startup_trials": "5"})
    with pytest.raises(AkqUsageError, match="expected true or false"):
        check_options("qmc", {"scramble": 1})
    with pytest.raises(AkqUsageError, match="grid has none"):
        check_options("grid", {"x": 1})
    with pytest.raises(AkqUsageError, match="unknown option of tpe"):
        check_options("tpe", {"multivariate": False})
    assert check_options("optuna_tpe", {"window": 500, "multivariate": False}) == {
        "window": 500,
        "multivariate": False,
    }
