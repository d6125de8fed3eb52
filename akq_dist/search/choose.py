"""Which executor runs a sweep, how fast this machine is, and what a sweep will cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from akq_dist.record.protocols import Batch, WorkerLimits
from akq_dist.record.registry import executor_class
from akq_dist.record.serial import SerialExecutor
from akq_dist.search.prepare import sample_points
from akq_dist.search.samplers import ModelSampler, find_sampler

if TYPE_CHECKING:
    from akq_dist.record.protocols import Executor
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import RunSpec

RAY_START_S: Final = 12.0
"""What it costs to start a local Ray and its workers."""

_PROBE_S: Final = 0.1
_PROBE_LIMIT_S: Final = 2.0
_PROBE_TRIALS: Final = 512


@dataclass(frozen=True)
class Speed:
    """How fast this machine runs the trials of a sweep in this process."""

    trials_per_s: float
    bars_per_s: float
    bars_per_trial: float
    threads: int


@dataclass(frozen=True)
class Estimate:
    """What a sweep will cost on this machine."""

    trials: int | None
    """None when it shows only at the end."""
    n_points: int | None
    """Points of the space; None when they cannot be counted."""
    points: str
    """Where points come from: a sampler, or `enumerate`."""
    bars_per_trial: float
    bars_per_s: float
    trials_per_s: float
    wall_s: float | None
    executor: str
    why: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**self.__dict__, "notes": list(self.notes)}


@dataclass(frozen=True)
class Choice:
    """The executor to use, and why."""

    name: str
    why: str
    ready: Executor | None = None
    """An executor that is started already."""


def choose_executor(prepared: Prepared, n_left: int | None) -> Choice:
    """Resolve `run.executor`: Ray unless the work is smaller than the cost of starting it."""
    run = prepared.spec.run
    if run.address is not None:
        return Choice("ray", f"run.address is {run.address}")
    if run.executor != "auto":
        return Choice(run.executor, f"run.executor is {run.executor}")
    if find_spec("ray") is None:
        return Choice("serial", "the package ray is not installed")
    if prepared.source is not None:
        return Choice(
            "ray",
            "a Python strategy can be stopped only in a process of its own; run.executor: serial forces one",
        )
    serial = serial_executor(prepared)
    serial.start(prepared.job(serial.n_threads), prepared.data.table)
    speed = measure(prepared, serial)
    work_s = None if n_left is None else n_left / speed.trials_per_s
    if work_s is not None and work_s < RAY_START_S:
        why = f"about {work_s:.1f} s of work, less than starting Ray takes; run.executor: ray forces it"
        return Choice("serial", why, serial)
    serial.close()
    work = "an unknown amount" if work_s is None else f"about {work_s:.0f} s"
    return Choice("ray", f"{work} of work for one process; run.executor: serial does without Ray")


def make_executor(name: str, run: RunSpec) -> Executor:
    """Make an executor from the settings of a sweep; nothing is started."""
    if name == "serial":
        serial: Executor = SerialExecutor(run.threads)
        return serial
    limits = WorkerLimits(
        trial_timeout_s=run.trial_timeout,
        memory_bytes=run.memory,
        lease_s=run.lease,
        resources=run.resources,
        runtime_env=run.runtime_env,
    )
    made: Executor = executor_class(name)(
        address=run.address, workers=run.workers, threads=run.threads, limits=limits
    )
    return made


def serial_executor(prepared: Prepared) -> SerialExecutor:
    """Return the executor of this process, with the threads that the sweep asks for."""
    return SerialExecutor(prepared.spec.run.threads)


def measure(prepared: Prepared, executor: SerialExecutor) -> Speed:
    """Run some points of the space for a moment; their results are thrown away."""
    n = max(1, executor.n_threads)
    started_s = time.perf_counter()
    while True:
        points = sample_points(prepared, n)
        executor.submit(Batch(-1, np.arange(len(points), dtype=np.int64), points))
        found = executor.collect(0.0)[0]
        wall_s = max(found.wall_s, 1e-6)  # type: ignore[union-attr]
        bars = float(np.sum(found.table.column("n_bars").to_pylist()))  # type: ignore[union-attr]
        enough = wall_s >= _PROBE_S or n >= _PROBE_TRIALS or time.perf_counter() - started_s > _PROBE_LIMIT_S
        if enough or len(points) < n:
            return Speed(len(points) / wall_s, bars / wall_s, bars / len(points), executor.n_threads)
        n = min(_PROBE_TRIALS, n * int(min(8, max(2, _PROBE_S / wall_s))))


def estimate(prepared: Prepared) -> Estimate:
    """Measure this machine for a moment and say what the sweep will cost."""
    source = prepared.new_source()
    total = prepared.total(source)
    executor = serial_executor(prepared)
    executor.start(prepared.job(executor.n_threads), prepared.data.table)
    try:
        speed = measure(prepared, executor)
    finally:
        executor.close()
    wall_s = None if total is None else total / speed.trials_per_s
    run = prepared.spec.run
    if run.address is not None or run.executor != "auto":
        name, why = (
            ("ray" if run.address is not None else run.executor),
            "run.executor or run.address says so",
        )
    elif prepared.source is not None:
        name, why = "ray", "Python strategies run in processes of their own"
    elif wall_s is not None and wall_s < RAY_START_S:
        name, why = "serial", "the work is smaller than the cost of starting Ray"
    else:
        name, why = "ray", "the work is larger than the cost of starting Ray"
    return Estimate(
        trials=total,
        n_points=prepared.n_points,
        points=source,
        bars_per_trial=speed.bars_per_trial,
        bars_per_s=speed.bars_per_s,
        trials_per_s=speed.trials_per_s,
        wall_s=wall_s,
        executor=name,
        why=why,
        notes=tuple(notes_on(prepared, source, speed.threads)),
    )


def notes_on(prepared: Prepared, source: str, n_threads: int) -> list[str]:
    """Return what a person should know before the sweep runs."""
    notes = []
    search = prepared.spec.search
    if source == "enumerate":
        notes.append(
            f"the space has {prepared.n_points:,} points and search.trials allows them all: each is tried "
            f"once, in grid order, without the sampler {search.sampler}"
        )
    if (
        source == "grid"
        and search.trials is not None
        and (prepared.n_points is None or prepared.n_points > search.trials)
    ):
        size = "more" if prepared.n_points is None else f"{prepared.n_points:,}"
        notes.append(
            f"the grid has {size} points and search.trials stops after the first {search.trials:,}: "
            "a corner of the space. Remove search.trials, make the steps larger, or use the sampler qmc"
        )
    if source not in ("enumerate", search.sampler):
        notes.append(
            f"here {source} does the work of {search.sampler}, which takes one objective and no conditional parameters"
        )
    if prepared.is_model_based(source):
        in_flight = 2 * prepared.group
        if search.deterministic and in_flight < n_threads:
            notes.append(
                f"search.group is {prepared.group}, so at most {in_flight} trials run at once on "
                f"{n_threads} threads; a larger group uses them all, and the sampler learns later"
            )
        sampler = find_sampler(source)
        if isinstance(sampler, ModelSampler) and not sampler.sees_constraints and prepared.judge.constraints:
            notes.append(f"{source} does not see constraints: they only rule out winners; tpe and nsgaii do")
        if not search.deterministic:
            notes.append("search.deterministic is false: a repeat may give another study")
    return notes
