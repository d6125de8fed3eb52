"""Sessions of an exchange: the trading date of every bar, and what happens to bars outside.

Without `data.sessions` the trading date is the local one. With them a bar of a night session belongs to the next
date that has bars of a day session, or else to the next weekday: Friday night is Monday.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from akq_dist.data.quality import describe
from akq_dist.errors import AkqDataError
from akq_dist.specs.units import duration

if TYPE_CHECKING:
    from akq_dist.data.bars import Bars
    from akq_dist.specs.data import DataSpec


def date_bars(bars: Bars, spec: DataSpec) -> Bars:
    """Give intraday bars the trading dates of `data.sessions`, and keep, drop or refuse those outside.

    Raises AkqDataError under `outside_sessions: refuse` that names the first bar outside.
    """
    if spec.sessions is None or spec.tz is None or bars.daily:
        return bars
    from akq_dist import _core

    frame = bars.frame
    is_time = frame["ts"].is_not_null()
    ts = frame["ts"].to_physical().filter(is_time).to_numpy()
    pairs = [list(pair) for pair in spec.sessions]
    dated = pl.DataFrame(_core.session_dates(ts, spec.tz, pairs, spec.stamp))
    timed = frame.filter(is_time).with_columns(dated["date"], dated["inside"])
    untimed = frame.filter(~is_time).with_columns(pl.lit(value=True).alias("inside"))
    frame = pl.concat([timed, untimed]).sort("row")
    outside = frame.filter(~pl.col("inside"))
    frame = frame.drop("inside")
    if outside.height == 0:
        return replace(bars, frame=frame)
    first = outside.sort("row").row(0, named=True)
    finding = describe("outside_sessions", "outside data.sessions", first, outside, bars, "such bar")
    if spec.outside_sessions == "refuse":
        fix = "Set data.outside_sessions: keep or drop, or mend data.sessions, data.tz or data.stamp."
        raise AkqDataError(f"{finding.message}. {fix}")
    done = "kept" if spec.outside_sessions == "keep" else "dropped"
    if spec.outside_sessions == "drop":
        frame = frame.filter(~pl.col("row").is_in(outside["row"].implode()))
    return replace(bars, frame=frame, notes=(*bars.notes, f"{finding.message}, {done}"))


def bar_times(spec: DataSpec) -> str | None:
    """Return how the engine is to read the times of bars, as JSON; None where nothing is stated."""
    if spec.stamp == "open" and spec.bar is None:
        return None
    length = None if spec.bar is None else round(duration(spec.bar) * 1e9)
    return json.dumps({"stamp": spec.stamp, "length_ns": length})
