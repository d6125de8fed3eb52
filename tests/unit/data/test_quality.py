"""Checks of bars: each defect alone, its message, and the three answers to it."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import polars as pl
import pytest

from akq_dist.errors import AkqDataError

from .frames import changed, good_bars, panel

_DEFECTS: list[tuple[dict[str, Any], str]] = [
    ({"close": None}, r"BBB: close is missing at 2024-01-03 \(row 8 of bars.parquet\); 1 bad value\."),
    ({"close": math.nan}, r"BBB: close is NaN at 2024-01-03 \(row 8 of bars.parquet\); 1 bad value"),
    ({"open": math.inf}, "open is inf, expected a finite price"),
    ({"low": -1.0}, "low is -1.0, expected a positive price"),
    ({"open": 0.0}, "open is 0.0, expected a positive price"),
    ({"high": 1e308}, "high is 1e.308, which would overflow"),
    ({"high": 5.0}, "high 5.0 is below low"),
    ({"open": 100.0}, "open 100.0 is above high 12.3"),
    ({"close": 11.0}, "close 11.0 is below low 11.6"),
    ({"volume": -1.0}, "volume is -1.0, expected zero or more"),
    ({"volume": None}, "volume is missing"),
    ({"volume": math.nan}, "volume is NaN, expected a number"),
    ({"volume": math.inf}, "volume is inf, expected a finite number"),
    ({"date": None}, "date is missing"),
    ({"date": dt.date(9000, 1, 1)}, "the time 9000-01-01 is outside the years 1700 to 2200"),
    ({"date": dt.date(2024, 1, 2)}, "conflicting duplicate of a bar at 2024-01-02"),
]


@pytest.mark.parametrize(("values", "message"), _DEFECTS)
def test_each_defect_is_refused_with_its_place(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AkqDataError, match=message) as caught:
        panel(changed(good_bars(), 8, **values))
    assert "data.on_bad: drop_rows" in str(caught.value)


@pytest.mark.parametrize(("values", "message"), _DEFECTS)
def test_each_defect_can_be_dropped_by_row_or_by_symbol(values: dict[str, Any], message: str) -> None:
    bad = changed(good_bars(), 8, **values)
    by_row = panel(bad, on_bad="drop_rows")
    assert by_row.symbols == ["AAA", "BBB"]
    assert by_row.table.num_rows == (10 if "duplicate" in message else 11)
    assert by_row.report.n_rows_dropped == 12 - by_row.table.num_rows
    by_symbol = panel(bad, on_bad="drop_symbols")
    assert by_symbol.symbols == ["AAA"]
    assert by_symbol.report.symbols_dropped == ("BBB",)
    assert by_symbol.report.n_rows_dropped == 6
    assert "BBB" in by_symbol.report.summary()
    assert by_symbol.table.equals(panel(good_bars(("AAA",))).table, check_metadata=False)


def test_what_was_dropped_is_part_of_the_digest() -> None:
    first = panel(changed(good_bars(), 11, close=None), on_bad="drop_rows")
    never_there = panel(good_bars().head(11))
    assert first.table.equals(never_there.table)
    assert first.digest != never_there.digest
    assert first.report.to_dict()["findings"][0]["reason"] == "missing_close"


def test_several_kinds_are_reported_once_each_with_their_counts() -> None:
    bad = changed(changed(changed(good_bars(), 2, close=None), 3, close=None), 8, open=-1.0)
    with pytest.raises(AkqDataError) as caught:
        panel(bad)
    message = str(caught.value)
    assert message.startswith("2 kinds of bad bars:\n")
    assert "AAA: close is missing at 2024-01-03 (row 2 of bars.parquet); 2 bad values" in message
    assert (
        "BBB: open is -1.0, expected a positive price at 2024-01-03 (row 8 of bars.parquet); 1 bad value"
        in message
    )


def test_the_first_bad_row_is_the_first_of_the_file_and_symbols_are_counted() -> None:
    bad = changed(changed(good_bars(("ZZZ", "AAA")), 1, close=None), 7, close=None)
    with pytest.raises(AkqDataError, match=r"ZZZ: close is missing .*row 1 of .*2 bad values in 2 symbols"):
        panel(bad)


def test_an_asset_without_volume_is_no_defect() -> None:
    frame = good_bars().with_columns(
        pl.when(pl.col("symbol") == "AAA").then(None).otherwise(pl.col("volume")).alias("volume")
    )
    volume = panel(frame).table["volume"].to_numpy()
    assert all(math.isnan(v) for v in volume[:6])
    assert volume[6:].tolist() == [1000.0 + i for i in range(6)]


def test_a_column_without_any_volume_is_absent() -> None:
    assert "volume" not in panel(good_bars().with_columns(pl.lit(None).alias("volume"))).table.column_names
    assert "volume" not in panel(good_bars().drop("volume")).table.column_names


def test_a_bar_a_few_bits_too_narrow_is_widened() -> None:
    frame = changed(good_bars(("AAA",)), 2, high=11.0 * (1 - 1e-12), close=11.0)
    made = panel(frame)
    assert made.report.is_clean
    assert made.table["high"][2].as_py() == 11.0
    with pytest.raises(AkqDataError, match="above high"):
        panel(changed(good_bars(("AAA",)), 2, high=11.0 * (1 - 1e-8), close=11.0))


def test_unsorted_times_are_refused_or_sorted() -> None:
    frame = good_bars(("AAA",))[[0, 2, 1, 3, 4, 5]]
    with pytest.raises(
        AkqDataError,
        match=r"AAA: unsorted: the time goes back to 2024-01-02 \(row 2 of bars.parquet\); 1 bad row",
    ):
        panel(frame)
    assert panel(frame, on_bad="drop_rows").table.equals(
        panel(good_bars(("AAA",))).table, check_metadata=False
    )
    with pytest.raises(AkqDataError, match="no good bars are left"):
        panel(frame, on_bad="drop_symbols")


def test_exact_repeats_collapse_and_conflicts_go() -> None:
    good = good_bars(("AAA",))
    with pytest.raises(AkqDataError, match=r"AAA: exact duplicate of a bar at 2024-01-03 \(row 6 of"):
        panel(pl.concat([good, good[2:3]]))
    kept = panel(pl.concat([good, good[2:3]]), on_bad="drop_rows")
    assert kept.table.num_rows == 6
    conflict = pl.concat([good[:3], changed(good[2:3], 0, close=11.1), good[3:]])
    dates = panel(conflict, on_bad="drop_rows").table["date"].to_pylist()
    assert dt.date(2024, 1, 3) not in dates
    assert len(dates) == 5


def test_a_good_bar_beside_a_bad_one_of_the_same_time_stays() -> None:
    good = good_bars(("AAA",))
    both = pl.concat([good[:3], changed(good[2:3], 0, close=-1.0), good[3:]])
    assert panel(both, on_bad="drop_rows").table.num_rows == 6


def test_rows_of_different_symbols_may_be_mixed() -> None:
    frame = good_bars()
    mixed = frame.sort("date", "symbol", descending=[False, True])
    assert panel(mixed).table.equals(panel(frame).table)
    assert panel(mixed).digest == panel(frame).digest


def test_nothing_left_is_an_error_that_says_why() -> None:
    with pytest.raises(AkqDataError, match=r"no good bars are left.*AAA: close is missing"):
        panel(
            good_bars(("AAA",)).with_columns(pl.lit(None, dtype=pl.Float64).alias("close")),
            on_bad="drop_rows",
        )


def test_a_row_without_symbol_is_named_by_its_row() -> None:
    bad = changed(good_bars(), 8, symbol=None)
    with pytest.raises(AkqDataError, match=r"^symbol is missing at 2024-01-03 \(row 8 of"):
        panel(bad)
    assert panel(bad, on_bad="drop_symbols").table.num_rows == 11
