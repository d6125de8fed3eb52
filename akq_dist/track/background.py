"""A tracker in a thread of its own, fed from the ledger: a sweep never waits for the tracking store."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from akq_dist.errors import TrackerError
from akq_dist.record.follower import Follower, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from akq_dist.record.follower import Hold
    from akq_dist.record.protocols import SweepInfo, Tracker, TrackerLinks, TrialRecord

T = TypeVar("T")

MAX_PROGRESS = 64
"""Points of the sweep's own metrics that wait; older ones give way."""
REPEAT_CALL_S = 30.0
"""How long a call is repeated whose store is away, beyond the time that a database takes to be restarted."""


class BackgroundTracker(Follower):
    """Copies finished trials to a tracker, and after them what else the sweep has to say.

    Beside the ledger there wait the newest points of the sweep's own metrics and the calls that somebody waits
    for, so a store that is away for hours costs no memory.
    """

    def __init__(
        self,
        tracker: Tracker,
        read: Callable[[int, int], Sequence[TrialRecord]],
        watermark: Callable[[int], None],
        start_at: int = 0,
        *,
        info: SweepInfo | None = None,
        hold: Hold | None = None,
    ) -> None:
        """With `info` the thread opens the tracker as well, which for MLflow takes seconds."""
        self._tracker = tracker
        self._opened = _OpenedTracker(tracker, info)
        self._progress: deque[tuple[int, Mapping[str, float]]] = deque(maxlen=MAX_PROGRESS)
        self._calls: deque[_Call] = deque()
        super().__init__(self._opened, read, watermark, start_at, name="akq-tracker", hold=hold)

    @property
    def links(self) -> TrackerLinks | None:
        """Where the record is, once the thread has opened the tracker."""
        return self._opened.links

    def progress(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand over metrics of the sweep itself; the oldest point is dropped when too many wait."""
        with self._changed:
            self._progress.append((step, dict(metrics)))
            self._changed.notify_all()

    def call(self, action: Callable[[Tracker], T], timeout_s: float) -> T:
        """Run something with the tracker in its thread, after what waits there now; return what it returns.

        A store that is away for a moment is tried again, so the action has to be harmless to repeat. Raises
        TrackerError when the store stays away or the turn of the action does not come in time, when it is not
        run; and whatever else the action raises.
        """
        call = _Call(action)
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            if self._broken is not None or self._closing:
                raise self._gone()
            self._calls.append(call)
            self._changed.notify_all()
            while not call.is_done:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0.0 and not call.is_running:
                    self._calls.remove(call)
                    why = f": {self._error}" if self._error else ""
                    raise TrackerError(f"the tracking store did not answer in {timeout_s:.0f} s{why}")
                self._changed.wait(left_s if left_s > 0.0 else None)
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    # The thread

    def _has_more_to_do(self) -> bool:
        return bool(self._progress or self._calls)

    def _do_more(self) -> None:
        if self._progress:
            step, metrics = self._progress[0]
            self._tracker.progress(step, metrics)
            with self._changed:
                if self._progress and self._progress[0][0] == step:
                    self._progress.popleft()
            self._succeeded()
            return
        with self._changed:
            call = self._calls[0] if self._calls else None
            if call is not None:
                call.is_running = True
        if call is not None:
            self._run_call(call)

    def _run_call(self, call: _Call) -> None:
        now_s = time.monotonic()
        if call.began_s is None:
            call.began_s = now_s
        try:
            call.result = call.action(self._tracker)
        except TrackerError as error:
            with self._changed:
                call.is_running = False
                is_given_up = isinstance(error, StoreFullError) or now_s - call.began_s >= REPEAT_CALL_S
                if is_given_up or self._closing:
                    self._finish_call(call, error)
            raise
        except Exception as error:  # belongs to the caller, who gets it
            with self._changed:
                self._finish_call(call, error)
        else:
            with self._changed:
                self._finish_call(call, None)
            self._succeeded()

    def _finish_call(self, call: _Call, error: Exception | None) -> None:
        call.error, call.is_done = error, True
        self._calls.remove(call)
        self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            for call in list(self._calls):
                self._finish_call(call, self._gone())
        super()._end()

    def _gone(self) -> TrackerError:
        return TrackerError(f"the tracker is closed{f': {self._error}' if self._error else ''}")


@dataclass(eq=False)
class _Call:
    """Something that a caller waits for; all but `action` changes with the follower's condition held."""

    action: Callable[[Tracker], Any]
    result: Any = None
    error: Exception | None = None
    is_running: bool = False
    is_done: bool = False
    began_s: float | None = None
    """When it was tried for the first time."""


class _OpenedTracker:
    """A tracker as the view of a Follower."""

    def __init__(self, tracker: Tracker, info: SweepInfo | None) -> None:
        self._tracker = tracker
        self._info = info
        self.links: TrackerLinks | None = None

    @property
    def block(self) -> int:
        return self._tracker.block

    @property
    def is_open(self) -> bool:
        return self._info is None or self.links is not None

    def open(self) -> None:
        if self._info is not None:
            self.links = self._tracker.open(self._info)

    def add(self, trials: Sequence[TrialRecord]) -> None:
        self._tracker.record(trials)

    def interrupt(self) -> None:
        self._tracker.interrupt()

    def close(self) -> None:
        self._tracker.close()
