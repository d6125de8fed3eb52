"""A tracker in a thread of its own, fed from the ledger: a sweep never waits for the tracking store."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from akq_dist.errors import TrackerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from akq_dist.record.protocols import SweepInfo, Tracker, TrackerLinks, TrialRecord

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_PROGRESS = 64
"""Points of the sweep's own metrics that wait; older ones give way."""
PACE_S = 1.0
"""Trials that end within so long are recorded together: a transaction costs as much as dozens of trials."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
GIVE_UP_AFTER = 3
"""Failures in a row after which `drain` stops waiting for a store that is away."""


class BackgroundTracker:
    """Copies finished trials to a tracker in number order.

    The ledger is the spool: records are pulled by `read(first number, limit)`, which returns finished trials
    with at least that number, in number order, and stops before a trial that is still open. Nothing else is
    kept, so a store that is away for hours costs no memory. `watermark(n)` is told when every trial below n
    is recorded. `read` and `watermark` are called from the thread; all other methods may be called from any
    thread and return at once, except `drain`, `call` and `close`.
    """

    def __init__(
        self,
        tracker: Tracker,
        read: Callable[[int, int], Sequence[TrialRecord]],
        watermark: Callable[[int], None],
        start_at: int = 0,
        *,
        info: SweepInfo | None = None,
    ) -> None:
        """With `info` the thread opens the tracker as well, which for MLflow takes seconds."""
        self._tracker = tracker
        self._read = read
        self._watermark = watermark
        self._info = info
        self._position = start_at
        self._n_finished = start_at
        self._n_recorded = 0
        self._links: TrackerLinks | None = None
        self._error: str | None = None
        self._broken: BaseException | None = None
        self._n_failures = 0
        self._n_dropped = 0
        self._dirty = True
        self._busy = False
        self._hurry = False
        self._recorded_s = -PACE_S
        """When the thread last recorded trials; nobody else looks at it."""
        self._closing = False
        self._progress: deque[tuple[int, Mapping[str, float]]] = deque(maxlen=MAX_PROGRESS)
        self._calls: deque[tuple[Callable[[Tracker], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._body, name="akq-tracker", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        """Why the last attempt failed; None while all is well."""
        with self._changed:
            return self._error

    @property
    def links(self) -> TrackerLinks | None:
        """Where the record is, once the thread has opened the tracker."""
        with self._changed:
            return self._links

    @property
    def position(self) -> int:
        """Every trial below this number is recorded."""
        with self._changed:
            return self._position

    @property
    def lag(self) -> int:
        """Finished trials that are not recorded yet, as far as `notify` has told."""
        with self._changed:
            return max(0, self._n_finished - self._position)

    def notify(self, n_finished: int) -> None:
        """Say that trials below this number have finished and can be read."""
        with self._changed:
            self._n_finished = max(self._n_finished, n_finished)
            self._dirty = True
            self._changed.notify_all()

    def progress(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand over metrics of the sweep itself; the oldest point is dropped when too many wait."""
        with self._changed:
            if len(self._progress) == MAX_PROGRESS:
                self._n_dropped += 1
            self._progress.append((step, dict(metrics)))
            self._changed.notify_all()

    def drain(self, timeout_s: float, on_progress: Callable[[int, int], None] | None = None) -> bool:
        """Wait until everything handed over is recorded; False when time is up or the store stays away.

        `on_progress` is told (recorded, finished) as it changes.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._n_failures = 0
            self._dirty = True
            self._hurry = True
            self._changed.notify_all()
        try:
            return self._await_drained(deadline, on_progress)
        finally:
            with self._changed:
                self._hurry = False

    def _await_drained(self, deadline: float, on_progress: Callable[[int, int], None] | None) -> bool:
        told = -1
        while True:
            with self._changed:
                if self._is_idle():
                    return True
                remaining_s = deadline - time.monotonic()
                if self._broken is not None or remaining_s <= 0 or self._n_failures >= GIVE_UP_AFTER:
                    return False
                self._changed.wait(min(remaining_s, 0.5))
                position, n_finished = self._position, self._n_finished
            if on_progress is not None and position != told:
                told = position
                on_progress(position, max(position, n_finished))

    def call(self, action: Callable[[Tracker], T], timeout_s: float) -> T:
        """Run something with the tracker in its thread, after what waits there now; return what it returns.

        Raises what the action raises, and TrackerError when its turn does not come in time; it is then not
        run.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._broken is not None or self._closing:
                raise TrackerError(f"the tracker is closed{f': {self._broken}' if self._broken else ''}")
            self._calls.append((action, future))
            self._changed.notify_all()
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.cancel():
                why = self.error
                raise TrackerError(
                    f"the tracking store did not answer in {timeout_s:.0f} s{f': {why}' if why else ''}"
                ) from None
            return future.result()

    def close(self, timeout_s: float = 15.0) -> None:
        """End the thread after the request that is under way, and close the tracker. Safe to call twice."""
        with self._changed:
            first = not self._closing
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("the tracking store does not answer; its thread is left behind")
        elif first:
            self._tracker.close()

    # The thread

    def _body(self) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while self._await_work():
                try:
                    self._step()
                except TrackerError as error:
                    self._failed(error, pause_s)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                else:
                    pause_s = FIRST_PAUSE_S
        except Exception as error:  # the edge of a thread: `drain` and `error` tell the caller
            log.warning("the tracker has stopped, the results stay in the ledger", exc_info=True)
            with self._changed:
                self._broken = error
                self._error = f"{type(error).__name__}: {error}"
                self._changed.notify_all()
        finally:
            with self._changed:
                waiting = list(self._calls)
                self._calls.clear()
            for _, future in waiting:
                if future.set_running_or_notify_cancel():
                    future.set_exception(
                        TrackerError(f"the tracker is closed{f': {self._error}' if self._error else ''}")
                    )

    def _await_work(self) -> bool:
        with self._changed:
            self._busy = False
            while not self._closing and self._is_idle():
                self._changed.notify_all()
                self._changed.wait()
            if self._dirty and not self._progress:
                left_s = self._recorded_s + PACE_S - time.monotonic()
                self._changed.wait_for(self._is_urgent, max(0.0, left_s))
            self._busy = not self._closing
            return self._busy

    def _is_urgent(self) -> bool:
        """Whether there is no point in letting more trials end first."""
        n_waiting = self._n_finished - self._position
        return self._closing or self._hurry or bool(self._calls) or n_waiting >= self._tracker.block

    def _is_idle(self) -> bool:
        opened = self._info is None or self._links is not None
        return opened and not self._busy and not self._dirty and not self._progress and not self._calls

    def _step(self) -> None:
        """One request's worth of work: open, then trials, then the sweep's metrics, then calls."""
        if self._info is not None and self._links is None:
            links = self._tracker.open(self._info)
            self._succeeded(links=links)
            return
        with self._changed:
            dirty, self._dirty = self._dirty, False
            position = self._position
        if dirty:
            self._record(position)
            return
        if self._progress:
            step, metrics = self._progress[0]
            self._tracker.progress(step, metrics)
            with self._changed:
                if self._progress and self._progress[0][0] == step:
                    self._progress.popleft()
            self._succeeded()
            return
        with self._changed:
            waiting = self._calls.popleft() if self._calls else None
        if waiting is not None:
            self._run_call(*waiting)

    def _record(self, position: int) -> None:
        try:
            records = self._read(position, self._tracker.block)
            if records:
                self._tracker.record(records)
                self._recorded_s = time.monotonic()
                position = records[-1].number + 1
                self._watermark(position)
        except TrackerError:
            with self._changed:
                self._dirty = True
            raise
        self._succeeded(position=position, more=bool(records))

    def _run_call(self, action: Callable[[Tracker], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = action(self._tracker)
        except Exception as error:  # belongs to the caller, who gets it
            future.set_exception(error)
        else:
            future.set_result(result)
            self._succeeded()

    def _succeeded(
        self, *, links: TrackerLinks | None = None, position: int | None = None, more: bool = False
    ) -> None:
        with self._changed:
            self._error = None
            self._n_failures = 0
            if links is not None:
                self._links = links
            if position is not None:
                self._position = position
            self._dirty = self._dirty or more
            self._changed.notify_all()

    def _failed(self, error: TrackerError, pause_s: float) -> None:
        log.info("tracking store: %s; next attempt in %.0f s", error, pause_s)
        with self._changed:
            self._error = str(error)
            self._n_failures += 1
            self._changed.notify_all()
            began_s = time.monotonic()
            while not self._closing:
                # Somebody who drains waits for this attempt; nobody else does.
                longest_s = FIRST_PAUSE_S if self._hurry else pause_s
                remaining_s = began_s + longest_s - time.monotonic()
                if remaining_s <= 0:
                    break
                self._changed.wait(remaining_s)
