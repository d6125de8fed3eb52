"""Points: splitting, skipping and filtering never change which point has which number."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.search.best import front
from akq_dist.search.points import FilteredPoints, GridCandidates, RandomCandidates, count_points
from akq_dist.specs import Space, Where


@st.composite
def ints(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(-20, 20))
    return {"int": [low, low + draw(st.integers(0, 9))], "step": draw(st.integers(1, 3))}


@st.composite
def floats(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(0, 50)) / 10
    return {
        "float": [low, low + draw(st.integers(0, 10)) / 10],
        "step": draw(st.sampled_from([0.1, 0.25, 0.3])),
    }


choices = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True).map(
    lambda values: {"choice": values}
)
spaces = st.lists(st.one_of(ints(), floats(), choices), min_size=1, max_size=4).map(
    lambda params: Space.from_mapping(dict(zip("abcd", params, strict=False)))
)
conditions = st.sampled_from([(), ("a >= 1",), ("a * 3 < 20",), ("a != 0",)])


@settings(deadline=None, max_examples=150)
@given(
    space=spaces, texts=conditions, cuts=st.lists(st.integers(0, 40), max_size=12), skip=st.integers(0, 60)
)
def test_a_grid_read_in_any_pieces_is_the_filtered_product(
    space: Space, texts: tuple[str, ...], cuts: list[int], skip: int
) -> None:
    where = Where.compile(texts, space)
    total = space.cardinality() or 0
    everything = np.array([space.grid_point(i) for i in range(min(total, 3000))])
    expected = everything[where.mask(space, everything)]
    if total > 3000 or not len(expected):
        return
    assert count_points(space, where) == len(expected)
    points = FilteredPoints(GridCandidates(space), space, where)
    parts = [points.take(n) for n in cuts]
    parts.append(points.take(len(expected) + 1))
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert len({row.tobytes() for row in expected}) == len(expected)
    later = FilteredPoints(GridCandidates(space), space, where)
    later.skip_to(skip)
    np.testing.assert_array_equal(later.take(len(expected)), expected[skip:])


@settings(deadline=None, max_examples=150)
@given(
    space=spaces,
    seed=st.integers(0, 2**63 - 1),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    start=st.integers(0, 10**12),
)
def test_random_points_are_a_function_of_seed_and_number(
    space: Space, seed: int, cuts: list[int], start: int
) -> None:
    candidates = RandomCandidates(space, seed)
    whole = candidates.rows(start, start + sum(cuts))
    at = start
    for n in cuts:
        np.testing.assert_array_equal(candidates.rows(at, at + n), whole[at - start : at - start + n])
        at += n
    for row in whole[:20]:
        np.testing.assert_array_equal(space.encode(space.decode(row)), row)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
    st.integers(1, 3),
)
def test_a_front_is_exactly_what_nothing_dominates(rows: list[tuple[int, int, int]], n_values: int) -> None:
    values = np.array(rows, dtype=np.float64)[:, :n_values]
    numbers = np.arange(len(rows))

    def beats(a: int, b: int) -> bool:
        no_worse = bool((values[a] <= values[b]).all())
        return no_worse and (bool((values[a] < values[b]).any()) or a < b)

    expected = {b for b in range(len(rows)) if not any(beats(a, b) for a in range(len(rows)) if a != b)}
    if n_values == 1:
        expected = {min(expected)}
    assert set(front(values, numbers).tolist()) == expected
