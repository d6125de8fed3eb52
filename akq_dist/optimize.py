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
from akq_dist.explore import frame_of, prepare_points, try_points

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from akq_dist.explore import Tried
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import SweepFile, SweepSpec

LARGEST: Final = 1_000_000
"""Most points that are kept in memory; `explore` hands out any number, a sweep records it."""


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
    if sampler in ("random", "qmc") and trials is None:
        raise AkqUsageError(f"trials: {sampler} has no end of its own; give a number of trials.")
    prepared = prepare_points(spec, strategy, data, sampler, trials, seed, overrides, settings)
    total = prepared.total(sampler)
    if total is not None and total > LARGEST:
        raise AkqUsageError(
            f"space: {total:,} points are too many to keep; use larger steps, explore, or a sweep."
        )
    blocks: list[Tried] = []
    done = 0
    for tried in try_points(prepared, sampler, None):
        blocks.append(tried)
        done += len(tried.points)
        if done > LARGEST:
            raise AkqUsageError(
                f"space: more than {LARGEST:,} points are too many to keep; explore hands them out."
            )
        if on_progress is not None:
            on_progress(done, total)
    return _best_first(prepared, blocks)


def _best_first(prepared: Prepared, blocks: Sequence[Tried]) -> OptimizeResult:
    import polars as pl

    frame = pl.concat([frame_of(prepared, tried) for tried in blocks])
    values = np.concatenate([tried.verdict.values for tried in blocks])
    signed = values[:, 0] * prepared.judge.objectives[0].sign
    # NaN sorts last; of equal values the first point of the grid comes first.
    order = np.lexsort((np.arange(len(signed)), signed, ~frame["feasible"].to_numpy()))
    first = int(order[0])
    has_best = bool(frame["feasible"][first])
    points = np.concatenate([tried.points for tried in blocks])
    return OptimizeResult(
        frame=frame[order.tolist()],
        best=prepared.space.decode(points[first]) if has_best else None,
        values=tuple(values[first].tolist()) if has_best else (),
        n_failed=int((frame["state"] == "fail").sum()),
    )
