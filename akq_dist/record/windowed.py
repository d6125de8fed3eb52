"""Trials that run once in every window of a validation, and come back as one row each."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from akq_dist.record.arrow import counts, float_column, floats, int_column, text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akq_dist.validate import WindowSet


def window_plans(plan: str, windows: WindowSet) -> list[str]:
    """Return the JSON of a plan for every window."""
    return [with_window(plan, start, end) for start, end in windows.days()]


def with_window(plan: str, start: int | None, end: int | None) -> str:
    """Return a plan over other trading dates, in days since 1970-01-01; bars before them warm indicators."""
    settings = json.loads(plan)
    settings["window"] = {"start": start, "end": end}
    return json.dumps(settings, allow_nan=False)


def combine_tables(windows: WindowSet, outputs: Sequence[str], tables: Sequence[pa.Table]) -> pa.Table:
    """Return one table of trials from the engine's table of each window.

    An error in one window is the trial's: it has no values then.
    """
    values = np.array([[floats(table.column(name)) for name in outputs] for table in tables])
    combined = windows.combine(values.transpose(0, 2, 1))
    rows = range(tables[0].num_rows)
    errors = [table.column("error").to_pylist() for table in tables]
    first_errors = [next((column[row] for column in errors if column[row] is not None), None) for row in rows]
    failed = np.array([error is not None for error in first_errors], dtype=np.bool_)
    combined[failed] = np.nan
    texts = [table.column("hash").to_pylist() for table in tables]
    hashes = ["" if failed[row] else _joined([column[row] for column in texts]) for row in rows]
    columns: dict[str, pa.Array] = {
        "number": tables[0].column("number"),
        "error": text_column(first_errors),
        "hash": text_column(hashes),
        "n_bars": int_column(np.sum([counts(table.column("n_bars")) for table in tables], axis=0)),
        "n_defined": int_column(np.min([counts(table.column("n_defined")) for table in tables], axis=0)),
    }
    for ix, name in enumerate(windows.names(outputs)):
        columns[name] = float_column(np.ascontiguousarray(combined[:, ix]))
    return pa.table(columns)


def _joined(hashes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
