"""Trials that run once in every window of a validation, and come back as one row each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from akq_dist.record.arrow import float_column, floats, int_column, text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akq_dist import _core
    from akq_dist.validate import WindowSet


@dataclass(frozen=True)
class WindowedRun:
    """What one parameter set did over all windows; has what a single run has."""

    values: list[float]
    hash: str
    n_bars: int
    n_defined: int


def window_plans(plan: str, windows: WindowSet) -> list[str]:
    """Return the JSON of a plan for every window."""
    return [with_window(plan, start, end) for start, end in windows.days()]


def with_window(plan: str, start: int | None, end: int | None) -> str:
    """Return a plan over other trading dates, in days since 1970-01-01; bars before them warm indicators."""
    settings = json.loads(plan)
    settings["window"] = {"start": start, "end": end}
    return json.dumps(settings, allow_nan=False)


def combine_tables(windows: WindowSet, outputs: Sequence[str], tables: Sequence[pa.Table]) -> pa.Table:
    """Return one table of trials from the engine's table of each window."""
    values = np.array([[floats(table.column(name)) for name in outputs] for table in tables])
    combined = windows.combine(values.transpose(0, 2, 1))
    rows = range(tables[0].num_rows)
    errors = [table.column("error").to_pylist() for table in tables]
    first_errors = [next((column[row] for column in errors if column[row] is not None), None) for row in rows]
    texts = [table.column("hash").to_pylist() for table in tables]
    hashes = [_joined([column[row] or "" for column in texts]) for row in rows]
    columns: dict[str, pa.Array] = {
        "error": text_column(first_errors),
        "hash": text_column(hashes),
        "n_bars": int_column(_counts(tables, "n_bars").sum(axis=0)),
        "n_defined": int_column(_counts(tables, "n_defined").min(axis=0)),
    }
    for ix, name in enumerate(windows.names(outputs)):
        columns[name] = float_column(np.ascontiguousarray(combined[:, ix]))
    return pa.table(columns)


def combine_runs(windows: WindowSet, runs: Sequence[_core.RunResult]) -> WindowedRun:
    """Return one result from the run of each window."""
    values = np.array([[run.values] for run in runs], dtype=np.float64)
    return WindowedRun(
        windows.combine(values)[0].tolist(),
        _joined([run.hash for run in runs]),
        sum(run.n_bars for run in runs),
        min(run.n_defined for run in runs),
    )


def _joined(hashes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _counts(tables: Sequence[pa.Table], name: str) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array([[n or 0 for n in table.column(name).to_pylist()] for table in tables], dtype=np.int64)
