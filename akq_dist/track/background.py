"""A tracker in a thread of its own, fed from the ledger: a sweep never waits for the tracking store."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from akq_dist.errors import TrackerError
from akq_dist.record.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from akq_dist.record.follower import Hold
    from akq_dist.record.protocols import SweepInfo, Tracker, TrackerLinks, TrialRecord

T = TypeVar("T")

MAX_PROGRESS = 64
"""Points of the sweep's own metrics that wait; older ones give way."""


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
        self._calls: deque[tuple[Callable[[Tracker], Any], Future[Any]]] = deque()
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

        Raises what the action raises, and TrackerError when its turn does not come in time; it is then not
        run.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._broken is not None or self._closing:
                raise self._gone()
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
            waiting = self._calls.popleft() if self._calls else None
        if waiting is not None:
            self._run_call(*waiting)

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

    def _end(self) -> None:
        with self._changed:
            waiting = list(self._calls)
            self._calls.clear()
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._gone())
        super()._end()

    def _gone(self) -> TrackerError:
        return TrackerError(f"the tracker is closed{f': {self._error}' if self._error else ''}")


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
