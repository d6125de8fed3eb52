"""The panel as a strategy sees it: NumPy views of one asset's bars, without a copy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_TIME_COLUMNS = ("ts", "date")


class History(Protocol):
    """Where a strategy reads the bars up to now."""

    def tail(self, column: str, asset: int, last_index: int, n: int) -> NDArray[np.float64]:
        """Return the last n values of an asset up to and including `last_index`; fewer at its start."""


@dataclass(frozen=True)
class PanelColumns:
    """Read-only views of the columns of a panel table, with each asset's first and end row."""

    symbols: tuple[str, ...]
    offsets: tuple[int, ...]
    columns: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, table: pa.Table) -> PanelColumns:
        """Borrow the numeric columns of a panel table made by `akq_dist.data`."""
        symbols, offsets = panel_layout(table)
        views = {name: _view(table, name) for name in table.column_names if name not in _TIME_COLUMNS}
        return cls(symbols, offsets, views)

    def tail(self, column: str, asset: int, last_index: int, n: int) -> NDArray[np.float64]:
        """Return the last n values of an asset up to and including `last_index`; fewer at its start."""
        values = self.columns.get(column)
        if values is None:
            raise AkqUsageError(f"history: unknown column {column!r}{did_you_mean(column, self.columns)}")
        first = self.offsets[asset]
        end = first + last_index + 1
        start = end - n
        return values[start if start > first else first : end]


def panel_layout(table: pa.Table) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the symbols of a panel table and the first row of each, with the number of rows at the end."""
    metadata = table.schema.metadata or {}
    try:
        return tuple(json.loads(metadata[b"akq.symbols"])), tuple(json.loads(metadata[b"akq.offsets"]))
    except KeyError as error:
        raise AkqUsageError(
            f"the table is not a panel: its schema has no {error.args[0].decode()!r}"
        ) from None


def _view(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Borrow one column; several chunks are joined, which copies once and not per run."""
    column = table.column(name)
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[np.float64] = chunk.to_numpy(zero_copy_only=False)
    if values.flags.writeable:
        values.flags.writeable = False
    return values
