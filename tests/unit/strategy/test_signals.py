"""Signals: columns made in Python trade as the rules that say the same, and what does not fit is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import akq_dist as akq
from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.runner import StrategyRunner
from akq_dist.strategy.rules import Rules
from akq_dist.strategy.signals import SignalBars, SignalStrategy, batch_signals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

N = 150


def bars(symbols: tuple[str, ...] = ("AAA", "BBB"), seed: int = 3) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for ix, symbol in enumerate(symbols):
        n = N - 10 * ix
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
        opening = close * (1.0 + rng.normal(0.0, 0.004, n))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 1, 1), eager=True).head(n),
                    "open": opening,
                    "high": np.maximum(opening, close) * 1.01,
                    "low": np.minimum(opening, close) * 0.99,
                    "close": close,
                }
            )
        )
    return pl.concat(frames)


LAST_HIGH = pl.col("high").rolling_max(8).shift(1)
LAST_LOW = pl.col("low").rolling_min(4).shift(1)
RULES = {
    "enter": "close > shift(highest(high, 8), 1)",
    "exit": "close < shift(lowest(low, 4), 1)",
    "enter_short": "close < shift(lowest(low, 8), 1)",
    "exit_short": "close > shift(highest(high, 4), 1)",
}
SIGNALS = {
    "enter": pl.col("close") > LAST_HIGH,
    "exit": pl.col("close") < LAST_LOW,
    "enter_short": pl.col("close") < pl.col("low").rolling_min(8).shift(1),
    "exit_short": pl.col("close") > pl.col("high").rolling_max(4).shift(1),
}
SETTINGS: dict[str, Any] = {
    "on_opposite": "reverse",
    "size": {"pct_equity": 0.5},
    "stop_loss": {"pct": 0.03},
    "trailing": {"pct": 0.05, "on": "close"},
    "max_bars": 20,
}


def same(a: akq.BacktestResult, b: akq.BacktestResult) -> None:
    assert a.hash == b.hash
    for table in ("fills", "orders", "equity", "trades"):
        assert a.frame(table).equals(b.frame(table)), table
    assert a.fills.height > 0


def test_expressions_trade_as_the_rules_that_say_the_same() -> None:
    same(
        akq.backtest(signals={**SIGNALS, **SETTINGS}, data=bars()),
        akq.backtest(strategy=Rules(**RULES, **SETTINGS), data=bars()),
    )


@pytest.mark.parametrize("kind", ["numpy", "polars", "arrow", "list", "frame"])
def test_arrays_of_any_kind_are_the_same_signals(kind: str) -> None:
    data = bars(("AAA",))
    columns = data.select(**SIGNALS).with_columns(pl.all().fill_null(value=False))
    given: Any = columns
    if kind != "frame":
        as_kind = {"numpy": pl.Series.to_numpy, "arrow": pl.Series.to_arrow, "list": pl.Series.to_list}
        make: Any = as_kind.get(kind, pl.Series.clone)
        given = {name: make(columns[name]) for name in columns.columns}
    rules = akq.backtest(strategy=Rules(**RULES), data=data)
    same(akq.backtest(signals=given, data=data), rules)


@pytest.mark.parametrize("kind", ["limit", "stop"])
def test_entries_wait_at_prices_of_a_column(kind: str) -> None:
    factor = 0.99 if kind == "limit" else 1.01
    slots = {"size": {"qty": 10}, "valid_bars": 3, "max_bars": 5}
    by_rules = Rules(enter="bar_index >= 5", entry={kind: f"shift(close, 2) * {factor}"}, **slots)
    signals = {
        "enter": pl.int_range(pl.len()) >= 5,
        "entry": {kind: pl.col("close").shift(2) * factor},
        **slots,
    }
    same(akq.backtest(signals=signals, data=bars()), akq.backtest(strategy=by_rules, data=bars()))


def test_weights_of_a_portfolio() -> None:
    rebalance = {"every": 7, "top": 1}
    by_rules = Rules(weights="if_else(close > shift(close, 10), 0.6, 0.2)", rebalance=rebalance)
    up = pl.col("close") > pl.col("close").shift(10)
    weights = pl.when(up.is_null()).then(None).when(up).then(0.6).otherwise(0.2)
    signals = {"weights": weights, "rebalance": rebalance}
    same(
        akq.backtest(signals=signals, data=bars(), mode="portfolio"),
        akq.backtest(strategy=by_rules, data=bars(), mode="portfolio"),
    )
    with pytest.raises(AkqUsageError, match="need mode: portfolio"):
        akq.backtest(signals=signals, data=bars())


def test_undefined_is_no_signal() -> None:
    data = bars(("AAA",))
    never = akq.backtest(signals={"enter": [None] * N}, data=data)
    assert never.orders.height == 0
    prices = np.full(N, np.nan)
    prices[10] = np.inf
    assert akq.backtest(signals={"enter": True, "entry": {"limit": prices}}, data=data).orders.height == 0


def test_settings_take_parameters_and_unused_ones_are_refused() -> None:
    data = bars()
    signals = {"enter": True, "size": {"qty": "n"}}
    assert set(akq.backtest(signals=signals, data=data, params={"n": 7}).fills["qty"]) == {7.0}
    with pytest.raises(AkqUsageError, match="use no parameter 'm'"):
        akq.backtest(signals=signals, data=data, params={"n": 7, "m": 1})


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ({"entter": True}, "unknown slot 'entter', did you mean 'enter'"),
        ({"size": {"qty": 1}}, "one of enter, enter_short or weights is needed"),
        ({"exit": True}, "one of enter"),
        ({"enter_short": True, "exit": True}, "exit: has no effect without enter"),
        ({"enter": [True] * 3}, "enter has 3 values, expected one for each of the 290 bars"),
        ({"enter": "close > 1"}, "is the text 'close > 1'"),
        ({"enter": pl.col("close")}, "enter has type Float64, expected true or false"),
        ({"enter": pl.col("clos") > 1}, "clos"),
        ({"enter": True, "entry": {"limit": 1.0, "stop": 2.0}}, "entry is"),
        ({"enter": True, "entry": {"limit": pl.col("symbol")}}, "expected numbers"),
        ({"enter": True, "size": {"qty": -1}}, "must be finite and above zero"),
        ({"enter": True, "size": {"qyt": 1}}, "signals.size"),
        (pa.array([1]), "expected a mapping"),
    ],
)
def test_what_does_not_fit_is_refused(signals: Any, message: str) -> None:
    with pytest.raises(AkqUsageError) as error:
        akq.backtest(signals=signals, data=bars())
    assert message in str(error.value)


def test_a_strategy_and_signals_are_too_much() -> None:
    with pytest.raises(AkqUsageError, match="not both"):
        akq.backtest(strategy=Rules(enter="close > 1"), signals={"enter": True}, data=bars())


class Breakout(SignalStrategy):
    entry: int = akq.Param(8, low=1)
    leave: int = akq.Param(4, low=1)

    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        # An eager column on purpose: it must not reach into the next asset.
        high = bars["high"].rolling_max(self.entry).shift(1)
        return {
            "enter": bars["close"] > high,
            "exit": pl.col("close") < pl.col("low").rolling_min(self.leave).shift(1),
            "size": {"pct_equity": 0.5},
            "stop_loss": {"pct": 0.03},
        }


BREAKOUT_RULES = {
    "enter": "close > shift(highest(high, entry), 1)",
    "exit": "close < shift(lowest(low, leave), 1)",
    "size": {"pct_equity": 0.5},
    "stop_loss": {"pct": 0.03},
}


@pytest.mark.parametrize("mode", ["per_asset", "portfolio"])
def test_a_signal_strategy_trades_as_its_rules(mode: str) -> None:
    params = {"entry": 6, "leave": 3}
    by_rules = akq.backtest(strategy=Rules(**BREAKOUT_RULES), data=bars(), params=params, mode=mode)
    if mode == "per_asset":
        same(akq.backtest(strategy=Breakout, data=bars(), params=params, mode=mode), by_rules)
        return

    class Both(SignalStrategy):
        def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
            assert bars["symbol"].unique(maintain_order=True).to_list() == ["AAA", "BBB"]
            return {
                "enter": pl.col("close") > pl.col("high").rolling_max(6).shift(1),
                "exit": pl.col("close") < pl.col("low").rolling_min(3).shift(1),
                "size": {"pct_equity": 0.5},
                "stop_loss": {"pct": 0.03},
            }

    same(akq.backtest(strategy=Both, data=bars(), mode=mode), by_rules)


def test_a_sweep_of_a_signal_strategy_is_that_of_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {
        "data": bars(),
        "space": {"entry": {"int": [3, 9]}, "leave": {"int": [2, 4]}},
        "search": {"sampler": "grid"},
        "objective": {"metric": "sharpe", "aggregate": "median"},
        "run": {"executor": "serial"},
        "track": {"mlflow": None},
    }
    found = {}
    for name, strategy in (("rules", Rules(**BREAKOUT_RULES)), ("signals", Breakout)):
        study = akq.sweep(name=name, strategy=strategy, **settings).run()
        found[name] = study.results().sort("params_entry", "params_leave")
    assert found["rules"].height == 21
    assert found["rules"]["hash"].to_list() == found["signals"]["hash"].to_list()
    assert found["signals"]["reason"].null_count() == 21


class Many(SignalStrategy):
    """`Breakout` for many parameter sets at once, with a setting that differs from set to set."""

    entry: int = akq.Param(8, low=1)
    leave: int = akq.Param(4, low=1)
    stop: float = akq.Param(0.03)

    @classmethod
    def batch_signals(cls, bars: pl.DataFrame, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if (params["entry"] == 5).any():
            raise ValueError("five is not a window")
        close = bars["close"].to_numpy()
        highs = [pl.col("high").rolling_max(n).shift(1).over("symbol") for n in params["entry"].tolist()]
        high = np.array([bars.select(one).to_series().to_numpy() for one in highs])
        return {
            "enter": close > high,
            "exit": [
                pl.col("close") < pl.col("low").rolling_min(n).shift(1) for n in params["leave"].tolist()
            ],
            "size": {"pct_equity": 0.5},
            "stop_loss": {"pct": params["stop"]},
        }


@pytest.mark.parametrize("mode", ["per_asset", "portfolio"])
def test_a_backtest_of_a_batch_strategy_is_a_batch_of_one(mode: str) -> None:
    params = {"entry": 6, "leave": 3, "stop": 0.05}
    rules = Rules(**{**BREAKOUT_RULES, "stop_loss": {"pct": "stop"}})
    same(
        akq.backtest(strategy=Many, data=bars(), params=params, mode=mode),
        akq.backtest(strategy=rules, data=bars(), params=params, mode=mode),
    )


@pytest.mark.parametrize("bytes_at_once", [1, 100_000, 1 << 30])
def test_a_sweep_takes_many_sets_at_once_and_finds_what_the_rules_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_at_once: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("akq_dist.runner.BATCH_BYTES", bytes_at_once)
    asked: list[int] = []
    run_batch = StrategyRunner.run_batch

    def counted(runner: StrategyRunner, sets: Sequence[Mapping[str, Any]], *, threads: int) -> Any:
        asked.append(len(sets))
        return run_batch(runner, sets, threads=threads)

    monkeypatch.setattr(StrategyRunner, "run_batch", counted)
    settings: dict[str, Any] = {
        "data": bars(),
        "space": {
            "entry": {"int": [3, 9]},
            "leave": {"int": [2, 4]},
            "stop": {"float": [0.02, 0.06], "step": 0.02},
        },
        "search": {"sampler": "grid"},
        "objective": {"metric": "sharpe", "aggregate": "median"},
        "run": {"executor": "serial", "batch": 20, "max_failures": "100%"},
        "track": {"mlflow": None},
    }
    found = {}
    rules = Rules(**{**BREAKOUT_RULES, "stop_loss": {"pct": "stop"}})
    for name, strategy in (("rules", rules), ("signals", Many)):
        study = akq.sweep(name=name, strategy=strategy, **settings).run()
        found[name] = study.results().sort("params_entry", "params_leave", "params_stop")
    assert found["rules"].height == 63
    # What raises costs the trials of its own point only.
    failed = found["signals"]["params_entry"] == 5
    reasons = found["signals"]["reason"].filter(failed)
    assert all(reason.endswith("ValueError: five is not a window") for reason in reasons)
    for column in ("hash", "value", "n_bars"):
        assert found["signals"][column].filter(~failed).equals(found["rules"][column].filter(~failed))
    assert max(asked) == {1: 1, 100_000: 100_000 // (24 * (2 * N - 10)), 1 << 30: 20}[bytes_at_once]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"enter": np.ones((2, N), dtype=bool)},
            r"enter has the shape \(2, 150\), expected \(3 sets, 150 bars\)",
        ),
        ({"enter": np.ones((3, N))}, "enter has type float64, expected true or false"),
        (
            {"enter": True, "entry": {"limit": np.ones((3, N), dtype=bool)}},
            "entry_limit has type bool, expected num",
        ),
        ({"enter": [pl.col("close") > 1.0] * 2}, "enter has 2 items, expected one for each of 3 sets"),
        (
            {"enter": True, "max_bars": np.ones(2)},
            r"an array of shape \(2,\) and type float64, expected 3 numbers",
        ),
        ({"entr": True}, "unknown slot 'entr'"),
        ({"size": {"pct_equity": 1.0}}, "one of enter, enter_short or weights"),
    ],
)
def test_what_a_batch_strategy_may_not_return(given: Mapping[str, Any], message: str) -> None:
    def give(cls: type, bars: pl.DataFrame, params: Any) -> Any:
        return given

    odd = type("Odd", (SignalStrategy,), {"batch_signals": classmethod(give)})
    found = SignalBars(bars(("AAA",)).drop("symbol").to_arrow(), ("AAA",), (0, N))
    with pytest.raises(AkqUsageError, match=message):
        batch_signals(odd, {"n": np.arange(3)}, found, portfolio=False)


def test_a_class_has_one_form_of_signals() -> None:
    with pytest.raises(AkqStrategyError, match="keep one, a single run is a batch of one set"):
        type("Odd", (Many,), {"signals": lambda self, bars: {"enter": True}})


def test_a_hook_that_would_never_be_called_is_refused() -> None:
    with pytest.raises(AkqStrategyError, match="on_bar would never be called"):
        type("Odd", (SignalStrategy,), {"on_bar": lambda self, bar: None})


def test_other_slots_from_asset_to_asset_are_refused() -> None:
    class Odd(SignalStrategy):
        def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
            return {"enter" if bars["symbol"][0] == "AAA" else "enter_short": True}

    with pytest.raises(AkqStrategyError, match="BBB has other slots"):
        akq.backtest(strategy=Odd, data=bars())


def test_a_class_without_signals_says_so() -> None:
    class Nothing(SignalStrategy):
        pass

    with pytest.raises(AkqStrategyError, match=r"Nothing has neither signals\(\) nor batch_signals\(\)"):
        akq.backtest(strategy=Nothing, data=bars())
