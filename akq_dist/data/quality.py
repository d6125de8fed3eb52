"""Checks of bars, and what happens to those that fail: refuse, drop the rows, or drop the symbols.

A missing, infinite, absurd or non-positive price, a high below its low, an open or close outside them, a bad
volume, a missing time, times that repeat or go back. The message has the first bad row and the count, never
the whole table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from akq_dist.data.columns import PRICES
from akq_dist.data.times import time_value
from akq_dist.errors import AkqDataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from akq_dist.data.bars import Bars

LARGEST_PRICE = 1e12
SMALLEST_PRICE = 1e-15
TOLERANCE = 1e-9
"""Relative: adjusted prices may be a few bits outside their own bar."""

_BAD = "bad"
_FIX = "Fix the data, or set data.on_bad: drop_rows or drop_symbols."


@dataclass(frozen=True)
class Finding:
    """One kind of defect: where it was met first, and how often."""

    reason: str
    """Short name: missing_close, high_below_low, duplicate, ..."""
    message: str
    """What a person reads; the first bad row and the count."""
    n_rows: int
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class QualityReport:
    """What was found and what was dropped."""

    n_rows: int
    n_symbols: int
    n_rows_dropped: int = 0
    symbols_dropped: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Tell whether every bar was good."""
        return not self.findings

    def summary(self) -> str:
        """Return one paragraph for a person."""
        parts = [f"{self.n_rows} bars of {self.n_symbols} symbol{'s' * (self.n_symbols != 1)}."]
        if self.n_rows_dropped:
            parts.append(f"Dropped {self.n_rows_dropped} bars.")
        if self.symbols_dropped:
            shown = ", ".join(self.symbols_dropped[:15]) + (", ..." if len(self.symbols_dropped) > 15 else "")
            parts.append(f"Dropped {len(self.symbols_dropped)} symbols: {shown}.")
        parts += [f"{finding.message}." for finding in self.findings]
        parts += [f"{note}." for note in self.notes]
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a record."""
        return {
            "n_rows": self.n_rows,
            "n_symbols": self.n_symbols,
            "n_rows_dropped": self.n_rows_dropped,
            "symbols_dropped": list(self.symbols_dropped),
            "findings": [
                {"reason": f.reason, "message": f.message, "n_rows": f.n_rows, "symbols": list(f.symbols)}
                for f in self.findings
            ],
            "notes": list(self.notes),
        }


_ABSURD = f"which would overflow; expected a finite price from {SMALLEST_PRICE:g} to {LARGEST_PRICE:g}"


@dataclass(frozen=True)
class _Check:
    reason: str
    column: str
    is_bad: pl.Expr
    words: str
    """What the message says; `{column}` is the value there."""


def clean(bars: Bars, on_bad: str) -> tuple[pl.DataFrame, QualityReport]:
    """Return good bars, each symbol's in time order, and the report.

    Raises AkqDataError under `refuse` when a bar is bad, and always when nothing is left.
    """
    frame = bars.frame
    n_rows, symbols = frame.height, set(frame["symbol"].unique().to_list())
    if bars.has_volume:
        frame = _settle_volume(frame)
    findings, bad = _bad_values(frame, bars)
    order_findings, ordered = _bad_order(
        frame.filter(pl.col("symbol").is_not_null() & pl.col("ts").is_not_null()), bars
    )
    findings += order_findings
    if bad is not None:
        # A good bar beside a bad one of the same time stays.
        ordered = _bad_order(frame.filter(~bad), bars)[1]
    if findings and on_bad == "refuse":
        raise AkqDataError(_refusal(findings))
    if findings and on_bad == "drop_symbols":
        dropped = {symbol for finding in findings for symbol in finding.symbols}
        ordered = frame.filter(~pl.col("symbol").is_in(list(dropped)) & pl.col("symbol").is_not_null())
    if ordered.height == 0:
        raise AkqDataError(f"{bars.raw.label}: no good bars are left. {_refusal(findings)}")
    kept = set(ordered["symbol"].unique().to_list())
    gone = tuple(sorted(symbol for symbol in symbols - kept if symbol is not None))
    report = QualityReport(
        ordered.height, len(kept), n_rows - ordered.height, gone, tuple(findings), bars.notes
    )
    return _snap(ordered), report


def _settle_volume(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn the volume of assets that have none at all into NaN; elsewhere a missing one stays null."""
    volume = pl.col("volume").fill_nan(None)
    if frame.select(volume.is_null().any()).item():
        absent = volume.is_null().all().over("symbol")
        frame = frame.with_columns(pl.when(absent).then(float("nan")).otherwise(volume).alias("volume"))
    return frame


def _checks(bars: Bars) -> list[_Check]:
    checks = [
        _Check("missing_symbol", "symbol", pl.col("symbol").is_null(), "symbol is missing"),
        _Check("bad_time", "ts", pl.col("ts").is_null(), f"the time {{raw}} {bars.time_problem}"),
    ]
    is_ticks = bars.names.is_ticks
    for column in ("close",) if is_ticks else PRICES:
        price, name = pl.col(column), "price" if is_ticks else column
        checks += [
            _Check(f"missing_{name}", column, price.is_null(), f"{name} is {{raw}}, expected a number"),
            _Check(f"nan_{name}", column, price.is_nan(), f"{name} is NaN"),
            _Check(
                f"infinite_{name}",
                column,
                price.is_infinite(),
                f"{name} is {{value}}, expected a finite price",
            ),
            _Check(
                f"not_positive_{name}",
                column,
                price <= 0.0,
                f"{name} is {{value}}, expected a positive price",
            ),
            _Check(
                f"absurd_{name}",
                column,
                (price > LARGEST_PRICE) | (price < SMALLEST_PRICE),
                f"{name} is {{value}}, {_ABSURD}",
            ),
        ]
    checks += _quote_checks(bars) if is_ticks else _range_checks()
    if bars.has_volume:
        volume, name = pl.col("volume"), "size" if is_ticks else "volume"
        checks += [
            _Check(f"missing_{name}", "volume", volume.is_null(), f"{name} is {{raw}}, expected a number"),
            _Check(f"negative_{name}", "volume", volume < 0.0, f"{name} is {{value}}, expected zero or more"),
            _Check(
                f"infinite_{name}",
                "volume",
                volume.is_infinite(),
                f"{name} is {{value}}, expected a finite number",
            ),
        ]
    return checks


def _quote_checks(bars: Bars) -> list[_Check]:
    """Quotes are above zero and not crossed; one that is missing is no quote."""
    given = [name for name in ("bid", "ask") if name in bars.names.extras]
    checks = [
        _Check(
            f"not_positive_{name}",
            name,
            pl.col(name) <= 0.0,
            f"{name} is {{value}}, expected a positive price",
        )
        for name in given
    ]
    if len(given) == 2:
        words = "bid {value} is above the ask"
        crossed = (pl.col("bid") > pl.col("ask")) & pl.col("bid").is_not_nan() & pl.col("ask").is_not_nan()
        checks.append(_Check("crossed_quote", "bid", crossed, words))
    return checks


def _range_checks() -> list[_Check]:
    """The prices of a bar lie inside it."""
    checks = []
    high, low = pl.col("high"), pl.col("low")
    checks.append(_Check("high_below_low", "high", high < low, "high {high} is below low {low}"))
    for name in ("open", "close"):
        inside = pl.col(name)
        checks += [
            _Check(
                f"{name}_above_high",
                name,
                inside > high * (1 + TOLERANCE),
                f"{name} {{{name}}} is above high {{high}}",
            ),
            _Check(
                f"{name}_below_low",
                name,
                inside < low * (1 - TOLERANCE),
                f"{name} {{{name}}} is below low {{low}}",
            ),
        ]
    return checks


def _bad_values(frame: pl.DataFrame, bars: Bars) -> tuple[list[Finding], pl.Series | None]:
    checks = _checks(bars)
    counts = frame.select(check.is_bad.sum().alias(str(i)) for i, check in enumerate(checks)).row(0)
    met = [check for check, count in zip(checks, counts, strict=True) if count]
    if not met:
        return [], None
    # A row counts under the first check that it fails: NaN also compares false with everything.
    which = pl.coalesce(pl.when(check.is_bad).then(pl.lit(i, dtype=pl.UInt8)) for i, check in enumerate(met))
    marked = frame.with_columns(which.alias(_BAD))
    rows = marked.filter(pl.col(_BAD).is_not_null())
    findings = []
    for i, check in enumerate(met):
        of_kind = rows.filter(pl.col(_BAD) == i)
        if of_kind.height:
            findings.append(_finding(check, of_kind, bars))
    return findings, marked[_BAD].is_not_null()


def _finding(check: _Check, rows: pl.DataFrame, bars: Bars) -> Finding:
    first = rows.sort("row").row(0, named=True)
    names = bars.names
    series = {**names.extras, **names.bars}
    column = {"ts": names.time, "symbol": names.symbol}.get(check.column, series.get(check.column))
    raw = _raw(bars, column, first["row"])
    words = check.words if raw is not None else f"{column or check.column} is missing"
    words = words.format(**{name: first[name] for name in PRICES}, value=first[check.column], raw=raw)
    return describe(check.reason, words, first, rows, bars)


def _raw(bars: Bars, column: str | None, row: int) -> str | None:
    if column is None:
        return None
    source = bars.raw.frame[column]
    if source.dtype.is_temporal():
        return time_value(source, row)
    text = source.slice(row, 1).cast(pl.String, strict=False).item()
    if text is None or text == "":
        return None
    shown = text if len(text) <= 40 else text[:37] + "..."
    return repr(shown) if source.dtype == pl.String else shown


def describe(
    reason: str,
    words: str,
    first: Mapping[str, Any],
    rows: pl.DataFrame,
    bars: Bars,
    counted: str = "bad value",
) -> Finding:
    """Put a finding into words: the first row, its place in the source, and the count."""
    symbols = tuple(sorted(symbol for symbol in rows["symbol"].unique().to_list() if symbol is not None))
    who = f"{first['symbol']}: " if first["symbol"] is not None else ""
    when = f" at {time_text(first['ts'], first['date'], bars.daily)}" if first["ts"] is not None else ""
    place = f"{bars.raw.row_word} {first['row'] + bars.raw.first_row} of {bars.raw.label}"
    n = rows.height
    many = f" in {len(symbols)} symbols" if len(symbols) > 1 else ""
    message = f"{who}{words}{when} ({place}); {n} {counted}{'s' * (n != 1)}{many}"
    return Finding(reason, message, n, symbols)


def _bad_order(frame: pl.DataFrame, bars: Bars) -> tuple[list[Finding], pl.DataFrame]:
    """Return findings about times within a symbol, and the rows sorted without repeats and conflicts."""
    before = pl.col("ts").shift(1)
    new_symbol = (pl.col("symbol") != pl.col("symbol").shift(1)).fill_null(value=True)
    # Trades of one time stand in the order of the source.
    follows = pl.col("ts") >= before if bars.names.is_ticks else pl.col("ts") > before
    after = follows.fill_null(value=True)
    if frame.select((new_symbol | after).all()).item() and _is_grouped(frame, new_symbol):
        return [], frame
    by_symbol = frame.sort("symbol", maintain_order=True)
    late = ~after & ~new_symbol
    unordered = by_symbol.filter(late)
    if unordered.height == 0:
        return [], by_symbol
    findings = []
    doubled = frame.filter(pl.struct("symbol", "ts").is_duplicated())
    if doubled.height and not bars.names.is_ticks:
        findings.append(_duplicate(doubled, bars))
    backward = by_symbol.filter(((pl.col("ts") < before) & ~new_symbol).fill_null(value=False))
    if backward.height:
        first = backward.sort("row").row(0, named=True)
        words = f"unsorted: the time goes back to {time_text(first['ts'], first['date'], bars.daily)}"
        findings.append(describe("unsorted", words, {**first, "ts": None}, backward, bars, "bad row"))
    if bars.names.is_ticks:
        return findings, by_symbol.sort("symbol", "ts", maintain_order=True)
    values = [name for name in frame.columns if name != "row"]
    single = by_symbol.sort("symbol", "ts", maintain_order=True).unique(
        values, keep="first", maintain_order=True
    )
    return findings, single.filter(~pl.struct("symbol", "ts").is_duplicated())


def _duplicate(doubled: pl.DataFrame, bars: Bars) -> Finding:
    values = [name for name in doubled.columns if name != "row"]
    groups = doubled.unique(values, keep="first", maintain_order=True)
    conflicts = groups.filter(pl.struct("symbol", "ts").is_duplicated())
    kind = "conflicting duplicate of a bar" if conflicts.height else "exact duplicate of a bar"
    rows = conflicts if conflicts.height else doubled
    # The later row of the first pair is the one that a person looks for.
    first = rows.filter(
        (pl.col("ts") == pl.col("ts").first()) & (pl.col("symbol") == pl.col("symbol").first())
    ).sort("row")
    return describe("duplicate", kind, first.row(1, named=True), doubled, bars, "bad row")


def _is_grouped(frame: pl.DataFrame, new_symbol: pl.Expr) -> bool:
    return bool(frame.select(new_symbol.sum()).item() == frame["symbol"].n_unique())


def _snap(frame: pl.DataFrame) -> pl.DataFrame:
    """Widen bars whose open or close is outside by no more than the tolerance: later code relies on them."""
    inside = pl.max_horizontal("open", "close") <= pl.col("high")
    above = pl.min_horizontal("open", "close") >= pl.col("low")
    if frame.select((inside & above).all()).item():
        return frame
    return frame.with_columns(
        pl.max_horizontal("open", "high", "close").alias("high"),
        pl.min_horizontal("open", "low", "close").alias("low"),
    )


def _refusal(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    if len(findings) == 1:
        return f"{findings[0].message}. {_FIX}"
    lines = "\n".join(f"  {finding.message}" for finding in findings)
    return f"{len(findings)} kinds of bad bars:\n{lines}\n{_FIX}"


def time_text(ts: Any, date: Any, daily: bool) -> str:
    """Return a time as a person writes it: the date of a daily bar, else the instant in UTC."""
    if daily or not hasattr(ts, "strftime"):
        return str(date)
    text = ts.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text} UTC"
