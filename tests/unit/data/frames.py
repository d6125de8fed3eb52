"""Small tables of bars for tests."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from akq_dist.data import PanelData, panel_from_frame
from akq_dist.specs import DataSpec


def good_bars(symbols: tuple[str, ...] = ("AAA", "BBB"), n: int = 6) -> pl.DataFrame:
    """Return good daily bars, each symbol's rows together."""
    frames = []
    for k, symbol in enumerate(symbols):
        close = [10.0 + k + 0.5 * i for i in range(n)]
        frames.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * n,
                    "date": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(n)],
                    "open": [c - 0.1 for c in close],
                    "high": [c + 0.3 for c in close],
                    "low": [c - 0.4 for c in close],
                    "close": close,
                    "volume": [1000.0 + i for i in range(n)],
                }
            )
        )
    return pl.concat(frames)


def changed(frame: pl.DataFrame, row: int, **values: Any) -> pl.DataFrame:
    """Return the table with other values in one row."""
    data = frame.to_dict(as_series=False)
    for name, value in values.items():
        data[name][row] = value
    return pl.DataFrame(data, schema=frame.schema)


def panel(frame: Any, **spec: Any) -> PanelData:
    """Build a panel of a table."""
    return panel_from_frame(frame, DataSpec.parse({"source": "frame", **spec}), label="bars.parquet")
