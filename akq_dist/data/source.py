"""The seam between market data and where it comes from: a protocol and a registry by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from akq_dist.specs.data import DataSpec


@dataclass(frozen=True)
class RawBars:
    """Bars as a source has them: its own column names, types, order and defects."""

    frame: pl.DataFrame
    """Rows in the order of the source. A text file has every column as text."""
    label: str
    """What error messages call the source, such as the name of the file."""
    symbol: str | None
    """Symbol of all rows when there is no symbol column."""
    description: str
    """Where the data came from, without secrets."""
    row_word: Literal["row", "line"] = "row"
    first_row: int = 0
    """Number that a person gives to the first row: 2 for a text file with a header."""
    daily: bool | None = None
    """True where every time is known to be a date; None when the types tell."""


class BarSource(Protocol):
    """Reads bars from somewhere; used by one thread, holds nothing open after `read`.

    Raises AkqDataError when the data cannot be read, AkqUsageError when the request makes no sense, and
    MissingDependencyError when an optional package is not installed. Bad values are not its business.
    """

    def read(self, spec: DataSpec, base_dir: Path) -> RawBars:
        """Read all bars of the source; relative paths start at `base_dir`."""
        ...


_SOURCES: dict[str, str | Callable[[], BarSource]] = {
    "parquet": "akq_dist.data.parquet_file:ParquetSource",
    "csv": "akq_dist.data.csv_file:CsvSource",
    "embedded": "akq_dist.data.embedded:EmbeddedSource",
}


def register_source(name: str, factory: str | Callable[[], BarSource]) -> None:
    """Make a source known by name; `factory` is a class, a function or a reference `module:Class`."""
    if name in _SOURCES:
        raise AkqUsageError(f"a data source named {name!r} is registered already")
    _SOURCES[name] = factory


def source_names() -> list[str]:
    """Return the names of all sources."""
    return sorted(_SOURCES)


def open_source(name: str) -> BarSource:
    """Return the source with that name. Raises AkqUsageError with the nearest known name."""
    factory = _SOURCES.get(name)
    if factory is None:
        raise AkqUsageError(f"data.source: unknown source {name!r}{did_you_mean(name, _SOURCES)}")
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        factory = cast("Callable[[], BarSource]", getattr(import_module(module), attribute))
    return factory()
