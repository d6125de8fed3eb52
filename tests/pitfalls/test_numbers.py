"""Faults of other engines in what is reported, each shown to be absent here (rows of tests/README.md)."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import polars as pl
import pytest

import akq_dist as akq
from akq_dist import _core
from tests.pitfalls.markets import at, flat, frame, trade, walk


def test_a_wrong_bar_never_reaches_a_run() -> None:
    good = frame(flat(100.0, 5)).with_columns(volume=pl.lit(10.0))
    for column, value in (
        ("open", math.nan),
        ("high", 90.0),
        ("low", -1.0),
        ("close", 0.0),
        ("volume", -1.0),
    ):
        bad = good.with_columns(
            pl.when(pl.int_range(pl.len()) == 2).then(value).otherwise(pl.col(column)).alias(column)
        )
        with pytest.raises(akq.AkqDataError, match="A"):
            trade(at(0, lambda s: s.buy(1)), bad)


@pytest.mark.parametrize(
    "market",
    [
        {"cash": -1.0},
        {"cash": math.nan},
        {"commission": {"rate": -0.01}},
        {"commission": {"minimum": -1.0}},
        {"sell_tax": -0.1},
        {"slippage": {"bps": -1.0}},
        {"lot": -1.0},
        {"multiplier": 0.0},
    ],
)
def test_costs_and_cash_that_cannot_be_are_refused(market: dict[str, Any]) -> None:
    with pytest.raises(akq.AkqUsageError, match="market"):
        trade(at(0, lambda s: s.buy(1)), frame(flat(100.0, 3)), market=market)


@pytest.mark.parametrize("qty", [0.0, -1.0])
def test_a_quantity_that_cannot_be_is_refused_by_risk(qty: float) -> None:
    result = trade(at(0, lambda s: s.buy(qty)), frame(flat(100.0, 3)))
    assert result.fills.is_empty()
    assert result.metrics["n_rejects"] == 1.0


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_the_unit_of_a_time_is_that_of_its_type(unit: Any) -> None:
    data = frame(flat(100.0, 3)).with_columns(pl.col("date").cast(pl.Datetime(unit)))
    result = trade(at(0, lambda s: s.buy(1)), data)
    assert [str(date) for date in result.equity["date"]] == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_equity_stands_at_the_date_that_it_explains() -> None:
    # Bought at the open of the third; the rise of that day belongs to it and to no later one.
    data = frame([*flat(100.0, 2), (100.0, 110.0, 100.0, 110.0), *flat(110.0)])
    equity = trade(at(1, lambda s: s.buy(10)), data).equity
    gain = dict(zip(equity["date"].cast(pl.String), equity["equity"].diff(), strict=True))
    assert gain["2024-01-02"] == 0.0
    assert gain["2024-01-03"] == 100.0
    assert gain["2024-01-04"] == 0.0


def test_a_trade_that_only_its_fees_lose_is_a_loss() -> None:
    def act(s: Any, row: int) -> None:
        s.target_qty(1 if row == 0 else 0)

    data = frame([*flat(100.0, 2), *flat(101.0, 2)])
    result = trade(act, data, market={"commission": {"minimum": 5.0}})
    assert result.trades.select("gross", "fees", "net").rows() == [(1.0, 10.0, -9.0)]
    assert result.metrics["win_rate"] == 0.0


@pytest.mark.parametrize("form", ["rules", "rust", "callbacks", "signals"])
def test_a_misspelt_parameter_is_an_error_in_every_form(form: str) -> None:
    class Declares(akq.Strategy):
        entry: int = akq.Param(5, low=1)

    rules = {"enter": "close > shift(highest(high, entry), 1)"}
    declared: dict[str, dict[str, Any]] = {"rust": {"entry": 5, "leave": 5}, "signals": {}}
    right = declared.get(form, {"entry": 5})
    forms: dict[str, dict[str, Any]] = {
        "rules": {"strategy": {"rules": rules}},
        "rust": {"strategy": {"rust": "donchian"}},
        "callbacks": {"strategy": Declares},
        "signals": {"signals": {"enter": pl.col("close") > 50.0}},
    }
    with pytest.raises(akq.AkqUsageError, match="entri"):
        akq.backtest(data=walk(50), params={**right, "entri": 5}, **forms[form])


def test_an_unknown_metric_is_an_error_before_anything_runs() -> None:
    sweep = {
        "name": "x",
        "strategy": {"rules": {"enter": "close > sma(close, n)"}},
        "space": {"n": {"int": [2, 4]}},
    }
    with pytest.raises(akq.AkqUsageError, match=r"sharp.*sharpe"):
        akq.optimize({**sweep, "objective": {"metric": "sharp"}}, data=walk(50))


@pytest.mark.parametrize("metric", ["cagr", "calmar"])
def test_a_growth_rate_of_a_few_days_is_not_ranked(metric: str) -> None:
    sweep = {
        "name": "x",
        "strategy": {"rules": {"enter": "close > sma(close, n)"}},
        "space": {"n": {"int": [2, 3]}},
        "objective": {"metric": metric},
    }
    with pytest.raises(akq.AkqUsageError, match=f"{metric} annualises the growth of 20 daily returns"):
        akq.optimize(sweep, data=walk(21))
    # The window counts, not the bars before it that warm indicators.
    late = {"table": walk(60), "start": "2024-02-15"}
    with pytest.raises(akq.AkqUsageError, match="growth of 14 daily returns"):
        akq.optimize(sweep, data=late)
    assert akq.optimize(sweep, data=walk(22)).frame.height == 2
    assert akq.optimize({**sweep, "objective": {"metric": "total_return"}}, data=walk(21)).frame.height == 2


def test_the_cost_of_a_run_grows_with_its_trades_and_not_with_their_square() -> None:
    def seconds(n: int) -> float:
        data = walk(n)

        class Flips(akq.Strategy):
            def on_bar(self, bar: akq.Bar) -> None:
                self.target_qty(1 if bar.index % 2 else -1)

        found: list[float] = []
        for _ in range(3):
            started = time.process_time()
            result = akq.backtest(strategy=Flips, data=data, details=False)
            found.append(time.process_time() - started)
        assert result.metrics["n_trades"] > 0.9 * n
        return min(found)

    seconds(100)
    # Ten times the trades: about ten times the time, a hundred times if it were the square.
    assert seconds(20_000) < 30.0 * seconds(2_000)


@pytest.mark.parametrize(
    ("returns", "undefined"), [([0.001] * 40, "sharpe"), ([], "cagr"), ([0.0] * 9, "sharpe")]
)
def test_what_has_no_value_is_undefined_and_neither_zero_nor_infinite(
    returns: list[float], undefined: str
) -> None:
    found = _core.summarize_returns(np.array(returns), 252.0)
    assert math.isnan(found[undefined])
    assert not any(math.isinf(value) for value in found.values())


def test_the_source_text_of_a_strategy_does_not_matter() -> None:
    """Warm-up is what a strategy waits for, and not what numbers in its text suggest."""

    class Plain(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            self.target_qty(bar.index % 7)

    class Wordy(akq.Strategy):
        """Moves with the week: no window of 200 bars, whatever this sentence says."""

        period = 500
        unused = ("sma(close, 250)", 10_000)

        def on_bar(self, bar: akq.Bar) -> None:
            # lookback = 300
            window = 7 if self.period == 500 else 365
            self.target_qty(bar.index % window)

    results = [akq.backtest(strategy=cls, data=walk(80)) for cls in (Plain, Wordy)]
    assert results[0].hash == results[1].hash
    assert results[0].orders["submitted"][0] == results[0].equity["ts"][1]
    rules = [{"enter": text} for text in ("close>sma( close , 5 )", "close > (sma(close,5))")]
    assert len({akq.backtest(strategy={"rules": rule}, data=walk(80)).hash for rule in rules}) == 1
