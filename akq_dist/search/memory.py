"""What a model-based sampler remembers: a bounded window of trials, chosen the same way in every session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from akq_dist.search.best import front

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REJECTED = -1
"""Number of a point that `where` refused; it is told to the model and counts for nothing else."""


@dataclass
class Entry:
    """One point that the sampler has proposed or been given."""

    number: int
    point: NDArray[np.float64]
    state: str = "running"
    """`running`, `complete`, `fail`, `pruned`, or `rejected` by `where`."""
    values: tuple[float, ...] = ()
    violations: tuple[float, ...] = ()

    @property
    def usable(self) -> bool:
        """True when the model may learn a value from it."""
        return self.state == "complete" and not any(v > 0.0 for v in self.violations)


class Memory:
    """Entries in the order of asking.

    A pure function of the history: which session saw it does not matter.
    """

    def __init__(self, signs: Sequence[float], window: int) -> None:
        """`signs` turn values into something to be minimised; about `window` entries are kept."""
        self.entries: list[Entry] = []
        self.n_forgotten = 0
        self._by_number: dict[int, Entry] = {}
        self._signs = np.array(signs)
        self._window = window
        self._slack = max(1, window // 4)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.number != REJECTED:
            self._by_number[entry.number] = entry

    def tell(
        self, number: int, state: str, values: tuple[float, ...], violations: tuple[float, ...]
    ) -> Entry:
        entry = self._by_number.pop(number)
        entry.state, entry.values, entry.violations = state, values, violations
        return entry

    def compact(self) -> bool:
        """Forget what the window has no room for; tell whether anything was.

        Kept are the best half and the latest rest, and everything that is still running.
        """
        if len(self.entries) < self._window + self._slack:
            return False
        best = self._best(self._window // 2)
        keep = {id(entry) for entry in best}
        room = self._window - len(keep)
        for entry in reversed(self.entries):
            if entry.state == "running":
                keep.add(id(entry))
            elif room > 0 and entry.state != "fail" and id(entry) not in keep:
                keep.add(id(entry))
                room -= 1
        before = len(self.entries)
        self.entries = [entry for entry in self.entries if id(entry) in keep]
        self.n_forgotten += before - len(self.entries)
        return True

    def _best(self, k: int) -> list[Entry]:
        usable = [entry for entry in self.entries if entry.usable]
        if not usable:
            return []
        values = np.array([entry.values for entry in usable]) * self._signs
        numbers = np.array([entry.number for entry in usable])
        if len(self._signs) == 1:
            return [usable[ix] for ix in np.lexsort((numbers, values[:, 0]))[:k]]
        # Later points of a front that is larger than its share are the ones the model has just found.
        return [usable[ix] for ix in np.sort(front(values, numbers))[::-1][:k]]
