"""Adjusted prices: they go on across ex-dates and know nothing of later bars."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from akq_dist.data.adjust import with_adjusted_prices
from akq_dist.errors import AkqDataError, AkqUsageError

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5)]


def bars(symbol: str, closes: list[float]) -> pl.DataFrame:
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    return pl.DataFrame({"symbol": [symbol] * 4, "date": DAYS, **prices})


def test_a_split_and_a_dividend_leave_no_jump() -> None:
    frame = pl.concat([bars("B", [5.0] * 4), bars("A", [30.0, 30.0, 20.0, 19.5])])
    actions = [
        {"symbol": "A", "ex_date": "2024-01-04", "bonus": 0.5},
        {"symbol": "A", "ex_date": "2024-01-05", "cash": 0.5},
    ]
    out = with_adjusted_prices(frame, actions)
    assert out.select(frame.columns).equals(frame)
    # 30 x 1, 20 x 30/20, 19.5 x 30/20 x 20/19.5.
    assert out["adj_close"].to_list() == [5.0] * 4 + [30.0, 30.0, 30.0, pytest.approx(30.0, rel=1e-15)]
    earlier = with_adjusted_prices(frame.filter(pl.col("date") < DAYS[3]), actions)
    assert earlier.equals(out.filter(pl.col("date") < DAYS[3]))


def test_mistakes_are_named() -> None:
    with pytest.raises(AkqDataError, match="no column 'close'"):
        with_adjusted_prices(bars("A", [1.0] * 4).drop("close"), [])
    with pytest.raises(AkqUsageError, match="bonis: unknown key, did you mean 'bonus'"):
        with_adjusted_prices(bars("A", [1.0] * 4), [{"symbol": "A", "ex_date": "2024-01-04", "bonis": 1}])
