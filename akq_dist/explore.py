"""All points of a space in this process, handed out block by block: however wide the space, the memory is the same.

import akq_dist as akq

for frame in akq.explore("sweeps/quickstart.yaml"):
    frame.filter(pl.col("sharpe.median") > 1.0).write_parquet(...)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.record.arrow import floats
from akq_dist.record.protocols import Batch, BatchResult
from akq_dist.record.serial import SerialExecutor
from akq_dist.request import read_request
from akq_dist.search.best import feasible_rows
from akq_dist.search.points import FilteredPoints
from akq_dist.search.prepare import prepare
from akq_dist.search.samplers import ModelSampler, check_options, find_sampler
from akq_dist.search.transport import BatchSizer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from akq_dist.search.judge import Verdict
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import SweepFile, SweepSpec
    from akq_dist.specs.param import ParamDef


@dataclass(frozen=True)
class Tried:
    """Points that have been run, in the order of the space."""

    points: NDArray[np.float64]
    verdict: Verdict
    hashes: list[str]


def explore(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None = None,
    *,
    strategy: Any = None,
    data: Any = None,
    sampler: str = "grid",
    trials: int | None = None,
    seed: int = 0,
    chunk: int | None = None,
    overrides: Sequence[str] = (),
    **settings: Any,
) -> Generator[pl.DataFrame]:
    """Run every point of a space in this process and hand the results out while the space goes on.

    Arguments are those of `optimize`. Each frame holds the next `chunk` points (by default as many as take about a
    quarter of a second), in the order of the space: parameters as `params_x`, `state`, `feasible`, the objective as
    `value` (`values_0`, ... where there are several), every metric, `reason`, `hash`. Points are made when they are
    needed and nothing is kept, so the memory does not grow with their number; `sampler="random"` without `trials`
    never ends. The rows do not depend on `chunk`.

    The request is checked here and now; raises AkqUsageError where it makes no sense. A point that fails is a row
    with its reason.
    """
    if chunk is not None and chunk < 1:
        raise AkqUsageError(f"chunk: found {chunk}, expected at least 1")
    prepared = prepare_points(spec, strategy, data, sampler, trials, seed, overrides, settings)
    return (frame_of(prepared, tried) for tried in try_points(prepared, sampler, chunk))


def prepare_points(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None,
    strategy: Any,
    data: Any,
    sampler: str,
    trials: int | None,
    seed: int,
    overrides: Sequence[str],
    settings: Mapping[str, Any],
) -> Prepared:
    """Read and check a request for points that depend on no result."""
    # Refuses an unknown name, with the nearest known one.
    if isinstance(find_sampler(sampler), ModelSampler):
        raise AkqUsageError(
            f"sampler: {sampler!r} learns from results, which a sweep does; use grid, random or qmc."
        )
    count = "null" if trials is None else str(trials)
    chosen = [*overrides, f"search={{sampler: {sampler}, trials: {count}, seed: {seed}}}"]
    return prepare(
        read_request(spec, strategy=strategy, data=data, overrides=chosen, settings=dict(settings))
    )


def try_points(prepared: Prepared, sampler: str, chunk: int | None) -> Iterator[Tried]:
    """Run the points of a space block by block, each block when it is asked for."""
    made = find_sampler(sampler)
    if isinstance(made, ModelSampler):
        raise AkqUsageError(f"internal: the sampler {sampler} needs results.")
    candidates = made.make(prepared.space, prepared.spec.search.seed, check_options(sampler, {}))
    points = FilteredPoints(candidates, prepared.space, prepared.where)
    total = prepared.total(sampler)
    executor = SerialExecutor(prepared.spec.run.threads)
    executor.start(prepared.job(executor.n_threads), prepared.data.table)
    sizer = BatchSizer(fixed=chunk, n_workers=1, n_threads=executor.n_threads)
    done = 0
    try:
        while total is None or done < total:
            block = points.take(sizer.full if total is None else min(sizer.full, total - done))
            if not len(block):
                return
            executor.submit(Batch(0, np.arange(done, done + len(block), dtype=np.int64), block))
            (result,) = executor.collect(0.0)
            assert isinstance(result, BatchResult)
            table = result.table
            metrics = np.column_stack([floats(table.column(name)) for name in prepared.outputs])
            verdict = prepared.judge.judge(metrics, table.column("error").to_pylist())
            sizer.observe(len(block), result.wall_s)
            done += len(block)
            yield Tried(block, verdict, [text or "" for text in table.column("hash").to_pylist()])
    finally:
        executor.close()


def frame_of(prepared: Prepared, tried: Tried) -> pl.DataFrame:
    """Return points with what became of them, one row each."""
    import polars as pl

    verdict = tried.verdict
    columns: dict[str, Any] = {
        f"params_{param.name}": _decoded(param, tried.points[:, ix])
        for ix, param in enumerate(prepared.space.params)
    }
    columns["state"] = pl.Series(verdict.states, dtype=pl.String)
    is_complete = np.array([state == "complete" for state in verdict.states])
    columns["feasible"] = pl.Series(feasible_rows(verdict.violations) & is_complete)
    n_values = verdict.values.shape[1]
    for ix in range(n_values):
        name = "value" if n_values == 1 else f"values_{ix}"
        columns[name] = pl.Series(np.ascontiguousarray(verdict.values[:, ix])).fill_nan(None)
    for ix, name in enumerate(prepared.outputs):
        columns[name] = pl.Series(np.ascontiguousarray(verdict.metrics[:, ix])).fill_nan(None)
    columns["reason"] = pl.Series(verdict.reasons, dtype=pl.String)
    columns["hash"] = pl.Series(tried.hashes, dtype=pl.String)
    return pl.DataFrame(columns)


def _decoded(param: ParamDef, column: NDArray[np.float64]) -> pl.Series:
    """Values of a parameter from a column of rows; its type is the same for every block."""
    import polars as pl

    if param.kind == "choice":
        table = pl.Series(param.values, strict=False)
        return table.gather(column.astype(np.int64))
    return pl.Series(column.astype(np.int64) if param.kind == "int" else np.ascontiguousarray(column))
