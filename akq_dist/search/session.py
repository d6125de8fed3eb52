"""One session of a sweep: from the lock to the views.

Joins the loop with an executor, Optuna's storage and a tracker.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from akq_dist.errors import AkqError, AkqStudyError, TrackerError
from akq_dist.record.canonical import digest
from akq_dist.record.ledger import Ledger
from akq_dist.record.lock import StudyLock
from akq_dist.record.protocols import Batch
from akq_dist.record.registry import executor_class, tracker_module
from akq_dist.record.tracking import Tracking, check_same, view_name
from akq_dist.record.trials import TrialStore
from akq_dist.search.best import feasible_rows, rank_best
from akq_dist.search.choose import Choice, choose_executor, make_executor, notes_on, serial_executor
from akq_dist.search.facts import environment, sweep_info
from akq_dist.search.loop import LoopOutcome, LoopSettings, SearchLoop
from akq_dist.search.policy import FailureLimit
from akq_dist.search.prepare import prepare
from akq_dist.search.progress import Progress
from akq_dist.search.storage import OptunaView, ViewThread, owner_of
from akq_dist.search.study import make_feed, open_study
from akq_dist.specs.units import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.record.protocols import Executor, TrackerLinks
    from akq_dist.request import Request
    from akq_dist.search.prepare import Prepared
    from akq_dist.search.progress import OnProgress
    from akq_dist.search.study import OpenedStudy

logger = logging.getLogger(__name__)

_DETAIL_CHUNK = 8
_CATCH_UP_S = 7 * 86_400.0
_INTERRUPTED_S = 1.5
"""How long an interrupted sweep waits for each view."""
_CALL_S = 120.0


@dataclass(frozen=True)
class SessionOptions:
    """How a study is opened."""

    new: bool = False
    accept_build: bool = False
    must_exist: bool = False


@dataclass(frozen=True)
class SessionResult:
    """What a session did."""

    prepared: Prepared
    store: TrialStore
    outcome: LoopOutcome
    total: int | None
    executor: str | None
    """None when there was nothing to run."""
    n_workers: int
    links: TrackerLinks | None
    """Where the tracker's record is; None when tracking is off or away."""
    warnings: tuple[str, ...]


class Session:
    """Runs or resumes the study of a request, once.

    `cancel` may be called from any thread, the rest from one.
    """

    def __init__(
        self,
        request: Request,
        options: SessionOptions,
        *,
        on_progress: OnProgress | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        """`on_note` hears what a person should know, one sentence at a time."""
        self._request = request
        self._options = options
        self._on_progress = on_progress
        self._on_note = on_note
        self._loop: SearchLoop | None = None
        self._cancelled = threading.Event()
        self._impatient = threading.Event()
        self._warnings: list[str] = []
        self.last: Progress | None = None
        """The latest moment that was shown."""

    def cancel(self) -> None:
        """Stop soon, leaving a resumable study; a second call also stops waiting for the views."""
        if self._cancelled.is_set():
            self._impatient.set()
        self._cancelled.set()
        if self._loop is not None:
            self._loop.cancel()

    def run(self) -> SessionResult:
        """Do all of it. Raises AkqError for what a person can mend; the ledger is resumable then."""
        with ExitStack() as stack:
            early = self._start_early(stack)
            prepared = prepare(self._request)
            ledger = Ledger(Path(prepared.spec.storage.ledger))
            try:
                stack.enter_context(StudyLock(ledger.path, prepared.spec.name))
                opened = self._open_study(ledger, prepared)
                return self._run_study(stack, ledger, prepared, opened, early)
            except BaseException:
                ledger.close()
                raise

    def _start_early(self, stack: ExitStack) -> Executor | None:
        """Let an executor that takes seconds to start begin while the data are read."""
        run = self._request.spec.run
        if run.executor != "ray" and run.address is None:
            return None
        executor: Executor = executor_class("ray")(
            address=run.address, workers=run.workers, threads=run.threads
        )
        stack.callback(executor.close)
        begin = getattr(executor, "prepare", None)
        if begin is not None:
            begin()
        return executor

    def _open_study(self, ledger: Ledger, prepared: Prepared) -> OpenedStudy:
        url = prepared.spec.storage.optuna

        def is_taken(name: str) -> bool:
            return url is not None and owner_of(url, name) is not None

        opened = open_study(
            ledger,
            prepared,
            new=self._options.new,
            accept_build=self._options.accept_build,
            must_exist=self._options.must_exist,
            is_taken=is_taken,
        )
        if opened.record.name != prepared.spec.name and not opened.resumed:
            self._note(f"the study is called '{opened.record.name}': '{prepared.spec.name}' exists already")
        return opened

    def _run_study(
        self,
        stack: ExitStack,
        ledger: Ledger,
        prepared: Prepared,
        opened: OpenedStudy,
        early: Executor | None,
    ) -> SessionResult:
        store = TrialStore(ledger, opened.record)
        n_asked, n_open = store.numbers()
        has_work = n_open > 0 or opened.total is None or n_asked < opened.total
        if opened.resumed:
            self._note(f"resuming '{opened.record.name}': {n_asked - n_open:,} trials are done")
        views = _Views(prepared, store, opened, self._note_warning)
        stack.callback(views.close)
        executor: Executor | None = None
        choice: Choice | None = None
        if has_work:
            left = None if opened.total is None else opened.total - n_asked + n_open
            choice, executor = self._start_executor(stack, prepared, left, early)
            for note in notes_on(prepared, opened.record.source, executor.n_threads):
                self._note(note)
            session_id = ledger.open_session(
                opened.record.sid, build=prepared.build, executor=choice.name, environment=environment()
            )
            store = TrialStore(ledger, opened.record, session_id)
            outcome = self._search(prepared, store, opened, executor, views)
        else:
            outcome = LoopOutcome("finished", None, 0, 0, 0.0)
        self._finish_views(stack, prepared, store, outcome, views, executor)
        if outcome.sampler_note is not None:
            self._note(outcome.sampler_note)
        return SessionResult(
            prepared=prepared,
            store=store,
            outcome=outcome,
            total=opened.total if opened.total is not None else store.counts()["total"],
            executor=None if choice is None else choice.name,
            n_workers=0 if executor is None else executor.n_workers,
            links=views.links,
            warnings=tuple(self._warnings),
        )

    def _start_executor(
        self, stack: ExitStack, prepared: Prepared, left: int | None, early: Executor | None
    ) -> tuple[Choice, Executor]:
        choice = choose_executor(prepared, left)
        self._note(f"executor: {choice.name} ({choice.why})")
        if choice.ready is not None:
            stack.callback(choice.ready.close)
            return choice, choice.ready
        if early is not None:
            executor = early
        else:
            executor = make_executor(choice.name, prepared.spec.run)
            stack.callback(executor.close)
        threads = max(1, executor.n_threads // max(1, executor.n_workers))
        executor.start(prepared.job(threads), prepared.data.table)
        return choice, executor

    def _search(
        self, prepared: Prepared, store: TrialStore, opened: OpenedStudy, executor: Executor, views: _Views
    ) -> LoopOutcome:
        run = prepared.spec.run
        settings = LoopSettings(
            timeout_s=prepared.spec.search.timeout,
            batch=None if run.batch == "auto" else run.batch,
            retries=run.retries,
            failures=failure_limit(run.max_failures),
        )

        def show(progress: Progress) -> None:
            views.progress(progress)
            self._show(progress)

        self._loop = SearchLoop(
            store,
            executor,
            make_feed(prepared, store, opened.total),
            prepared.space,
            prepared.keys(),
            prepared.judge,
            settings,
            total=opened.total,
            on_progress=show,
            on_finished=views.notify,
        )
        if self._cancelled.is_set():
            self._loop.cancel()
        try:
            return self._loop.run()
        except KeyboardInterrupt:
            # Ctrl-C that reached the engine in this thread: what was in flight stays open in the ledger.
            self.cancel()
            executor.cancel()
            progress = self._loop.progress()
            return LoopOutcome("cancelled", None, 0, 0, progress.elapsed_s)

    def _finish_views(
        self,
        stack: ExitStack,
        prepared: Prepared,
        store: TrialStore,
        outcome: LoopOutcome,
        views: _Views,
        executor: Executor | None,
    ) -> None:
        interrupted = outcome.status == "cancelled"
        if views.up_to_date(store):
            return
        views.open()
        timeout_s = _INTERRUPTED_S if interrupted else _CATCH_UP_S

        def stop() -> bool:
            return self._impatient.is_set() or (not interrupted and self._cancelled.is_set())

        def show(phase: str) -> Callable[[int], None]:
            return lambda done: self._show(replace(self._moment(store), phase=phase, done=done, eta_s=None))

        views.catch_up_optuna(timeout_s, stop, show("optuna"))
        if views.catch_up_tracker(timeout_s, stop, show("tracking")):
            if not interrupted:
                self._attach_details(stack, prepared, store, views, executor, stop, show("artifacts"))
            views.finish(store, outcome, timeout_s=_INTERRUPTED_S if interrupted else _CALL_S)

    def _attach_details(
        self,
        stack: ExitStack,
        prepared: Prepared,
        store: TrialStore,
        views: _Views,
        executor: Executor | None,
        stop: Callable[[], bool],
        on_progress: Callable[[int], None],
    ) -> None:
        """Run the best trials again with their tables kept, and hand these to the tracker."""
        numbers = views.wanted_details(store)
        if not numbers:
            return
        if executor is None:
            serial = serial_executor(prepared)
            serial.start(prepared.job(serial.n_threads), prepared.data.table)
            stack.callback(serial.close)
            executor = serial
        for start in range(0, len(numbers), _DETAIL_CHUNK):
            if stop():
                return
            block = store.take(numbers[start : start + _DETAIL_CHUNK])
            try:
                details = executor.detail(Batch(-2, block.numbers, np.ascontiguousarray(block.points)))
                check_same([store.record(block, ix) for ix in range(len(block))], details)
                views.attach(details)
            except TrackerError as error:
                self._note_warning(f"artifacts are incomplete: {error}")
                return
            except AkqError as error:
                self._note_warning(str(error))
            on_progress(min(start + _DETAIL_CHUNK, len(numbers)))

    def _moment(self, store: TrialStore) -> Progress:
        if self.last is None:
            counts = store.counts()
            done = counts["total"] - counts["asked"]
            self.last = Progress("search", done, counts["total"], 0.0, 0.0, None, None, ())
        return self.last

    def _show(self, progress: Progress) -> None:
        if progress.phase == "search":
            self.last = progress
        if self._on_progress is not None:
            self._on_progress(progress)

    def _note(self, text: str) -> None:
        logger.info(text)
        if self._on_note is not None:
            self._on_note(text)

    def _note_warning(self, text: str) -> None:
        self._warnings.append(text)
        logger.warning(text)


class _Views:
    """The copies of a study in other tools, as far as the sweep asks for them."""

    def __init__(
        self, prepared: Prepared, store: TrialStore, opened: OpenedStudy, warn: Callable[[str], None]
    ) -> None:
        self._prepared = prepared
        self._store = store
        self._total = opened.total
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
        self.links: TrackerLinks | None = self._noted_links()

    def open(self, *, from_start: bool = False) -> None:
        """Start the threads that copy; safe to call twice."""
        if self._opened:
            return
        self._opened = True
        store, spec = self._store, self._prepared.spec
        if self._url is not None:
            view = OptunaView(self._url, store.study, self._prepared.space, self._prepared.judge)
            name = self._optuna_view
            self._optuna = ViewThread(view, store.read_finished, lambda n: store.set_watermark(name, n))
        if self._tracker_uri is not None:
            self._tracking = Tracking(
                "mlflow",
                self._tracker_uri,
                spec.experiment,
                store,
                sweep_info(self._prepared, store.study),
                runs=spec.track.runs,
                n_trials=self._total,
                from_start=from_start,
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
        return self._tracker_uri is None or store.watermark(self._tracker_view)[1].get("finished") == n_done

    def notify(self, n_finished: int) -> None:
        self.open()
        if self._optuna is not None:
            self._optuna.notify()
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
        deadline_s = time.monotonic() + timeout_s
        while not self._optuna.flush(min(2.0, timeout_s), on_progress):
            error = self._optuna.error
            late = stop() or time.monotonic() >= deadline_s
            if self._optuna.is_stuck or late:
                if error is not None:
                    self._warn(
                        f"the Optuna study is incomplete: {error}. The results are in the ledger; "
                        f"`akq sweep sync {self._store.study.name}` copies them later."
                    )
                return

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
        if self._tracking is None:
            return []
        plan = tracker_module("mlflow").plan_artifacts(self._prepared.spec.track.artifacts, self._total)
        if plan.limit == 0:
            return []
        held = set(store.watermark(self._tracker_view)[1].get("detailed", ()))
        return [number for number in best_numbers(self._prepared, store, plan.limit) if number not in held]

    def attach(self, details: Sequence[Any]) -> None:
        """Hand tables to the tracker and remember that it has them. Raises TrackerError."""
        if self._tracking is None:
            return
        self._tracking.detail(details, _CALL_S)
        _, noted = self._store.watermark(self._tracker_view)
        held = sorted({*noted.get("detailed", ()), *(detail.number for detail in details)})
        self._tracking.note(detailed=held)

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
        best = best_numbers(self._prepared, store, 1)
        if best and len(store.study.objectives) == 1:
            block = store.take(best)
            summary[f"best.{store.study.objectives[0][0]}"] = float(block.values[0, 0])
            summary["best.number"] = float(best[0])
        try:
            self._tracking.finish(status, store.results(), summary, timeout_s)
        except TrackerError as error:
            self._warn(f"tracking is incomplete: {error}. The results are in the ledger.")
            return
        n_done = counts["total"] - counts["asked"]
        finished = n_done if not counts["asked"] and status != "interrupted" else None
        self._tracking.note(finished=finished)
        self.links = self._tracking.links or self.links

    def close(self) -> None:
        if self._optuna is not None:
            self._optuna.close()
        if self._tracking is not None:
            self._tracking.close()

    def _record_best(self, tracking: Tracking) -> bool:
        limit = tracking.plan.limit or 0
        try:
            numbers = sorted(best_numbers(self._prepared, self._store, limit)) if limit else []
            for start in range(0, len(numbers), 100):
                block = self._store.take(numbers[start : start + 100])
                tracking.record([self._store.record(block, ix) for ix in range(len(block))], _CALL_S)
        except TrackerError as error:
            self._warn(f"tracking is incomplete: {error}. The results are in the ledger.")
            return False
        return True

    def _noted_links(self) -> TrackerLinks | None:
        if not self._tracker_view:
            return None
        from akq_dist.record.protocols import TrackerLinks

        _, noted = self._store.watermark(self._tracker_view)
        if "run_id" not in noted:
            return None
        return TrackerLinks(noted["tracking_uri"], noted["experiment_id"], noted["run_id"])


def best_numbers(prepared: Prepared, store: TrialStore, limit: int | None) -> list[int]:
    """Return the numbers of the best feasible trials, best first.

    Without a limit all complete trials in number order.
    """
    numbers, values = [], []
    for block in store.blocks(size=20_000):
        keep = np.array([state == "complete" for state in block.states], dtype=np.bool_)
        if limit is not None:
            keep &= feasible_rows(prepared.judge.violations(block.metrics))
        numbers.append(block.numbers[keep])
        values.append(block.values[keep])
    if not numbers:
        return []
    all_numbers = np.concatenate(numbers)
    if limit is None:
        return [int(number) for number in all_numbers]
    return rank_best(prepared.judge, all_numbers, np.concatenate(values), limit)


def failure_limit(setting: int | str) -> FailureLimit:
    """Return `run.max_failures` as a limit."""
    return FailureLimit(share=percent(setting)) if isinstance(setting, str) else FailureLimit(count=setting)


def sync_views(
    prepared: Prepared, ledger: Ledger, name: str, on_progress: Callable[[str, int], None] | None = None
) -> list[str]:
    """Bring every view of a study up to the ledger, looking at every trial again; return what went wrong.

    Doing it twice changes nothing.
    """
    record = ledger.find(name)
    if record is None:
        raise AkqStudyError(f"the ledger {ledger.path} has no study '{name}'.")
    store = TrialStore(ledger, record)
    warnings: list[str] = []
    from akq_dist.search.study import OpenedStudy

    views = _Views(prepared, store, OpenedStudy(record, record.budget, resumed=True), warnings.append)
    try:
        views.open(from_start=True)
        counts = store.counts()
        views.notify(counts["total"] - counts["asked"])

        def show(phase: str) -> Callable[[int], None]:
            return lambda done: on_progress(phase, done) if on_progress is not None else None

        views.catch_up_optuna(_CATCH_UP_S, lambda: False, show("optuna"))
        if views.catch_up_tracker(_CATCH_UP_S, lambda: False, show("tracking")):
            status: Literal["finished", "cancelled"] = "cancelled" if counts["asked"] else "finished"
            views.finish(store, LoopOutcome(status, None, 0, 0, 0.0), timeout_s=_CALL_S)
    finally:
        views.close()
    return warnings
