"""Files: what is no file, no Parquet, no text, or no regular table."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from akq_dist.data import PanelData, load_panel
from akq_dist.errors import AkqDataError
from akq_dist.specs import DataSpec

from .frames import changed, good_bars, panel

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "date,symbol,open,high,low,close,volume\n"
ROW = "2024-01-01,AAA,10,11,9,10.5,100\n"


def _load(folder: Path, name: str, content: bytes | str) -> PanelData:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return load_panel(DataSpec.parse({"path": name}), folder)


def test_a_file_and_the_table_it_holds_are_the_same_panel(tmp_path: Path) -> None:
    frame = good_bars()
    frame.write_parquet(tmp_path / "bars.parquet")
    frame.write_csv(tmp_path / "bars.csv")
    for name in ("bars.parquet", "bars.csv"):
        made = load_panel(DataSpec.parse({"path": name}), tmp_path)
        assert made.table.equals(panel(frame).table)
        assert made.source.endswith(name)


def test_without_a_symbol_column_the_name_of_the_file_is_the_symbol(tmp_path: Path) -> None:
    good_bars(("AAA",)).drop("symbol").write_parquet(tmp_path / "000651.SZ.parquet")
    assert load_panel(DataSpec.parse({"path": "000651.SZ.parquet"}), tmp_path).symbols == ["000651.SZ"]
    good_bars(("AAA",)).drop("symbol").write_parquet(tmp_path / "my bars.parquet")
    with pytest.raises(AkqDataError, match="'my bars' is not allowed as one"):
        load_panel(DataSpec.parse({"path": "my bars.parquet"}), tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    good_bars().write_parquet(tmp_path / "us_daily.parquet")
    with pytest.raises(
        AkqDataError, match=r"us_dialy.parquet: no such file.*did you mean 'us_daily.parquet'"
    ):
        load_panel(DataSpec.parse({"path": "us_dialy.parquet"}), tmp_path)
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(AkqDataError, match="is a folder"):
        load_panel(DataSpec.parse({"path": "folder.parquet"}), tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(AkqDataError, match="not a regular file"):
        load_panel(DataSpec.parse({"path": "pipe.csv"}), tmp_path)
    with pytest.raises(AkqDataError):
        load_panel(DataSpec.parse({"path": "x" * 5000 + ".csv"}), tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1PAR1PAR1", b"not parquet at all, but long enough", b"\0" * 100]
)
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AkqDataError, match=r"x\.parquet: damaged, or not a Parquet file"):
        _load(tmp_path, "x.parquet", content)


def test_a_page_checksum_that_does_not_match_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sums.parquet"
    pq.write_table(
        good_bars(n=50).to_arrow(), file, compression="none", use_dictionary=False, write_page_checksum=True
    )
    data = bytearray(file.read_bytes())
    wanted = good_bars(n=50)["close"].to_numpy()[20:24].tobytes()
    at = data.find(wanted)
    assert at > 0
    data[at] ^= 1
    with pytest.raises(AkqDataError, match=r"sums\.parquet: damaged"):
        _load(tmp_path, "sums.parquet", bytes(data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (HEADER, "is empty, 0 rows"),
        (ROW * 3, "line 1 looks like data, expected a header"),
        (HEADER + ROW.replace("\n", ",5\n"), "the header names 7 columns, the first row has 8"),
        (HEADER + ROW + ROW.replace("\n", ",5\n"), "a row has more fields"),
        (HEADER + ROW + '2024-01-02,"AAA,10,11,9,10.5,100\n', "quotation mark is opened and never closed"),
        (HEADER.replace("volume", "close") + ROW, "the column 'close' occurs more than once"),
        (
            HEADER + ROW + "2024-01-02,AAA,10,11,9,-,100\n",
            r"AAA: close is '-', expected a number at 2024-01-02 \(line 3 of x.csv\)",
        ),
        (
            HEADER + ROW + "2024-01-02,AAA,10,11,9,,100\n",
            r"AAA: close is missing at 2024-01-02 \(line 3 of x.csv\)",
        ),
        (HEADER + ROW + "2024-01-02,AAA,10,11,9\n", r"close is missing at 2024-01-02 \(line 3 of x.csv\)"),
        (HEADER + ROW + "2024-01-02,,10,11,9,10,5\n", r"symbol is missing at 2024-01-02 \(line 3 of x.csv\)"),
        (HEADER + ROW + "2024-01-02,AAA,10,11,9,nan,5\n", r"close is NaN at 2024-01-02 \(line 3"),
        (b"\xff\xfe" + HEADER.encode("utf-16-le"), "UTF-8|NUL"),
        (gzip.compress(HEADER.encode()), "holds gzip data"),
        (b"PK\x03\x04 and so on", "holds zip data"),
    ],
)
def test_text_that_is_no_regular_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(AkqDataError, match=message) as caught:
        _load(tmp_path, "x.csv", content)
    assert "x.csv" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        HEADER + ROW,
        "\ufeff" + HEADER + ROW,
        (HEADER + ROW).replace("\n", "\r\n"),
        (HEADER + ROW).replace(",", ";"),
        (HEADER + ROW).replace(",", "\t"),
        (HEADER + ROW).replace(",", ", "),
        HEADER.title() + ROW,
        '"date","symbol","open","high","low","close","volume"\n"2024-01-01","AAA","10","11","9","10.5","100"\n',
        HEADER + ROW.rstrip("\n"),
    ],
)
def test_text_in_the_usual_dialects_is_one_panel(tmp_path: Path, content: str) -> None:
    made = _load(tmp_path, "x.csv", content)
    assert made.symbols == ["AAA"]
    assert [made.table[name][0].as_py() for name in ("open", "high", "low", "close", "volume")] == [
        10,
        11,
        9,
        10.5,
        100,
    ]


def test_the_index_of_a_saved_table_is_its_time(tmp_path: Path) -> None:
    made = _load(tmp_path, "AAA.csv", ",Open,High,Low,Close,Volume\n2024-01-01,10,11,9,10.5,100\n")
    assert made.table["date"][0].as_py().isoformat() == "2024-01-01"
    assert made.table.column_names == ["ts", "date", "open", "high", "low", "close", "volume"]
    frame = good_bars(("AAA",)).to_pandas().set_index("date").drop(columns="symbol")
    frame.index.name = None
    frame.to_parquet(tmp_path / "AAA.parquet")
    assert load_panel(DataSpec.parse({"path": "AAA.parquet"}), tmp_path).table.equals(
        panel(good_bars(("AAA",))).table
    )


def test_text_of_a_bad_row_is_dropped_when_asked(tmp_path: Path) -> None:
    content = HEADER + ROW + "2024-01-02,AAA,10,11,9,-,100\n2024-01-03,AAA,10,11,9,10,100\n"
    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    made = load_panel(DataSpec.parse({"path": "x.csv", "on_bad": "drop_rows"}), tmp_path)
    assert made.table.num_rows == 2
    assert "close is '-'" in made.report.summary()


def test_columns_that_nobody_needs_are_not_read(tmp_path: Path) -> None:
    frame = good_bars().with_columns(pl.struct("open", "close").alias("nested"), pl.lit("x").alias("text"))
    frame.write_parquet(tmp_path / "x.parquet")
    made = load_panel(DataSpec.parse({"path": "x.parquet"}), tmp_path)
    assert made.table.column_names == ["ts", "date", "open", "high", "low", "close", "volume"]


def test_a_bad_bar_in_a_file_is_named_by_its_row_there(tmp_path: Path) -> None:
    changed(good_bars(), 9, close=None).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(AkqDataError, match=r"BBB: close is missing at 2024-01-04 \(row 9 of x.parquet\)"):
        load_panel(DataSpec.parse({"path": "x.parquet", "symbols": ["BBB"]}), tmp_path)
