"""The batch TPE: densities beside a plain sum of kernels, suggestions, and what bounds its cost."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from akq_dist.search.parzen import Axis, Parzen
from akq_dist.search.tpe import Seen, TpeSettings, spread, suggest

AXES = [
    Axis(-2.0, 3.0),
    Axis(1e-4, 1.0, log=True),
    Axis(0.0, 6.0, step=1.0),
    Axis(0.0, 5000.0, step=1.0),
    Axis(1.0, 300.0, step=1.0, log=True),
    Axis(n_choices=4),
]


def seen_of(points: Any, losses: Any, **changed: Any) -> Seen:
    n = len(points)
    held = {"violations": np.zeros(n), "running": np.zeros(n, dtype=bool)}
    return Seen(np.asarray(points, dtype=float), np.asarray(losses, dtype=float), **{**held, **changed})


def normal_mass(low: float, high: float) -> float:
    if low > 0:
        low, high = -high, -low
    return 0.5 * (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2)))


def plain_density(axes: list[Axis], centres: Any, weights: Any, point: Any) -> float:
    """The mass of the cell around a point, or the density where there are no steps: one kernel after another."""
    n = len(centres) + 1
    narrowest = 1.0 / min(100.0, 1.0 + n)
    total = 0.0
    for k in range(n):
        product = (weights[k] if k < n - 1 else 1.0) / (sum(weights) + 1.0)
        for ix, axis in enumerate(axes):
            if axis.n_choices:
                hit = k < n - 1 and centres[k][ix] == point[ix]
                product *= (hit + 1.0 / n) / ((k < n - 1) + axis.n_choices / n)
                continue
            units = sorted(axis.to_unit(np.array([c[ix] for c in centres])).tolist())
            mu, sigma = 0.5, 1.0
            if k < n - 1:
                mu = float(axis.to_unit(np.array([centres[k][ix]]))[0])
                at = units.index(mu)
                gaps = [abs(units[j] - mu) for j in (at - 1, at + 1) if 0 <= j < len(units)]
                sigma = min(max([*gaps, narrowest]), 1.0)
            inside = normal_mass(-mu / sigma, (1 - mu) / sigma)
            if axis.step:
                low, high = (float(edge[0]) for edge in axis.cells(np.array([point[ix]])))
                product *= normal_mass((low - mu) / sigma, (high - mu) / sigma) / inside
            else:
                z = (float(axis.to_unit(np.array([point[ix]]))[0]) - mu) / sigma
                product *= math.exp(-0.5 * z * z) / sigma / inside
        total += product
    return total


@pytest.mark.parametrize("seed", range(6))
def test_densities_are_sums_of_kernels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pick = random.Random(seed)
    axes = pick.sample(AXES, pick.randint(1, len(AXES)))
    # Distinct numbers, so that a plain search finds the neighbours of each.
    centres = spread(axes, 5, rng)
    numbers = [ix for ix, axis in enumerate(axes) if not axis.n_choices]
    while any(len(set(centres[:, ix].tolist())) < 5 for ix in numbers):
        centres = spread(axes, 5, rng)
    weights = rng.random(5)
    points = spread(axes, 40, rng)
    found = Parzen(axes, centres, weights).log_density(points)
    wanted = np.log([plain_density(axes, centres.tolist(), weights.tolist(), p) for p in points.tolist()])
    # Narrow cells are taken as a density: up to a constant that is the same for every point.
    assert np.ptp(found - wanted) < 2e-2, (seed, axes)


def test_samples_have_the_density_they_come_from() -> None:
    axes = [Axis(0.0, 9.0, step=1.0), Axis(n_choices=3)]
    estimate = Parzen(axes, np.array([[2.0, 1.0], [7.0, 0.0], [8.0, 0.0]]), np.array([1.0, 0.5, 0.5]))
    cells = np.array([[value, choice] for value in range(10) for choice in range(3)], dtype=float)
    mass = np.exp(estimate.log_density(cells))
    assert mass.sum() == pytest.approx(1.0, abs=1e-5)
    n = 40_000
    drawn = estimate.sample(np.random.default_rng(3), n)
    counts = np.array([(drawn == cell).all(axis=1).sum() for cell in cells])
    assert counts.sum() == n, "every sample is on a step and a choice"
    # Five standard deviations of each count.
    assert (np.abs(counts - n * mass) < 5 * np.sqrt(n * mass) + 1).all()


@pytest.mark.parametrize("n", [1, 7, 16])
def test_suggestions_are_allowed_values_and_depend_on_the_arguments_alone(n: int) -> None:
    rng = np.random.default_rng(5)
    points = spread(AXES, 60, rng)
    seen = seen_of(points, (points[:, 0] - 1) ** 2)
    first, second = (suggest(AXES, seen, n, np.random.default_rng(9)) for _ in range(2))
    assert first.tobytes() == second.tobytes()
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
    found = suggest(axes, seen_of(points, losses), 16, rng)
    assert np.median(np.abs(found - 0.7)) < 0.1
    assert len(np.unique(found, axis=0)) == 16


def test_a_known_point_is_left_alone_while_there_are_others() -> None:
    axes = [Axis(0.0, 19.0, step=1.0), Axis(n_choices=2)]
    grid = np.array([[value, choice] for value in range(20) for choice in range(2)], dtype=float)
    known = np.delete(grid, [3, 17, 30], axis=0)
    running = np.zeros(len(known), dtype=bool)
    running[:5] = True
    losses = np.where(running, np.nan, known[:, 0])
    found = suggest(axes, seen_of(known, losses, running=running), 1, np.random.default_rng(2))
    assert found[0].tolist() in grid[[3, 17, 30]].tolist()


def test_broken_constraints_and_running_points_are_not_good_whatever_their_value() -> None:
    rng = np.random.default_rng(4)
    points = rng.random((400, 1))
    # The best values are in the lower half, where the constraint is broken.
    seen = seen_of(points, points[:, 0], violations=np.where(points[:, 0] < 0.5, 1.0, 0.0))
    found = suggest([Axis(0.0, 1.0)], seen, 32, rng)
    assert (found > 0.45).mean() > 0.8, found
    seen = seen_of(points, np.where(points[:, 0] < 0.5, np.nan, points[:, 0]), running=points[:, 0] < 0.5)
    found = suggest([Axis(0.0, 1.0)], seen, 32, rng)
    assert (found > 0.45).mean() > 0.8, found


def test_the_first_points_fill_every_axis() -> None:
    found = suggest(
        [Axis(0.0, 1.0), Axis(n_choices=4)], seen_of(np.empty((0, 2)), []), 16, np.random.default_rng(0)
    )
    assert sorted((found[:, 0] * 16).astype(int).tolist()) == list(range(16))
    assert np.bincount(found[:, 1].astype(int)).tolist() == [4] * 4
    assert suggest([Axis(2.0, 2.0)], seen_of(np.empty((0, 1)), []), 2, np.random.default_rng(0)).tolist() == [
        [2.0],
        [2.0],
    ]


def test_more_startup_points_than_have_ended_are_spread() -> None:
    points = np.full((30, 1), 0.5)
    seen = seen_of(points, np.zeros(30))
    found = suggest([Axis(0.0, 1.0)], seen, 10, np.random.default_rng(0), TpeSettings(n_startup=31))
    assert sorted((found[:, 0] * 10).astype(int).tolist()) == list(range(10))
