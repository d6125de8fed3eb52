"""What happens to trials whose worker is gone, and when a sweep has failed too often: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akq_dist.record.protocols import LossCause

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


@dataclass(frozen=True)
class Blame:
    """What a lost batch comes to when it is known which trial was running."""

    parts: tuple[tuple[int, ...], ...]
    """Trials that run again, in parts that travel separately."""
    given_up: GiveUp | None = None


class LossPolicy:
    """Finds the trial that kills its worker.

    A death counts against a trial only when it was running or alone. Where that is not known, the batch is
    halved until it is.
    """

    def __init__(self, retries: int) -> None:
        """`retries` are the workers that one trial may cost."""
        self._limit = max(1, retries)
        self._deaths: dict[int, int] = {}
        self._short: set[int] = set()
        """Trials that have run out of memory and get another chance."""

    def lost(self, numbers: Sequence[int], reason: str) -> Rerun | GiveUp:
        """Decide about the trials of a batch that was lost, when nobody knows which of them ran."""
        if len(numbers) > 1:
            middle = len(numbers) // 2
            return Rerun((tuple(numbers[:middle]), tuple(numbers[middle:])))
        blame = self.blame(numbers, numbers[0], reason, "died")
        return Rerun(blame.parts) if blame.given_up is None else blame.given_up

    def blame(self, numbers: Sequence[int], running: int | None, reason: str, cause: LossCause) -> Blame:
        """Decide about the trials of a batch that was lost while one of them, where known, was running."""
        if cause == "node":
            # The machine went; no trial had a part in it.
            return Blame((tuple(numbers),))
        if running is None and len(numbers) == 1:
            running = numbers[0]
        if running is None:
            decision = self.lost(numbers, reason)
            return Blame(decision.parts) if isinstance(decision, Rerun) else Blame((), decision)
        others = tuple(number for number in numbers if number != running)
        rest = (others,) if others else ()
        given_up = self._count(running, reason, cause)
        return Blame(rest, given_up) if given_up is not None else Blame((*rest, (running,)))

    def _count(self, number: int, reason: str, cause: LossCause) -> GiveUp | None:
        if cause == "timeout":
            self.finished(number)
            return GiveUp(number, reason)
        # Memory may have been short because of neighbours: once more, alone.
        limit = 2 if cause == "memory" else self._limit
        deaths = self._deaths.get(number, 0) + 1
        if deaths < limit:
            self._deaths[number] = deaths
            if cause == "memory":
                self._short.add(number)
            return None
        self.finished(number)
        return GiveUp(number, f"lost {deaths} worker{'s' * (deaths > 1)} while it ran; the last: {reason}")

    def runs_alone(self, number: int) -> bool:
        """Tell whether a trial is to have a machine for itself."""
        return number in self._short

    def finished(self, number: int) -> None:
        """Forget a trial that has ended."""
        self._deaths.pop(number, None)
        self._short.discard(number)


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
