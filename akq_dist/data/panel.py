"""The panel: bars of many assets in one Arrow table, and the digest that names its content.

Layout, shared with the engine, of bars: `ts` (timestamp[ns, UTC]), `date` (date32, the trading date), `open high
low close` (float64, never null), `volume` (float64; absent when no asset has one, NaN for an asset without), then
the extra series (float64, NaN where missing). Of ticks: `price` in place of the four and `size` in place of the
volume; `bid` and `ask` are extra series, and times may repeat within an asset. Rows are sorted by asset and time,
one chunk a column. The schema metadata has `akq.symbols` (JSON list in panel order), `akq.offsets` (JSON list of
n + 1 row offsets), `akq.digest`, and `akq.bar_times` where `data.stamp` or `data.bar` say how times are to be read.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from akq_dist.data.bars import type_bars
from akq_dist.data.quality import QualityReport, clean
from akq_dist.data.sessions import bar_times, date_bars
from akq_dist.data.source import RawBars, open_source
from akq_dist.errors import AkqDataError, AkqUsageError
from akq_dist.specs.data import DataSpec
from akq_dist.specs.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from akq_dist.data.bars import Bars

_DIGEST_VERSION = "akq-panel/1"


@dataclass(frozen=True)
class PanelData:
    """A panel and where it came from."""

    table: pa.Table
    digest: str
    """SHA-256 of symbols, offsets and columns, and of what was dropped; 64 hex digits."""
    symbols: list[str]
    report: QualityReport
    source: str
    """Where the bars came from, without secrets."""


def load_panel(spec: DataSpec, base_dir: Path) -> PanelData:
    """Read, check and arrange the bars of a specification.

    Raises AkqDataError for data that cannot be used, AkqUsageError for a request that makes no sense.
    """
    return build_panel(open_source(spec.source).read(spec, base_dir), spec)


def build_panel(raw: RawBars, spec: DataSpec) -> PanelData:
    """Check and arrange bars that a source has read."""
    bars = _chosen(date_bars(type_bars(raw, spec), spec), spec)
    frame, report = clean(bars, spec.on_bad)
    if spec.align == "common":
        if bars.names.is_ticks:
            raise AkqUsageError("data.align: common is for bars; trades of several symbols share no times")
        n_before, frame = frame.height, _common(frame, raw.label)
        note = f"data.align is common: {frame.height} of {n_before} bars are at times that all symbols share"
        report = replace(report, n_rows=frame.height, notes=(*report.notes, note))
    symbols = _panel_order(frame, spec)
    table, offsets = _arrange(frame, symbols, _present(frame, bars))
    if bars.names.is_ticks:
        table = _ticks(table)
    times = bar_times(spec)
    digest = panel_digest(table, symbols, offsets, report, times)
    metadata = {"akq.symbols": json.dumps(symbols), "akq.offsets": json.dumps(offsets), "akq.digest": digest}
    if times is not None:
        metadata["akq.bar_times"] = times
    return PanelData(table.replace_schema_metadata(metadata), digest, symbols, report, raw.description)


def panel_from_frame(
    frame: Any, spec: DataSpec | None = None, symbol: str = "ASSET", label: str = "the table"
) -> PanelData:
    """Build a panel from a Polars, pandas or Arrow table in memory.

    `symbol` names the asset when the table has no symbol column. A pandas index becomes a column.
    """
    chosen = spec if spec is not None else DataSpec(source="frame")
    return build_panel(RawBars(_to_polars(frame), label, symbol, label), chosen)


def panel_digest(
    table: pa.Table,
    symbols: Sequence[str],
    offsets: Sequence[int],
    report: QualityReport,
    bar_times: str | None = None,
) -> str:
    """Return the digest of a panel: of values only, not of chunks, row order of the file or NaN bits."""
    dropped = [[finding.reason, finding.n_rows, list(finding.symbols)] for finding in report.findings]
    head = [
        _DIGEST_VERSION,
        list(symbols),
        list(offsets),
        table.column_names,
        report.n_rows_dropped,
        list(report.symbols_dropped),
        dropped,
        *([] if bar_times is None else [bar_times]),
    ]
    hasher = hashlib.sha256(json.dumps(head, separators=(",", ":")).encode())
    for name in table.column_names:
        hasher.update(_canonical(table.column(name)))
    return hasher.hexdigest()


def _chosen(bars: Bars, spec: DataSpec) -> Bars:
    """Keep the asked symbols, and the bars up to the end of the window."""
    frame, label = bars.frame, bars.raw.label
    known = sorted(symbol for symbol in frame["symbol"].unique().to_list() if symbol is not None)
    if spec.symbols != "all":
        _need_symbols("data.symbols asks for", spec.symbols, known, label)
        frame = frame.filter(pl.col("symbol").is_in(list(spec.symbols)))
    _need_symbols(
        "data.priority names", spec.priority, known if spec.symbols == "all" else sorted(spec.symbols), label
    )
    first, last = frame["date"].min(), frame["date"].max()
    if isinstance(first, dt.date) and isinstance(last, dt.date):
        if spec.start is not None and spec.start > last:
            raise AkqDataError(f"{label}: data.start {spec.start} is after the last bar, {last}")
        if spec.end is not None and spec.end < first:
            raise AkqDataError(f"{label}: data.end {spec.end} is before the first bar, {first}")
    if spec.end is not None:
        frame = frame.filter((pl.col("date") <= spec.end).fill_null(value=True))
    if spec.start is not None and not frame.select((pl.col("date") >= spec.start).any()).item():
        raise AkqDataError(f"{label}: has no bar from data.start {spec.start} to data.end {spec.end}")
    return replace(bars, frame=frame)


def _need_symbols(who: str, asked: Sequence[str], known: Sequence[str], label: str) -> None:
    missing = sorted(set(asked) - set(known))
    if not missing:
        return
    guess = nearest(missing[0], known)
    hint = f", did you mean {guess!r}?" if guess else ""
    raise AkqDataError(
        f"{label}: {who} {_listed(missing)}, which the data do not have{hint}; they hold {_listed(known)}"
    )


def _listed(symbols: Sequence[str]) -> str:
    if not symbols:
        return "no symbol"
    more = f", ... ({len(symbols)} symbols)" if len(symbols) > 10 else ""
    return ", ".join(symbols[:10]) + more


def _panel_order(frame: pl.DataFrame, spec: DataSpec) -> list[str]:
    present = set(frame["symbol"].unique().to_list())
    first = [symbol for symbol in spec.priority if symbol in present]
    return [*first, *sorted(present - set(first))]


def _common(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    """Keep the timestamps at which every symbol has a bar: indicators and bar numbers count only those."""
    n_symbols = frame["symbol"].n_unique()
    shared = frame.group_by("ts").len().filter(pl.col("len") == n_symbols)
    if shared.is_empty():
        raise AkqDataError(
            f"{label}: data.align is common, but no timestamp is shared by all {n_symbols} symbols"
        )
    return frame.join(shared.select("ts"), on="ts", how="semi", maintain_order="left")


def _present(frame: pl.DataFrame, bars: Bars) -> list[str]:
    names = bars.series()
    if bars.has_volume and frame["volume"].is_nan().all():
        names.remove("volume")
    return names


def _arrange(frame: pl.DataFrame, symbols: list[str], series: list[str]) -> tuple[pa.Table, list[int]]:
    ranked = frame.with_columns(pl.col("symbol").cast(pl.Enum(symbols)).to_physical().alias("rank"))
    # Each symbol's bars are in time order already, so a stable sort by asset finishes the work.
    if not ranked["rank"].is_sorted():
        ranked = ranked.sort("rank", maintain_order=True)
    ranks = ranked["rank"].to_numpy()
    offsets = np.searchsorted(ranks, np.arange(len(symbols) + 1)).tolist()
    filled = ranked.select("ts", "date", *(pl.col(name).fill_null(float("nan")) for name in series)).rechunk()
    return _plain_table(filled), offsets


def _ticks(table: pa.Table) -> pa.Table:
    """Keep one column of the four that are the price."""
    kept = table.drop_columns(["open", "high", "low"])
    return kept.rename_columns(
        [{"close": "price", "volume": "size"}.get(name, name) for name in kept.column_names]
    )


def _plain_table(frame: pl.DataFrame) -> pa.Table:
    names = frame.columns
    arrays = [pa.array(frame["ts"].to_physical().to_numpy()).cast(pa.timestamp("ns", "UTC"))]
    arrays.append(pa.array(frame["date"].to_physical().to_numpy()).cast(pa.date32()))
    arrays += [pa.array(frame[name].to_numpy()) for name in names[2:]]
    return pa.table(arrays, names=names)


def _canonical(column: pa.ChunkedArray) -> Any:
    array = column.combine_chunks()
    if pa.types.is_timestamp(array.type):
        values = array.cast(pa.int64()).to_numpy(zero_copy_only=False).astype("<i8", copy=False)
    elif pa.types.is_date32(array.type):
        values = array.cast(pa.int32()).to_numpy(zero_copy_only=False).astype("<i4", copy=False)
    else:
        values = array.to_numpy(zero_copy_only=False).astype("<f8", copy=False)
        undefined = np.isnan(values)
        # One bit pattern for NaN, and none for minus zero.
        values = (
            np.where(undefined, np.nan, values + 0.0) if undefined.any() or (values == 0.0).any() else values
        )
    return pa.py_buffer(np.ascontiguousarray(values))


def _to_polars(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        if isinstance(frame, pa.Table):
            made = pl.from_arrow(frame)
        elif type(frame).__module__.partition(".")[0] == "pandas":
            index = frame.index
            plain = type(index).__name__ == "RangeIndex"
            named = frame if plain else frame.rename_axis(index.name or "ts").reset_index()
            made = pl.from_pandas(named)
        else:
            made = pl.DataFrame(frame)
    except (TypeError, ValueError, AttributeError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise AkqUsageError(
            f"expected a table of bars, found {type(frame).__name__}: {str(error).splitlines()[0][:200]}"
        ) from None
    if not isinstance(made, pl.DataFrame):
        raise AkqUsageError(f"expected a table of bars, found {type(frame).__name__}")
    return made
