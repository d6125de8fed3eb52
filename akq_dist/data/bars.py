"""Raw columns become typed ones: times, symbols, float64 prices; what cannot be read becomes null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from akq_dist.data.columns import PRICES, ColumnMap, map_columns
from akq_dist.data.times import read_times
from akq_dist.errors import AkqDataError
from akq_dist.specs.names import SYMBOL_RULE, is_symbol

if TYPE_CHECKING:
    from akq_dist.data.source import RawBars
    from akq_dist.specs.data import DataSpec


@dataclass(frozen=True)
class Bars:
    """Typed bars before any check of their values.

    `frame` has the columns `row` (position in the source), `symbol`, `ts`, `date`, the four prices, `volume`
    where there is one, then the extra series. Text that is no number is null here; `raw` still has it.
    """

    frame: pl.DataFrame
    raw: RawBars
    names: ColumnMap
    daily: bool
    time_problem: str
    notes: tuple[str, ...]

    @property
    def has_volume(self) -> bool:
        """Tell whether the source has a volume column."""
        return "volume" in self.names.bars

    def series(self) -> list[str]:
        """Return the names of the numeric columns, in the order of the panel."""
        return [*PRICES, *(["volume"] if self.has_volume else []), *self.names.extras]


def type_bars(raw: RawBars, spec: DataSpec) -> Bars:
    """Give every column its type. Raises AkqDataError when a column as a whole has the wrong one."""
    frame, label = raw.frame, raw.label
    if frame.height == 0:
        raise AkqDataError(f"{label}: is empty, 0 rows of bars")
    if frame.height >= 2**32 - 1:
        raise AkqDataError(f"{label}: has {frame.height} rows, at most 4 billion fit")
    names = map_columns(frame.columns, spec, label)
    times = read_times(frame[names.time], spec.tz, label)
    columns = [
        pl.arange(0, frame.height, dtype=pl.UInt32, eager=True).alias("row"),
        _symbols(raw, names),
        times.ts.alias("ts"),
        times.date.alias("date"),
    ]
    is_text = raw.row_word == "line"
    columns += [_numbers(frame[column], standard, label, is_text) for standard, column in names.bars.items()]
    kept: dict[str, str] = {}
    ignored: list[str] = []
    for standard, column in names.extras.items():
        extra = _extra(frame[column], standard, is_text)
        if extra is None:
            ignored.append(column)
        else:
            kept[standard] = column
            columns.append(extra)
    notes = (f"columns that hold no numbers are left out: {', '.join(ignored[:10])}",) if ignored else ()
    mapped = ColumnMap(names.time, names.symbol, names.bars, kept, names.is_ticks)
    return Bars(pl.DataFrame(columns), raw, mapped, times.daily, times.why_null, notes)


def _symbols(raw: RawBars, names: ColumnMap) -> pl.Series:
    if names.symbol is None:
        symbol = raw.symbol or ""
        if not is_symbol(symbol):
            raise AkqDataError(
                f"{raw.label}: without a symbol column the name of the file is the symbol, "
                f"and {symbol[:60]!r} is not allowed as one; rename the file or add a column symbol"
            )
        return pl.repeat(symbol, raw.frame.height, dtype=pl.String, eager=True).alias("symbol")
    column = raw.frame[names.symbol]
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.Null:
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        raise AkqDataError(
            f"{raw.label}: {names.symbol} is of type {str(column.dtype).lower()}, expected text "
            "(a number would lose the leading zeros of a symbol)"
        )
    unique = column.unique().drop_nulls().to_list()
    bad = sorted(symbol for symbol in unique if symbol and not is_symbol(symbol))
    if bad:
        rows = column.to_frame().with_row_index("row").filter(pl.col(names.symbol) == bad[0])["row"]
        raise AkqDataError(
            f"{raw.label}: symbol {bad[0][:60]!r} is not allowed ({raw.row_word} {rows[0] + raw.first_row}); "
            f"{len(bad)} such symbol{'s' * (len(bad) > 1)}. Allowed: {SYMBOL_RULE}"
        )
    if "" in unique:
        column = column.replace("", None)
    return column.alias("symbol")


def _numbers(column: pl.Series, standard: str, label: str, is_text: bool) -> pl.Series:
    if column.dtype == pl.String and is_text:
        return column.cast(pl.Float64, strict=False).alias(standard)
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return column.cast(pl.Float64).alias(standard)
    first = column.drop_nulls().head(1).to_list()
    value = f" such as {str(first[0])[:40]!r}" if first else ""
    kind = "string" if column.dtype == pl.String else str(column.dtype).lower()
    raise AkqDataError(f"{label}: {standard} has the type {kind}{value}, expected numbers (float64)")


def _extra(column: pl.Series, standard: str, is_text: bool) -> pl.Series | None:
    if column.dtype == pl.String and is_text:
        numbers = column.cast(pl.Float64, strict=False)
        # A column of words is no series; one with a few holes is.
        if (
            numbers.null_count() == len(numbers)
            or numbers.null_count() > column.replace("", None).null_count()
        ):
            return None
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        numbers = column.cast(pl.Float64)
    else:
        return None
    finite = pl.when(pl.col("x").is_finite()).then(pl.col("x") + 0.0).otherwise(float("nan"))
    return numbers.alias("x").to_frame().select(finite.alias(standard)).to_series()
