"""A grid in this process: no Optuna, no ledger, no files. For a quick look before a sweep.

import akq_dist as akq

found = akq.optimize("sweeps/quickstart.yaml")
found.best, found.frame.head()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.record.arrow import floats
from akq_dist.record.protocols import Batch
from akq_dist.record.serial import SerialExecutor
from akq_dist.request import read_request
from akq_dist.search.best import feasible_rows
from akq_dist.search.points import FilteredPoints
from akq_dist.search.prepare import prepare
from akq_dist.search.samplers import ModelSampler, check_options, find_sampler
from akq_dist.search.transport import BatchSizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from akq_dist.record.protocols import BatchResult
    from akq_dist.search.judge import Verdict
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import SweepFile, SweepSpec

LARGEST: Final = 1_000_000
"""Most points that are kept in memory; more is what sweeps are for."""


@dataclass(frozen=True, eq=False)
class OptimizeResult:
    """What every point of a grid gave, best first."""

    frame: pl.DataFrame = field(repr=False)
    """One row a point: parameters as `params_x`, `state`, `feasible`, every metric, `reason`, `hash`."""
    best: Mapping[str, Any] | None
    """Parameters of the best point that meets the constraints; None when there is none."""
    values: tuple[float, ...]
    """Values of the objectives at the best point."""
    n_failed: int


def optimize(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None = None,
    *,
    strategy: Any = None,
    data: Any = None,
    sampler: str = "grid",
    trials: int | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    on_progress: Callable[[int, int | None], None] | None = None,
    **settings: Any,
) -> OptimizeResult:
    """Try every point of a space in this process and return all of them, best first.

    `spec`, `strategy`, `data`, `overrides` and sections by name are those of `sweep`; what a sweep file says
    about search, run, track and storage is not used. `sampler` may be random or qmc, with a number of
    `trials`.
    `on_progress` hears (done, total). With several objectives the first one sorts.

    Raises AkqUsageError for a request that makes no sense; a point that fails is a row with its reason.
    """
    # Refuses an unknown name, with the nearest known one.
    if isinstance(find_sampler(sampler), ModelSampler):
        raise AkqUsageError(
            f"sampler: {sampler!r} learns from results, which a sweep does; use grid, random or qmc."
        )
    if sampler != "grid" and trials is None:
        raise AkqUsageError(f"trials: {sampler} has no end of its own; give a number of trials.")
    count = "null" if trials is None else str(trials)
    chosen = [*overrides, f"search={{sampler: {sampler}, trials: {count}, seed: {seed}}}"]
    request = read_request(spec, strategy=strategy, data=data, overrides=chosen, settings=settings)
    prepared = prepare(request)
    total = prepared.total(sampler)
    if total is not None and total > LARGEST:
        raise AkqUsageError(
            f"space: {total:,} points are too many to keep; use larger steps, or run a sweep."
        )
    executor = SerialExecutor(prepared.spec.run.threads)
    executor.start(prepared.job(executor.n_threads), prepared.data.table)
    try:
        return _collect(prepared, executor, sampler, total, on_progress)
    finally:
        executor.close()


def _collect(
    prepared: Prepared,
    executor: SerialExecutor,
    sampler: str,
    total: int | None,
    on_progress: Callable[[int, int | None], None] | None,
) -> OptimizeResult:
    made = find_sampler(sampler)
    if isinstance(made, ModelSampler):
        raise AkqUsageError(f"internal: the sampler {sampler} needs results.")
    candidates = made.make(prepared.space, prepared.spec.search.seed, check_options(sampler, {}))
    points = FilteredPoints(candidates, prepared.space, prepared.where)
    sizer = BatchSizer(fixed=None, n_workers=1, n_threads=executor.n_threads)
    blocks: list[tuple[NDArray[np.float64], Verdict, list[str]]] = []
    done = 0
    while total is None or done < total:
        block = points.take(sizer.full if total is None else min(sizer.full, total - done))
        if not len(block):
            break
        executor.submit(Batch(0, np.arange(done, done + len(block), dtype=np.int64), block))
        result: BatchResult = executor.collect(0.0)[0]  # type: ignore[assignment]
        metrics = np.column_stack([floats(result.table.column(name)) for name in prepared.outputs])
        verdict = prepared.judge.judge(metrics, result.table.column("error").to_pylist())
        blocks.append((block, verdict, [text or "" for text in result.table.column("hash").to_pylist()]))
        done += len(block)
        if done > LARGEST:
            raise AkqUsageError(
                f"space: more than {LARGEST:,} points are too many to keep; use larger steps, or run a sweep."
            )
        sizer.observe(len(block), result.wall_s)
        if on_progress is not None:
            on_progress(done, total)
    return _result(prepared, blocks)


def _result(
    prepared: Prepared, blocks: list[tuple[NDArray[np.float64], Verdict, list[str]]]
) -> OptimizeResult:
    import polars as pl

    params = [prepared.space.decode(point) for points, _, _ in blocks for point in points]
    columns: dict[str, Any] = {
        f"params_{name}": pl.Series([row[name] for row in params], strict=False)
        for name in prepared.space.names
    }
    states = [state for _, verdict, _ in blocks for state in verdict.states]
    values = np.concatenate([verdict.values for _, verdict, _ in blocks])
    feasible = np.concatenate([feasible_rows(verdict.violations) for _, verdict, _ in blocks])
    metrics = np.concatenate([verdict.metrics for _, verdict, _ in blocks])
    columns["state"] = pl.Series(states, dtype=pl.String)
    columns["feasible"] = pl.Series(feasible & np.array([state == "complete" for state in states]))
    for ix in range(values.shape[1]):
        columns["value" if values.shape[1] == 1 else f"values_{ix}"] = pl.Series(values[:, ix]).fill_nan(None)
    for ix, name in enumerate(prepared.outputs):
        columns[name] = pl.Series(metrics[:, ix]).fill_nan(None)
    columns["reason"] = pl.Series(
        [text for _, verdict, _ in blocks for text in verdict.reasons], dtype=pl.String
    )
    columns["hash"] = pl.Series([text for _, _, hashes in blocks for text in hashes], dtype=pl.String)
    signed = values[:, 0] * prepared.judge.objectives[0].sign
    # NaN sorts last; of equal values the first point of the grid comes first.
    order = np.lexsort((np.arange(len(signed)), signed, ~columns["feasible"].to_numpy()))
    frame = pl.DataFrame(columns)[order.tolist()]
    has_best = bool(frame["feasible"][0]) if frame.height else False
    first = int(order[0]) if has_best else -1
    return OptimizeResult(
        frame=frame,
        best=params[first] if has_best else None,
        values=tuple(values[first].tolist()) if has_best else (),
        n_failed=sum(state == "fail" for state in states),
    )
