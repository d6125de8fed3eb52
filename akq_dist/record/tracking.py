"""A tracker that follows a study: what it is told while the sweep runs, and what it gets at the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from akq_dist.errors import AkqError
from akq_dist.record.canonical import digest
from akq_dist.record.registry import tracker_class, tracker_module
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from akq_dist.record.follower import Hold
    from akq_dist.record.protocols import SweepInfo, TrackerLinks, TrialDetail, TrialRecord
    from akq_dist.record.trials import TrialStore

VIEW = "tracker"
PROGRESS_EVERY_S = 5.0


class Tracking:
    """Keeps a tracker up to date from the ledger, in a thread of its own.

    What it cannot record stays in the ledger.
    """

    def __init__(
        self,
        name: str,
        uri: str,
        experiment: str,
        store: TrialStore,
        info: SweepInfo,
        *,
        runs: str,
        n_trials: int | None,
        from_start: bool = False,
        hold: Hold | None = None,
    ) -> None:
        """`runs` is the setting `track.runs`.

        `from_start` looks at every trial again instead of at the new ones; `hold` is given to the thread.
        """
        module = tracker_module(name)
        self._store = store
        self._view = view_name(name, uri, experiment)
        self.plan = module.plan_runs(runs, n_trials, uri)
        self._info = info
        start, _ = store.watermark(self._view)
        tracker = tracker_class(name)(uri, experiment)
        self._background = module.BackgroundTracker(
            tracker,
            self._read,
            self._note,
            0 if from_start or not self.plan.all_trials else start,
            info=info,
            hold=hold,
        )
        self._told_s = 0.0
        self._n_told = -1

    @property
    def links(self) -> TrackerLinks | None:
        links: TrackerLinks | None = self._background.links
        return links

    @property
    def error(self) -> str | None:
        error: str | None = self._background.error
        return error

    def notify(self, n_finished: int) -> None:
        """Say that further trials have ended."""
        self._background.notify(n_finished)

    def progress(self, step: int, metrics: Mapping[str, float], *, force: bool = False) -> None:
        """Record the sweep's own metrics, at most every few seconds."""
        now_s = time.monotonic()
        if step != self._n_told and (force or now_s - self._told_s >= PROGRESS_EVERY_S):
            self._told_s, self._n_told = now_s, step
            self._background.progress(step, metrics)

    def catch_up(
        self, timeout_s: float, stop: Callable[[], bool], on_progress: Callable[[int], None] | None = None
    ) -> bool:
        """Wait until everything is recorded; see `Follower.catch_up`."""
        caught_up: bool = self._background.catch_up(timeout_s, stop, on_progress)
        return caught_up

    def record(self, trials: Sequence[TrialRecord], timeout_s: float) -> None:
        """Record chosen trials, where not all of them are."""
        self._background.call(lambda tracker: tracker.record(trials), timeout_s)

    def detail(self, details: Sequence[TrialDetail], timeout_s: float) -> None:
        """Attach the tables of chosen trials."""
        self._background.call(lambda tracker: tracker.detail(details), timeout_s)

    def promote(self, trial: TrialRecord, timeout_s: float) -> None:
        """Mark a trial as the winner."""
        self._background.call(lambda tracker: tracker.promote(trial), timeout_s)

    def finish(
        self,
        status: Literal["finished", "failed", "interrupted"],
        trials: pa.Table,
        summary: Mapping[str, float],
        files: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        """Close the record of the sweep and note that it is complete."""
        self._background.call(lambda tracker: tracker.finish(status, trials, summary, files), timeout_s)

    def note(self, **facts: Any) -> None:
        """Remember in the ledger where the record is, and facts about it."""
        links = self._background.links
        if links is None:
            return
        places = {
            "tracking_uri": redact_url(links.tracking_uri),
            "experiment_id": links.experiment_id,
            "run_id": links.run_id,
        }
        watermark, noted = self._store.watermark(self._view)
        self._store.set_watermark(self._view, watermark, {**noted, **places, **facts})

    def close(self, timeout_s: float = 15.0) -> None:
        """Stop the thread after the request that is under way. Safe to call twice."""
        self._background.close(timeout_s)

    def _read(self, start: int, limit: int) -> Sequence[TrialRecord]:
        return self._store.read_finished(start, limit) if self.plan.all_trials else []

    def _note(self, watermark: int) -> None:
        self._store.set_watermark(self._view, watermark)


def view_name(name: str, uri: str, experiment: str) -> str:
    """Return the name of a tracker's view in the ledger; another store is another view.

    Holds no address in clear.
    """
    return f"{VIEW}:{name}:{experiment}:{digest(uri)[:16]}"


def check_same(recorded: Sequence[TrialRecord], details: Sequence[TrialDetail]) -> None:
    """Raise AkqError when a trial that was run again gave something else than the ledger holds."""
    by_number = {record.number: record.hash for record in recorded}
    for detail in details:
        if by_number.get(detail.number) != detail.hash:
            raise AkqError(
                f"trial {detail.number} gives another result when it is run again; the strategy depends on "
                "something beside its parameters, its data and its seed."
            )
