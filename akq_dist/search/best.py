"""The best trials seen so far; the same ones in whatever order results arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from akq_dist.search.judge import Judge, Objective


@dataclass(frozen=True)
class BestTrial:
    """A trial that nothing seen so far beats."""

    number: int
    values: tuple[float, ...]


class BestTracker:
    """Keeps the best feasible trial, or with several objectives all that no other dominates.

    Ties go to the lower number.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._signs = np.array([objective.sign for objective in objectives])
        self._numbers = np.empty(0, dtype=np.int64)
        self._values = np.empty((0, len(objectives)))

    def add(
        self, numbers: NDArray[np.int64], values: NDArray[np.float64], feasible: NDArray[np.bool_]
    ) -> bool:
        """Take complete trials into account; tell whether the best have changed.

        Rows with NaN are left out.
        """
        usable = feasible & ~np.isnan(values).any(axis=1)
        if not usable.any():
            return False
        held = set(self._numbers.tolist())
        all_numbers = np.concatenate([self._numbers, numbers[usable]])
        all_values = np.concatenate([self._values, values[usable]])
        keep = front(all_values * self._signs, all_numbers)
        self._numbers, self._values = all_numbers[keep], all_values[keep]
        return set(self._numbers.tolist()) != held

    def best(self) -> list[BestTrial]:
        """Return the best, in order of number; empty while no trial is complete and feasible."""
        order = np.argsort(self._numbers)
        return [BestTrial(int(self._numbers[ix]), tuple(self._values[ix].tolist())) for ix in order]


def feasible_rows(violations: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which trials break no constraint."""
    feasible: NDArray[np.bool_] = np.asarray(~(violations > 0.0).any(axis=1))
    return feasible


def rank_best(judge: Judge, numbers: NDArray[np.int64], values: NDArray[np.float64], k: int) -> list[int]:
    """Return the numbers of the k best of feasible complete trials.

    With several objectives front by front.
    """
    signed = values * np.array([objective.sign for objective in judge.objectives])
    if values.shape[1] == 1:
        order = np.lexsort((numbers, signed[:, 0]))
        return [int(numbers[ix]) for ix in order[:k]]
    chosen: list[int] = []
    left = np.arange(len(numbers))
    while len(chosen) < k and len(left):
        keep = front(signed[left], numbers[left])
        chosen.extend(sorted(int(number) for number in numbers[left[keep]]))
        left = np.delete(left, keep)
    return chosen[:k]


def front(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that no other row dominates (smaller is better).

    Of equal rows the one with the lowest number.

    Rows are visited in lexical order, so a row can only be dominated by one before it.
    """
    order = np.lexsort((numbers, *values.T[::-1]))
    if values.shape[1] == 1:
        return order[:1]
    kept: list[int] = []
    kept_values = np.empty_like(values)
    for ix in order.tolist():
        row = values[ix]
        if not (kept_values[: len(kept)] <= row).all(axis=1).any():
            kept_values[len(kept)] = row
            kept.append(ix)
    return np.array(kept, dtype=np.int64)
