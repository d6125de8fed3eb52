"""Bars of a coarser frequency, made by the engine's own kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from akq_dist.data.panel import PanelData
    from akq_dist.specs.data import DataSpec


def aggregate(data: PanelData, frequency: str, spec: DataSpec | None = None) -> pl.DataFrame:
    """Return the coarse bars of a panel: `symbol, ts, date`, its columns, `complete`; by symbol and time.

    `frequency` is 5m, 1h, 1d, 1w, 1mo, 20bars or the like; `spec` gives `tz` and `sessions`, which decide where
    buckets begin and end. Open, high, low, close and the sum of the volume; `amount`, `trades` and `turnover`
    are summed, `vwap` is weighted by volume, any other column keeps its last defined value. `ts` is the start of a bar
    (its end under `data.stamp: close`). The last bar of a symbol is `complete` only if the data show it.

    Raises AkqUsageError for a text that is no frequency and for sessions without a time zone.
    """
    from akq_dist import _core

    panel = _core.Panel.from_arrow(data.table)
    zone = None if spec is None else spec.tz
    sessions = None if spec is None or spec.sessions is None else [list(pair) for pair in spec.sessions]
    table = _core.aggregate_bars(panel, frequency, time_zone=zone, sessions=sessions)
    frame = pl.DataFrame(table)
    symbols = pl.Series("symbol", data.symbols).gather(frame["asset"])
    present = [name for name in data.table.column_names if name not in ("ts", "date")]
    return frame.select(symbols, "ts", "date", *present, "complete")
