"""Where bars come from and what happens to bad ones."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - pydantic reads the annotations
import re
import zoneinfo
from collections import Counter
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from akq_dist.specs.base import InvalidError, InvalidPartsError, Spec, shown
from akq_dist.specs.names import check_symbol
from akq_dist.specs.units import duration

_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
SYMBOL_LIST: Final = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1}

IN_MEMORY: Final = "frame"
"""Source of bars that the caller holds."""


def _to_symbol(value: Any) -> str:
    # A symbol of digits is a number for YAML; one with a leading zero stays text and keeps it.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidError(f"found {shown(value)}, expected a symbol (put it in quotes)")
    return check_symbol(str(value))


def _to_symbols(value: Any) -> tuple[str, ...] | Literal["all"]:
    if value is None or value == "all":
        return "all"
    listed = value if isinstance(value, list | tuple) else [value]
    if not listed:
        raise InvalidError("is an empty list, expected symbols or the word all")
    return to_distinct_symbols(listed)


def to_distinct_symbols(value: Any) -> tuple[str, ...]:
    """Read a list of symbols, refusing one that is named twice."""
    if not isinstance(value, list | tuple):
        raise InvalidError(f"found {shown(value)}, expected a list of symbols")
    symbols: list[str] = []
    found: list[tuple[tuple[str | int, ...], str]] = []
    for index, written in enumerate(value):
        try:
            symbols.append(_to_symbol(written))
        except ValueError as error:
            found.append(((index,), str(error)))
    if found:
        raise InvalidPartsError(found)
    if len(set(symbols)) < len(symbols):
        repeated = [symbol for symbol, count in Counter(symbols).items() if count > 1]
        raise InvalidError(f"names {', '.join(repeated[:10])} more than once")
    return tuple(symbols)


_TIME = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d|24:00")


def _to_sessions(value: Any) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise InvalidError(f"found {shown(value)}, expected pairs of local times such as ['09:30', '16:00']")
    for index, pair in enumerate(value):
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if not is_pair or not all(isinstance(time, str) and _TIME.fullmatch(time) for time in pair):
            hint = f"found {shown(pair)}, expected two local times in quotes such as ['09:30', '16:00']"
            raise InvalidPartsError([((index,), hint)])
    return tuple((opens, closes) for opens, closes in value)


def _to_bar(value: Any) -> str:
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[1-9]\d{0,4}[smh]", value)
        or duration(value) > 86_400.0
    ):
        raise InvalidError(f"found {shown(value)}, expected the length of a bar such as 1m, 30s or 1h")
    return value


class DataSpec(Spec):
    """Market data of a run: the source, the choice of symbols and dates, and the answer to bad bars."""

    source: str = ""
    """Registered source: parquet, csv or embedded. Taken from the end of `path` when absent."""
    kind: Literal["bars", "ticks"] | None = Field(default=None, exclude_if=lambda value: value is None)
    """What a row is; when absent, a trade where there are a price and a size, or a quote, and no price of a bar."""
    path: str | None = None
    """A file, relative to the sweep file."""
    name: str | None = None
    """Series of the embedded source: sp500, nasdaq or all."""
    symbols: Annotated[
        tuple[str, ...] | Literal["all"],
        BeforeValidator(_to_symbols),
        WithJsonSchema({"anyOf": [{"type": ["string", "integer"]}, SYMBOL_LIST]}),
    ] = "all"
    start: dt.date | None = None
    """First trading date; bars before it warm the indicators."""
    end: dt.date | None = None
    """Last trading date, included."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Names in the file for standard names: `{ts: Zeit, close: Schluss}`."""
    tz: str | None = None
    """Time zone of the exchange: of naive intraday times, and of trading dates."""
    stamp: Literal["open", "close"] = "open"
    """Which end of an intraday bar its time is."""
    bar: Annotated[str, BeforeValidator(_to_bar), WithJsonSchema({"type": "string"})] | None = None
    """Length of an intraday bar, such as 1m: with it a bar that has the time of its start is known to end."""
    sessions: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_to_sessions)] | None = None
    """Hours of trading on the clock of `tz`, in the order of the trading date: a night session comes first."""
    outside_sessions: Literal["keep", "drop", "refuse"] = "keep"
    """What happens to bars outside `sessions`; the report counts those that are kept."""
    on_bad: Literal["refuse", "drop_rows", "drop_symbols"] = "refuse"
    priority: Annotated[
        tuple[str, ...], BeforeValidator(to_distinct_symbols), WithJsonSchema(SYMBOL_LIST)
    ] = Field(default_factory=tuple)
    """Symbols that come first in the panel, hence first in line for cash; the others follow by name."""
    align: Literal["union", "common"] = "union"

    @model_validator(mode="before")
    @classmethod
    def _infer_source(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("source"):
            return data
        if data.get("name") is not None and data.get("path") is None:
            return {**data, "source": "embedded"}
        path = data.get("path")
        if isinstance(path, str):
            for suffix, source in _SUFFIXES.items():
                if path.lower().endswith(suffix):
                    return {**data, "source": source}
            raise InvalidPartsError(
                [(("source",), f"is required, but missing: the end of path {shown(path)} does not tell it")]
            )
        raise InvalidPartsError([(("path",), "is required, but missing")])

    @field_validator("path", "name")
    @classmethod
    def _plain_text(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "\0" in value):
            raise InvalidError("is empty" if not value.strip() else "holds a NUL character")
        return value

    @field_validator("columns")
    @classmethod
    def _distinct_columns(cls, value: dict[str, str]) -> dict[str, str]:
        used: dict[str, str] = {}
        for standard, column in value.items():
            if not standard.isidentifier():
                raise InvalidPartsError(
                    [((standard,), "is not a name that a series may have: letters, digits and '_'")]
                )
            if column in used:
                raise InvalidPartsError(
                    [((standard,), f"column {column!r} is already used for {used[column]}")]
                )
            used[column] = standard
        return value

    @field_validator("tz")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                zoneinfo.ZoneInfo(value)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise InvalidError(
                    f"found {shown(value)}, expected a time zone such as America/New_York or UTC"
                ) from None
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise InvalidPartsError([(("start",), f"{self.start} is after data.end {self.end}")])
        if self.sessions is not None and self.tz is None:
            raise InvalidPartsError([(("sessions",), "are local times: set data.tz as well")])
        if self.source in ("parquet", "csv") and self.path is None:
            raise InvalidPartsError([(("path",), f"is required by the source {self.source}")])
        if self.source == "embedded" and self.path is not None:
            raise InvalidPartsError(
                [(("path",), "is not used by the embedded source; give name: sp500, nasdaq or all")]
            )
        if self.source in ("parquet", "csv") and self.name is not None:
            raise InvalidPartsError(
                [(("name",), f"is not used by the source {self.source}; it is for embedded")]
            )
        return self
