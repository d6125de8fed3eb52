"""What happens to trials whose worker is gone, and when a sweep has failed too often: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

JUDGED_AFTER = 20
"""Finished trials before the share of failures says anything."""


@dataclass(frozen=True)
class Rerun:
    """The trials of a lost batch that run again, in parts that travel separately."""

    parts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class GiveUp:
    """A trial that has cost its workers and fails."""

    number: int
    reason: str


class LossPolicy:
    """Finds the trial that kills its worker by halving the batch.

    A death counts against a trial only when it was alone: of several trials nobody knows which one did it.
    """

    def __init__(self, retries: int) -> None:
        """`retries` are the workers that one trial may cost."""
        self._limit = max(1, retries)
        self._deaths: dict[int, int] = {}

    def lost(self, numbers: Sequence[int], reason: str) -> Rerun | GiveUp:
        """Decide about the trials of a batch that was lost."""
        if len(numbers) > 1:
            middle = len(numbers) // 2
            return Rerun((tuple(numbers[:middle]), tuple(numbers[middle:])))
        number = numbers[0]
        deaths = self._deaths.get(number, 0) + 1
        if deaths >= self._limit:
            self._deaths.pop(number, None)
            return GiveUp(
                number, f"lost {deaths} worker{'s' * (deaths > 1)} while it ran alone; the last: {reason}"
            )
        self._deaths[number] = deaths
        return Rerun(((number,),))

    def finished(self, number: int) -> None:
        """Forget a trial that has ended."""
        self._deaths.pop(number, None)


@dataclass(frozen=True)
class FailureLimit:
    """Failed trials that a sweep tolerates; trials whose objective is undefined are no failures."""

    count: int | None = None
    share: float | None = None

    def exceeded(self, n_failed: int, n_finished: int, *, at_end: bool = False) -> bool:
        """Tell whether the sweep has failed.

        A handful of trials proves nothing, unless all of them failed at the end.
        """
        if n_failed == 0:
            return False
        if n_finished < JUDGED_AFTER:
            return at_end and n_failed == n_finished
        allowed = float(self.count) if self.count is not None else (self.share or 0.0) * n_finished
        return n_failed > allowed


LoopStatus = Literal["finished", "timeout", "cancelled", "failed"]
