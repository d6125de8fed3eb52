"""A thread that keeps a view up to date from the ledger: it tries again, holds nothing, and no search waits for it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeAlias

from akq_dist.errors import AkqError, TrackerError
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.record.protocols import TrialRecord

    Hold: TypeAlias = Callable[[], Callable[[], None]]
    """Takes something a thread needs as long as it lives, and returns how to give it back."""

logger = logging.getLogger(__name__)

PACE_S = 1.0
"""Trials that end within so long are written together: a transaction costs as much as dozens of trials."""
READ_AT_LEAST = 100
"""Trials that one look at the ledger takes, also where the view takes fewer at once."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
NEVER_REACHED_S = 20.0
"""How long the end of a sweep waits for a store that has not answered in this session."""
AWAY_S = 90.0
"""How long it waits for one that has: databases are restarted, locked and moved within this time."""
FULL_S = 2.0
"""How long it waits for room on a disk, which nobody makes in a moment."""

_SLICE_S = 0.25


class StoreFullError(TrackerError):
    """There is no room for a view; the message names its file and the free bytes."""


class View(Protocol):
    """A copy of the ledger in another tool, as a Follower writes it; one thread uses it, except for `interrupt`.

    `open` and `add` raise TrackerError while the store is away. Any other error is final.
    """

    @property
    def block(self) -> int:
        """Number of trials to hand to `add` at once; they take about a second at most."""
        ...

    def open(self) -> int | None:
        """Make ready, also again after an error; return how many trials there are, None where the ledger knows."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether `add` can be called; an error may have closed the view."""
        ...

    def add(self, trials: Sequence[TrialRecord]) -> None:
        """Write finished trials, in number order. What is there already stays as it is."""
        ...

    def interrupt(self) -> None:
        """Have a call that is under way end soon, from any thread; only `close` follows."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class Follower:
    """Copies finished trials to a view in number order.

    The ledger is the spool: records are pulled by `read(first number, limit)`, which returns finished trials
    with at least that number, in number order, and stops before a trial that is still open. Nothing else is
    kept, so a store that is away for hours costs no memory. `watermark(n)` is told when every trial below n
    is written. Both are called from the thread; all other methods may be called from any thread and return at
    once, except `drain` and `close`.
    """

    def __init__(
        self,
        view: View,
        read: Callable[[int, int], Sequence[TrialRecord]],
        watermark: Callable[[int], None],
        start_at: int = 0,
        *,
        name: str,
        hold: Hold | None = None,
    ) -> None:
        """`name` is that of the thread; what `hold` gives it before it starts, it gives back at its end."""
        self._view = view
        self._read = read
        self._watermark = watermark
        self._position = start_at
        self._n_finished = start_at
        self._error: str | None = None
        self._broken: BaseException | None = None
        self._dirty = True
        self._busy = False
        """The thread is between taking note of something to do and having done it."""
        self._n_draining = 0
        """How many wait for everything to be written."""
        self._answered = False
        """Whether the store has answered in this session."""
        self._failing_since_s: float | None = None
        self._patience_s = NEVER_REACHED_S
        self._pause_s = FIRST_PAUSE_S
        self._n_failures = 0
        self._opened_anew = False
        """The view has been opened, and not written since."""
        self._written_s = -PACE_S
        """When the thread last wrote trials; nobody else looks at it."""
        self._closing = False
        self._left_behind = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)
        self._give_back = None if hold is None else hold()
        self._thread.start()

    @property
    def error(self) -> str | None:
        """Why the view is behind; None while all is well."""
        with self._changed:
            return self._error

    @property
    def position(self) -> int:
        """Every trial below this number is in the view."""
        with self._changed:
            return self._position

    @property
    def lag(self) -> int:
        """Finished trials that are not in the view yet, as far as `notify` has told."""
        with self._changed:
            return max(0, self._n_finished - self._position)

    def notify(self, n_finished: int) -> None:
        """Say that trials below this number have finished and can be read."""
        with self._changed:
            self._n_finished = max(self._n_finished, n_finished)
            self._dirty = True
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything handed over is in the view; False when time is up or the thread has ended."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._n_draining += 1
            self._dirty = True
            self._changed.notify_all()
            try:
                while not self._is_idle():
                    left_s = deadline_s - time.monotonic()
                    if self._broken is not None or self._closing or left_s <= 0.0:
                        return False
                    self._changed.wait(left_s)
                return True
            finally:
                self._n_draining -= 1

    def catch_up(
        self, timeout_s: float, stop: Callable[[], bool], on_progress: Callable[[int], None] | None = None
    ) -> bool:
        """Wait until the view is complete, as long as it makes progress.

        False when the store stays away, nothing that waiting could change is wrong, time is up, or `stop` says so.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            n_before = self._n_failures
        while not self.drain(min(_SLICE_S, timeout_s)):
            now_s = time.monotonic()
            with self._changed:
                is_over = self._broken is not None or self._closing
                # However long it has been away, it gets one more attempt.
                if self._failing_since_s is not None and self._n_failures > n_before:
                    is_over = is_over or now_s - self._failing_since_s >= self._patience_s
            if is_over or now_s >= deadline_s or stop():
                return False
            if on_progress is not None:
                on_progress(self.position)
        return True

    def close(self, timeout_s: float = 15.0) -> bool:
        """End the thread after the request that is under way; False when that takes longer than the timeout.

        A thread that is left behind closes the view when it comes to its end. Safe to call twice.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._view.interrupt()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        with self._changed:
            # The ledger may be closed from here on.
            self._left_behind = True
        logger.info("%s is still waiting for an answer; it ends by itself", self._thread.name)
        return False

    # The thread

    def _body(self) -> None:
        try:
            while self._await_work():
                try:
                    self._step()
                except TrackerError as error:
                    self._failed(error)
                    self._pause()
        except AkqError as error:
            self._broke(error, str(error))
        # The edge of a thread: `drain` and `error` tell the caller.
        except Exception as error:
            logger.warning("%s has stopped, the results stay in the ledger", self._thread.name, exc_info=True)
            self._broke(error, redact_url(f"{type(error).__name__}: {error}"))
        finally:
            self._end()

    def _await_work(self) -> bool:
        with self._changed:
            self._busy = False
            while not self._closing and self._is_idle():
                self._changed.notify_all()
                self._changed.wait()
            if self._dirty and not self._has_more_to_do():
                left_s = self._written_s + PACE_S - time.monotonic()
                self._changed.wait_for(self._is_urgent, max(0.0, left_s))
            self._busy = not self._closing
            return self._busy

    def _is_urgent(self) -> bool:
        """Whether there is no point in letting more trials end first."""
        n_waiting = self._n_finished - self._position
        return (
            self._closing or self._n_draining > 0 or self._has_more_to_do() or n_waiting >= self._view.block
        )

    def _is_idle(self) -> bool:
        return self._view.is_open and not self._busy and not self._dirty and not self._has_more_to_do()

    def _step(self) -> None:
        """One request's worth of work: open, then trials, then what else there is."""
        if not self._view.is_open:
            position = self._view.open()
            with self._changed:
                # Not a success yet: a full disk, for example, lets a view be opened but not written.
                self._opened_anew = self._answered = True
                if position is not None:
                    self._position = position
            return
        with self._changed:
            dirty, self._dirty = self._dirty, False
            position = self._position
        if dirty:
            self._copy(position)
        else:
            self._do_more()

    def _has_more_to_do(self) -> bool:
        """Whether anything but trials waits; called with the condition held."""
        return False

    def _do_more(self) -> None:
        """Do one piece of what waits beside trials."""

    def _end(self) -> None:
        """The last that the thread does."""
        try:
            self._view.close()
        except TrackerError as error:
            logger.info("%s did not close: %s", self._thread.name, error)
        finally:
            if self._give_back is not None:
                self._give_back()

    def _copy(self, position: int) -> None:
        try:
            size = self._view.block
            trials = self._read(position, max(READ_AT_LEAST, size))
            for first in range(0, len(trials), size):
                if self._is_closing():
                    break
                piece = trials[first : first + size]
                self._view.add(piece)
                position += len(piece)
                self._written_s = time.monotonic()
                self._succeeded(position=position)
            if trials and not self._left_behind:
                self._watermark(position)
        except TrackerError:
            with self._changed:
                self._dirty = True
            raise
        if self._opened_anew and not trials:
            self._succeeded()
        with self._changed:
            self._dirty = self._dirty or bool(trials)

    def _is_closing(self) -> bool:
        with self._changed:
            return self._closing

    def _succeeded(self, *, position: int | None = None) -> None:
        """Note that the store has answered."""
        with self._changed:
            self._error = self._failing_since_s = None
            self._answered, self._opened_anew = True, False
            self._pause_s = FIRST_PAUSE_S
            if position is not None:
                self._position = position
            self._changed.notify_all()

    def _broke(self, error: Exception, text: str) -> None:
        with self._changed:
            self._broken, self._error = error, text
            self._changed.notify_all()

    def _failed(self, error: TrackerError) -> None:
        logger.info("%s: %s", self._thread.name, error)
        with self._changed:
            self._error = str(error)
            self._n_failures += 1
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
            self._patience_s = AWAY_S if self._answered else NEVER_REACHED_S
            if isinstance(error, StoreFullError):
                self._patience_s = FULL_S
            self._changed.notify_all()

    def _pause(self) -> None:
        with self._changed:
            began_s = time.monotonic()
            while not self._closing:
                # Somebody who waits for everything waits for this attempt; nobody else does.
                longest_s = FIRST_PAUSE_S if self._n_draining else self._pause_s
                left_s = began_s + longest_s - time.monotonic()
                if left_s <= 0.0:
                    break
                self._changed.wait(left_s)
            self._pause_s = min(2.0 * self._pause_s, LONGEST_PAUSE_S)
