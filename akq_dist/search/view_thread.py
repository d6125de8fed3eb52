"""The thread that keeps an Optuna view up to date from the ledger."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from akq_dist.errors import AkqStudyError, MissingDependencyError
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.record.protocols import TrialRecord
    from akq_dist.search.storage import OptunaView

logger = logging.getLogger(__name__)

_BLOCK: Final = 100
_PACE_S: Final = 1.0
"""Trials that end within so long are copied together: a transaction costs as much as dozens of trials."""
_ENOUGH: Final = 1_000
"""Trials that are copied together at any rate."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_GIVE_UP_AFTER: Final = 4


class ViewThread:
    """Keeps an Optuna view up to date from the ledger without holding up the search.

    Nothing is buffered here: the thread reads from the ledger what the view does not have yet. A storage that
    is away is tried again; it never costs a result.
    """

    def __init__(
        self,
        view: OptunaView,
        read: Callable[[int, int], Sequence[TrialRecord]],
        watermark: Callable[[int], None],
    ) -> None:
        """`read` gives finished trials from a number on, `watermark` notes how many the view has.

        Both from the thread.
        """
        self._view = view
        self._read = read
        self._watermark = watermark
        self._changed = threading.Condition()
        self._dirty = True
        self._busy = True
        """The thread is between taking note of something to do and having done it."""
        self._stopping = False
        self._n_finished = 0
        self._hurry = False
        """Whether somebody waits for everything to be copied."""
        self._n_failures = 0
        self._fatal = False
        self._position = 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name="akq-optuna-view", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        """Why the view is behind; None while all is well."""
        with self._changed:
            return self._error

    @property
    def position(self) -> int:
        """Number of trials that the view has."""
        with self._changed:
            return self._position

    @property
    def is_stuck(self) -> bool:
        """True when trying again is of no use, or has been tried often enough."""
        with self._changed:
            return self._fatal or self._n_failures >= _GIVE_UP_AFTER or not self._thread.is_alive()

    def notify(self, n_finished: int) -> None:
        """Say how many trials have ended."""
        with self._changed:
            self._n_finished = n_finished
            self._dirty = True
            self._changed.notify_all()

    def flush(self, timeout_s: float, on_progress: Callable[[int], None] | None = None) -> bool:
        """Wait until the view has everything that has ended in number order; False when it cannot be."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._dirty = self._hurry = True
            self._changed.notify_all()
        try:
            return self._await_flushed(deadline_s, on_progress)
        finally:
            with self._changed:
                self._hurry = False

    def _await_flushed(self, deadline_s: float, on_progress: Callable[[int], None] | None) -> bool:
        while True:
            with self._changed:
                if not self._dirty and not self._busy and self._error is None:
                    return True
                left_s = deadline_s - time.monotonic()
                if (
                    self._fatal
                    or self._n_failures >= _GIVE_UP_AFTER
                    or left_s <= 0.0
                    or not self._thread.is_alive()
                ):
                    return False
                self._changed.wait(min(left_s, 0.2))
                position = self._position
            if on_progress is not None:
                on_progress(position)

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop the thread after the block it is writing."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        opened = False
        pause_s = _FIRST_PAUSE_S
        copied_s = -_PACE_S
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._dirty and not self._stopping:
                    self._changed.wait()
                left_s = copied_s + _PACE_S - time.monotonic()
                self._changed.wait_for(self._is_urgent, max(0.0, left_s))
                if self._stopping:
                    break
                self._dirty = False
                self._busy = True
            try:
                if not opened:
                    self._open()
                    opened = True
                self._copy()
                copied_s = time.monotonic()
                pause_s = _FIRST_PAUSE_S
                self._report(None)
            except (AkqStudyError, MissingDependencyError) as error:
                # Nothing that waiting could change.
                self._report(str(error), fatal=True)
                break
            # The edge of a thread: a storage raises errors of many drivers, and none may end the sweep.
            except Exception as error:
                opened = False
                self._report(redact_url(f"{type(error).__name__}: {error}"))
                logger.info("the Optuna storage cannot be written, trying again: %s", self._error)
                with self._changed:
                    self._dirty = True
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)
        self._view.close()

    def _is_urgent(self) -> bool:
        """Whether there is no point in letting more trials end first."""
        return self._stopping or self._hurry or self._n_finished - self._position >= _ENOUGH

    def _open(self) -> None:
        n_held = self._view.open()
        if n_held:
            last = self._read(n_held - 1, 1)
            if not last:
                raise AkqStudyError(
                    f"the Optuna storage {redact_url(self._view.url)} has {n_held} trials of this study, "
                    "more than the ledger. Name another storage in storage.optuna; it is filled from the ledger."
                )
            self._view.check(last)
        with self._changed:
            self._position = n_held

    def _copy(self) -> None:
        """Copy what has ended, so many trials at a time that the thread stops soon when it is asked to."""
        size = self._view.piece
        while not self._is_stopping():
            start = self.position
            records = self._read(start, max(_BLOCK, size))
            if not records:
                return
            for first in range(0, len(records), size):
                if self._is_stopping():
                    break
                piece = records[first : first + size]
                self._view.add(piece)
                with self._changed:
                    self._position += len(piece)
                    self._changed.notify_all()
            self._watermark(self.position)

    def _is_stopping(self) -> bool:
        with self._changed:
            return self._stopping

    def _report(self, error: str | None, *, fatal: bool = False) -> None:
        with self._changed:
            self._error = error
            self._fatal = fatal
            self._n_failures = 0 if error is None else self._n_failures + 1
            self._changed.notify_all()
