"""One session of a sweep: from the lock to the views.

Joins the loop with an executor, Optuna's storage and a tracker.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from akq_dist.errors import AkqError, TrackerError
from akq_dist.record.ledger import Ledger
from akq_dist.record.lock import StudyLock
from akq_dist.record.protocols import Batch
from akq_dist.record.tracking import check_same
from akq_dist.record.trials import TrialStore
from akq_dist.search.choose import Choice, choose_executor, make_executor, notes_on, serial_executor
from akq_dist.search.facts import environment
from akq_dist.search.kept_source import keep_source
from akq_dist.search.loop import LoopOutcome, LoopSettings, SearchLoop
from akq_dist.search.policy import FailureLimit
from akq_dist.search.prepare import prepare, spec_for_ledger
from akq_dist.search.progress import Progress
from akq_dist.search.storage import owner_of
from akq_dist.search.study import make_feed, open_study
from akq_dist.search.views import CALL_S, CATCH_UP_S, CLOSE_S, Views
from akq_dist.specs.units import percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from akq_dist.record.protocols import Executor, TrackerLinks
    from akq_dist.request import Request
    from akq_dist.search.prepare import Prepared
    from akq_dist.search.progress import OnProgress
    from akq_dist.search.study import OpenedStudy

logger = logging.getLogger(__name__)

_DETAIL_CHUNK = 8
_INTERRUPTED_S = 1.5
"""How long an interrupted sweep waits for each view."""


@dataclass(frozen=True)
class SessionOptions:
    """How a study is opened."""

    new: bool = False
    accept_build: bool = False
    must_exist: bool = False
    study: str | None = None
    """Exact name of the study to resume; otherwise the newest of the sweep's name."""


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
            ledger = Ledger(Path(prepared.spec.storage.ledger), must_exist=self._options.must_exist)
            try:
                lock = stack.enter_context(StudyLock(ledger.path, prepared.spec.name))
                opened = self._open_study(ledger, prepared)
                return self._run_study(stack, ledger, lock, prepared, opened, early)
            except BaseException:
                ledger.close()
                raise

    def _start_early(self, stack: ExitStack) -> Executor | None:
        """Let an executor that takes seconds to start begin while the data are read."""
        run = self._request.spec.run
        if (run.executor != "ray" and run.address is None) or self._looks_finished():
            return None
        executor = make_executor("ray", run)
        stack.callback(executor.close)
        begin = getattr(executor, "prepare", None)
        if begin is not None:
            begin()
        return executor

    def _looks_finished(self) -> bool:
        """Tell from the ledger alone whether the study has every trial that is asked for."""
        spec, options = self._request.spec, self._options
        path = Path(spec.storage.ledger)
        if options.new or not path.is_file():
            return False
        with closing(Ledger(path)) as ledger:
            record = ledger.latest(spec.name) if options.study is None else ledger.find(options.study)
            if record is None or record.budget is None:
                return False
            n_asked, n_open = TrialStore(ledger, record).numbers()
        same_search = record.spec["search"] == spec_for_ledger(spec)["search"]
        return same_search and n_open == 0 and n_asked >= record.budget

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
            study=self._options.study,
            is_taken=is_taken,
        )
        if opened.record.name != prepared.spec.name and not opened.resumed:
            self._note(f"the study is called '{opened.record.name}': '{prepared.spec.name}' exists already")
        return opened

    def _run_study(
        self,
        stack: ExitStack,
        ledger: Ledger,
        lock: StudyLock,
        prepared: Prepared,
        opened: OpenedStudy,
        early: Executor | None,
    ) -> SessionResult:
        store = TrialStore(ledger, opened.record)
        if prepared.source is not None:
            keep_source(store, prepared.source, self._request.params)
        n_asked, n_open = store.numbers()
        has_work = n_open > 0 or opened.total is None or n_asked < opened.total
        if opened.resumed:
            self._note(f"resuming '{opened.record.name}': {n_asked - n_open:,} trials are done")
        views = Views(prepared, store, opened, lock, self._note_warning)
        stack.callback(lambda: views.close(_INTERRUPTED_S if self._cancelled.is_set() else CLOSE_S))
        executor: Executor | None = None
        choice: Choice | None = None
        if has_work and self._cancelled.is_set():
            outcome = LoopOutcome("cancelled", None, 0, 0, 0.0)
        elif has_work:
            warming = views.warm()
            left = None if opened.total is None else opened.total - n_asked + n_open
            choice, executor = self._start_executor(stack, prepared, left, early)
            for note in notes_on(prepared, opened.record.source, executor.n_threads):
                self._note(note)
            # None of it changes a result.
            ran_on = {
                "executor": choice.name,
                "workers": str(executor.n_workers),
                "threads": str(executor.n_threads),
            }
            if prepared.is_model_based(opened.record.source):
                ran_on["group"] = str(prepared.group)
            views.tags = {f"akq.{name}": value for name, value in ran_on.items()}
            session_id = ledger.open_session(
                opened.record.sid,
                build=prepared.build,
                executor=choice.name,
                environment=environment() | ran_on,
            )
            store = TrialStore(ledger, opened.record, session_id)
            if warming is not None:
                warming.join()
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
        limits = {"trial_timeout": prepared.spec.run.trial_timeout, "memory": prepared.spec.run.memory}
        for name in [name for name, limit in limits.items() if limit is not None and choice.name == "serial"]:
            self._note(f"run.{name} has no effect here: only a separate process can be stopped")
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
        self, prepared: Prepared, store: TrialStore, opened: OpenedStudy, executor: Executor, views: Views
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
            make_feed(prepared, store, opened.total, self._note),
            prepared.space,
            prepared.keys(),
            prepared.judge,
            settings,
            total=opened.total,
            on_progress=show,
            on_finished=views.notify,
            pruner=prepared.pruner(store),
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
        views: Views,
        executor: Executor | None,
    ) -> None:
        interrupted = outcome.status == "cancelled"
        if views.up_to_date(store):
            return
        views.open()
        timeout_s = _INTERRUPTED_S if interrupted else CATCH_UP_S

        def stop() -> bool:
            return self._impatient.is_set() or (not interrupted and self._cancelled.is_set())

        def show(phase: str) -> Callable[[int], None]:
            return lambda done: self._show(replace(self._moment(store), phase=phase, done=done, eta_s=None))

        views.catch_up_optuna(timeout_s, stop, show("optuna"))
        if views.catch_up_tracker(timeout_s, stop, show("tracking")):
            if not interrupted:
                self._attach_details(stack, prepared, store, views, executor, stop, show("artifacts"))
            views.finish(store, outcome, timeout_s=_INTERRUPTED_S if interrupted else CALL_S)

    def _attach_details(
        self,
        stack: ExitStack,
        prepared: Prepared,
        store: TrialStore,
        views: Views,
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


def failure_limit(setting: int | str) -> FailureLimit:
    """Return `run.max_failures` as a limit."""
    return FailureLimit(share=percent(setting)) if isinstance(setting, str) else FailureLimit(count=setting)
