"""The densities of the engine beside a plain formula: one kernel after another, with SciPy's normal distribution."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp, ndtr
from scipy.stats import norm

from akq_dist._core import Parzen
from akq_dist.errors import AkqUsageError
from akq_dist.search.tpe import Axis

AXES = [
    Axis(-2.0, 3.0),
    Axis(1e-4, 1.0, log=True),
    Axis(0.0, 6.0, step=1.0),
    Axis(0.25, 1.5, step=0.25),
    Axis(0.0, 350.0, step=1.0),
    Axis(0.0, 5000.0, step=1.0),
    Axis(1.0, 300.0, step=1.0, log=True),
    Axis(n_choices=4),
    Axis(n_choices=1),
]
FINE = 1 / 400
"""Cells that are at most this wide are taken as a density."""


def some_points(axes: list[Axis], n: int, rng: np.random.Generator) -> Any:
    columns = []
    for axis in axes:
        if axis.n_choices:
            columns.append(rng.integers(0, axis.n_choices, n).astype(float))
        elif axis.step:
            n_steps = round((axis.high - axis.low) / axis.step)
            columns.append(axis.low + axis.step * rng.integers(0, n_steps + 1, n))
        else:
            columns.append(
                np.exp(rng.uniform(np.log(axis.low), np.log(axis.high), n))
                if axis.log
                else rng.uniform(axis.low, axis.high, n)
            )
    return np.column_stack(columns)


def to_unit(axis: Axis, value: float) -> float:
    scale = math.log if axis.log else float
    first, last = scale(axis.low - axis.step / 2), scale(axis.high + axis.step / 2)
    return (scale(value) - first) / (last - first)


def weights_of(n: int) -> list[float]:
    """Of the wide kernel and the points; a ramp for all but the latest 25."""
    return [1.0, *np.linspace(1 / max(n, 1), 1.0, max(0, n - 25)), *[1.0] * min(n, 25)]


def width_of(ix: int, units: list[float], narrowest: float) -> float:
    """The larger gap to the neighbours of a centre; of equal ones the earlier stands before the later."""
    if len(units) == 1:
        gap = max(units[0], 1 - units[0])
    else:
        order = sorted(range(len(units)), key=lambda i: units[i])
        place = order.index(ix)
        gap = max(abs(units[order[j]] - units[ix]) for j in (place - 1, place + 1) if 0 <= j < len(order))
    return min(max(gap, narrowest), 1.0)


def ln_mass(low: float, high: float) -> float:
    if low > 0:
        low, high = -high, -low
    if high < -5:
        upper, lower = norm.logcdf(high), norm.logcdf(low)
        return float(upper + math.log1p(-math.exp(lower - upper)))
    return math.log(ndtr(high) - ndtr(low))


def ln_factor(axis: Axis, centre: float, width: float, value: float) -> float:
    inside = ln_mass(-centre / width, (1 - centre) / width)
    first, last = (to_unit(axis, value + side * axis.step / 2) for side in (-1, 1))
    widest = to_unit(axis, axis.low + axis.step / 2) - to_unit(axis, axis.low - axis.step / 2)
    if widest <= FINE:
        return float(norm.logpdf(to_unit(axis, value), centre, width)) - inside
    if last - first <= FINE:
        return float(norm.logpdf((first + last) / 2, centre, width)) + math.log(last - first) - inside
    return ln_mass((first - centre) / width, (last - centre) / width) - inside


def plain_ln_density(axes: list[Axis], centres: Any, points: Any) -> Any:
    n = len(centres)
    weights = np.array(weights_of(n))
    narrowest = 1 / min(100, 2 + n)
    logs = np.zeros((len(points), n + 1))
    for ix, axis in enumerate(axes):
        units = [] if axis.n_choices else [to_unit(axis, c) for c in centres[:, ix]]
        for k in range(n + 1):
            for row, value in enumerate(points[:, ix]):
                if axis.n_choices:
                    share = 1 / (n + 1)
                    hit = k > 0 and centres[k - 1, ix] == value
                    logs[row, k] += math.log((hit + share) / ((k > 0) + axis.n_choices * share))
                else:
                    centre, width = (units[k - 1], width_of(k - 1, units, narrowest)) if k else (0.5, 1.0)
                    logs[row, k] += ln_factor(axis, centre, width, value)
    return logsumexp(logs, axis=1, b=weights / weights.sum())


@pytest.mark.parametrize("seed", range(10))
def test_densities_are_sums_of_kernels(seed: int) -> None:
    rng, pick = np.random.default_rng(seed), random.Random(seed)
    axes = pick.sample(AXES, pick.randint(1, 5))
    n = pick.choice([0, 1, 2, 7, 40])
    centres, points = some_points(axes, n, rng), some_points(axes, 30, rng)
    found = Parzen([axis.plain for axis in axes], centres).ln_density(points)
    np.testing.assert_allclose(found, plain_ln_density(axes, centres, points), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_every_kind_of_axis_with_the_narrowest_kernels(axis: Axis) -> None:
    rng = np.random.default_rng(1)
    # So many points that most kernels are as narrow as can be, and a block is not full.
    centres, points = some_points([axis], 130, rng), some_points([axis], 29, rng)
    found = Parzen([axis.plain], centres).ln_density(points)
    np.testing.assert_allclose(found, plain_ln_density([axis], centres, points), rtol=1e-12, atol=1e-12)


def test_probabilities_of_all_values_sum_to_one_and_samples_have_them() -> None:
    axes = [Axis(0.0, 9.0, step=1.0), Axis(n_choices=3), Axis(1.0, 5.0, step=1.0, log=True)]
    estimate = Parzen(
        [axis.plain for axis in axes], np.array([[2.0, 1.0, 4.0], [7.0, 0.0, 1.0], [8.0, 0.0, 1.0]])
    )
    cells = np.array([[a, b, c] for a in range(10) for b in range(3) for c in range(1, 6)], dtype=float)
    mass = np.exp(estimate.ln_density(cells))
    assert mass.sum() == pytest.approx(1.0, abs=1e-12)
    n = 40_000
    drawn = np.array(estimate.sample(n, 3))
    codes = (drawn[:, 0] * 15 + drawn[:, 1] * 5 + drawn[:, 2] - 1).astype(int)
    counts = np.bincount(codes, minlength=len(cells))
    assert counts.sum() == n, "every sample is on a step and a choice"
    # Five standard deviations of each count.
    assert (np.abs(counts - n * mass) < 5 * np.sqrt(n * mass) + 1).all()
    assert estimate.sample(5, 3) == estimate.sample(5, 3) != estimate.sample(5, 4)


def test_what_cannot_be_searched_is_refused() -> None:
    for axis in (
        Axis(2.0, 1.0),
        Axis(0.0, 1.0, log=True),
        Axis(0.5, 9.0, step=1.0, log=True),
        Axis(math.nan, 1.0),
    ):
        with pytest.raises(AkqUsageError, match="cannot be searched"):
            Parzen([axis.plain], np.empty((0, 1)))
    with pytest.raises(AkqUsageError, match="3 values are no rows of 2"):
        Parzen([AXES[0].plain] * 2, np.zeros(3))
