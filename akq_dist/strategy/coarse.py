"""Bars of coarser frequencies as a strategy sees them: NumPy views of what is complete."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqStrategyError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CoarseBar:
    """A complete bar of a coarser frequency."""

    symbol: str
    freq: str
    """As the strategy declares it."""
    index: int
    """Place in the series of this frequency."""
    ts: int
    """Its start in nanoseconds UTC, or its end where `data.stamp` is close."""
    date: dt.date
    """Trading date of its last bar."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    """NaN where the asset has none."""


class CoarseFrames:
    """The coarse bars of one account, one table a frequency, complete or not: readers say how far they may look."""

    def __init__(self, frequencies: Sequence[str], tables: Sequence[Any], n_assets: int) -> None:
        self._frequencies = tuple(frequencies)
        self._tables = [_Columns(table, n_assets) for table in tables]

    def place(self, freq: str) -> int:
        """Return the place of a frequency; AkqStrategyError for one that is not declared."""
        try:
            return self._frequencies.index(freq)
        except ValueError:
            hint = did_you_mean(freq, self._frequencies)
            raise AkqStrategyError(
                f"frequency {freq!r} is not declared in `frequencies` of the strategy{hint}"
            ) from None

    def tail(self, place: int, column: str, local: int, n_complete: int, n: int) -> NDArray[np.float64]:
        """Return the last n values of the complete bars of an instrument of the account; a view, read-only."""
        table = self._tables[place]
        values = table.values.get(column)
        if values is None:
            raise AkqStrategyError(f"history: unknown column {column!r}{did_you_mean(column, table.values)}")
        first = table.offsets[local]
        end = first + n_complete
        return values[max(first, end - n) : end]

    def bar(self, place: int, local: int, index: int, symbol: str) -> CoarseBar:
        """Return a bar by its place in its series."""
        table = self._tables[place]
        row = table.offsets[local] + index
        five = (float(table.values[name][row]) for name in ("open", "high", "low", "close", "volume"))
        date = dt.date.fromordinal(int(table.date[row]) + 719_163)
        return CoarseBar(symbol, self._frequencies[place], index, int(table.ts[row]), date, *five)


class _Columns:
    def __init__(self, table: Any, n_assets: int) -> None:
        import numpy as np
        import pyarrow as pa

        arrow = pa.table(table)
        arrays = {name: arrow.column(name).chunk(0) for name in arrow.column_names} if len(arrow) else {}
        empty = np.empty(0)
        names = [name for name in arrow.column_names if name not in ("asset", "ts", "date", "complete")]
        self.values: Mapping[str, NDArray[np.float64]] = {
            name: arrays[name].to_numpy() if arrays else empty for name in names
        }
        assets = arrays["asset"].to_numpy() if arrays else empty
        self.offsets: list[int] = np.searchsorted(assets, np.arange(n_assets + 1)).tolist()
        self.ts = arrays["ts"].cast(pa.int64()).to_numpy() if arrays else empty
        self.date = arrays["date"].cast(pa.int32()).to_numpy() if arrays else empty
