"""Many suggestions from one fit of a tree-structured Parzen estimator.

Optuna's TPESampler fits its two densities anew for every suggestion and compares 24 candidates a time with them.
Here a batch shares one fit, and all candidates are scored together. In place of a constant liar, which needs a
fit after every suggestion, each suggestion lowers the score of the candidates around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from akq_dist.search.parzen import Parzen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from akq_dist.search.parzen import Axis, Floats

_GOOD_SHARE: Final = 0.1
_MOST_GOOD: Final = 25
_FULL_WEIGHT: Final = 25
"""The latest points of a density weigh 1 each; older ones less and less."""
_SCORE_DIGITS: Final = 4
"""Scores are rounded, so that the last bits of another processor's arithmetic change no choice."""


@dataclass(frozen=True)
class TpeSettings:
    """Numbers of the method; the defaults are Optuna's."""

    n_startup: int = 10
    """Points that have ended before the densities are used; until then points are spread evenly."""
    n_candidates: int = 24
    """Candidates for each suggestion."""


@dataclass(frozen=True)
class Seen:
    """What is known, in the order of asking: one row of `points` (in units of the axes) each."""

    points: Floats
    losses: Floats
    """To be minimised; NaN for a point that ended without a value."""
    violations: Floats
    """Sum of broken constraints; above zero counts as worse than every point that breaks none."""
    running: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.points)


def suggest(
    axes: Sequence[Axis], seen: Seen, n: int, rng: np.random.Generator, settings: TpeSettings | None = None
) -> Floats:
    """Return n points, shape (n, axes), that depend on nothing but the arguments.

    A point that is known, or is part of the batch already, is suggested only when no candidate is new: the
    objective is taken to give the same value every time.
    """
    settings = settings or TpeSettings()
    n_ended = int(len(seen) - seen.running.sum())
    if n_ended < settings.n_startup:
        return spread(axes, n, rng)
    good, bad = _split(seen, n_ended)
    near = Parzen(axes, seen.points[good], _weights(len(good)))
    far = Parzen(axes, seen.points[bad], _weights(len(bad)))
    candidates = near.sample(rng, n * settings.n_candidates)
    gain = near.log_density(candidates)
    cost = far.log_density(candidates) + math.log(_weights(len(bad)).sum() + 1.0)
    taken = {row.tobytes() for row in seen.points}
    fresh = np.array([row.tobytes() not in taken for row in candidates])
    nearness = far.log_narrowest(candidates) if n > 1 else np.zeros((len(candidates), 1))
    _, same = np.unique(candidates, axis=0, return_inverse=True)
    return candidates[_choose(gain, cost, nearness, fresh, same, n)]


def spread(axes: Sequence[Axis], n: int, rng: np.random.Generator) -> Floats:
    """Return n points that fill every axis evenly, in random combination (a Latin hypercube)."""
    points = np.empty((n, len(axes)))
    for ix, axis in enumerate(axes):
        unit = (rng.permutation(n) + rng.random(n)) / n
        if axis.n_choices:
            points[:, ix] = np.minimum(np.floor(unit * axis.n_choices), axis.n_choices - 1)
        else:
            points[:, ix] = axis.from_unit(unit)
    return points


def _split(seen: Seen, n_ended: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which points are good and which are not, both in the order of asking."""
    n_good = min(math.ceil(_GOOD_SHARE * n_ended), _MOST_GOOD)
    broken = seen.violations > 0.0
    valueless = np.isnan(seen.losses)
    # Of those that break a constraint the least broken is the best; running ones are never good.
    rank = np.where(seen.running, 3, np.where(broken, 2, np.where(valueless, 1, 0)))
    within = np.where(broken, seen.violations, np.where(valueless, 0.0, seen.losses))
    order = np.lexsort((np.arange(len(seen)), within, rank))
    return np.sort(order[:n_good]), np.sort(order[n_good:])


def _weights(n: int) -> Floats:
    """Return the weights of points in the order of asking: the older, the less."""
    ramp = np.linspace(1.0 / max(n, 1), 1.0, max(0, n - _FULL_WEIGHT))
    return np.append(ramp, np.ones(min(n, _FULL_WEIGHT)))


def _choose(
    gain: Floats,
    cost: Floats,
    nearness: Floats,
    fresh: NDArray[np.bool_],
    same: NDArray[np.intp],
    n: int,
) -> NDArray[np.intp]:
    """Pick n candidates, each the best of a share of its own.

    A pick counts at once as a bad point for the shares after it, as narrow as such a point can be; that keeps a
    batch from meeting in one place. `same` numbers equal candidates alike.
    """
    share = len(gain) // n
    picks = np.empty(n, dtype=np.intp)
    for ix in range(n):
        first, end = ix * share, (ix + 1) * share
        scores = np.round(gain[first:end] - cost[first:end], _SCORE_DIGITS)
        if fresh[first:end].any():
            scores[~fresh[first:end]] = -np.inf
        pick = first + int(np.argmax(scores))
        picks[ix] = pick
        if ix + 1 < n:
            cost[end:] = np.logaddexp(cost[end:], nearness[end:, pick])
            fresh[end:] &= same[end:] != same[pick]
    return picks
