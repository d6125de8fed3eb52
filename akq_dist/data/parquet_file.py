"""Bars in a Parquet file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from akq_dist.data.columns import wanted_columns
from akq_dist.data.files import cannot_read, input_file
from akq_dist.data.source import RawBars
from akq_dist.errors import AkqDataError
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.specs.data import DataSpec

_MAGIC = b"PAR1"
_USABLE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_timestamp,
    pa.types.is_date,
)


class ParquetSource:
    """Reads the columns that a panel can use; page checksums are verified where the file has them."""

    def read(self, spec: DataSpec, base_dir: Path) -> RawBars:
        """Read one file."""
        path = input_file(spec, base_dir)
        frame = _read(path, spec)
        return RawBars(frame, path.name, path.stem, f"parquet {redact_url(spec.path or '')}")


def _read(path: Path, spec: DataSpec) -> pl.DataFrame:
    try:
        _check_ends(path)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            names = wanted_columns(
                schema.names, [_is_usable(field.type) for field in schema], spec, path.name
            )
            table = file.read(columns=names)
        table.validate(full=True)
        # Bare columns: metadata is of no use here, and damaged metadata stops the conversion.
        frame = pl.from_arrow(pa.table(table.columns, names=table.column_names))
    except PermissionError as error:
        raise cannot_read(path, error) from None
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        MemoryError,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as error:
        raise AkqDataError(
            f"{path.name}: damaged, or not a Parquet file: {_first_line(error, path)}"
        ) from None
    if not isinstance(frame, pl.DataFrame):
        raise AkqDataError(f"{path.name}: has no columns")
    return frame


def _check_ends(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(4)
        size = stream.seek(0, 2)
        if size < 12 or head != _MAGIC:
            raise ValueError(f"{size} bytes without the Parquet magic number at the start")


def _is_usable(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(value) for is_kind in _USABLE)


def _first_line(error: BaseException, path: Path) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text.replace(str(path), path.name)[:300]
