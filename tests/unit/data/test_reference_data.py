"""Recorded market data: the big files load fast, and their known defects are found."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from akq_dist.data import PanelData, load_panel
from akq_dist.errors import AkqDataError
from akq_dist.specs import DataSpec

if TYPE_CHECKING:
    from pathlib import Path


def _load(folder: Path, name: str, **spec: Any) -> PanelData:
    return load_panel(DataSpec.parse({"path": name, **spec}), folder)


def test_the_defects_of_us_daily_are_found(reference_data: Path) -> None:
    with pytest.raises(AkqDataError) as caught:
        _load(reference_data, "us_daily.parquet")
    message = str(caught.value)
    assert "BHF: open is missing at 2017-07-26" in message
    assert "11 bad values in 9 symbols" in message
    assert "AOS: high 23.595 is below low 23.85 at 2014-05-19" in message
    made = _load(reference_data, "us_daily.parquet", on_bad="drop_symbols")
    assert len(made.symbols) == 489
    assert {"BHF", "DHR", "ES", "FTV", "O", "REGN", "UA", "VRTX", "WRK", "AOS", "LNT"} <= set(
        made.report.symbols_dropped
    )
    by_row = _load(reference_data, "us_daily.parquet", on_bad="drop_rows")
    assert len(by_row.symbols) == 505
    assert by_row.report.n_rows_dropped == 23


def test_half_a_million_bars_load_in_a_moment(reference_data: Path) -> None:
    times = []
    for _ in range(3):
        started = time.process_time()
        _load(reference_data, "us_daily.parquet", on_bad="drop_symbols")
        times.append(time.process_time() - started)
    print(f"us_daily: {min(times):.3f} s of CPU")
    assert min(times) < 2.0


def test_cn_daily_is_clean_and_keeps_its_columns(reference_data: Path) -> None:
    made = _load(reference_data, "cn_daily.parquet")
    assert made.report.is_clean
    assert len(made.symbols) == 240
    assert made.table.column_names[-2:] == ["pre_close", "amount"]


def test_a_symbol_has_the_bars_that_the_oracle_hashed(reference_data: Path, oracle: Path) -> None:
    known = json.loads((oracle / "sweep_sma.json").read_text(encoding="utf-8"))["symbols"]
    assert known
    for place, name in (("us", "us_daily.parquet"), ("cn", "cn_daily.parquet")):
        symbols = [key.removeprefix(f"{place}:") for key in known if key.startswith(f"{place}:")]
        made = _load(reference_data, name, symbols=symbols)
        offsets = json.loads(made.table.schema.metadata[b"akq.offsets"])
        for i, symbol in enumerate(made.symbols):
            rows = made.table.slice(offsets[i], offsets[i + 1] - offsets[i])
            pairs = np.column_stack([rows["open"].to_numpy(), rows["close"].to_numpy()]).astype("<f8")
            assert rows.num_rows == known[f"{place}:{symbol}"]["rows"]
            assert (
                hashlib.sha256(pairs.tobytes()).hexdigest()
                == known[f"{place}:{symbol}"]["sha256_open_close_le_f64"]
            )


def test_minute_bars_have_the_local_trading_date(reference_data: Path) -> None:
    made = _load(reference_data, "minute_us_spy.parquet", tz="America/New_York")
    # The last January bar is stamped 2011-02-01 01:00 UTC: still January in New York.
    dates = {date.isoformat() for date in made.table["date"].to_pylist()}
    assert len(dates) == 43
    assert "2011-02-01" not in dates
    assert "2011-02-01" in {
        d.isoformat() for d in _load(reference_data, "minute_us_spy.parquet").table["date"].to_pylist()
    }


def test_a_broker_clock_needs_a_zone(reference_data: Path) -> None:
    with pytest.raises(AkqDataError, match="times of day without a time zone"):
        _load(reference_data, "hourly_fx.parquet")
    assert _load(reference_data, "hourly_fx.parquet", tz="UTC").table.column_names[-1] == "tick_volume"


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("messy/sp500_DHR.csv", {}, "open is missing at 2015-07-17 .line 600 of sp500_DHR.csv."),
        ("messy/ninjatrader_spy_minute.csv", {}, "line 1 looks like data"),
        ("messy/google_orcl_malformed.csv", {}, "holds '31-Dec-10'"),
        ("messy/quandl_wiki_orcl_2000.csv", {}, "unsorted: the time goes back to 2000-12-28"),
        ("messy/gbpusd_minute_bom.csv", {}, "required column open is missing"),
        ("messy/tushare_000651.SZ.csv", {}, "plain numbers such as 2428"),
        ("messy/lean_aapl_daily.zip", {"source": "csv"}, "holds zip data"),
        ("minute_fx_quotes.parquet", {}, "the nearest name is 'bid_open'"),
    ],
)
def test_messy_files_are_refused_with_the_reason(
    reference_data: Path, name: str, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(AkqDataError, match=message):
        _load(reference_data, name, **spec)


@pytest.mark.parametrize(
    ("name", "spec", "n_rows"),
    [
        ("messy/index_000300.csv", {}, 1423),
        ("messy/unpadded_minute.csv", {"tz": "Asia/Shanghai"}, 1000),
        ("messy/mt5_points_usdcad_h1.csv", {"tz": "UTC"}, 999),
        ("messy/quandl_wiki_orcl_2000.csv", {"on_bad": "drop_rows"}, 252),
        (
            "messy/tushare_000651.SZ.csv",
            {"columns": {"date": "trade_date", "symbol": "ts_code", "volume": "vol"}},
            500,
        ),
    ],
)
def test_messy_files_load_once_the_open_question_is_answered(
    reference_data: Path, name: str, spec: dict[str, Any], n_rows: int
) -> None:
    assert _load(reference_data, name, **spec).table.num_rows == n_rows
