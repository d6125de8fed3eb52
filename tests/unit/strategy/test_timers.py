"""Timers, `on_day` and the time of a Python strategy, over the engine."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import polars as pl
import pytest

import akq_dist as akq
from akq_dist.errors import AkqStrategyError

SESSIONS = [["09:30", "11:30"], ["13:00", "15:00"]]


def minute_bars(days: int = 3, minutes: int = 30) -> pl.DataFrame:
    """Return bars of an A-share's sessions, from Friday 2024-03-01 on, with local times of their start."""
    ts = []
    day = dt.date(2024, 3, 1)
    for _ in range(days):
        for opens, n in ((dt.time(9, 30), 120), (dt.time(13), 120)):
            start = dt.datetime.combine(day, opens)
            ts += [start + dt.timedelta(minutes=at) for at in range(0, n, minutes)]
        day += dt.timedelta(days=3 if day.weekday() == 4 else 1)
    price = [10.0 + 0.01 * i for i in range(len(ts))]
    return pl.DataFrame({"ts": ts, "open": price, "high": price, "low": price, "close": price})


def data(**more: Any) -> dict[str, Any]:
    return {"table": minute_bars(), "tz": "Asia/Shanghai", "sessions": SESSIONS, "bar": "30m", **more}


class Recorder(akq.Strategy):
    log: ClassVar[list[Any]] = []

    def on_start(self) -> None:
        type(self).log = []
        with pytest.raises(AkqStrategyError, match="no time before the first step"):
            _ = self.now
        self.set_timers()

    def set_timers(self) -> None: ...

    def on_timer(self, timer: akq.Timer) -> None:
        self.log.append((timer.name, f"{timer.due:%d %H:%M}", f"{self.now:%d %H:%M}"))


def test_a_position_is_closed_before_the_close() -> None:
    class Intraday(Recorder):
        def set_timers(self) -> None:
            self.schedule("in", akq.When.after_open(minutes=30))
            self.schedule("out", akq.When.before_close(minutes=30))

        def on_timer(self, timer: akq.Timer) -> None:
            super().on_timer(timer)
            self.target_qty(10.0 if timer.name == "in" else 0.0)

    result = akq.backtest(strategy=Intraday, data=data())
    days = ("01", "04", "05")
    expected = [[("in", f"{d} 10:00", f"{d} 10:00"), ("out", f"{d} 14:30", f"{d} 14:30")] for d in days]
    assert Intraday.log == [line for day in expected for line in day]
    # Decided when the bar of 14:00 is over, filled at the open of 14:30: never held over night.
    fills = result.fills
    times = [f"{ts:%H:%M}" for ts in fills["ts"].dt.convert_time_zone("Asia/Shanghai").to_list()]
    assert times == ["10:00", "14:30"] * 3


def test_the_day_comes_before_timers_and_bars() -> None:
    class Order(Recorder):
        def set_timers(self) -> None:
            self.schedule("first", akq.When.every_day_at("09:30"))

        def on_day(self, date: dt.date) -> None:
            assert date == self.date
            self.log.append(("day", date.day))

        def on_bar(self, bar: akq.Bar) -> None:
            if self.now.time() == dt.time(10):
                self.log.append("bar")

    akq.backtest(strategy=Order, data=data())
    assert Order.log[:3] == [("day", 1), ("first", "01 09:30", "01 10:00"), "bar"]
    assert len(Order.log) == 9


def test_now_and_sessions() -> None:
    class Hours(akq.Strategy):
        seen: ClassVar[list[Any]] = []

        def on_bar(self, bar: akq.Bar) -> None:
            self.seen.append((f"{self.now:%H:%M %z}", self.is_session_open))

    akq.backtest(strategy=Hours, data=data())
    assert Hours.seen[3:8] == [
        ("11:30 +0800", False), ("13:30 +0800", True), ("14:00 +0800", True), ("14:30 +0800", True),
        ("15:00 +0800", False),
    ]  # fmt: skip


def test_timers_are_taken_back_and_listed() -> None:
    class Once(Recorder):
        def set_timers(self) -> None:
            self.schedule("bars", akq.When.every_bars(2))
            instant = dt.datetime(2024, 3, 1, 5, 0, tzinfo=dt.UTC)
            self.schedule("once", akq.When.at(instant), priority=-1)

        def on_timer(self, timer: akq.Timer) -> None:
            super().on_timer(timer)
            if timer.name == "once":
                assert self.timers == ["bars"]
                self.cancel_timer("bars")
                assert self.timers == []

    akq.backtest(strategy=Once, data=data())
    assert [line[0] for line in Once.log] == ["bars", "bars", "once"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: s.schedule("x", akq.When.before_close(5)), r"set market.sessions"),
        (lambda s: s.schedule("x", akq.When.every_day_at("10:00")), r"set market.time_zone"),
        (lambda s: s.schedule("x", "10:00"), r"make one with When"),
        (lambda s: (s.schedule("x", akq.When.every(5)), s.schedule("x", akq.When.every(5))), r"set already"),
        (lambda s: s.cancel_timer("y"), r"no timer is named \"y\""),
        (lambda s: s.schedule("x", akq.When.every_day_at("25:00")), r"no time of day"),
        (lambda s: s.schedule("x", akq.When.every(0)), r"whole number of at least 1"),
        (lambda s: s.schedule("x", akq.When.monthly("frist")), r"'first' or 'last'"),  # type: ignore[arg-type]
        (lambda s: s.schedule("x", akq.When.monthly("last", at="10:00")), r"when it has ended"),
        (lambda s: s.schedule("x", akq.When.at(dt.datetime(2024, 3, 1, 10))), r"has no time zone"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_asked_for(act: Any, message: str) -> None:
    class Bad(akq.Strategy):
        def on_start(self) -> None:
            act(self)

    zoned = minute_bars().with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    with pytest.raises(AkqStrategyError, match=message) as caught:
        akq.backtest(strategy=Bad, data=zoned)
    assert any("act(self)" in str(line.statement) for line in caught.traceback)


def test_a_market_profile_brings_its_sessions() -> None:
    class Leaves(Recorder):
        def set_timers(self) -> None:
            self.schedule("out", akq.When.before_close(minutes=30))

    bars = {"table": minute_bars(), "tz": "Asia/Shanghai", "bar": "30m"}
    akq.backtest(strategy=Leaves, data=bars, market={"profile": "cn_stock", "board": "main"})
    assert [due for _, due, _ in Leaves.log] == ["01 14:30", "04 14:30", "05 14:30"]


def test_a_market_without_sessions_does_not_guess() -> None:
    class Asks(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            _ = self.is_session_open

    with pytest.raises(AkqStrategyError, match="the market has no sessions"):
        akq.backtest(strategy=Asks, data={"table": minute_bars(), "tz": "Asia/Shanghai"})
