"""A study with a known answer, and executors that shuffle, lose and kill."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from akq_dist.record.identity import KeyMaker
from akq_dist.record.ledger import Ledger
from akq_dist.record.protocols import Batch, BatchLost, BatchResult, Job, TrialDetail
from akq_dist.record.trials import TrialStore
from akq_dist.search.feed import PointFeed
from akq_dist.search.judge import Judge, Objective
from akq_dist.search.loop import LoopOutcome, LoopSettings, SearchLoop
from akq_dist.search.model_feed import ModelFeed, PastTrial
from akq_dist.search.points import FilteredPoints, PinnedCandidates
from akq_dist.search.samplers import EVERYTHING, SAMPLERS, ModelRequest, ModelSampler, sampler_for
from akq_dist.specs import MetricConstraint, Space, Where

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OUTPUTS = ("sharpe.median", "max_drawdown.median", "n_trades.sum")
SPACE = Space.from_mapping(
    {
        "fast": {"int": [2, 60]},
        "slow": {"int": [20, 250], "step": 5},
        "stop": {"float": [0.01, 0.2], "log": True},
    }
)
WHERE = ("fast < slow",)


def surface(params: dict[str, Any]) -> list[float]:
    """The metrics of a point: smooth, with a hole that is undefined and one optimum near (20, 100, 0.05)."""
    fast, slow, stop = params["fast"], params["slow"], params["stop"]
    if fast > 55:
        return [np.nan, np.nan, 0.0]
    value = 2.0 - ((fast - 20) / 30) ** 2 - ((slow - 100) / 100) ** 2 - np.log(stop / 0.05) ** 2
    return [float(value), -stop, float(1000 // fast)]


class Crash(BaseException):
    """The end of a driver, without any tidying up."""


@dataclass
class FakeExecutor:
    """Runs batches in the calling thread and hands results back in a seeded random order."""

    space: Space = SPACE
    function: Callable[[dict[str, Any]], list[float]] = surface
    outputs: tuple[str, ...] = OUTPUTS
    n_workers: int = 3
    n_threads: int = 3
    seed: int | None = None
    """None keeps the order of submission."""
    fails: Callable[[dict[str, Any]], str | None] = lambda _: None
    poison: Callable[[dict[str, Any]], bool] = lambda _: False
    """Points that take their worker down."""
    stop_after: int | None = None
    """Batches after which `on_stop` is called, as a person would cancel."""
    on_stop: Callable[[], None] = lambda: None
    crash_after: int | None = None
    """Batches after which the driver dies: an exception that nothing below the test handles."""
    name: str = "fake"
    started: bool = False
    n_cancels: int = 0
    ran: list[int] = field(default_factory=list)
    """Numbers of the trials that gave a result."""
    batch_sizes: list[int] = field(default_factory=list)
    _queue: list[Batch] = field(default_factory=list)
    _n_collected: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def start(self, job: Job, panel: pa.Table) -> None:
        self.started = True

    def submit(self, batch: Batch) -> None:
        self._queue.append(batch)
        self.batch_sizes.append(len(batch.numbers))

    def collect(self, timeout_s: float) -> list[BatchResult | BatchLost]:
        if not self._queue:
            return []
        batch = self._queue.pop(0 if self.seed is None else self._random.randrange(len(self._queue)))
        self._n_collected += 1
        if self.crash_after is not None and self._n_collected > self.crash_after:
            raise Crash
        if self.stop_after is not None and self._n_collected >= self.stop_after:
            self.on_stop()
        return [self._run(batch)]

    def detail(self, batch: Batch) -> list[TrialDetail]:
        return [TrialDetail(int(number), "", {}) for number in batch.numbers]

    def cancel(self) -> None:
        self._queue.clear()
        self.n_cancels += 1

    def close(self) -> None:
        self._queue.clear()

    def _run(self, batch: Batch) -> BatchResult | BatchLost:
        params = [self.space.decode(row) for row in batch.params]
        if any(self.poison(p) for p in params):
            return BatchLost(batch.id, "the worker died (signal 9)")
        errors = [self.fails(p) for p in params]
        rows = [
            [np.nan] * len(self.outputs) if e is not None else self.function(p)
            for p, e in zip(params, errors, strict=True)
        ]
        self.ran.extend(batch.numbers.tolist())
        columns: dict[str, Any] = {
            "number": pa.array(batch.numbers),
            "error": pa.array(errors, pa.string()),
            "hash": pa.array([hashlib.sha256(repr(p).encode()).hexdigest() for p in params]),
            "n_bars": pa.array([100] * len(params), pa.int64()),
            "n_defined": pa.array([1] * len(params), pa.int64()),
        }
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.outputs))
        columns.update({name: pa.array(matrix[:, ix]) for ix, name in enumerate(self.outputs)})
        return BatchResult(batch.id, pa.table(columns), 0.01 * len(params), "fake")


@dataclass
class Study:
    """Everything one session of a sweep needs, over a ledger on disk."""

    path: Path
    sampler: str = "random"
    trials: int = 100
    seed: int = 7
    group: int = 8
    window: int = 1000
    space: Space = SPACE
    where: tuple[str, ...] = WHERE
    first: tuple[dict[str, Any], ...] = ()
    constraints: tuple[str, ...] = ()
    objectives: tuple[Objective, ...] = (Objective("sharpe.median", "maximize"),)
    free: bool = False
    options: dict[str, Any] | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    name: str = "study"
    series: str | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.path)
        study = self.ledger.find(self.name)
        if study is None:
            study = self.ledger.create(
                self.series or self.name,
                name=self.name,
                base_dir="",
                spec={},
                identity={},
                params=self.space.names,
                outputs=OUTPUTS,
                objectives=[(o.output, o.direction) for o in self.objectives],
                seed=self.seed,
                source=self.sampler,
                budget=self.trials,
            )
        self.store = TrialStore(self.ledger, study)
        bounds = [MetricConstraint.parse(text) for text in self.constraints]
        self.judge = Judge(OUTPUTS, self.objectives, [(f"{b.metric}.{b.aggregate}", b) for b in bounds])

    def run(self, executor: FakeExecutor, **settings: Any) -> LoopOutcome:
        """Run or resume the study."""
        return self.loop(executor, **settings).run()

    def loop(self, executor: FakeExecutor, *, on_progress: Any = None, **settings: Any) -> SearchLoop:
        keys = KeyMaker(
            "{}", data_digest="d", strategy_digest="s", fixed={}, build="b", versions={}, seed=None
        )
        loop = SearchLoop(
            self.store,
            executor,
            self._feed(),
            self.space,
            keys,
            self.judge,
            LoopSettings(**settings),
            total=self.trials,
            on_progress=on_progress,
        )
        executor.on_stop = loop.cancel
        return loop

    def _feed(self) -> PointFeed | ModelFeed:
        where = Where.compile(self.where, self.space)
        first = np.array([self.space.encode(p) for p in self.first]).reshape(len(self.first), len(self.space))
        n_asked, _ = self.store.numbers()
        sampler = SAMPLERS[sampler_for(self.sampler, self.space, n_objectives=len(self.objectives))]
        if isinstance(sampler, ModelSampler):
            options = {"n_startup_trials": 10} if self.options is None else self.options
            model = sampler.make(
                ModelRequest(
                    space=self.space,
                    directions=tuple(o.direction for o in self.objectives),
                    group=1 if self.free else self.group,
                    options=options,
                    fixed=self.fixed,
                )
            )
            feed = ModelFeed(
                model,
                self.space,
                where,
                signs=[o.sign for o in self.objectives],
                seed=self.seed,
                group=self.group,
                budget=self.trials,
                first=first,
                window=EVERYTHING if sampler.stateful else self.window,
                free=self.free,
                stateful=sampler.stateful,
            )
            feed.resume(self._past(), self.store.rejected())
            return feed
        candidates: Any = sampler.make(self.space, self.seed, {})
        if self.fixed:
            candidates = PinnedCandidates(
                self.space, self.fixed, lambda space: sampler.make(space, self.seed, {})
            )
        points = FilteredPoints(candidates, self.space, where)
        return PointFeed(points, first=first, budget=self.trials, n_asked=n_asked)

    def _past(self) -> list[PastTrial]:
        past = []
        for block in self.store.blocks():
            violations = self.judge.violations(block.metrics)
            for ix, number in enumerate(block.numbers.tolist()):
                past.append(
                    PastTrial(
                        number,
                        int(block.groups[ix]),
                        block.points[ix],
                        block.states[ix],
                        tuple(block.values[ix].tolist()),
                        tuple(violations[ix].tolist()),
                    )
                )
        return past

    def close(self) -> None:
        self.ledger.close()
