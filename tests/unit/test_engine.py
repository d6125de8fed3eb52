"""The engine as an object and the bars it takes: another way to say a backtest, with the same numbers."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import akq_dist as akq
from akq_dist.strategy.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

RULES = {
    "enter": "cross_above(sma(close, fast), sma(close, slow))",
    "exit": "cross_below(sma(close, fast), sma(close, slow))",
}


def bars(n: int = 80, symbols: tuple[str, ...] = ("AAA", "BBB")) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    frames = []
    for symbol in symbols:
        close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": pl.date_range(pl.date(2022, 1, 3), pl.date(2023, 1, 1), eager=True).head(n),
                    "open": close,
                    "high": close * 1.01,
                    "low": close * 0.99,
                    "close": close,
                    "volume": 1000.0,
                    "signal": rng.normal(0.0, 1.0, n),
                }
            )
        )
    return pl.concat(frames)


class Cross(akq.Strategy):
    fast: int = akq.Param(3)
    slow: int = akq.Param(8)

    def on_bar(self, bar: akq.Bar) -> None:
        closes = self.history("close", self.slow)
        if len(closes) == self.slow:
            self.target_qty(10.0 if closes[-self.fast :].mean() > closes.mean() else 0.0)


@pytest.mark.parametrize(
    ("strategy", "params"),
    [
        (Cross, {"fast": 4, "slow": 9}),
        (Cross(fast=4, slow=9), {}),
        (Rules(**RULES), {"fast": 4, "slow": 9}),
        ({"rules": RULES}, {"fast": 4, "slow": 9}),
        ("sma_cross", {"fast": 4, "slow": 9}),
        ({"rust": "sma_cross"}, {"fast": 4, "slow": 9}),
    ],
    ids=["class", "instance", "rules", "mapping", "engine", "engine-mapping"],
)
def test_an_engine_is_a_backtest_said_step_by_step(strategy: Any, params: dict[str, Any]) -> None:
    market = {"cash": 10_000.0, "commission": {"rate": 0.001}}
    feed = akq.DataFeed.from_polars(bars())
    engine = akq.Engine(feed, market=market, mode="portfolio").add_strategy(strategy, **params)
    result = engine.run()
    plain = akq.backtest(strategy=strategy, data=bars(), params=params, market=market, mode="portfolio")
    assert result.hash == plain.hash == engine.run().hash
    assert result.data_digest == plain.data_digest == feed.digest
    assert result.fills.equals(plain.fills)
    assert result.fills.height > 0


def test_several_strategies_of_an_engine_share_its_account() -> None:
    feed = akq.DataFeed.from_polars(bars())
    engine = akq.Engine(feed, mode="portfolio").add_strategy(Cross, name="quick", fast=2)
    result = engine.add_strategy(Cross, name="slow", fast=6).run()
    listed = [
        {"name": name, "strategy": Cross, "params": {"fast": fast}}
        for name, fast in (("quick", 2), ("slow", 6))
    ]
    assert result.hash == akq.backtest(strategy=listed, data=feed, mode="portfolio").hash
    assert result.strategies["strategy"].to_list() == ["quick", "slow"]
    assert result.strategies["n_fills"].sum() == result.fills.height > 0


def test_an_engine_refuses_what_makes_no_sense() -> None:
    engine = akq.Engine(bars())
    with pytest.raises(akq.AkqUsageError, match="has no strategy"):
        engine.run()
    with pytest.raises(akq.AkqUsageError, match="come with add_strategy"):
        akq.Engine(bars(), params={"fast": 1})
    with pytest.raises(akq.AkqUsageError, match="unknown argument 'makret', did you mean 'market'"):
        akq.Engine(bars(), makret={}).add_strategy(Cross).run()
    with pytest.raises(akq.AkqUsageError, match="unknown parameter 'fsat', did you mean 'fast'"):
        akq.Engine(bars()).add_strategy(Cross, fsat=1).run()
    with pytest.raises(akq.AkqError, match="sma_cross"):
        akq.Engine(bars()).add_strategy("sma_corss").run()
    assert "no strategy" in repr(engine)
    engine.add_strategy(Cross)
    assert "Cross" in repr(engine)


def test_every_constructor_of_a_feed_reads_the_same_bars(tmp_path: Path) -> None:
    frame = bars()
    frame.write_parquet(tmp_path / "bars.parquet")
    frame.write_csv(tmp_path / "bars.csv")
    feeds = [
        akq.DataFeed.from_polars(frame),
        akq.DataFeed.from_polars(frame.lazy()),
        akq.DataFeed.from_pandas(frame.to_pandas()),
        akq.DataFeed.from_arrow(frame.to_arrow()),
        akq.DataFeed.from_parquet(tmp_path / "bars.parquet"),
        akq.DataFeed.from_csv(str(tmp_path / "bars.csv")),
    ]
    assert len({feed.digest for feed in feeds}) == 1
    assert {akq.Engine(feed).add_strategy(Cross).run().hash for feed in feeds} == {
        akq.backtest(strategy=Cross, data=frame).hash
    }
    assert len(akq.DataFeed.embedded("sp500")) > 1000


def test_a_feed_describes_itself() -> None:
    feed = akq.DataFeed.from_polars(
        bars(), symbols=["BBB"], start=dt.date(2022, 2, 1), end=dt.date(2022, 3, 1)
    )
    assert feed.symbols == ["BBB"]
    assert feed.columns == ["open", "high", "low", "close", "volume", "signal"]
    # Bars before the start are there to warm the indicators.
    assert (feed.first_date, feed.last_date) == (dt.date(2022, 1, 3), dt.date(2022, 3, 1))
    assert repr(feed) == "DataFeed(BBB; 58 bars, 2022-01-03 to 2022-03-01)"
    assert len(feed) == 58
    given = bars().filter(pl.col("symbol") == "BBB")
    np.testing.assert_array_equal(feed.bars("BBB")["close"], given["close"][:58])
    assert feed.bars().equals(feed.bars("BBB"))
    with pytest.raises(akq.AkqUsageError, match="no bars of 'BB', did you mean 'BBB'"):
        feed.bars("BB")
    both = akq.DataFeed.from_polars(bars(), priority=["BBB"])
    assert both.describe()["symbol"].to_list() == both.symbols == ["BBB", "AAA"]
    assert both.describe()["n_bars"].to_list() == [80, 80]
    assert both.describe()["high"][1] == bars().filter(pl.col("symbol") == "AAA")["high"].max()
    again = pickle.loads(pickle.dumps(feed))
    assert again.digest == feed.digest
    assert again.bars().equals(feed.bars())


def test_the_window_of_a_feed_is_the_window_of_the_run() -> None:
    feed = akq.DataFeed.from_polars(bars(), start=dt.date(2022, 2, 1))
    result = akq.Engine(feed).add_strategy(Cross).run()
    assert result.equity["date"].min() == dt.date(2022, 2, 1)


def test_a_setting_that_a_feed_does_not_have_is_refused() -> None:
    with pytest.raises(akq.AkqUsageError, match="symbls: unknown key, did you mean 'symbols'"):
        akq.DataFeed.from_polars(bars(), symbls=["AAA"])
    with pytest.raises(akq.AkqDataError, match=r"nowhere\.parquet"):
        akq.DataFeed.from_parquet("nowhere.parquet")
