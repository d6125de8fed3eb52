"""The equity of all accounts of a run together, by trading date, and its returns; as the engine's batches have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from akq_dist.record.arrow import floats

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


def dates_within(panel: pa.Table, start: int | None, end: int | None) -> NDArray[np.int32]:
    """Return the trading dates of a panel from `start` to `end`, both included, in days since 1970-01-01."""
    dates = np.unique(_days(panel))
    first = 0 if start is None else int(np.searchsorted(dates, start, side="left"))
    last = len(dates) if end is None else int(np.searchsorted(dates, end, side="right"))
    return dates[first:last]


def pooled_returns(equity: pa.Table, dates: NDArray[np.int32], cash: float) -> NDArray[np.float64]:
    """Return `(E_d - E_(d-1)) / E_(d-1)` for every date after the first, NaN where the equity before is not above zero.

    `equity` has the columns `symbol, date, equity`, each account's steps in the order of time. `E_d` sums the last
    equity of every account at or before the date; an account that has not begun to trade holds `cash`.
    """
    days, values = _days(equity), floats(equity.column("equity"))
    names = np.array(equity.column("symbol").to_pylist(), dtype=object)
    starts: list[int] = []
    if len(names):
        starts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist()]
    total = np.zeros(len(dates))
    for first, end in zip(starts, [*starts[1:], len(names)], strict=True):
        at = np.searchsorted(days[first:end], dates, side="right") - 1
        total += np.where(at >= 0, values[first:end][np.maximum(at, 0)], cash)
    before = total[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        returns: NDArray[np.float64] = np.where(before > 0.0, (total[1:] - before) / before, np.nan)
    return returns


def _days(table: pa.Table) -> NDArray[np.int32]:
    import pyarrow as pa

    days: NDArray[np.int32] = np.concatenate(
        [np.from_dlpack(chunk) for chunk in table.column("date").cast(pa.int32()).chunks]
        or [np.empty(0, np.int32)]
    )
    return days
