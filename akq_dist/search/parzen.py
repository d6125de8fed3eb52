"""Densities for a tree-structured Parzen estimator: a weighted mixture of one product kernel a point.

Kernels are truncated normals on numbers and smoothed indicators on choices, with the bandwidths of Bergstra et
al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011) and Watanabe, "Tree-Structured Parzen
Estimator" (arXiv:2304.11127): a kernel is as wide as the larger gap to its neighbours. Everything is one array
operation over all kernels.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PRIOR_WEIGHT: Final = 1.0
_FINEST: Final = 100.0
"""No kernel is narrower than the range divided by this number, or by the number of kernels if that is less."""
_FINE_STEPS: Final = 4.0
"""Steps that are so many times narrower than the narrowest kernel are as good as none."""
_REDRAWS: Final = 64
_TABLE_END: Final = 8.0
_TABLE_STEPS: Final = 256
_LEAST_MASS: Final = 1e-30
_ROWS: Final = 32
"""Points at a time: what is computed of them stays in the processor's cache."""
_LOG_TWO_PI: Final = math.log(2.0 * math.pi)
_ONE_THREAD_PRODUCT: Final = 200_000
"""Multiplications of a matrix product that linear algebra libraries do not share among threads."""


@dataclass(frozen=True)
class Axis:
    """One parameter as a density sees it.

    A number between `low` and `high`, both included, at multiples of `step` above `low` (0: everywhere), spread
    evenly over the logarithm with `log`; or one of `n_choices` positions without an order.
    """

    low: float = 0.0
    high: float = 1.0
    step: float = 0.0
    log: bool = False
    n_choices: int = 0

    def to_unit(self, values: Floats) -> Floats:
        """Map values to [0, 1], the range widened by half a step at both ends."""
        first, width = self._range()
        scaled = np.log(values) if self.log else values
        return np.asarray((scaled - first) / width)

    def from_unit(self, unit: Floats) -> Floats:
        """Map [0, 1] to values of the parameter."""
        first, width = self._range()
        scaled = first + unit * width
        values = np.exp(scaled) if self.log else scaled
        if self.step:
            values = self.low + np.round((values - self.low) / self.step) * self.step
        return np.clip(values, self.low, self.high)

    def cells(self, values: Floats) -> tuple[Floats, Floats]:
        """Return where the cells of a stepped number begin and end in [0, 1]."""
        half = self.step / 2.0
        return self.to_unit(values - half), self.to_unit(values + half)

    def cell_width(self) -> float:
        """Return the width of the widest cell in [0, 1]; 0 without steps."""
        if not self.step:
            return 0.0
        first, last = self.cells(np.array([self.low]))
        return float(last[0] - first[0])

    def _range(self) -> tuple[float, float]:
        low, high = self.low - self.step / 2.0, self.high + self.step / 2.0
        if self.log:
            low, high = math.log(low), math.log(high)
        return low, (high - low) or 1.0


class Parzen:
    """The density of some points, one kernel each, and a wide one that stands for not knowing."""

    def __init__(self, axes: Sequence[Axis], points: Floats, weights: Floats) -> None:
        """`points` has shape (kernels, axes), in units of the axes; `weights` one number a kernel."""
        self._axes = axes
        n_kernels = len(points) + 1
        all_weights = np.append(weights, _PRIOR_WEIGHT)
        self._weights = all_weights / all_weights.sum()
        self._epsilon = _PRIOR_WEIGHT / n_kernels
        self._narrowest = 1.0 / min(_FINEST, 1.0 + n_kernels)
        self._mu = np.full((n_kernels, len(axes)), 0.5)
        self._sigma = np.ones((n_kernels, len(axes)))
        for ix, axis in enumerate(axes):
            if axis.n_choices:
                # The wide kernel belongs to no choice.
                self._mu[:-1, ix], self._mu[-1, ix] = points[:, ix], -1.0
            else:
                unit = axis.to_unit(points[:, ix])
                self._mu[:-1, ix] = unit
                self._sigma[:-1, ix] = _bandwidths(unit, self._narrowest)

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n points, shape (n, axes)."""
        edges = np.cumsum(self._weights)
        chosen = np.minimum(np.searchsorted(edges, rng.random(n), side="right"), len(edges) - 1)
        mu = self._mu[chosen]
        drawn = _truncated_normals(rng, mu, self._sigma[chosen])
        for ix, axis in enumerate(self._axes):
            if axis.n_choices:
                drawn[:, ix] = self._draw_choices(rng, axis.n_choices, mu[:, ix])
            else:
                drawn[:, ix] = axis.from_unit(drawn[:, ix])
        return drawn

    def log_density(self, points: Floats) -> Floats:
        """Return the logarithm of the density at points of shape (n, axes), to six digits.

        It is scaled by a constant that depends on the axes alone.
        """
        kernels = _Kernels(self._axes, self._mu, self._sigma, self._narrowest, self._epsilon, points)
        log_weights = np.log(self._weights)
        density = np.empty(len(points))
        for first in range(0, len(points), _ROWS):
            total = kernels.log_at(first, first + _ROWS)
            total += log_weights
            top = total.max(axis=1)
            total -= top[:, np.newaxis]
            # Of what is nearly all of the time, single precision takes a seventh; a sum of them has six digits.
            shares = np.exp(total.astype(np.float32))
            density[first : first + _ROWS] = top + np.log(shares.sum(axis=1, dtype=np.float64))
        return density

    def log_narrowest(self, points: Floats) -> Floats:
        """Return what the narrowest kernel at each point would give every point, shape (points, kernels)."""
        mu = points.copy()
        for ix, axis in enumerate(self._axes):
            if not axis.n_choices:
                mu[:, ix] = axis.to_unit(points[:, ix])
        sigma = np.full(mu.shape, self._narrowest)
        kernels = _Kernels(self._axes, mu, sigma, self._narrowest, self._epsilon, points)
        return np.concatenate(
            [kernels.log_at(first, first + _ROWS) for first in range(0, len(points), _ROWS)]
        )

    def _draw_choices(self, rng: np.random.Generator, n_choices: int, held: Floats) -> Floats:
        stays = rng.random(len(held)) * (1.0 + n_choices * self._epsilon) < 1.0
        other = rng.integers(0, n_choices, len(held)).astype(np.float64)
        return np.where(stays & (held >= 0.0), held, other)


class _Kernels:
    """Product kernels and the points where they are wanted; what several points share is computed once."""

    def __init__(
        self,
        axes: Sequence[Axis],
        mu: Floats,
        sigma: Floats,
        narrowest: float,
        epsilon: float,
        points: Floats,
    ) -> None:
        """`mu` and `sigma` have shape (kernels, axes), in [0, 1]; a choice has its position as `mu`."""
        self._axes = axes
        self._points = points
        self._smooth = [
            ix
            for ix, axis in enumerate(axes)
            if not axis.n_choices and axis.cell_width() * _FINE_STEPS <= narrowest
        ]
        self._constant = np.zeros(len(mu))
        if self._smooth:
            centre, width = mu[:, self._smooth], sigma[:, self._smooth]
            inside = _normal_mass(-centre / width, (1.0 - centre) / width)
            inverse = width**-2
            self._constant -= (0.5 * centre**2 * inverse + np.log(width * inside)).sum(axis=1)
            # Written out, the square is a product of matrices: that is what makes many candidates cheap.
            factors = np.concatenate([-0.5 * inverse, centre * inverse], axis=1)
            self._factors = np.ascontiguousarray(factors.T)
        self._choices = {
            ix: _log_choices(axis.n_choices, mu[:, ix], epsilon)
            for ix, axis in enumerate(axes)
            if axis.n_choices
        }
        self._cells = [
            _Cells(axis, mu[:, ix], sigma[:, ix], points[:, ix])
            for ix, axis in enumerate(axes)
            if not axis.n_choices and ix not in self._smooth
        ]

    def log_at(self, start: int, end: int) -> Floats:
        """Return the logarithms of the kernels at some of the points, shape (points, kernels)."""
        points = self._points[start:end]
        total = np.empty((len(points), len(self._constant)))
        if self._smooth:
            units = np.column_stack([self._axes[ix].to_unit(points[:, ix]) for ix in self._smooth])
            left = np.concatenate([units**2, units], axis=1)
            # Products that are small enough stay in the calling thread, where the order of sums is always the same.
            rows = max(1, _ONE_THREAD_PRODUCT // self._factors.size)
            for first in range(0, len(points), rows):
                np.matmul(left[first : first + rows], self._factors, out=total[first : first + rows])
            total += self._constant
        else:
            total[:] = self._constant
        for ix, table in self._choices.items():
            total += table[points[:, ix].astype(np.intp)]
        for cells in self._cells:
            total += cells.log_mass(start, end)
        return total


class _Cells:
    """The kernels of a stepped number, which give each value the mass of its cell."""

    def __init__(self, axis: Axis, mu: Floats, sigma: Floats, values: Floats) -> None:
        # Where there are steps few values differ, and few kernels.
        kernels, self._kernel_of = np.unique(mu + 1j * sigma, return_inverse=True)
        distinct, self._row_of = np.unique(values, return_inverse=True)
        self._table = _log_masses(axis, kernels.real, kernels.imag, distinct)

    def log_mass(self, start: int, end: int) -> Floats:
        """Return the logarithm of every kernel's mass in the cell of some values, shape (values, kernels)."""
        rows = self._table.take(self._row_of[start:end], axis=0)
        return rows.take(self._kernel_of, axis=1)


def _log_masses(axis: Axis, mu: Floats, sigma: Floats, values: Floats) -> Floats:
    """Return the logarithm of every kernel's mass in the cell of every value, shape (values, kernels)."""
    first, last = axis.cells(values)
    # With a logarithm the cells of large values are narrow: there the density does, at a fraction of the cost.
    fine = (last - first) * _FINE_STEPS <= sigma.min()
    log_mass = np.empty((len(values), len(mu)))
    inverse = 1.0 / sigma
    # Written out, the square is a product of matrices, and so is all that stands beside it.
    factors = np.stack(
        [
            -0.5 * inverse**2,
            mu * inverse**2,
            -0.5 * ((mu * inverse) ** 2 + _LOG_TWO_PI) - np.log(sigma),
            np.ones(len(mu)),
        ]
    )
    middle = (first + last) / 2.0
    left = np.column_stack([middle**2, middle, np.ones(len(values)), np.log(last - first)])
    size = max(1, min(_ROWS, _ONE_THREAD_PRODUCT // factors.size))
    for start in range(0, len(values), size):
        rows = np.arange(start, min(start + size, len(values)))
        narrow, wide = rows[fine[rows]], rows[~fine[rows]]
        log_mass[narrow] = left[narrow] @ factors
        low, high = (first[wide, np.newaxis] - mu) * inverse, (last[wide, np.newaxis] - mu) * inverse
        log_mass[wide] = np.log(np.maximum(_normal_mass(low, high), _LEAST_MASS))
    log_mass -= np.log(_normal_mass(-mu * inverse, (1.0 - mu) * inverse))
    return log_mass


def _log_choices(n_choices: int, held: Floats, epsilon: float) -> Floats:
    """Return the logarithm of every kernel's probability of every choice, shape (choices, kernels)."""
    mass = (np.arange(n_choices)[:, np.newaxis] == held) + epsilon
    return np.asarray(np.log(mass / mass.sum(axis=0)))


def _bandwidths(units: Floats, narrowest: float) -> Floats:
    """Return for every centre the larger gap to its neighbours; the ends of the range are none."""
    n = len(units)
    if n < 2:
        # The ends are all that one centre has.
        gaps = np.maximum(units, 1.0 - units)
    else:
        order = np.argsort(units, kind="stable")
        between = np.diff(units[order])
        gaps = np.empty(n)
        gaps[order] = np.maximum(np.append(between[:1], between), np.append(between, between[-1:]))
    return np.clip(gaps, narrowest, 1.0)


def _truncated_normals(rng: np.random.Generator, mu: Floats, sigma: Floats) -> Floats:
    """Draw one number in [0, 1] from each normal, by drawing again what falls outside."""
    drawn = mu + sigma * rng.standard_normal(mu.shape)
    for _ in range(_REDRAWS):
        outside = np.flatnonzero((drawn < 0.0) | (drawn > 1.0))
        if not len(outside):
            break
        drawn.flat[outside] = mu.flat[outside] + sigma.flat[outside] * rng.standard_normal(len(outside))
    return np.clip(drawn, 0.0, 1.0)


def _normal_mass(low: Floats, high: Floats) -> Floats:
    """Return the mass of the standard normal distribution between two bounds, to about 1e-12."""
    # The lower tail has small numbers where the upper one has numbers near 1, which lose all digits.
    flip = low > 0.0
    return _cumulative(np.where(flip, -low, high)) - _cumulative(np.where(flip, -high, low))


def _cumulative(z: Floats) -> Floats:
    """Return the standard normal distribution function: NumPy has none, and SciPy takes a second to import."""
    value, slope = _cumulative_table()
    z = np.clip(z, -_TABLE_END, _TABLE_END)
    nearest = np.rint(z * _TABLE_STEPS)
    node = (nearest + _TABLE_END * _TABLE_STEPS).astype(np.intp)
    nearest /= _TABLE_STEPS
    z -= nearest
    # Taylor's series at the nearest node: every derivative of the density is a polynomial times the density.
    series = (nearest**2 - 1.0) * (z / 6.0)
    series -= 0.5 * nearest
    series *= z
    series += 1.0
    series *= z
    series *= slope.take(node)
    series += value.take(node)
    return np.asarray(series)


@functools.cache
def _cumulative_table() -> tuple[Floats, Floats]:
    nodes = np.linspace(-_TABLE_END, _TABLE_END, int(2 * _TABLE_END * _TABLE_STEPS) + 1)
    value = np.array([0.5 * math.erfc(-node / math.sqrt(2.0)) for node in nodes.tolist()])
    return value, np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * math.pi)
