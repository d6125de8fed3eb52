"""The loop of a sweep: ask -> run -> ledger -> tell, a bounded number of trials in flight, no barrier."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import ExecutorError
from akq_dist.record.arrow import floats
from akq_dist.record.canonical import params_json
from akq_dist.record.protocols import Batch, BatchLost, BatchResult
from akq_dist.record.trials import UNDEFINED, AskBlock, FinishBlock
from akq_dist.search.best import BestTracker, feasible_rows
from akq_dist.search.policy import FailureLimit, LossPolicy
from akq_dist.search.progress import Progress
from akq_dist.search.transport import BatchSizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.record.identity import KeyMaker
    from akq_dist.record.protocols import Executor
    from akq_dist.record.trials import CachedResult, TrialStore
    from akq_dist.search.best import BestTrial
    from akq_dist.search.feed import Ask, Feed
    from akq_dist.search.judge import Judge, Verdict
    from akq_dist.search.policy import LoopStatus
    from akq_dist.search.progress import OnProgress
    from akq_dist.search.pruner import Pruner
    from akq_dist.specs.space import Space

logger = logging.getLogger(__name__)

DRAIN_S = 5.0
"""How long a cancelled sweep waits for what is in flight."""

_POLL_S = 0.1
_PROGRESS_EVERY_S = 0.2
_LARGEST_ASK = 4_096
_DEPTH = 2
"""Batches in flight for each worker: one that runs and one that waits, so that no worker waits for the
driver.
"""


@dataclass(frozen=True)
class LoopSettings:
    """Limits of a run; none of them changes a result."""

    timeout_s: float | None = None
    batch: int | None = None
    retries: int = 2
    failures: FailureLimit = field(default_factory=lambda: FailureLimit(share=0.05))
    reuse: bool = True
    """Whether points that the ledger knows are answered from it."""


@dataclass(frozen=True)
class LoopOutcome:
    """How a run of the loop ended."""

    status: LoopStatus
    reason: str | None
    n_finished: int
    """Trials of this session, those answered from the ledger included."""
    n_bars: int
    wall_s: float
    sampler_note: str | None = None
    """Set when proposing points took longer than running them."""
    best: list[BestTrial] = field(default_factory=list)


@dataclass
class _Trial:
    """A trial between ask and result."""

    number: int
    point: NDArray[np.float64]
    params: str
    key: str


class SearchLoop:
    """Runs a study on an executor until nothing is left, a limit is reached or somebody cancels.

    Everything but `cancel` is called from one thread. What it has recorded is always resumable.
    """

    def __init__(
        self,
        store: TrialStore,
        executor: Executor,
        feed: Feed,
        space: Space,
        keys: KeyMaker,
        judge: Judge,
        settings: LoopSettings,
        *,
        total: int | None = None,
        on_progress: OnProgress | None = None,
        on_finished: Callable[[int], None] | None = None,
        pruner: Pruner | None = None,
    ) -> None:
        """`total` is the number of trials of the study where it is known.

        `on_finished` hears how many trials have ended whenever some have; views follow the ledger by it.
        """
        self._store = store
        self._executor = executor
        self._feed = feed
        self._space = space
        self._keys = keys
        self._judge = judge
        self._settings = settings
        self._known_total = total
        self._on_progress = on_progress
        self._on_finished = on_finished
        self._pruner = pruner
        self._cancelled = threading.Event()
        self._sizer = BatchSizer(
            fixed=settings.batch, n_workers=executor.n_workers, n_threads=executor.n_threads
        )
        self._policy = LossPolicy(settings.retries)
        self._queue: deque[_Trial] = deque()
        self._parts: deque[list[_Trial]] = deque()
        """Parts of lost batches: they travel as they are."""
        self._in_flight: dict[int, list[_Trial]] = {}
        self._running_keys: dict[str, list[_Trial]] = {}
        """For each key that is being computed the later trials that wait for its result."""
        self._next_batch = 0
        self._best = BestTracker(judge.objectives)
        self._best_params: Mapping[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._n_session = 0
        self._n_proposed = 0
        self._ask_s = 0.0
        self._run_s = 0.0
        self._n_bars = 0
        self._started_s = 0.0
        self._shown_s = 0.0

    def cancel(self) -> None:
        """Ask the loop to stop; safe from any thread and from a signal handler."""
        self._cancelled.set()

    def run(self) -> LoopOutcome:
        """Run the study. Raises what makes going on impossible; the ledger is intact then."""
        self._started_s = time.monotonic()
        self._take_stock()
        status: LoopStatus = "finished"
        reason: str | None = None
        while True:
            stop = self._stop_reason()
            if stop is not None:
                status, reason = stop
                self._drain()
                break
            self._ask()
            self._submit()
            if not self._in_flight:
                if not self._queue and not self._parts:
                    break
                continue
            self._collect(_POLL_S)
            self._show()
        if status == "finished" and self._has_failed(at_end=True):
            status, reason = "failed", self._failure_text()
        self._show(force=True)
        wall_s = time.monotonic() - self._started_s
        return LoopOutcome(
            status, reason, self._n_session, self._n_bars, wall_s, self._sampler_note(), self._best.best()
        )

    def _sampler_note(self) -> str | None:
        """Name a sampler that is slower than what it proposes points for."""
        run_s = self._run_s / max(1, self._executor.n_workers)
        if not self._feed.model_based or self._ask_s < 1.0 or self._ask_s < run_s or not self._n_proposed:
            return None
        ask_rate = self._n_proposed / self._ask_s
        run_rate = self._n_session / run_s if run_s > 0.0 else float("inf")
        return (
            f"the sampler {self._store.study.source} proposes {ask_rate:.0f} points/s, "
            f"this sweep could run {run_rate:.0f}: the sampler is the limit; qmc and random have none"
        )

    def _take_stock(self) -> None:
        """Count what earlier sessions did, find the best of it, and queue their open trials first."""
        self._counts = self._store.counts()
        if self._counts["total"] > self._counts["asked"]:
            for block in self._store.blocks():
                self._best.add(
                    block.numbers, block.values, feasible_rows(self._judge.violations(block.metrics))
                )
            self._note_best()
        self._counts.setdefault("cached", 0)
        open_trials = self._store.open_trials()
        trials = [
            _Trial(number, point, params, key)
            for number, point, params, key in zip(
                open_trials.numbers.tolist(),
                open_trials.points,
                open_trials.params,
                open_trials.keys,
                strict=True,
            )
        ]
        self._enter(trials, None)

    def _stop_reason(self) -> tuple[LoopStatus, str | None] | None:
        if self._cancelled.is_set():
            return "cancelled", None
        if self._has_failed(at_end=False):
            return "failed", self._failure_text()
        timeout_s = self._settings.timeout_s
        if timeout_s is not None and time.monotonic() - self._started_s >= timeout_s and self._work_left():
            return "timeout", f"the time limit of {timeout_s:g} s is reached"
        return None

    def _work_left(self) -> bool:
        return bool(self._in_flight or self._queue or self._parts or not self._feed.exhausted)

    def _ask(self) -> None:
        """Take points from the feed until there is enough to keep every worker busy."""
        n_slots = _DEPTH * self._executor.n_workers
        wanted = n_slots * self._sizer.full
        block = wanted
        while len(self._queue) < wanted and not self._cancelled.is_set():
            n_queued = len(self._queue)
            started_s = time.perf_counter()
            ask = self._feed.next(max(block, wanted) - n_queued)
            self._ask_s += time.perf_counter() - started_s
            if ask is None:
                return
            self._n_proposed += len(ask.numbers)
            if self._pruner is not None:
                self._pruner.note_points(ask.numbers, ask.points)
            if len(ask.numbers):
                params = params_json(self._space, ask.points)
                keys = [self._keys.key_of_json(text) for text in params]
                trials = [
                    _Trial(number, point, text, key)
                    for number, point, text, key in zip(
                        ask.numbers.tolist(), ask.points, params, keys, strict=True
                    )
                ]
                self._enter(trials, ask)
            # Where the ledger answers everything, larger blocks cost fewer commits.
            block = min(4 * block, _LARGEST_ASK) if len(self._queue) == n_queued else wanted
            self._show()

    def _enter(self, trials: list[_Trial], ask: Ask | None) -> None:
        """Record new trials, answer those the ledger knows, and queue the rest."""
        known: dict[str, CachedResult] = {}
        if self._settings.reuse and trials:
            known = self._store.lookup([trial.key for trial in trials])
        answered = [trial for trial in trials if trial.key in known]
        # Points that are lost with the power are asked for again; results may be in a view by then.
        with self._store.ledger.transaction(synced=bool(answered)):
            if ask is not None:
                block = AskBlock(
                    ask.numbers,
                    ask.groups,
                    ask.points,
                    [trial.params for trial in trials],
                    [trial.key for trial in trials],
                )
                self._store.ask(block, ask.rejected)
                self._counts["total"] += len(trials)
                self._counts["asked"] += len(trials)
            verdict = self._answer(answered, known)
        if verdict is not None:
            self._settled(answered, verdict)
        for trial in trials:
            if trial.key in known:
                continue
            waiting = self._running_keys.get(trial.key)
            if waiting is None:
                self._running_keys[trial.key] = []
                self._queue.append(trial)
            else:
                waiting.append(trial)

    def _answer(self, trials: list[_Trial], known: Mapping[str, CachedResult]) -> Verdict | None:
        """Record trials whose result the ledger has."""
        if not trials:
            return None
        results = [known[trial.key] for trial in trials]
        verdict = self._judge.judge(np.array([result.metrics for result in results]), [None] * len(trials))
        self._record(
            trials,
            verdict,
            [result.hash for result in results],
            np.array([result.n_bars for result in results], dtype=np.int64),
            wall_s=0.0,
            cached=True,
        )
        self._counts["cached"] += len(trials)
        return verdict

    def _submit(self) -> None:
        n_slots = _DEPTH * self._executor.n_workers
        while len(self._in_flight) < n_slots and (self._queue or self._parts):
            if self._parts:
                trials = self._parts.popleft()
            else:
                n_left = len(self._queue)
                if self._feed.model_based:
                    size = min(self._sizer.full, max(1, -(-n_left // self._executor.n_workers)))
                else:
                    # The queue is only a window on what is left as long as there is more to ask.
                    size = self._sizer.size(n_left) if self._feed.exhausted else self._sizer.full
                trials = self._take_queued(min(size, n_left))
            batch = Batch(
                self._next_batch,
                np.array([trial.number for trial in trials], dtype=np.int64),
                np.ascontiguousarray([trial.point for trial in trials], dtype=np.float64).reshape(
                    len(trials), len(self._space)
                ),
                None if self._pruner is None else self._pruner.rule(self._pruner.group_of(trials[0].number)),
                alone=len(trials) == 1 and self._policy.runs_alone(trials[0].number),
            )
            self._next_batch += 1
            self._in_flight[batch.id] = trials
            self._executor.submit(batch)

    def _take_queued(self, n: int) -> list[_Trial]:
        """Take trials from the queue; where a pruner watches them, of one group, which has one rule."""
        trials = [self._queue.popleft()]
        pruner = self._pruner
        while len(trials) < n:
            if pruner is not None and pruner.group_of(self._queue[0].number) != pruner.group_of(
                trials[0].number
            ):
                break
            trials.append(self._queue.popleft())
        return trials

    def _collect(self, timeout_s: float) -> None:
        for item in self._executor.collect(timeout_s):
            trials = self._in_flight.pop(item.id, None)
            if trials is None:
                logger.info("a late answer for batch %d was dropped", item.id)
            elif isinstance(item, BatchLost):
                self._lost(trials, item)
            else:
                self._finish(trials, item)

    def _finish(self, trials: list[_Trial], result: BatchResult) -> None:
        """Record what a batch gave, in one transaction, and tell the feed."""
        metrics, errors, hashes, n_bars = _columns(
            result, [trial.number for trial in trials], self._store.study.outputs
        )
        pruned = (
            None
            if self._pruner is None
            else np.array(result.table.column("pruned").to_pylist(), dtype=np.bool_)
        )
        verdict = self._judge.judge(metrics, errors, pruned)
        with self._store.ledger.transaction():
            self._record(trials, verdict, hashes, n_bars, wall_s=result.wall_s, cached=False)
            repeats, repeat_verdict, retry = self._finish_repeats(trials, verdict, hashes, n_bars)
        self._sizer.observe(len(trials), result.wall_s)
        self._run_s += result.wall_s
        for trial in trials:
            self._policy.finished(trial.number)
        self._settled(trials, verdict)
        if repeat_verdict is not None:
            self._settled(repeats, repeat_verdict)
        for trial in retry:
            self._requeue(trial)

    def _finish_repeats(
        self, trials: list[_Trial], verdict: Verdict, hashes: Sequence[str], n_bars: NDArray[np.int64]
    ) -> tuple[list[_Trial], Verdict | None, list[_Trial]]:
        """Answer trials that waited for the same point.

        Only a complete result answers, others run themselves.
        """
        repeats: list[_Trial] = []
        sources: list[int] = []
        retry: list[_Trial] = []
        for ix, trial in enumerate(trials):
            waiting = self._running_keys.pop(trial.key, [])
            if verdict.states[ix] == "complete":
                repeats += waiting
                sources += [ix] * len(waiting)
            else:
                retry += waiting
        if not repeats:
            return repeats, None, retry
        repeated = self._judge.judge(verdict.metrics[sources], [None] * len(repeats))
        self._record(
            repeats, repeated, [hashes[ix] for ix in sources], n_bars[sources], wall_s=0.0, cached=True
        )
        self._counts["cached"] += len(repeats)
        return repeats, repeated, retry

    def _requeue(self, trial: _Trial) -> None:
        waiting = self._running_keys.get(trial.key)
        if waiting is None:
            self._running_keys[trial.key] = []
            self._queue.append(trial)
        else:
            waiting.append(trial)

    def _lost(self, trials: list[_Trial], lost: BatchLost) -> None:
        numbers = [trial.number for trial in trials]
        running = lost.number if lost.number in numbers else None
        blame = self._policy.blame(numbers, running, lost.reason, lost.cause)
        by_number = {trial.number: trial for trial in trials}
        if blame.given_up is not None:
            self._give_up(by_number[blame.given_up.number], blame.given_up.reason)
        n_again = sum(len(part) for part in blame.parts)
        if n_again:
            logger.warning(
                "a batch of %d trials was lost (%s); %d run again", len(trials), lost.reason, n_again
            )
        for part in blame.parts:
            self._parts.append([by_number[number] for number in part])

    def _give_up(self, trial: _Trial, reason: str) -> None:
        """Fail a trial that has no result and will get none."""
        logger.warning("trial %d fails: %s", trial.number, reason)
        n_outputs = len(self._store.study.outputs)
        verdict = self._judge.judge(np.full((1, n_outputs), np.nan), [reason])
        self._record([trial], verdict, [""], np.zeros(1, dtype=np.int64), wall_s=0.0, cached=False)
        self._settled([trial], verdict)
        for waiting in self._running_keys.pop(trial.key, []):
            self._requeue(waiting)

    def _record(
        self,
        trials: list[_Trial],
        verdict: Verdict,
        hashes: Sequence[str],
        n_bars: NDArray[np.int64],
        *,
        wall_s: float,
        cached: bool,
    ) -> None:
        ended_ms = time.time_ns() // 1_000_000
        self._store.finish(
            FinishBlock(
                numbers=np.array([trial.number for trial in trials], dtype=np.int64),
                states=verdict.states,
                values=verdict.values,
                metrics=verdict.metrics,
                reasons=verdict.reasons,
                hashes=hashes,
                n_bars=n_bars,
                started_ms=ended_ms - int(wall_s * 1000.0),
                ended_ms=ended_ms,
                cached=cached,
            )
        )
        if not cached:
            self._n_bars += int(n_bars.sum())

    def _settled(self, trials: list[_Trial], verdict: Verdict) -> None:
        """Count trials that have been recorded, and let the feed and the views know."""
        numbers = np.array([trial.number for trial in trials], dtype=np.int64)
        for state, reason in zip(verdict.states, verdict.reasons, strict=True):
            self._counts[state] += 1
            self._counts["undefined"] += reason == UNDEFINED
        self._counts["asked"] -= len(trials)
        self._n_session += len(trials)
        self._feed.tell(numbers, verdict)
        if self._pruner is not None:
            self._pruner.tell(numbers, verdict.metrics)
        if self._best.add(numbers, verdict.values, feasible_rows(verdict.violations)):
            self._note_best({trial.number: trial.params for trial in trials})
        if self._on_finished is not None:
            self._on_finished(self._counts["total"] - self._counts["asked"])

    def _note_best(self, params: Mapping[int, str] | None = None) -> None:
        best = self._best.best()
        if best:
            number = best[0].number
            if params is not None and number in params:
                self._best_params = json.loads(params[number])
            else:
                self._best_params = json.loads(self._store.take([number]).params[0])

    def _drain(self) -> None:
        """Give what is in flight a moment to finish, then give it up.

        The trials stay open for the next session.
        """
        deadline_s = time.monotonic() + DRAIN_S
        while self._in_flight and (left_s := deadline_s - time.monotonic()) > 0.0:
            self._collect(min(_POLL_S, left_s))
            self._show()
        if self._in_flight:
            logger.info(
                "giving up %d batches in flight; they run when the study is resumed", len(self._in_flight)
            )
            self._executor.cancel()
            self._in_flight.clear()

    def _has_failed(self, *, at_end: bool) -> bool:
        n_finished = self._counts["total"] - self._counts["asked"]
        return self._settings.failures.exceeded(self._n_failed, n_finished, at_end=at_end)

    @property
    def _n_failed(self) -> int:
        return self._counts["fail"] - self._counts["undefined"]

    def _failure_text(self) -> str:
        n_finished = self._counts["total"] - self._counts["asked"]
        return f"{self._n_failed} of {n_finished} trials failed, more than run.max_failures allows"

    def _show(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if self._on_progress is None or (not force and now_s - self._shown_s < _PROGRESS_EVERY_S):
            return
        self._shown_s = now_s
        self._on_progress(self.progress())

    def progress(self) -> Progress:
        """Return how far the study has come."""
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        counts = self._counts
        done = counts["total"] - counts["asked"]
        total = self._total()
        rate = self._n_session / elapsed_s
        best = self._best.best()
        return Progress(
            phase="search",
            done=done,
            total=total,
            trials_per_s=rate,
            bars_per_s=self._n_bars / elapsed_s,
            eta_s=(total - done) / rate if total is not None and rate > 0.0 else None,
            best_number=best[0].number if best else None,
            best_values=best[0].values if best else (),
            best_params=self._best_params,
            complete=counts["complete"],
            failed=counts["fail"],
            undefined=counts["undefined"],
            pruned=counts["pruned"],
            cached=counts["cached"],
            in_flight=sum(len(trials) for trials in self._in_flight.values()),
            elapsed_s=elapsed_s,
        )

    def _total(self) -> int | None:
        return self._counts["total"] if self._feed.exhausted else self._known_total


def _columns(
    result: BatchResult, numbers: Sequence[int], outputs: Sequence[str]
) -> tuple[NDArray[np.float64], list[str | None], list[str], NDArray[np.int64]]:
    """Return metrics, errors, hashes and bars of a batch, checked against what was sent."""
    table = result.table
    if table.column("number").to_pylist() != list(numbers):
        raise ExecutorError(
            f"internal: worker {result.worker} answered batch {result.id} with other trials than asked."
        )
    metrics = np.empty((len(numbers), len(outputs)))
    for ix, name in enumerate(outputs):
        metrics[:, ix] = floats(table.column(name))
    errors: list[str | None] = table.column("error").to_pylist()
    hashes = [
        text or "" if error is None else ""
        for text, error in zip(table.column("hash").to_pylist(), errors, strict=True)
    ]
    n_bars = np.array([bars or 0 for bars in table.column("n_bars").to_pylist()], dtype=np.int64)
    return metrics, errors, hashes, n_bars


def with_phase(progress: Progress, phase: str) -> Progress:
    """Return the same moment seen from another phase of the sweep."""
    return replace(progress, phase=phase)
