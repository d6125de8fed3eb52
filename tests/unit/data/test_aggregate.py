"""Coarse bars from Python: against Polars on clean data, and as strategies and rules read them."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import akq_dist as akq
from akq_dist.data import aggregate, panel_from_frame
from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.specs import DataSpec
from akq_dist.strategy.rules import Rules, close, on, sma

SESSIONS = [["09:30", "11:30"], ["13:00", "15:00"]]


def clean_bars(n: int, minutes: int, seed: int = 0, symbols: tuple[str, ...] = ("AAA",)) -> pl.DataFrame:
    """Return bars around the clock from a Monday on, whole numbers of volume."""
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in symbols:
        closes = 100.0 + np.cumsum(rng.integers(-8, 9, n)) / 64.0
        opens = closes + rng.integers(-8, 9, n) / 64.0
        start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "ts": [start + dt.timedelta(minutes=minutes * i) for i in range(n)],
                    "open": opens,
                    "high": np.maximum(opens, closes) + 0.125,
                    "low": np.minimum(opens, closes) - 0.125,
                    "close": closes,
                    "volume": rng.integers(0, 100, n).astype(float),
                }
            )
        )
    return pl.concat(frames)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 400),
    seed=st.integers(0, 10_000),
    case=st.sampled_from(
        [(1, "5m", "5m"), (5, "30m", "30m"), (15, "1h", "1h"), (30, "4h", "4h"), (60, "1d", "1d"),
         (360, "1w", "1w"), (720, "1mo", "1mo")]
    ),
)  # fmt: skip
def test_on_clean_data_it_is_what_polars_groups(n: int, seed: int, case: tuple[int, str, str]) -> None:
    minutes, frequency, every = case
    frame = clean_bars(n, minutes, seed, ("AAA", "BBB"))
    spec = DataSpec(source="frame", tz="UTC")
    made = aggregate(panel_from_frame(frame, spec), frequency, spec)
    grouped = (
        frame.with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))
        .group_by_dynamic("ts", every=every, group_by="symbol")
        .agg(
            pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
            pl.col("volume").sum(),
        )
    )  # fmt: skip
    assert made.drop("date", "complete").equals(grouped)
    assert made["complete"].to_list().count(False) <= 2


def a_share_bars(days: int = 6, minutes: int = 15, seed: int = 3) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    ts = []
    day = dt.date(2024, 3, 1)
    for _ in range(days):
        for opens in (dt.time(9, 30), dt.time(13)):
            start = dt.datetime.combine(day, opens)
            ts += [start + dt.timedelta(minutes=at) for at in range(0, 120, minutes)]
        day += dt.timedelta(days=3 if day.weekday() == 4 else 1)
    closes = 10.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, len(ts))))
    return pl.DataFrame(
        {
            "ts": ts,
            "open": closes,
            "high": closes * 1.01,
            "low": closes * 0.99,
            "close": closes,
            "volume": 1.0,
        }
    )


def data(frame: pl.DataFrame, **more: Any) -> dict[str, Any]:
    return {"table": frame, "tz": "Asia/Shanghai", "sessions": SESSIONS, "bar": "15m", **more}


class Daily(akq.Strategy):
    frequencies = ("1h", "1d")
    seen: ClassVar[list[Any]] = []
    told: ClassVar[list[Any]] = []

    def on_start(self) -> None:
        type(self).seen, type(self).told = [], []

    def on_coarse_bar(self, bar: akq.CoarseBar) -> None:
        self.told.append((bar.freq, bar.index, bar.close, f"{self.now:%d %H:%M}"))

    def on_bar(self, bar: akq.Bar) -> None:
        daily = self.history("close", 3, freq="1d")
        self.seen.append(daily.tolist())
        assert not daily.flags.writeable
        assert len(self.history("volume", 99, freq="1h")) == len([f for f, *_ in self.told if f == "1h"])
        if len(daily) >= 2:
            self.target_qty(100.0 if daily[-1] > daily[-2] else 0.0)


def test_a_strategy_reads_complete_bars_only() -> None:
    frame = a_share_bars()
    result = akq.backtest(strategy=Daily, data=data(frame))
    closes = frame["close"].to_list()
    ends = [closes[16 * day + 15] for day in range(6)]
    # A day is complete with its last bar: at row 15 the first one is there.
    assert Daily.seen[14] == []
    assert Daily.seen[15] == ends[:1]
    assert Daily.seen[31:33] == [ends[:2], ends[:2]]
    assert Daily.seen[95] == ends[3:6]
    days = [(index, close, when) for freq, index, close, when in Daily.told if freq == "1d"]
    assert days[0] == (0, ends[0], "01 15:00")
    assert len(Daily.told) == 6 * (4 + 1)
    assert result.fills.height > 0


def test_the_future_changes_no_coarse_bar() -> None:
    frame = a_share_bars()
    akq.backtest(strategy=Daily, data=data(frame))
    before = [*Daily.seen]
    for cut in (5, 16, 17, 40, 63, 64):
        late = frame.with_columns(
            pl.when(pl.int_range(pl.len()) < cut).then(pl.col(name)).otherwise(pl.col(name) * 1.5)
            for name in ("open", "high", "low", "close")
        )
        akq.backtest(strategy=Daily, data=data(late))
        assert Daily.seen[:cut] == before[:cut]
        akq.backtest(strategy=Daily, data=data(frame.head(cut)))
        assert Daily.seen == before[:cut]


def test_a_rule_and_a_callback_agree() -> None:
    class ByHand(akq.Strategy):
        frequencies = ("1d",)

        def on_bar(self, bar: akq.Bar) -> None:
            daily = self.history("close", 2, freq="1d")
            held = self.position() > 0.0
            if len(daily) == 2 and (bar.close > daily.mean()) != held:
                if held:
                    self.close()
                else:
                    self.buy(10.0)

    average = on("1d", sma(close, 2))
    assert str(average) == 'on("1d", sma(close, 2))'
    rules = Rules(enter=close > average, exit=close <= average, size={"qty": 10})
    by_rules = akq.backtest(strategy=rules, data=data(a_share_bars()), mode="portfolio")
    by_hand = akq.backtest(strategy=ByHand, data=data(a_share_bars()), mode="portfolio")
    assert by_rules.fills.height > 2
    same = ["ts", "side", "qty", "price"]
    assert by_rules.fills.select(same).equals(by_hand.fills.select(same))
    assert by_rules.equity.equals(by_hand.equity)


def test_daily_bars_give_weeks() -> None:
    days = pl.date_range(dt.date(2024, 1, 1), dt.date(2024, 3, 1), eager=True)
    frame = pl.DataFrame({"date": days}).filter(pl.col("date").dt.weekday() <= 5)
    frame = frame.with_columns(
        (pl.int_range(pl.len()).cast(pl.Float64) + 10.0).alias(name)
        for name in ("open", "high", "low", "close")
    )
    weeks = aggregate(panel_from_frame(frame), "1w")
    assert weeks["ts"].dt.date().to_list()[:2] == [dt.date(2024, 1, 1), dt.date(2024, 1, 8)]
    assert weeks["close"].to_list()[:2] == [14.0, 19.0]
    assert weeks["complete"].to_list() == [True] * 8 + [False]


def test_a_frequency_that_is_not_declared_is_refused_with_the_nearest() -> None:
    class Undeclared(akq.Strategy):
        frequencies = ("1h",)

        def on_bar(self, bar: akq.Bar) -> None:
            self.history("close", 1, freq="4h")

    with pytest.raises(AkqStrategyError, match=r"frequency '4h' is not declared.*known: 1h"):
        akq.backtest(strategy=Undeclared, data=data(a_share_bars()))

    class Bad(akq.Strategy):
        frequencies = ("1x",)

    with pytest.raises(AkqUsageError, match=r'"1x" is no frequency, expected one such as 5m'):
        akq.backtest(strategy=Bad, data=data(a_share_bars()))
    with pytest.raises(AkqUsageError, match="is no frequency"):
        on('1d"', close)
    with pytest.raises(AkqUsageError, match="is no frequency"):
        aggregate(panel_from_frame(clean_bars(3, 1)), "3d")
