"""The batch TPE: suggestions, and what bounds their cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akq_dist.search.tpe import Axis, Seen, TpeSettings, suggest

AXES = [
    Axis(-2.0, 3.0),
    Axis(1e-4, 1.0, log=True),
    Axis(0.0, 6.0, step=1.0),
    Axis(0.0, 5000.0, step=1.0),
    Axis(1.0, 300.0, step=1.0, log=True),
    Axis(n_choices=4),
]


def seen_of(points: Any, losses: Any, *, violations: Any = None, running: Any = None) -> Seen:
    points = np.asarray(points, dtype=float)
    seen = Seen(points.shape[1])
    for ix, point in enumerate(points):
        row = seen.add(point)
        if running is None or not running[ix]:
            seen.complete(row, losses[ix], 0.0 if violations is None else violations[ix])
    return seen


def some_points(n: int) -> Any:
    return suggest(AXES, Seen(len(AXES)), n, 7)


@pytest.mark.parametrize("n", [1, 7, 16])
def test_suggestions_are_allowed_values_and_depend_on_the_arguments_alone(n: int) -> None:
    points = some_points(60)
    seen = seen_of(points, (points[:, 0] - 1) ** 2)
    first, second, other = (suggest(AXES, seen, n, seed) for seed in (9, 9, 10))
    assert first.tobytes() == second.tobytes() != other.tobytes()
    assert first.shape == (n, len(AXES))
    for ix, axis in enumerate(AXES):
        top = axis.n_choices - 1 if axis.n_choices else axis.high
        assert (first[:, ix] >= axis.low).all()
        assert (first[:, ix] <= top).all()
        if axis.step or axis.n_choices:
            assert (first[:, ix] == np.round(first[:, ix])).all()


def test_suggestions_gather_where_the_good_points_are_without_meeting() -> None:
    rng = np.random.default_rng(1)
    axes = [Axis(0.0, 1.0), Axis(0.0, 1.0)]
    points = rng.random((200, 2))
    losses = ((points - 0.7) ** 2).sum(axis=1)
    found = suggest(axes, seen_of(points, losses), 16, 3)
    assert np.median(np.abs(found - 0.7)) < 0.1
    assert len(np.unique(found, axis=0)) == 16


def test_a_known_point_is_left_alone_while_there_are_others() -> None:
    axes = [Axis(0.0, 19.0, step=1.0), Axis(n_choices=2)]
    grid = np.array([[value, choice] for value in range(20) for choice in range(2)], dtype=float)
    known = np.delete(grid, [3, 17, 30], axis=0)
    running = np.zeros(len(known), dtype=bool)
    running[:5] = True
    losses = known[:, 0]
    found = suggest(axes, seen_of(known, losses, running=running), 1, 2)
    assert found[0].tolist() in grid[[3, 17, 30]].tolist()


def test_broken_constraints_and_running_points_are_not_good_whatever_their_value() -> None:
    rng = np.random.default_rng(4)
    points = rng.random((400, 1))
    # The best values are in the lower half, where the constraint is broken.
    seen = seen_of(points, points[:, 0], violations=np.where(points[:, 0] < 0.5, 1.0, 0.0))
    found = suggest([Axis(0.0, 1.0)], seen, 32, 3)
    assert (found > 0.45).mean() > 0.8, found
    seen = seen_of(points, points[:, 0], running=points[:, 0] < 0.5)
    found = suggest([Axis(0.0, 1.0)], seen, 32, 3)
    assert (found > 0.45).mean() > 0.8, found


def test_the_first_points_fill_every_axis() -> None:
    found = suggest([Axis(0.0, 1.0), Axis(n_choices=4)], Seen(2), 16, 0)
    assert sorted((found[:, 0] * 16).astype(int).tolist()) == list(range(16))
    assert np.bincount(found[:, 1].astype(int)).tolist() == [4] * 4
    assert suggest([Axis(2.0, 2.0)], Seen(1), 2, 0).tolist() == [
        [2.0],
        [2.0],
    ]


def test_more_startup_points_than_have_ended_are_spread() -> None:
    points = np.full((30, 1), 0.5)
    seen = seen_of(points, np.zeros(30))
    found = suggest([Axis(0.0, 1.0)], seen, 10, 0, TpeSettings(n_startup=31))
    assert sorted((found[:, 0] * 10).astype(int).tolist()) == list(range(10))


def test_of_points_that_were_stopped_those_that_came_the_furthest_are_good() -> None:
    rng = np.random.default_rng(6)
    points = rng.random((300, 1))
    seen = Seen(1)
    for x in points[:, 0].tolist():
        row = seen.add(np.array([x]))
        # The lower half was stopped at once with the best values, the upper one later; nearest to 0.8 is best there.
        seen.stop(row, 1.0 if x < 0.5 else 5.0, x - 9.0 if x < 0.5 else abs(x - 0.8), 0.0)
    found = suggest([Axis(0.0, 1.0)], seen, 32, 3)
    assert np.median(np.abs(found - 0.8)) < 0.1, found


def test_a_group_is_the_same_as_its_points_asked_with_each_one_running() -> None:
    """A suggestion joins the other points of the fit: the density is that of a fit from the beginning."""
    points = some_points(150)
    losses = (points[:, 0] - 1) ** 2
    together = suggest(AXES, seen_of(points, losses), 2, 11)
    first = suggest(AXES, seen_of(points, losses), 1, 11)
    assert together[0].tobytes() == first[0].tobytes()
    # Points that all have been proposed push the next one away from where they are.
    crowd = np.repeat(first, 30, axis=0)
    apart = suggest(
        AXES,
        seen_of(
            np.concatenate([points, crowd]), [*losses, *[0.0] * 30], running=[*[False] * 150, *[True] * 30]
        ),
        16,
        11,
    )
    near = np.abs(apart[:, 0] - first[0, 0]) < 0.1
    alone = np.abs(suggest(AXES, seen_of(points, losses), 16, 11)[:, 0] - first[0, 0]) < 0.1
    assert near.sum() < alone.sum()


def test_columns_grow_and_leave_out_what_failed() -> None:
    seen = Seen(2)
    for ix in range(200):
        row = seen.add(np.array([ix, -ix]))
        if ix % 3 == 0:
            seen.leave_out(row)
        elif ix % 3 == 1:
            seen.complete(row, float(ix), 0.5)
    points, losses, depths, violations, running = seen.columns()
    assert points.tolist() == [[ix, -ix] for ix in range(200) if ix % 3]
    assert running.tolist() == [ix % 3 == 2 for ix in range(200) if ix % 3]
    ended = ~running
    assert losses[ended].tolist() == [ix for ix in range(200) if ix % 3 == 1]
    assert (depths[ended] == np.inf).all()
    assert (violations[ended] == 0.5).all()
    seen.cut(3)
    assert len(seen) == 3
    assert seen.columns()[0].tolist() == [[1, -1], [2, -2]]
