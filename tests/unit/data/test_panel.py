"""The panel: its layout, the order of assets, the choice of symbols and dates, the digest."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from akq_dist.data import load_panel, open_source, panel_from_frame, register_source
from akq_dist.data.source import RawBars
from akq_dist.errors import AkqDataError, AkqUsageError
from akq_dist.specs import DataSpec

from .frames import changed, good_bars, panel


def test_the_layout_is_the_one_the_engine_borrows() -> None:
    frame = good_bars(("BBB", "AAA")).with_columns(
        pl.Series("pe", [None, *range(1, 12)]), pl.lit("x").alias("note")
    )
    made = panel(frame)
    table = made.table
    assert table.column_names == ["ts", "date", "open", "high", "low", "close", "volume", "pe"]
    assert [str(field.type) for field in table.schema] == [
        "timestamp[ns, tz=UTC]",
        "date32[day]",
        *["double"] * 6,
    ]
    assert all(column.num_chunks == 1 and column.null_count == 0 for column in table.columns)
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert json.loads(metadata["akq.symbols"]) == ["AAA", "BBB"] == made.symbols
    assert json.loads(metadata["akq.offsets"]) == [0, 6, 12]
    assert metadata["akq.digest"] == made.digest
    assert len(made.digest) == 64
    # BBB came first in the table, so its undefined value is now the seventh.
    assert math.isnan(table["pe"][6].as_py())
    assert made.report.notes == ("columns that hold no numbers are left out: note",)


def test_assets_are_in_alphabetical_order_and_priority_goes_first() -> None:
    frame = good_bars(("CCC", "AAA", "BBB"))
    assert panel(frame).symbols == ["AAA", "BBB", "CCC"]
    assert panel(frame, priority=["CCC"]).symbols == ["CCC", "AAA", "BBB"]
    assert panel(frame, priority=["CCC"]).digest != panel(frame).digest
    with pytest.raises(AkqDataError, match=r"data.priority names DDD"):
        panel(frame, priority=["DDD"])


def test_symbols_are_chosen_and_missing_ones_are_listed() -> None:
    frame = good_bars(tuple(f"S{i:02}" for i in range(15)))
    assert panel(frame, symbols=["S03", "S01"]).symbols == ["S01", "S03"]
    asked = [f"T{i:02}" for i in range(12)]
    with pytest.raises(AkqDataError) as caught:
        panel(frame, symbols=["S01", *asked])
    message = str(caught.value)
    assert "T00, T01" in message
    assert "T10" not in message
    assert "... (12 symbols)" in message
    assert "they hold S00, S01" in message
    assert "... (15 symbols)" in message


def test_a_defect_of_a_symbol_that_nobody_asked_for_does_not_matter() -> None:
    bad = changed(good_bars(), 8, close=None)
    assert panel(bad, symbols=["AAA"]).report.is_clean


def test_bars_after_the_end_are_cut_and_bars_before_the_start_are_kept() -> None:
    made = panel(good_bars(), start="2024-01-03", end="2024-01-04")
    assert made.table["date"].to_pylist() == [dt.date(2024, 1, d) for d in (1, 2, 3, 4)] * 2


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"start": "2030-01-01"}, "data.start 2030-01-01 is after the last bar, 2024-01-06"),
        ({"end": "2020-01-01"}, "data.end 2020-01-01 is before the first bar, 2024-01-01"),
    ],
)
def test_a_window_outside_the_data_is_refused(window: dict[str, str], message: str) -> None:
    with pytest.raises(AkqDataError, match=message):
        panel(good_bars(), **window)


def test_a_window_without_bars_inside_the_data_is_refused() -> None:
    gap = good_bars(("AAA",))[[0, 1, 5]]
    with pytest.raises(AkqDataError, match=r"has no bar from data.start 2024-01-03 to data.end 2024-01-05"):
        panel(gap, start="2024-01-03", end="2024-01-05")


def test_the_digest_sees_every_value_but_not_how_the_table_is_cut() -> None:
    frame = good_bars()
    digest = panel(frame).digest
    assert panel(pl.concat([frame[:5], frame[5:]], rechunk=False)).digest == digest
    assert panel(frame.to_arrow()).digest == digest
    assert panel(frame.rename({"close": "Close", "date": "ts"})).digest == digest
    for column, value in (("close", 13.0000001), ("volume", 5.0), ("date", dt.date(2024, 1, 3))):
        row = 10 if column != "date" else 0
        other = (
            changed(frame, row, **{column: value})
            if column != "date"
            else frame.with_columns(pl.col("date") + dt.timedelta(days=1))
        )
        assert panel(other).digest != digest
    assert panel(frame.with_columns(pl.col("symbol").replace("BBB", "BBC"))).digest != digest
    assert panel(frame.with_columns(pl.col("close").alias("extra"))).digest != digest


def test_undefined_extra_values_have_one_digest() -> None:
    frame = good_bars()
    with_null = frame.with_columns(pl.Series("x", [None, 0.0, *[1.0] * 10]))
    with_nan = frame.with_columns(pl.Series("x", [math.nan, -0.0, *[1.0] * 10]))
    with_inf = frame.with_columns(pl.Series("x", [math.inf, 0.0, *[1.0] * 10]))
    assert panel(with_null).digest == panel(with_nan).digest == panel(with_inf).digest


def test_a_pandas_table_with_its_index_is_accepted() -> None:
    frame = good_bars(("AAA",))
    table = pd.DataFrame(
        {name: frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")},
        index=pd.DatetimeIndex(frame["date"].to_list()),
    )
    made = panel_from_frame(table, symbol="AAA")
    assert made.symbols == ["AAA"]
    assert made.table.equals(panel(frame).table)


def test_other_tables_in_memory_are_accepted_and_other_things_refused() -> None:
    frame = good_bars(("AAA",))
    expected = panel(frame).table
    for table in (frame.lazy(), frame.to_arrow(), frame.to_dict(as_series=False)):
        assert panel_from_frame(table).table.equals(expected)
    with pytest.raises(AkqUsageError, match="expected a table of bars, found object"):
        panel_from_frame(object())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.drop("close"),
            "required column close is missing, found symbol, date, open, high, low, volume",
        ),
        (lambda f: f.rename({"close": "clsoe"}), "the nearest name is 'clsoe'"),
        (lambda f: f.drop("date"), "no time column: expected one of ts, timestamp, datetime, date, time"),
        (
            lambda f: f.with_columns(pl.col("close").cast(pl.String)),
            "close has the type string such as '10.0', expected numbers",
        ),
        (
            lambda f: f.with_columns(pl.col("close").alias("Close")).rename({"close": "CLOSE"}),
            "could both be close",
        ),
        (lambda f: f.with_columns(pl.lit(5).alias("symbol")), "symbol is of type int32, expected text"),
        (
            lambda f: f.with_columns(pl.lit("../x").alias("symbol")),
            r"symbol '../x' is not allowed \(row 0\); 1 such symbol",
        ),
        (lambda f: f.clear(), "is empty, 0 rows"),
    ],
)
def test_a_column_that_is_missing_or_wrong_is_named(change: Any, message: str) -> None:
    with pytest.raises(AkqDataError, match=message):
        panel(change(good_bars()))


def test_columns_can_be_named_in_the_specification() -> None:
    frame = good_bars().rename({"date": "Tag", "close": "Schluss", "symbol": "wkn", "volume": "Stück"})
    columns = {"date": "Tag", "close": "Schluss", "symbol": "wkn", "volume": "Stück"}
    assert panel(frame, columns=columns).table.equals(panel(good_bars()).table)
    with pytest.raises(
        AkqDataError, match=r"data.columns.close: there is no column 'Schlus', did you mean 'Schluss'"
    ):
        panel(frame, columns={**columns, "close": "Schlus"})


def test_numbers_of_any_type_become_float64() -> None:
    frame = good_bars().with_columns(
        pl.col("volume").cast(pl.Int32),
        pl.col("close").cast(pl.Decimal(20, 4)),
        pl.lit(value=True).alias("is_st"),
    )
    made = panel(frame).table
    assert made["close"].to_pylist() == panel(good_bars()).table["close"].to_pylist()
    assert set(made["is_st"].to_pylist()) == {1.0}


def test_unknown_sources_are_named_with_the_nearest() -> None:
    with pytest.raises(AkqUsageError, match="unknown source 'parqet', did you mean 'parquet'"):
        open_source("parqet")


def test_a_source_can_be_added_by_name() -> None:
    class Fixed:
        def read(self, spec: DataSpec, base_dir: Path) -> RawBars:
            return RawBars(good_bars(("AAA",)), "fixed", None, "fixed")

    name = f"fixed_{id(Fixed)}"
    register_source(name, Fixed)
    assert load_panel(DataSpec.parse({"source": name}), Path()).symbols == ["AAA"]
    with pytest.raises(AkqUsageError, match="registered already"):
        register_source(name, Fixed)


def test_the_table_is_arrow_and_needs_no_copy() -> None:
    table = panel(good_bars()).table
    assert isinstance(table, pa.Table)
    assert table["close"].chunk(0).to_numpy(zero_copy_only=True).flags["C_CONTIGUOUS"]


def test_common_alignment_keeps_the_times_that_all_symbols_share() -> None:
    frame = good_bars()[[0, 1, 2, 3, 7, 8, 9, 10]]
    made = panel(frame, align="common")
    assert made.table["date"].to_pylist() == [dt.date(2024, 1, d) for d in (2, 3, 4)] * 2
    assert "6 of 8 bars" in made.report.summary()
    with pytest.raises(AkqDataError, match="no timestamp is shared by all 2 symbols"):
        panel(good_bars()[[0, 1, 9, 10]], align="common")
