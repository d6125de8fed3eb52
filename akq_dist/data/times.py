"""Times of bars: any way of writing them becomes an instant in UTC and a trading date.

A date, or a time without zone that is always midnight, stands for a daily bar: its instant is midnight UTC of
the date and the date is the trading date. Other times without zone are local times of `data.tz`. Times with a
zone are instants; their trading date is the local date in `data.tz`, or in their own zone where that is not
given; instants that are all midnight UTC are daily bars. A plain number is refused: its unit is unknown.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace

import polars as pl

from akq_dist.errors import AkqDataError

NS = pl.Datetime("ns", "UTC")
_ZONE = r"(?:Z|[+-]\d{2}:?\d{2})"
_DATE = re.compile(r"\d{4}([-/])\d{1,2}\1\d{1,2}")
_COMPACT = re.compile(r"(?:1[89]|2[01])\d{6}")
_DATETIME = re.compile(
    rf"\d{{4}}([-/])\d{{1,2}}\1\d{{1,2}}([T ])\d{{1,2}}:\d{{1,2}}(:\d{{1,2}}(?:\.\d{{1,9}})?)?\s*({_ZONE})?"
)
_COMPACT_TIME = re.compile(r"(?:1[89]|2[01])\d{6} \d{2}:?\d{2}(:?\d{2})?")
_EXPECTED = "expected dates or timestamps such as 2018-02-07 or 2018-02-07 09:31:00"
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Times:
    """Instants and trading dates of all rows; both are null where the time is no time."""

    ts: pl.Series
    date: pl.Series
    daily: bool
    why_null: str
    """What is wrong with a row that has a value but no instant."""


def read_times(column: pl.Series, tz: str | None, label: str) -> Times:
    """Return instants and dates. Raises AkqDataError when the column as a whole cannot be understood."""
    kind = column.dtype
    if kind == pl.Null or len(column) == column.null_count():
        empty = pl.Series([None] * len(column), dtype=NS)
        return Times(empty, pl.Series([None] * len(column), dtype=pl.Date), True, "is missing")
    if kind.is_numeric():
        raise AkqDataError(
            f"{label}: {_name(column)} is of type {_type_name(kind)}, expected a date or timestamp: "
            "a plain number does not tell its unit. "
            "Convert it to a timestamp, or name another column with data.columns: {ts: ...}"
        )
    if kind in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        times = read_times(_parse(column, label), tz, label)
        return replace(times, why_null=f"is not written like the first one, or {times.why_null}")
    if column.dtype == pl.Date:
        return _daily(column)
    if not isinstance(column.dtype, pl.Datetime):
        raise AkqDataError(
            f"{label}: {_name(column)} is of type {_type_name(kind)}, expected a date or timestamp"
        )
    return _instants(column, tz, label)


def _instants(column: pl.Series, tz: str | None, label: str) -> Times:
    zone = column.dtype.time_zone if isinstance(column.dtype, pl.Datetime) else None
    column = _in_range(column)
    if zone in (None, "UTC") and (column.dt.truncate("1d") == column).all():
        return _daily(column.dt.date())
    why = "is outside the years 1700 to 2200"
    if zone is None:
        if tz is None:
            raise AkqDataError(
                f"{label}: {_name(column)} has times of day without a time zone. "
                "Say which clock they are from, for example data.tz: America/New_York"
            )
        column = column.dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
        why = f"does not exist or occurs twice on the clock of {tz}, or is outside the years 1700 to 2200"
    dates = column.dt.convert_time_zone(tz or zone or "UTC").dt.date()
    return Times(column.dt.convert_time_zone("UTC").cast(NS), dates, False, why)


def _daily(dates: pl.Series) -> Times:
    dates = _in_range(dates)
    ts = dates.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return Times(ts, dates, True, "is outside the years 1700 to 2200")


def time_value(column: pl.Series, row: int) -> str | None:
    """Return a time of a source as text, also one that is beyond what time types can show."""
    value = column.slice(row, 1)
    if _in_range(value, dt.date(2, 1, 1), dt.date(9998, 1, 1)).null_count() == 0:
        return str(value.item())
    number = value.to_physical().item()
    return None if number is None else f"{number} ({_type_name(column.dtype)})"


def _in_range(
    column: pl.Series, first: dt.date = dt.date(1700, 1, 1), end: dt.date = dt.date(2201, 1, 1)
) -> pl.Series:
    """Return the times with those outside `first..end` as null.

    Compares plain numbers: functions of dates stop on a damaged one.
    """
    per_day = 1 if column.dtype == pl.Date else _PER_DAY[getattr(column.dtype, "time_unit", "us")]
    low, high = (max(-(2**63), min(2**63 - 1, _days(day) * per_day)) for day in (first, end))
    inside = column.to_physical().is_between(low, high, closed="left")
    named = column.alias("t").to_frame().select(pl.when(inside).then(pl.col("t")))
    return named.to_series().alias(column.name)


def _days(day: dt.date) -> int:
    return day.toordinal() - dt.date(1970, 1, 1).toordinal()


def _parse(column: pl.Series, label: str) -> pl.Series:
    texts = column.str.strip_chars()
    sample = next((text for text in texts.drop_nulls().head(1000) if text), "")
    if _DATE.fullmatch(sample):
        mark = sample[4]
        return texts.str.to_date(f"%Y{mark}%m{mark}%d", strict=False)
    if _COMPACT.fullmatch(sample):
        return texts.str.to_date("%Y%m%d", strict=False)
    match = _DATETIME.fullmatch(sample)
    if match is not None:
        mark, between, seconds, zone = match.groups()
        return _parse_datetimes(
            texts, f"%Y{mark}%m{mark}%d{between}%H:%M", seconds is not None, zone is not None, label
        )
    if _COMPACT_TIME.fullmatch(sample):
        clock = "%H:%M:%S" if sample.count(":") == 2 else "%H:%M" if ":" in sample else "%H%M%S"
        return texts.str.to_datetime(f"%Y%m%d {clock}", strict=False, time_unit="ns")
    if _NUMBER.fullmatch(sample):
        raise AkqDataError(
            f"{label}: {_name(column)} holds plain numbers such as {sample}, of unknown unit; {_EXPECTED}, "
            "or another column named with data.columns: {ts: ...}"
        )
    raise AkqDataError(f"{label}: {_name(column)} holds {sample[:40]!r}, {_EXPECTED}")


def _parse_datetimes(
    texts: pl.Series, pattern: str, has_seconds: bool, has_zone: bool, label: str
) -> pl.Series:
    ends = texts.str.contains(rf"{_ZONE}$")
    n_zoned, n_given = int(ends.sum() or 0), len(texts) - texts.null_count()
    if 0 < n_zoned < n_given:
        raise AkqDataError(
            f"{label}: {_name(texts)} mixes times with a zone ({n_zoned}) and without ({n_given - n_zoned})"
        )
    if has_seconds:
        pattern += ":%S%.f"
    if has_zone:
        zoned = texts.str.replace(r"\s*Z$", "+00:00").str.replace(r"\s+([+-]\d{2}:?\d{2})$", "$1")
        return zoned.str.to_datetime(f"{pattern}%z", strict=False, time_unit="ns", time_zone="UTC")
    return texts.str.to_datetime(pattern, strict=False, time_unit="ns")


def _name(column: pl.Series) -> str:
    return column.name or "the first column, which has no name,"


def _type_name(kind: pl.DataType) -> str:
    return str(kind).lower()
