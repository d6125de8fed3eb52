"""Arrow columns to and from NumPy by their buffers, without importing pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def float_column(values: NDArray[np.float64]) -> pa.Array:
    """Return a float64 column; NaN stays NaN."""
    return _plain(pa.float64(), np.ascontiguousarray(values, dtype=np.float64))


def int_column(values: NDArray[np.int64]) -> pa.Array:
    """Return an int64 column."""
    return _plain(pa.int64(), np.ascontiguousarray(values, dtype=np.int64))


def text_column(values: Sequence[str | None]) -> pa.Array:
    """Return a text column; None is null."""
    parts = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    held = np.array([value is not None for value in values], dtype=np.bool_)
    bitmap = None if held.all() else pa.py_buffer(np.packbits(held, bitorder="little"))
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(pa.string(), len(parts), buffers)


def floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a float64 column as NumPy; null becomes NaN."""
    if column.null_count:
        return np.array(
            [np.nan if value is None else value for value in column.to_pylist()], dtype=np.float64
        )
    parts = [np.from_dlpack(chunk) for chunk in column.chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0)


def counts(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return an int64 column as NumPy; null becomes 0."""
    return np.array([n or 0 for n in column.to_pylist()], dtype=np.int64)


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables with the same columns, whether or not these say that they hold no nulls."""
    plain = [pa.table({name: part.column(name) for name in part.column_names}) for part in parts]
    return pa.concat_tables(plain).combine_chunks()


def _plain(kind: pa.DataType, values: NDArray[np.float64] | NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
