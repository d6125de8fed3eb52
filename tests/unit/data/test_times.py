"""Times: every way of writing one instant gives the same instant, and what is ambiguous is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from akq_dist.errors import AkqDataError

from .frames import good_bars, panel

_DAYS = [dt.datetime(2024, 3, day, hour) for day in (8, 11, 12) for hour in (9, 20)]
"""Naive New York times around the change to daylight saving on 2024-03-10."""


def _with_time(values: Any, dtype: Any = None) -> pl.DataFrame:
    return good_bars(("AAA",)).drop("date").with_columns(pl.Series("ts", values, dtype=dtype))


def _utc_ns(frame: pl.DataFrame, **spec: Any) -> list[int]:
    numbers: list[int] = panel(frame, **spec).table["ts"].cast("int64").to_pylist()
    return numbers


def test_a_daily_date_is_midnight_utc_and_its_own_trading_date() -> None:
    table = panel(good_bars(("AAA",)), tz="America/New_York").table
    assert table["ts"][0].as_py() == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert table["date"][0].as_py() == dt.date(2024, 1, 1)
    assert str(table.schema.field("ts").type) == "timestamp[ns, tz=UTC]"


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_at_midnight_are_dates_whatever_their_unit(unit: Any) -> None:
    days = [dt.datetime(2024, 1, 1 + i) for i in range(6)]
    naive = _with_time(days, pl.Datetime(unit))
    assert panel(naive).table.equals(panel(good_bars(("AAA",))).table)
    assert panel(naive, tz="Asia/Shanghai").table.equals(panel(good_bars(("AAA",))).table)
    utc = naive.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    assert panel(utc, tz="America/New_York").table.equals(panel(good_bars(("AAA",))).table)


def test_naive_times_of_day_need_a_zone() -> None:
    with pytest.raises(AkqDataError, match=r"ts has times of day without a time zone.*data.tz"):
        panel(_with_time(_DAYS, pl.Datetime("us")))


def test_the_same_instants_in_three_zones_are_the_same_panel() -> None:
    naive = _with_time(_DAYS, pl.Datetime("us"))
    new_york = naive.with_columns(pl.col("ts").dt.replace_time_zone("America/New_York"))
    expected = panel(naive, tz="America/New_York")
    assert expected.table["ts"][0].as_py() == dt.datetime(2024, 3, 8, 14, tzinfo=dt.UTC)
    assert expected.table["ts"][2].as_py() == dt.datetime(2024, 3, 11, 13, tzinfo=dt.UTC)
    # 20:00 in New York is the next day in UTC; the trading date is the local one.
    assert expected.table["date"].to_pylist() == [dt.date(2024, 3, day) for day in (8, 8, 11, 11, 12, 12)]
    for zone in ("UTC", "Asia/Shanghai", "America/New_York"):
        other = new_york.with_columns(pl.col("ts").dt.convert_time_zone(zone))
        made = panel(other, tz="America/New_York")
        assert made.table.equals(expected.table), zone
        assert made.digest == expected.digest
    assert panel(new_york).table.equals(expected.table)


def test_hours_that_the_clock_skips_or_repeats_are_bad_bars() -> None:
    for hour, minute, day in ((2, 30, dt.date(2024, 3, 10)), (1, 30, dt.date(2024, 11, 3))):
        times = [
            *_DAYS[:1],
            dt.datetime(day.year, day.month, day.day, hour, minute),
            *(dt.datetime(2024, 12, d, 9) for d in range(1, 5)),
        ]
        with pytest.raises(
            AkqDataError, match="does not exist or occurs twice on the clock of America/New_York"
        ):
            panel(_with_time(times, pl.Datetime("us")), tz="America/New_York")
        assert (
            panel(
                _with_time(times, pl.Datetime("us")), tz="America/New_York", on_bad="drop_rows"
            ).table.num_rows
            == 5
        )


@pytest.mark.parametrize(
    "pattern",
    [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
        "%Y/%m/%d %H:%M",
        "%Y%m%d %H%M%S",
        "%Y%m%d %H:%M:%S",
        "%Y-%m-%d %H:%M:%S.000",
    ],
)
def test_text_is_read_in_the_usual_ways(pattern: str) -> None:
    expected = _utc_ns(_with_time(_DAYS, pl.Datetime("us")), tz="America/New_York")
    assert _utc_ns(_with_time([t.strftime(pattern) for t in _DAYS]), tz="America/New_York") == expected


def test_text_with_an_offset_is_an_instant() -> None:
    utc = [t.replace(tzinfo=dt.UTC) for t in _DAYS]
    expected = _utc_ns(_with_time(utc))
    assert _utc_ns(_with_time([t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in utc])) == expected
    shanghai = dt.timezone(dt.timedelta(hours=8))
    assert (
        _utc_ns(_with_time([t.astimezone(shanghai).strftime("%Y-%m-%d %H:%M:%S+08:00") for t in utc]))
        == expected
    )


@pytest.mark.parametrize("pattern", ["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"])
def test_text_of_dates_is_daily(pattern: str) -> None:
    texts = [(dt.date(2024, 1, 1) + dt.timedelta(days=i)).strftime(pattern) for i in range(6)]
    assert panel(_with_time(texts)).table.equals(panel(good_bars(("AAA",))).table)


def test_unpadded_dates_are_read() -> None:
    assert panel(_with_time([f"2024/1/{i + 1}" for i in range(6)])).table.equals(
        panel(good_bars(("AAA",))).table
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            list(range(1_700_000_000, 1_700_000_006)),
            "ts is of type int64, expected a date or timestamp: a plain number",
        ),
        ([1.7e9 + i for i in range(6)], "ts is of type float64"),
        (
            [f"{1_700_000_000_000 + i}" for i in range(6)],
            "plain numbers such as 1700000000000, of unknown unit",
        ),
        (["31-Dec-10"] * 6, "ts holds '31-Dec-10', expected dates or timestamps"),
        (["02/08/2018"] * 6, "ts holds '02/08/2018'"),
        (
            ["2024-03-08 09:00:00+00:00"] * 3 + ["2024-03-08 09:00:00"] * 3,
            r"mixes times with a zone \(3\) and without \(3\)",
        ),
        ([True] * 6, "ts is of type boolean"),
    ],
)
def test_a_column_that_is_no_time_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(AkqDataError, match=message):
        panel(_with_time(values))


def test_one_bad_text_among_good_ones_is_named() -> None:
    texts = [f"2024-01-0{i + 1}" for i in range(6)]
    texts[3] = "2024-13-01"
    with pytest.raises(
        AkqDataError,
        match=r"AAA: the time '2024-13-01' is not written like the first one.*row 3 of.*1 bad value",
    ):
        panel(_with_time(texts))
    assert panel(_with_time(texts), on_bad="drop_rows").table.num_rows == 5


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31), 10_000_000])
def test_a_date_beyond_all_calendars_is_a_bad_bar(number: int) -> None:
    days = pl.Series("ts", [19_723, 19_724, number, 19_726, 19_727, 19_728], dtype=pl.Int32).cast(pl.Date)
    frame = good_bars(("AAA",)).drop("date").with_columns(days)
    with pytest.raises(AkqDataError, match=rf"the time {number} \(date\) is outside the years 1700 to 2200"):
        panel(frame)
    assert panel(frame, on_bad="drop_rows").table.num_rows == 5


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_timestamp_beyond_all_calendars_is_a_bad_bar(unit: Any) -> None:
    for number in (2**63 - 1, -(2**63) + 1):
        values = pl.Series("ts", [*(10**9 * i for i in range(5)), number], dtype=pl.Int64).cast(
            pl.Datetime(unit, "UTC")
        )
        with pytest.raises(AkqDataError, match="is outside the years 1700 to 2200"):
            panel(good_bars(("AAA",)).drop("date").with_columns(values))
