"""Many suggestions from one fit of a tree-structured Parzen estimator; the engine has the numbers.

Optuna's TPESampler fits its two densities anew for every suggestion. Here a group shares one fit, which each
suggestion joins as a point that is not good: that is what a constant liar does, at the cost of one point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from akq_dist._core import tpe_suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FIRST_ROWS: Final = 64


@dataclass(frozen=True)
class TpeSettings:
    """Numbers of the method; the defaults are Optuna's."""

    n_startup: int = 10
    """Points that have ended before the densities are used; until then points are spread evenly."""
    n_candidates: int = 24
    """Candidates for each suggestion."""


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

    @property
    def plain(self) -> tuple[float, float, float, bool, int]:
        """The axis as the engine takes it."""
        return self.low, self.high, self.step, self.log, self.n_choices


class Seen:
    """Points in the order of asking and how each has ended, in columns that grow."""

    def __init__(self, n_axes: int) -> None:
        self._n = 0
        self._points = np.empty((_FIRST_ROWS, n_axes))
        self._losses = np.empty(_FIRST_ROWS)
        self._depths = np.empty(_FIRST_ROWS)
        self._violations = np.empty(_FIRST_ROWS)
        self._running = np.empty(_FIRST_ROWS, dtype=np.bool_)
        self._told = np.empty(_FIRST_ROWS, dtype=np.bool_)

    def __len__(self) -> int:
        return self._n

    def add(self, point: Floats) -> int:
        """Add a point that is running; return its row."""
        row = self._n
        if row == len(self._losses):
            columns = ("_points", "_losses", "_depths", "_violations", "_running", "_told")
            for name in columns:
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.empty_like(column)]))
        self._points[row] = point
        self._losses[row] = self._violations[row] = 0.0
        self._depths[row] = -math.inf
        self._running[row] = self._told[row] = True
        self._n += 1
        return row

    def complete(self, row: int, loss: float, violation: float) -> None:
        """Tell the value of a point, to be minimised, and the sum of the constraints that it breaks."""
        self.stop(row, math.inf, loss, violation)

    def stop(self, row: int, depth: float, loss: float, violation: float) -> None:
        """Tell a point that was stopped at step `depth` (minus infinity: before any) with a value of that step."""
        self._losses[row], self._depths[row], self._violations[row] = loss, depth, violation
        self._running[row] = False

    def leave_out(self, row: int) -> None:
        """Tell that a point failed: it says nothing about values."""
        self._running[row] = self._told[row] = False

    def cut(self, n: int) -> None:
        """Forget all but the first n points."""
        self._n = n

    def columns(self) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.bool_]]:
        """Return points, losses, depths, violations and who runs, of all that have not failed."""
        told = self._told[: self._n]
        rows = slice(self._n) if told.all() else np.flatnonzero(told)
        return (
            self._points[rows],
            self._losses[rows],
            self._depths[rows],
            self._violations[rows],
            self._running[rows],
        )


def suggest(
    axes: Sequence[Axis], seen: Seen, n: int, seed: int, settings: TpeSettings | None = None
) -> Floats:
    """Return n points, shape (n, axes), that depend on nothing but the arguments; `seed` has 64 bits.

    A point that is known, or is part of the group already, is suggested only when no candidate is new: the
    objective is taken to give the same value every time. The interpreter is free meanwhile.
    """
    settings = settings or TpeSettings()
    points, losses, depths, violations, running = seen.columns()
    made = tpe_suggest(
        [axis.plain for axis in axes],
        points,
        losses,
        depths,
        violations,
        running.view(np.uint8),
        n=n,
        n_startup=settings.n_startup,
        n_candidates=settings.n_candidates,
        seed=seed,
    )
    return np.array(made).reshape(n, len(axes))


def fit_seed(rng: np.random.Generator) -> int:
    """Draw the seed of a fit."""
    return int.from_bytes(rng.bytes(8), "little")
