"""How many trials travel in one message. It changes how fast a sweep is, never what it finds."""

from __future__ import annotations

from typing import Final

TARGET_S: Final = 0.25
"""Wished duration of a call: far above what a call costs, short enough to show progress and to stop soon."""

LARGEST_BATCH: Final = 5_000
_GROWTH: Final = 4
_MEMORY: Final = 0.5


class BatchSizer:
    """Adapts the size of a batch to the time that trials take."""

    def __init__(self, *, fixed: int | None, n_workers: int, n_threads: int) -> None:
        """`fixed` is the size the user asked for; `n_threads` are the engine's over all workers."""
        self._fixed = fixed
        self._n_workers = max(1, n_workers)
        # The first batches only measure; a few trials a thread keep every thread of a worker busy.
        self._size = 4 * max(1, n_threads // self._n_workers)
        self._trial_s: float | None = None

    def observe(self, n_trials: int, wall_s: float) -> None:
        """Take the time of one call into account."""
        if n_trials == 0:
            return
        trial_s = max(wall_s, 1e-6) / n_trials
        self._trial_s = (
            trial_s if self._trial_s is None else _MEMORY * self._trial_s + (1.0 - _MEMORY) * trial_s
        )
        wished = int(TARGET_S / self._trial_s)
        self._size = max(1, min(wished, self._size * _GROWTH, LARGEST_BATCH))

    @property
    def full(self) -> int:
        """Size of a batch in the middle of a sweep."""
        return self._size if self._fixed is None else self._fixed

    def size(self, n_left: int) -> int:
        """Return the size of the next batch of `n_left` trials: the last ones go to all workers."""
        if self._fixed is not None:
            return self._fixed
        return max(1, min(self._size, -(-n_left // self._n_workers)))
