"""Indicators from Python: the bits of the rule language, every kind of column, value by value, and as expressions."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import akq_dist as akq
from akq_dist import _core, indicator
from akq_dist.errors import AkqUsageError
from akq_dist.strategy.rules import Rules

N = 120
ALL = sorted(indicator.indicators())


def bars(seed: int = 1) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, N)))
    return {
        "open": close * 1.001,
        "high": close * (1.0 + rng.uniform(0.002, 0.01, N)),
        "low": close * (1.0 - rng.uniform(0.002, 0.01, N)),
        "close": close,
        "volume": rng.integers(1, 1000, N).astype(float),
    }


def arguments(name: str) -> tuple[list[Any], list[str]]:
    """Values for every argument, and the same as texts of a rule."""
    data = bars()
    values: list[Any] = [data[argument.name] for argument in indicator.indicators()[name].reads]
    texts: list[str] = []
    columns = iter(("close", "open", "high"))
    for argument in indicator.indicators()[name].arguments:
        if argument.kind == "condition":
            values.append(data["close"] > data["open"][0])
            texts.append(f"(close > {float(data['open'][0])!r})")
        elif argument.is_scalar:
            number = argument.default if argument.default is not None else 7.0
            values.append(number)
            texts.append(repr(number))
        else:
            column = next(columns)
            values.append(data[column])
            texts.append(column)
    return values, texts


def held(weights: str, extra: Any) -> Any:
    """Bars at whose close a rule holds, but for the last: the account then has a position."""
    columns: dict[str, Any] = {
        "ts": pa.array(np.arange(N) * 86_400_000_000_000).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array(np.arange(N, dtype="i4")).cast(pa.date32()),
        **bars(),
        "expected": np.asarray(extra, dtype=float),
    }
    metadata = {"akq.symbols": json.dumps(["A"]), "akq.offsets": json.dumps([0, N])}
    panel = _core.Panel.from_arrow(pa.table(columns).replace_schema_metadata(metadata))
    spec = {
        "strategy": {"rules": {"weights": weights, "rebalance": {"every": "1"}}},
        "mode": "portfolio",
        "market": {"fill": "close"},
        "outputs": [["sharpe", None]],
    }
    run = _core.Plan(json.dumps(spec)).run_one(panel, [])
    return pl.DataFrame(run.equity())["exposure"].to_numpy()[:-1] > 0.0


@pytest.mark.parametrize("name", ALL)
def test_the_bits_are_those_of_a_rule(name: str) -> None:
    values, texts = arguments(name)
    got = getattr(indicator, name)(*values)
    text = f"{name}({', '.join(texts)})"
    if got.dtype == bool:
        np.testing.assert_array_equal(held(f"if_else({text}, 0.5, 0)", got), got[:-1])
        return
    defined = np.isfinite(got[:-1])
    np.testing.assert_array_equal(held(f"if_else({text} == {text}, 0.5, 0)", got), defined)
    np.testing.assert_array_equal(held(f"if_else({text} == expected, 0.5, 0)", got), defined)
    assert defined.any() or name == "log"


@pytest.mark.parametrize("name", ALL)
def test_value_by_value_gives_the_bits_of_the_column(name: str) -> None:
    make = getattr(indicator, "".join(part.capitalize() for part in name.split("_")))
    found = indicator.indicators()[name]
    numbers = [7.0 if a.default is None else a.default for a in found.arguments if a.is_scalar]
    if name in {"abs", "ceil", "clip", "exp", "floor", "if_else", "log", "max", "min", "pow", "sign", "sqrt"}:
        with pytest.raises(AkqUsageError, match="no step form"):
            make(*numbers)
        return
    step = make(*numbers)
    values, _ = arguments(name)
    columns = [np.asarray(value, dtype=float) for value in values if not isinstance(value, float)]
    whole = getattr(indicator, name)(*values)
    for _ in range(2):
        one_by_one = np.array([step.update(*row) for row in np.column_stack(columns).tolist()])
        np.testing.assert_array_equal(np.nan_to_num(one_by_one) if whole.dtype == bool else one_by_one, whole)
        step.reset()
    with pytest.raises(AkqUsageError, match="update takes"):
        step.update(*[1.0] * (len(columns) + 1))


def test_every_function_of_the_reference_is_here_with_its_arguments() -> None:
    rows = pa.table(_core.function_reference()).to_pylist()
    assert {row["name"] for row in rows} - set(ALL) == {"rank"}
    for row in rows:
        if row["name"] == "rank":
            continue
        found = indicator.indicators()[row["name"]]
        assert ", ".join(a.name for a in found.arguments) == row["arguments"]
        assert list(found.signature.parameters)[: len(found.reads)] == [
            word for word in row["reads"].split(", ") if word
        ]
        assert row["definition"] in repr(found)
        assert row["name"] in dir(indicator)
    assert str(inspect.signature(indicator.macd)) == "(x, fast=12.0, slow=26.0, signal=9.0)"
    assert str(inspect.signature(indicator.Sma)) == "(period)"


@pytest.mark.parametrize("kind", ["numpy", "list", "polars", "pandas", "arrow", "chunked", "float32"])
def test_what_comes_out_has_the_kind_of_what_went_in(kind: str) -> None:
    close = bars()["close"]
    index = pd.date_range("2020-01-01", periods=N)
    given: Any = {
        "numpy": close,
        "list": close.tolist(),
        "polars": pl.Series("c", close),
        "pandas": pd.Series(close, index=index, name="c"),
        "arrow": pa.array(close),
        "chunked": pa.chunked_array([pa.array(close[:50]), pa.array(close[50:])]),
        "float32": close.astype(np.float32).astype(float),
    }[kind]
    got = indicator.sma(given, 5)
    plain = indicator.sma(np.asarray(given, dtype=float), period=5)
    np.testing.assert_array_equal(np.asarray(got, dtype=float), plain)
    if kind == "polars":
        assert isinstance(got, pl.Series)
        assert got.name == "c"
    if kind == "pandas":
        assert got.index.equals(index)
        assert got.name == "c"


def test_missing_values_are_undefined() -> None:
    close = bars()["close"]
    gap = pl.Series([None if ix == 40 else value for ix, value in enumerate(close.tolist())])
    got = indicator.sma(gap, 5)
    assert got.is_null().to_numpy()[40:45].all()
    assert not got.is_null()[45]
    close[40] = np.inf
    np.testing.assert_array_equal(indicator.sma(close, 5), got.to_numpy())


def test_a_frame_gives_what_a_bar_has() -> None:
    data = bars()
    frame = pl.DataFrame(data)
    wanted = indicator.atr(data["high"], data["low"], data["close"], 14)
    np.testing.assert_array_equal(indicator.atr(frame, 14).to_numpy(), wanted)
    np.testing.assert_array_equal(indicator.atr(frame.to_pandas(), 14).to_numpy(), wanted)
    for bare in (frame.drop("low"), frame.drop("low").to_pandas()):
        with pytest.raises(AkqUsageError, match="no column 'low'"):
            indicator.atr(bare, 14)


def test_an_expression_calls_the_same_kernels_group_by_group() -> None:
    data = bars()
    frame = pl.concat([pl.DataFrame(data).with_columns(symbol=pl.lit(s)) for s in "AB"])
    columns = [pl.col(name) for name in ("high", "low", "close")]
    got = frame.select(
        ema=indicator.ema(pl.col("close"), 9).over("symbol"),
        atr=indicator.atr(*columns, 14).over("symbol"),
        up=indicator.cross_above(pl.col("close"), pl.col("close").first() * 1.01).over("symbol"),
    )
    np.testing.assert_array_equal(got["ema"].to_numpy(), np.tile(indicator.ema(data["close"], 9), 2))
    wanted = indicator.atr(data["high"], data["low"], data["close"], 14)
    np.testing.assert_array_equal(got["atr"].to_numpy(), np.tile(wanted, 2))
    assert got["up"].dtype == pl.Boolean


def test_signals_of_indicators_trade_as_rules() -> None:
    frame = pl.DataFrame(bars()).with_columns(
        date=pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 1, 1), eager=True).head(N)
    )
    fast, slow = indicator.sma(pl.col("close"), 3), indicator.ema(pl.col("close"), 9)
    signals = {"enter": indicator.cross_above(fast, slow), "exit": indicator.cross_below(fast, slow)}
    by_rules = Rules(
        enter="cross_above(sma(close, 3), ema(close, 9))", exit="cross_below(sma(close, 3), ema(close, 9))"
    )
    a, b = akq.backtest(signals=signals, data=frame), akq.backtest(strategy=by_rules, data=frame)
    assert a.hash == b.hash
    assert a.fills.height > 4


def test_an_undefined_value_in_polars_is_no_signal() -> None:
    frame = pl.DataFrame(bars())
    below = frame.select(x=pl.col("close") < indicator.sma(pl.col("close"), 20))["x"]
    assert below[:19].null_count() == 19
    assert below[19:].null_count() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: indicator.sma(x), "missing a required argument: 'period'"),
        (lambda x: indicator.sma(x, 0), "period must be a whole number"),
        (lambda x: indicator.sma(x, 2.5), "period must be a whole number"),
        (lambda x: indicator.shift(x, -1), "would look ahead"),
        (lambda x: indicator.sma(x, x), "expected one number"),
        (lambda x: indicator.sma(x, period=3, k=1), "unexpected keyword argument 'k'"),
        (lambda x: indicator.cross_above(x, x[:5]), "columns of one length"),
        (lambda x: indicator.abs(-1.0), "at least one argument has to be a column"),
        (lambda x: indicator.atr(1.0, x, x, 3), "high is one number"),
        (lambda x: indicator.sma(["a"], 3), "sma: x"),
        (lambda x: indicator.sma(x.reshape(2, -1), 3), "2 dimensions"),
        (lambda x: indicator.cross_above(pl.col("a"), x), "all columns as Polars expressions"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(AkqUsageError) as error:
        call(bars()["close"])
    assert message in str(error.value)


def test_an_unknown_name_says_the_nearest() -> None:
    for name in ("smaa", "Smaa", "rank", "Rank"):
        with pytest.raises(AttributeError, match=f"no indicator '{name}'"):
            getattr(indicator, name)
