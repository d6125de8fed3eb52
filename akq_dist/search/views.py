"""The copies of a study in Optuna's storage and in a tracker, as far as the sweep asks for them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from akq_dist.errors import AkqStudyError, TrackerError
from akq_dist.record.canonical import digest
from akq_dist.record.protocols import TrackerLinks
from akq_dist.record.registry import tracker_module
from akq_dist.record.tracking import Tracking, view_name
from akq_dist.record.trials import TrialStore
from akq_dist.search.best import feasible_rows, rank_best
from akq_dist.search.facts import sweep_info
from akq_dist.search.loop import LoopOutcome
from akq_dist.search.storage import OptunaView
from akq_dist.search.study import OpenedStudy
from akq_dist.search.study_page import make_report
from akq_dist.search.view_thread import ViewThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.record.ledger import Ledger
    from akq_dist.record.lock import StudyLock
    from akq_dist.search.judge import Judge
    from akq_dist.search.prepare import Prepared
    from akq_dist.search.progress import Progress

CATCH_UP_S = 7 * 86_400.0
"""How long the end of a sweep waits for a view that makes progress."""
REPORT_FILE = "report.html"
CALL_S = 120.0
CLOSE_S = 15.0


class Views:
    """The copies of a study in other tools, as far as the sweep asks for them."""

    def __init__(
        self,
        prepared: Prepared,
        store: TrialStore,
        opened: OpenedStudy,
        lock: StudyLock,
        warn: Callable[[str], None],
    ) -> None:
        """Each thread that writes shares the lock of the study, and holds it to its own end."""
        self._prepared = prepared
        self._store = store
        self._total = opened.total
        self._lock = lock
        self._warn = warn
        spec = prepared.spec
        self._url = spec.storage.optuna
        self._tracker_uri = spec.track.mlflow
        self._optuna_view = "" if self._url is None else f"optuna:{digest(self._url)[:16]}"
        self._tracker_view = ""
        if self._tracker_uri is not None:
            self._tracker_view = view_name("mlflow", self._tracker_uri, spec.experiment)
        self._optuna: ViewThread | None = None
        self._tracking: Tracking | None = None
        self._opened = False
        self.tags: dict[str, str] = {}
        """What the tracker's record of the sweep is tagged with beside its settings, set before it is opened."""
        self.links: TrackerLinks | None = self._noted_links()

    def warm(self) -> threading.Thread | None:
        """Import what the tracker needs, in a thread while the executor starts; None without a tracker.

        The import takes seconds and the interpreter, so a search waits for it rather than be slowed by it.
        """
        if self._tracker_uri is None:
            return None
        thread = threading.Thread(target=tracker_module("mlflow").warm, name="akq-import")
        thread.start()
        return thread

    def open(self, *, from_start: bool = False) -> None:
        """Start the threads that copy; safe to call twice."""
        if self._opened:
            return
        self._opened = True
        store, spec = self._store, self._prepared.spec
        if self._url is not None:
            view = OptunaView(self._url, store.study, self._prepared.space, self._prepared.judge)
            name = self._optuna_view
            self._optuna = ViewThread(
                view,
                store.read_finished,
                lambda n: store.set_watermark(name, n),
                hold=self._lock.share,
            )
        if self._tracker_uri is not None:
            self._tracking = Tracking(
                "mlflow",
                self._tracker_uri,
                spec.experiment,
                store,
                replace(sweep_info(self._prepared, store.study), tags=self.tags),
                runs=spec.track.runs,
                n_trials=self._total,
                from_start=from_start,
                hold=self._lock.share,
            )
            if self._tracking.plan.note:
                self._warn(self._tracking.plan.note)

    def up_to_date(self, store: TrialStore) -> bool:
        """Tell from the ledger alone whether every view has every trial and is closed."""
        counts = store.counts()
        if counts["asked"] or self._opened:
            return False
        n_done = counts["total"]
        if self._url is not None and store.watermark(self._optuna_view)[0] < n_done:
            return False
        if self._tracker_uri is None:
            return True
        _, noted = store.watermark(self._tracker_view)
        return noted.get("finished") == n_done and not self._lacks_details(store, counts["complete"])

    def notify(self, n_finished: int) -> None:
        self.open()
        if self._optuna is not None:
            self._optuna.notify(n_finished)
        if self._tracking is not None:
            self._tracking.notify(n_finished)

    def progress(self, progress: Progress) -> None:
        """Record the sweep's own figures as they evolve."""
        if self._tracking is None:
            return
        metrics = {
            "trials_per_s": progress.trials_per_s,
            "bars_per_s": progress.bars_per_s,
            "complete": float(progress.complete),
            "failed": float(progress.failed),
        }
        objectives = self._store.study.objectives
        if progress.best_number is not None and len(objectives) == 1:
            metrics[f"best.{objectives[0][0]}"] = progress.best_values[0]
        self._tracking.progress(progress.done, metrics)

    def catch_up_optuna(
        self, timeout_s: float, stop: Callable[[], bool], on_progress: Callable[[int], None]
    ) -> None:
        if self._optuna is None:
            return
        if not self._optuna.catch_up(timeout_s, stop, on_progress) and self._optuna.error is not None:
            self._warn(
                f"the Optuna study is incomplete: {self._optuna.error}. The results are in the ledger; "
                f"`akq sweep sync {self._store.study.name}` copies them later."
            )

    def catch_up_tracker(
        self, timeout_s: float, stop: Callable[[], bool], on_progress: Callable[[int], None]
    ) -> bool:
        if self._tracking is None:
            return False
        done = self._tracking.catch_up(timeout_s, stop, on_progress)
        self.links = self._tracking.links or self.links
        if not done and self._tracking.error is not None:
            self._warn(
                f"tracking is incomplete: {self._tracking.error}. The results are in the ledger; "
                f"`akq sweep sync {self._store.study.name}` records them later."
            )
        if done and not self._tracking.plan.all_trials:
            done = self._record_best(self._tracking)
        return done

    def wanted_details(self, store: TrialStore) -> list[int]:
        """Return the numbers of the trials whose tables are to be kept and are not yet."""
        limit = self._detail_limit()
        if limit == 0:
            return []
        held = self._detailed(store)
        return [number for number in best_numbers(self._prepared.judge, store, limit) if number not in held]

    def _lacks_details(self, store: TrialStore, n_complete: int) -> bool:
        limit = self._detail_limit()
        n_most = n_complete if limit is None else min(limit, n_complete)
        # Which trials are the best is asked only when some may be missing: it takes a look at all of them.
        return len(self._detailed(store)) < n_most and bool(self.wanted_details(store))

    def _detail_limit(self) -> int | None:
        if self._tracker_uri is None:
            return 0
        limit: int | None
        limit = (
            tracker_module("mlflow").plan_artifacts(self._prepared.spec.track.artifacts, self._total).limit
        )
        return limit

    def _detailed(self, store: TrialStore) -> set[int]:
        return set(store.watermark(self._tracker_view)[1].get("detailed", ()))

    def attach(self, details: Sequence[Any]) -> None:
        """Hand tables to the tracker and remember that it has them. Raises TrackerError."""
        if self._tracking is None:
            return
        self._tracking.detail(details, CALL_S)
        held = self._detailed(self._store) | {detail.number for detail in details}
        self._tracking.note(detailed=sorted(held))

    def finish(self, store: TrialStore, outcome: LoopOutcome, timeout_s: float) -> None:
        """Close the tracker's record of the sweep."""
        if self._tracking is None:
            return
        status: Literal["finished", "failed", "interrupted"] = "finished"
        if outcome.status == "cancelled":
            status = "interrupted"
        elif outcome.status == "failed":
            status = "failed"
        counts = store.counts()
        summary = {
            f"trials.{name}": float(counts[name])
            for name in ("complete", "fail", "pruned", "cached", "total")
        }
        summary["wall_s"] = outcome.wall_s
        if outcome.wall_s > 0.0:
            summary["trials_per_s"] = outcome.n_finished / outcome.wall_s
            summary["bars_per_s"] = outcome.n_bars / outcome.wall_s
        best = best_numbers(self._prepared.judge, store, 1)
        if best and len(store.study.objectives) == 1:
            block = store.take(best)
            summary[f"best.{store.study.objectives[0][0]}"] = float(block.values[0, 0])
            summary["best.number"] = float(best[0])
        try:
            if best and status == "finished" and len(store.study.objectives) == 1:
                self._tracking.promote(store.record(store.take(best), 0), timeout_s)
            files = (
                {REPORT_FILE: make_report(store, lambda: self._prepared).html} if status == "finished" else {}
            )
            self._tracking.finish(status, store.results(), summary, files, timeout_s)
        except TrackerError as error:
            self._warn(f"tracking is incomplete: {error}. The results are in the ledger.")
            return
        n_done = counts["total"] - counts["asked"]
        finished = n_done if not counts["asked"] and status != "interrupted" else None
        self._tracking.note(finished=finished)
        self.links = self._tracking.links or self.links

    def close(self, timeout_s: float) -> None:
        if self._optuna is not None:
            self._optuna.close(timeout_s)
        if self._tracking is not None:
            self._tracking.close(timeout_s)

    def _record_best(self, tracking: Tracking) -> bool:
        limit = tracking.plan.limit or 0
        try:
            numbers = sorted(best_numbers(self._prepared.judge, self._store, limit)) if limit else []
            for start in range(0, len(numbers), 100):
                block = self._store.take(numbers[start : start + 100])
                tracking.record([self._store.record(block, ix) for ix in range(len(block))], CALL_S)
        except TrackerError as error:
            self._warn(f"tracking is incomplete: {error}. The results are in the ledger.")
            return False
        return True

    def _noted_links(self) -> TrackerLinks | None:
        if not self._tracker_view:
            return None
        _, noted = self._store.watermark(self._tracker_view)
        if "run_id" not in noted:
            return None
        return TrackerLinks(noted["tracking_uri"], noted["experiment_id"], noted["run_id"])


def best_numbers(judge: Judge, store: TrialStore, limit: int | None) -> list[int]:
    """Return the numbers of the best feasible trials, best first.

    Without a limit all complete trials in number order.
    """
    numbers, values = [], []
    for block in store.blocks(size=20_000):
        keep = np.array([state == "complete" for state in block.states], dtype=np.bool_)
        if limit is not None:
            keep &= feasible_rows(judge.violations(block.metrics))
        numbers.append(block.numbers[keep])
        values.append(block.values[keep])
    if not numbers:
        return []
    all_numbers = np.concatenate(numbers)
    if limit is None:
        return [int(number) for number in all_numbers]
    return rank_best(judge, all_numbers, np.concatenate(values), limit)


def sync_views(
    prepared: Prepared,
    ledger: Ledger,
    lock: StudyLock,
    name: str,
    on_progress: Callable[[str, int], None] | None = None,
) -> list[str]:
    """Bring every view of a study up to the ledger, looking at every trial again; return what went wrong.

    `lock` is held by the caller. Doing it twice changes nothing.
    """
    record = ledger.find(name)
    if record is None:
        raise AkqStudyError(f"the ledger {ledger.path} has no study '{name}'.")
    store = TrialStore(ledger, record)
    warnings: list[str] = []
    views = Views(prepared, store, OpenedStudy(record, record.budget, resumed=True), lock, warnings.append)
    try:
        views.open(from_start=True)
        counts = store.counts()
        views.notify(counts["total"] - counts["asked"])

        def show(phase: str) -> Callable[[int], None]:
            return lambda done: on_progress(phase, done) if on_progress is not None else None

        views.catch_up_optuna(CATCH_UP_S, lambda: False, show("optuna"))
        if views.catch_up_tracker(CATCH_UP_S, lambda: False, show("tracking")):
            status: Literal["finished", "cancelled"] = "cancelled" if counts["asked"] else "finished"
            views.finish(store, LoopOutcome(status, None, 0, 0, 0.0), timeout_s=CALL_S)
    finally:
        views.close(CLOSE_S)
    return warnings
