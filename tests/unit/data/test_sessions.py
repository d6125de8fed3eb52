"""Trading dates under the sessions of an exchange, and bars outside of them."""

from __future__ import annotations

import datetime as dt
import json

import polars as pl
import pytest

from akq_dist.errors import AkqDataError, AkqUsageError
from akq_dist.specs import DataSpec

from .frames import panel

FUTURES = [["21:00", "02:30"], ["09:00", "10:15"], ["10:30", "11:30"], ["13:30", "15:00"]]
SHANGHAI = {"tz": "Asia/Shanghai", "sessions": FUTURES}


def bars(*times: str, symbol: str = "RB") -> pl.DataFrame:
    """Return bars at local times without a zone."""
    ts = [dt.datetime.fromisoformat(time) for time in times]
    price = [10.0] * len(ts)
    return pl.DataFrame(
        {"symbol": symbol, "ts": ts, "open": price, "high": price, "low": price, "close": price}
    )


def dates(frame: pl.DataFrame, **spec: object) -> list[str]:
    return [str(date) for date in panel(frame, **spec).table["date"].to_pylist()]


def test_the_night_belongs_to_the_next_date_with_a_day_session() -> None:
    # 2024-02-09 to 02-16 is the spring festival: no day session, and no night session on the 8th.
    frame = bars(
        "2024-02-02 14:59", "2024-02-02 21:00", "2024-02-03 02:29", "2024-02-05 09:00", "2024-02-05 23:00",
        "2024-02-06 09:00", "2024-02-07 21:00", "2024-02-19 09:00", "2024-02-19 21:00",
    )  # fmt: skip
    assert dates(frame, tz="Asia/Shanghai") == [
        "2024-02-02", "2024-02-02", "2024-02-03", "2024-02-05", "2024-02-05",
        "2024-02-06", "2024-02-07", "2024-02-19", "2024-02-19",
    ]  # fmt: skip
    assert dates(frame, **SHANGHAI) == [
        "2024-02-02", "2024-02-05", "2024-02-05", "2024-02-05", "2024-02-06",
        "2024-02-06", "2024-02-19", "2024-02-19", "2024-02-20",
    ]  # fmt: skip


def test_another_symbol_tells_that_a_day_was_traded() -> None:
    both = pl.concat([bars("2024-02-02 21:00"), bars("2024-02-06 10:00", symbol="ZZ")])
    assert dates(both, **SHANGHAI) == ["2024-02-06", "2024-02-06"]


def test_bars_outside_are_counted_dropped_or_refused() -> None:
    frame = bars("2024-02-05 09:00", "2024-02-05 10:20", "2024-02-05 10:30", "2024-02-05 20:00")
    kept = panel(frame, **SHANGHAI)
    assert kept.table.num_rows == 4
    (note,) = kept.report.notes
    assert (
        "outside data.sessions at 2024-02-05 02:20:00 UTC (row 1 of bars.parquet); 2 such bars, kept" in note
    )
    dropped = panel(frame, outside_sessions="drop", **SHANGHAI)
    assert dropped.table.num_rows == 2
    assert "2 such bars, dropped" in dropped.report.notes[0]
    with pytest.raises(
        AkqDataError, match=r"outside data.sessions.*2 such bars.*data.outside_sessions: keep"
    ):
        panel(frame, outside_sessions="refuse", **SHANGHAI)
    # With times of the end of bars, 10:30 ends a break and 10:15 a session.
    ends = bars("2024-02-05 10:15", "2024-02-05 10:30")
    assert "10:30" not in "".join(panel(ends, **SHANGHAI).report.notes)
    assert "02:30:00 UTC" in panel(ends, stamp="close", **SHANGHAI).report.notes[0]


def test_what_times_mean_is_part_of_the_panel() -> None:
    frame = bars("2024-02-05 09:00", "2024-02-05 09:01")
    plain, stated = panel(frame, **SHANGHAI), panel(frame, bar="1m", **SHANGHAI)
    assert b"akq.bar_times" not in plain.table.schema.metadata
    assert json.loads(stated.table.schema.metadata[b"akq.bar_times"]) == {
        "stamp": "open", "length_ns": 60_000_000_000
    }  # fmt: skip
    assert len({plain.digest, stated.digest, panel(frame, stamp="close", **SHANGHAI).digest}) == 3
    from akq_dist import _core

    _core.Panel.from_arrow(stated.table)
    with pytest.raises(AkqDataError, match=r"RB: a bar comes 60 s after .* data.bar says 120 s"):
        _core.Panel.from_arrow(panel(frame, bar="2m", **SHANGHAI).table)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"sessions": FUTURES}, r"sessions: are local times: set data.tz"),
        ({"sessions": [["09:30"]], "tz": "UTC"}, r"sessions\[0\]: .*expected two local times"),
        ({"sessions": [["9h", "15:00"]], "tz": "UTC"}, r"sessions\[0\]"),
        ({"sessions": [], "tz": "UTC"}, r"sessions: found \[\], expected pairs"),
        ({"bar": "1 minute"}, r"bar: .*length of a bar such as 1m"),
        ({"bar": "25h"}, r"bar: "),
        ({"stamp": "opne"}, r"did you mean 'open'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(AkqUsageError, match=message):
        DataSpec.parse({"source": "frame", **spec})


def test_sessions_in_no_order_are_refused_by_name() -> None:
    with pytest.raises(AkqUsageError, match=r"market.sessions: two of them overlap"):
        panel(bars("2024-02-05 09:00"), tz="UTC", sessions=[["09:00", "11:00"], ["10:00", "12:00"]])
