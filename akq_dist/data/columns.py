"""Which column of a source is which series, whatever the source calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from akq_dist.errors import AkqDataError, AkqUsageError
from akq_dist.specs.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akq_dist.specs.data import DataSpec

PRICES = ("open", "high", "low", "close")
TIMES = ("ts", "timestamp", "datetime", "date", "time")
SYMBOLS = ("symbol", "ticker")
UNNAMED = "(no name)"
_UNNAMED = ("", UNNAMED, "__index_level_0__", "unnamed: 0")
_RESERVED = {*TIMES, "symbol", "bar_index", "row", "rank"}


@dataclass(frozen=True)
class ColumnMap:
    """Names in the source for the parts of a bar."""

    time: str
    symbol: str | None
    bars: dict[str, str]
    """Standard name to name in the source: the four prices and, where there is one, `volume`."""
    extras: dict[str, str]
    """Name of an extra series to name in the source."""
    is_ticks: bool = False
    """A row is a trade: the four prices are one column, the volume is its size; bid and ask are extra series."""

    def names(self) -> list[str]:
        """Return the names in the source."""
        symbol = [] if self.symbol is None else [self.symbol]
        return [self.time, *symbol, *self.bars.values(), *self.extras.values()]


def wanted_columns(names: Sequence[str], usable: Sequence[bool], spec: DataSpec, label: str) -> list[str]:
    """Return the columns of a source that are worth reading, in the order of the source.

    Raises AkqDataError when one that a bar needs is missing or cannot be told from another.
    """
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    if doubled:
        raise AkqDataError(f"{label}: the column {doubled[0]!r} occurs more than once")
    mapped = map_columns(names, spec, label)
    needed = set(mapped.names()) - set(mapped.extras.values())
    extras = {
        name for name, good in zip(names, usable, strict=True) if good and name in mapped.extras.values()
    }
    return [name for name in names if name in needed or name in extras]


def map_columns(names: Sequence[str], spec: DataSpec, label: str) -> ColumnMap:
    """Find the columns of a bar among `names`; `spec.columns` decides before any guess."""
    given = _given(names, spec, label)
    taken = set(given.values())
    free = [name for name in names if name not in taken]
    is_ticks = _is_ticks(given, free, spec, label)
    source_of = {"volume": "size", **dict.fromkeys(PRICES, "price")} if is_ticks else {}
    bars: dict[str, str] = {}
    for standard in (*PRICES, "volume"):
        wanted = source_of.get(standard, standard)
        column = given.get(wanted) or _find((wanted,), free, label)
        if column is not None:
            bars[standard] = column
    missing = [price for price in PRICES if price not in bars]
    time = next((given[word] for word in TIMES if word in given), None) or _find_time(free, label)
    symbol = given.get("symbol") or _find(SYMBOLS, free, label)
    if time is None:
        raise AkqDataError(
            f"{label}: no time column: expected one of {', '.join(TIMES)}, found {_listed(names)}. "
            "Name it with data.columns: {ts: ...}"
        )
    if missing and is_ticks:
        raise AkqDataError(
            f"{label}: required column price is missing, found {_listed(names)}. "
            "Name it with data.columns: {price: ...}"
        )
    if missing:
        guess = nearest(missing[0], [name for name in free if name not in bars.values()])
        hint = f"; the nearest name is {guess!r}" if guess else ""
        raise AkqDataError(
            f"{label}: required column {missing[0]} is missing, found {_listed(names)}{hint}. "
            f"Name it with data.columns: {{{missing[0]}: ...}}"
        )
    used = {*bars.values(), time, symbol}
    named = {word: column for word, column in given.items() if column not in used}
    extras = _extras([name for name in free if name not in used], named)
    return ColumnMap(time, symbol, bars, extras, is_ticks)


def _is_ticks(given: dict[str, str], free: Sequence[str], spec: DataSpec, label: str) -> bool:
    """Tell trades from bars: by `data.kind`, else by a price with a size or a quote where there is none of a bar."""
    if spec.kind is not None:
        return spec.kind == "ticks"

    def has(word: str) -> bool:
        return word in given or _find((word,), free, label) is not None

    is_trade = has("price") and (has("size") or (has("bid") and has("ask")))
    return is_trade and not any(has(price) for price in PRICES)


def _given(names: Sequence[str], spec: DataSpec, label: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for word, column in spec.columns.items():
        if column not in names:
            guess = nearest(column, names)
            hint = f", did you mean {guess!r}?" if guess else f", found {_listed(names)}"
            raise AkqDataError(f"{label}: data.columns.{word}: there is no column {column!r}{hint}")
        given[word] = column
    times = [word for word in given if word in TIMES]
    if len(times) > 1:
        raise AkqUsageError(f"data.columns: {' and '.join(times)} both name the time, expected one of them")
    return given


def _find(words: Sequence[str], names: Sequence[str], label: str) -> str | None:
    for word in words:
        if word in names:
            return word
        folded = [name for name in names if name.strip().casefold() == word]
        if len(folded) > 1:
            raise AkqDataError(
                f"{label}: {' and '.join(map(repr, folded))} could both be {word}. "
                f"Choose with data.columns: {{{word}: ...}}"
            )
        if folded:
            return folded[0]
    return None


def _find_time(names: Sequence[str], label: str) -> str | None:
    found = _find(TIMES, names, label)
    if found is None and names and names[0].strip().casefold() in _UNNAMED:
        return names[0]
    # A table saved by pandas has its index last.
    return found or next((name for name in names if name == "__index_level_0__"), None)


def _extras(names: Sequence[str], named: dict[str, str]) -> dict[str, str]:
    for word in named:
        if word in _RESERVED:
            raise AkqUsageError(f"data.columns.{word}: a series may not have this name")
    extras = dict(named)
    for name in names:
        word = _series_name(name)
        taken = word.lower() in _RESERVED or word in (*PRICES, "volume") or word in extras
        if word.isidentifier() and not taken and name.strip().casefold() not in _UNNAMED:
            extras[word] = name
    return extras


def _series_name(name: str) -> str:
    """Return a name that rules can use: `Adj. Close` becomes `adj_close`."""
    if name.isidentifier() and name.isascii():
        return name
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def _listed(names: Sequence[str]) -> str:
    shown = [name or "(no name)" for name in names[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if shown else "none"
