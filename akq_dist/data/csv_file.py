"""Bars in a text file with a header: comma, semicolon or tab separated, UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from akq_dist.data.columns import UNNAMED, wanted_columns
from akq_dist.data.files import cannot_read, input_file
from akq_dist.data.source import RawBars
from akq_dist.errors import AkqDataError
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.specs.data import DataSpec

_BOM = b"\xef\xbb\xbf"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PAR1": "Parquet",
}


class CsvSource:
    """Reads every column as text; types are settled later, cell by cell, so that a bad cell can be named."""

    def read(self, spec: DataSpec, base_dir: Path) -> RawBars:
        """Read one file."""
        path = input_file(spec, base_dir)
        try:
            content = path.read_bytes()
        except (OSError, MemoryError) as error:
            raise cannot_read(path, error) from None
        frame = _parse(content, path.name, spec)
        return RawBars(frame, path.name, path.stem, f"csv {redact_url(spec.path or '')}", "line", 2)


def _parse(content: bytes, label: str, spec: DataSpec) -> pl.DataFrame:
    content = content.removeprefix(_BOM)
    _check_bytes(content, label)
    header = content.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8")
    separator = next((mark for mark in (",", ";", "\t") if mark in header), ",")
    names = [_unquoted(name) or UNNAMED for name in header.split(separator)]
    if any(_is_number(name) for name in names):
        raise AkqDataError(
            f"{label}: line 1 looks like data, expected a header with the names of the columns"
        )
    if content.count(b'"') % 2 == 1:
        raise AkqDataError(f"{label}: a quotation mark is opened and never closed")
    try:
        frame = pl.read_csv(
            content,
            has_header=False,
            skip_rows=1,
            separator=separator,
            infer_schema=False,
            raise_if_empty=False,
        )
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise AkqDataError(f"{label}: not a regular table: {_reason(str(error))}") from None
    if frame.width == 0:
        frame = pl.DataFrame([pl.Series(str(i), [], dtype=pl.String) for i in range(len(names))])
    if frame.width != len(names):
        raise AkqDataError(f"{label}: the header names {len(names)} columns, the first row has {frame.width}")
    wanted = wanted_columns(names, [True] * len(names), spec, label)
    columns = frame.get_columns()
    return pl.DataFrame([columns[names.index(name)].str.strip_chars().alias(name) for name in wanted])


def _check_bytes(content: bytes, label: str) -> None:
    for magic, kind in _COMPRESSED.items():
        if content.startswith(magic):
            raise AkqDataError(f"{label}: holds {kind} data, expected plain text; unpack it first")
    if not content.strip():
        raise AkqDataError(f"{label}: is empty, expected a header and rows")
    nul = content.find(b"\0")
    if nul >= 0:
        line = content.count(b"\n", 0, nul) + 1
        n_nul = content.count(b"\0")
        raise AkqDataError(
            f"{label}: NUL byte in line {line}; {n_nul} of them. The file is damaged or not plain UTF-8 text"
        )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise AkqDataError(
            f"{label}: line {line} is not UTF-8 (byte {content[error.start]:#04x}); "
            "save the file with the encoding UTF-8"
        ) from None


def _unquoted(name: str) -> str:
    text = name.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def _reason(message: str) -> str:
    # The library's advice names arguments that a user of ours cannot reach.
    if "more fields" in message:
        return "a row has more fields than the first row"
    return message.splitlines()[0][:200] if message else "unknown reason"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
