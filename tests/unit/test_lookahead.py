"""The proof against look-ahead: honest strategies pass it, and each way to cheat is found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
import pytest

import akq_dist as akq
from akq_dist.errors import AkqUsageError
from akq_dist.lookahead import lookahead
from akq_dist.strategy.rules import Rules
from akq_dist.strategy.signals import SignalStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

N = 160


def bars(symbols: tuple[str, ...] = ("AAA", "BBB"), seed: int = 11) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for ix, symbol in enumerate(symbols):
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, N)))
        opening = close * (1.0 + rng.normal(0.0, 0.004, N))
        frame = pl.DataFrame(
            {
                "symbol": symbol,
                "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 1, 1), eager=True).head(N),
                "open": opening,
                "high": np.maximum(opening, close) * 1.01,
                "low": np.minimum(opening, close) * 0.99,
                "close": close,
                "volume": 1000.0,
            }
        )
        # A later listing: the cut must do without it.
        frames.append(frame.slice(60 * ix))
    return pl.concat(frames)


class Honest(akq.Strategy):
    n: int = akq.Param(5, low=1)

    def on_bar(self, bar: akq.Bar) -> None:
        high = self.history("high", self.n + 1)
        if self.position() == 0.0 and not self.working() and len(high) > self.n:
            if bar.close > high[:-1].max():
                self.buy(pct_equity=0.4, size_at="fill", stop_loss={"pct": 0.03}, trailing={"pct": 0.05})
            else:
                self.buy(10, limit=bar.close * 0.98, valid_bars=2, take_profit={"pct": 0.04})
        elif self.rng.random() < 0.1:
            self.close()


class HonestSignals(SignalStrategy):
    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        return {
            "enter": pl.col("close") > pl.col("close").rolling_mean(10),
            "exit": pl.col("close") < pl.col("close").rolling_mean(10),
            "entry": {"limit": pl.col("low") * 1.001},
            "valid_bars": 3,
        }


RULES = Rules(
    enter="cross_above(sma(close, 3), sma(close, 9))",
    exit="cross_below(sma(close, 3), sma(close, 9))",
    trailing={"pct": 0.04},
)


@pytest.mark.parametrize("mode", ["per_asset", "portfolio"])
@pytest.mark.parametrize("fill", ["next_open", "close"])
@pytest.mark.parametrize("strategy", [Honest, HonestSignals, RULES], ids=["callbacks", "signals", "rules"])
def test_an_honest_strategy_passes(strategy: Any, fill: str, mode: str) -> None:
    report = lookahead(strategy=strategy, data=bars(), mode=mode, market={"fill": fill}, samples=6)
    assert report.clean, str(report)
    assert report.n_runs == 14
    assert report.n_orders > 10
    assert len(report.times) == 6


ROWS = {"AAA": (0, N), "BBB": (N, 2 * N - 60)}


class LooksBehindTheView(akq.Strategy):
    """A view of the past is a window into an array that has the future."""

    def on_bar(self, bar: akq.Bar) -> None:
        base = self.history("close", 1).base
        assert base is not None
        # The column of the whole panel; the asset's own rows begin where the bars of those before it end.
        first, _ = ROWS[bar.symbol]
        everything = base.ravel()[first:]
        if bar.index + 1 >= len(everything):
            return
        if everything[bar.index + 1] > bar.close and self.position() == 0.0:
            self.buy(10)
        elif everything[bar.index + 1] < bar.close and self.position() > 0.0:
            self.close()


class Remembers(akq.Strategy):
    """What one run saw, the next one knows before."""

    known: ClassVar[dict[int, float]] = {}

    def on_bar(self, bar: akq.Bar) -> None:
        tomorrow = self.known.get(bar.index + 1)
        self.known[bar.index] = bar.close
        if tomorrow is not None and tomorrow > bar.close and self.position() == 0.0:
            self.buy(10)


class ShiftsBack(SignalStrategy):
    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        return {"enter": pl.col("close").shift(-1) > pl.col("close"), "max_bars": 1}


class Reverses(SignalStrategy):
    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        # The mean of the bars to come, by way of the reversed series.
        ahead = bars["close"].reverse().rolling_mean(5).reverse()
        return {"enter": ahead > bars["close"], "exit": ahead < bars["close"]}


class Normalises(SignalStrategy):
    """The usual one: a mean over all bars, the later ones included."""

    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        return {"enter": pl.col("close") > pl.col("close").mean(), "max_bars": 5}


class CountsTheBars(SignalStrategy):
    """Knows when the data end."""

    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        return {"enter": pl.int_range(pl.len()) > pl.len() - 40}


@pytest.mark.parametrize("cheat", [LooksBehindTheView, ShiftsBack, Reverses, Normalises, CountsTheBars])
@pytest.mark.parametrize("symbols", [("AAA",), ("AAA", "BBB")])
def test_a_cheat_is_found(cheat: Any, symbols: tuple[str, ...]) -> None:
    report = lookahead(strategy=cheat, data=bars(symbols), samples=10)
    assert not report.clean, str(report)
    first = report.differences[0]
    assert first.kind in ("changed", "cut")
    assert first.after is not None
    if first.what != "error":
        assert first.time is not None
        assert first.time <= first.after
        assert first.symbol in symbols
        assert first.was != first.became
    assert str(report).count("look-ahead: ") == 1


def test_a_strategy_that_remembers_is_not_repeatable() -> None:
    Remembers.known.clear()
    report = lookahead(strategy=Remembers, data=bars(("AAA",)))
    assert [found.kind for found in report.differences] == ["repeat"]
    assert "remembers earlier runs" in str(report)


READER = """
import csv
from pathlib import Path
import akq_dist as akq

class Reads(akq.Strategy):
    def on_start(self):
        with open({file!r}) as lines:
            self.closes = [float(row["close"]) for row in csv.DictReader(lines)]

    def on_bar(self, bar):
        if bar.index + 1 < len(self.closes) and self.closes[bar.index + 1] > bar.close:
            self.target_qty(10)
        else:
            self.target_qty(0)
"""
SCANNER = """
import akq_dist as akq
import polars as pl

class Reads(akq.Strategy):
    def on_start(self):
        self.closes = pl.read_csv("{file}")["close"]

    def on_bar(self, bar):
        self.target_qty(10 if self.closes[min(bar.index + 1, 100)] > bar.close else 0)
"""


@pytest.mark.parametrize("text", [READER, SCANNER], ids=["open", "native"])
@pytest.mark.parametrize("own", [True, False], ids=["data", "another"])
def test_a_strategy_that_reads_files_is_named(
    text: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = bars(("AAA",))
    for name in ("bars.csv", "other.csv"):
        frame.write_csv(tmp_path / name)
    (tmp_path / "mine.py").write_text(
        text.replace("{file!r}", "'{file}'").format(file="bars.csv" if own else "other.csv")
    )
    (tmp_path / "sweep.yaml").write_text(
        "name: x\nstrategy: {python: 'mine.py:Reads'}\ndata: {path: bars.csv}\n"
    )
    report = lookahead(tmp_path / "sweep.yaml", samples=2)
    if own:
        assert report.differences[0].kind == "file"
        assert "reads the data by itself" in str(report)
    else:
        assert report.clean
        assert any("not covered" in note for note in report.notes)


def test_a_strategy_that_does_nothing_proves_nothing() -> None:
    report = lookahead(strategy=Rules(enter="close < 0"), data=bars(), samples=2)
    assert report.clean
    assert "nothing was proved" in report.notes[0]


def test_searched_parameters_get_an_allowed_value() -> None:
    rules = Rules(enter="close > sma(close, n)", exit="close < sma(close, m)")
    space = {"n": {"int": [2, 10]}, "m": {"int": [2, 10]}}
    report = lookahead(strategy=rules, data=bars(), space=space, where=["n < m"], samples=2)
    assert report.params["n"] < report.params["m"]
    given = lookahead(strategy=rules, data=bars(), space=space, params={"n": 3}, samples=2)
    assert given.params["n"] == 3


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(AkqUsageError, match="samples is 0"):
        lookahead(strategy=RULES, data=bars(), samples=0)
    short = bars(("AAA",)).head(2)
    with pytest.raises(AkqUsageError, match="fewer than three bars"):
        lookahead(strategy=Rules(enter="close > 0"), data=short)
