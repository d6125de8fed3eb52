"""Paper sessions: a Python strategy fed bar by bar does what it does in a backtest, and hears the desk."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import akq_dist as akq
from akq_dist import _core
from akq_dist.errors import AkqDataError, AkqUsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKET: dict[str, Any] = {
    "cash": 100_000,
    "commission": {"rate": 0.001, "minimum": 1},
    "slippage": {"bps": 3},
}


def bars(n: int = 90, per_day: int = 3) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    start = dt.datetime(2024, 1, 2, 14, 30, tzinfo=dt.UTC)
    frames = []
    for symbol in ("AAA", "BBB"):
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
        opened = close * (1.0 + rng.normal(0.0, 0.004, n))
        frame = pl.DataFrame(
            {
                "symbol": symbol,
                "ts": [start + dt.timedelta(days=i // per_day, minutes=i % per_day) for i in range(n)],
                "open": opened,
                "high": np.maximum(opened, close) * 1.01,
                "low": np.minimum(opened, close) * 0.99,
                "close": close,
                "volume": 1000.0,
                "score": rng.normal(0.0, 1.0, n),
            }
        )
        # Each has holes of its own.
        frames.append(frame.filter(pl.Series(rng.random(n) < 0.9)))
    return pl.concat(frames)


class Busy(akq.Strategy):
    """Uses history, targets, limits, protection, cancellations, closes of the date, random numbers."""

    lookback: int = akq.Param(4, low=1)
    log: list[Any]

    def on_start(self) -> None:
        type(self).log = [("start", self.symbols)]

    def on_bar(self, bar: akq.Bar) -> None:
        closes = self.history("close", self.lookback)
        self.log.append(
            (bar.symbol, bar.index, bar.ts, bar.close, bar.get("score"), closes.tolist(), self.cash)
        )
        draw = self.rng.random()
        if draw < 0.3 and len(closes) == self.lookback:
            self.target_pct(0.4 if closes[-1] > closes[0] else -0.2)
        elif draw < 0.5:
            self.buy(
                10.0, limit=bar.close * 0.995, valid_bars=3, stop_loss={"pct": 0.02}, take_profit={"abs": 1.5}
            )
        elif draw < 0.6:
            self.sell(5.0, on_close=True)
        elif draw < 0.7:
            self.cancel_all()

    def on_bars(self, bars: akq.Bars) -> None:
        self.log.append(("bars", len(bars), self.equity))

    def on_order(self, order: akq.Order) -> None:
        self.log.append((order.id, order.status, order.filled))

    def on_trade(self, trade: akq.Trade) -> None:
        self.log.append(("trade", trade.price, trade.qty, self.position()))

    def on_stop(self) -> None:
        self.log.append("stop")


def steps(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The arguments of `step` for every time of a table of bars."""
    dates = frame.group_by("symbol", pl.col("ts").dt.date().alias("date")).agg(pl.col("ts").max())
    last = {(symbol, date): ts for symbol, date, ts in dates.iter_rows()}
    times = frame["ts"].unique().sort().to_list()
    for place, ts in enumerate(times):
        rows = {row.pop("symbol"): row for row in frame.filter(pl.col("ts") == ts).to_dicts()}
        for row in rows.values():
            row.pop("ts")
        ends_date = place + 1 == len(times) or times[place + 1].date() != ts.date()
        closing = [symbol for symbol in rows if last[symbol, ts.date()] == ts]
        yield {
            "ts": ts,
            "bars": rows,
            "ends_date": True if ends_date else closing,
            "ends_run": place + 1 == len(times),
        }


@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_a_session_fed_bar_by_bar_equals_the_backtest(fill: str) -> None:
    frame, market = bars(), {**MARKET, "fill": fill}
    whole = akq.backtest(strategy=Busy(lookback=5), data=frame, market=market, mode="portfolio")
    heard = Busy.log
    session = akq.PaperSession(Busy(lookback=5), ["BBB", "AAA"], columns=["score"], market=market)
    for step in steps(frame):
        session.step(**step)
    fed = session.result()
    assert Busy.log == heard
    assert fed.hash == whole.hash
    for table in ("equity", "orders", "fills", "trades"):
        assert fed.frame(table).equals(whole.frame(table)), table
    assert whole.fills.height > 20


class Holder(akq.Strategy):
    def on_bar(self, bar: akq.Bar) -> None:
        if bar.index == 0:
            self.buy(10.0)
        if bar.get("close") > 50.0:
            raise ValueError("too dear")


def day(n: int) -> dt.datetime:
    return dt.datetime(2024, 1, 1, 21, tzinfo=dt.UTC) + dt.timedelta(days=n)


def flat(price: float) -> dict[str, dict[str, float]]:
    return {"AAA": dict.fromkeys(("open", "high", "low", "close"), price)}


def test_the_block_of_a_session_ends_it_and_orders_from_outside_pass_risk() -> None:
    with akq.PaperSession(Holder, ["AAA"]) as session:
        for n in range(3):
            session.step(day(n), flat(10.0 + n))
    result = session.result()
    assert result.fills.select("side", "qty", "price").rows() == [("buy", 10.0, 11.0)]
    with pytest.raises(_core.EngineError, match="has ended"):
        session.halt()
    with pytest.raises(_core.EngineError, match="taken already"):
        session.result()


def test_what_the_strategy_raises_comes_out_of_the_result() -> None:
    session = akq.PaperSession(Holder, ["AAA"])
    session.step(day(0), flat(60.0))
    with pytest.raises(ValueError, match="too dear"):
        session.result()


def test_wrong_bars_are_refused_where_they_are_handed_in() -> None:
    with akq.PaperSession(Holder, ["AAA"]) as session:
        with pytest.raises(AkqDataError, match="high 1 is below low 2"):
            session.step(day(0), {"AAA": {"open": 1.0, "high": 1.0, "low": 2.0, "close": 1.0}})
        with pytest.raises(AkqUsageError, match="unknown symbol 'AAB', did you mean 'AAA'"):
            session.step(day(0), {"AAB": {}})
        with pytest.raises(AkqUsageError, match="unknown column 'clse', did you mean 'close'"):
            session.step(day(0), {"AAA": {"clse": 1.0}})
        with pytest.raises(AkqUsageError, match="no time zone"):
            session.step(dt.datetime(2024, 1, 1), flat(1.0))
        session.step(day(1), flat(10.0))
        session.step(day(1), flat(11.0))
    with pytest.raises(AkqDataError, match="time does not increase"):
        session.result()
    with pytest.raises(AkqUsageError, match="decides in callbacks"):
        akq.PaperSession({"rust": "sma_cross"}, ["AAA"])


class TickBuyer(akq.Strategy):
    def on_tick(self, tick: akq.Tick) -> None:
        if tick.index == 0:
            self.buy(1.0)


def test_a_session_takes_ticks() -> None:
    with akq.PaperSession(TickBuyer, ["AAA"], ticks=True) as session:
        for price in (10.0, 11.0):
            session.step(
                day(0), {"AAA": {"price": price, "size": 5.0, "bid": price - 0.1, "ask": price + 0.1}}
            )
    assert session.result().fills["price"].to_list() == [11.1]
