"""Every function of the rule language against its definition, computed window by window in plain NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from akq_dist import indicator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

N = 160
NAN = math.nan

# Compared with the values of TA-Lib or of publications: tests/golden/test_indicators.py, core/tests/rules_talib.rs.
ELSEWHERE = {
    *("adx", "atr", "cci", "dema", "hma", "macd", "macd_hist", "macd_signal", "mfi", "minus_di", "natr"),
    *("plus_di", "rsi", "stoch_d", "stoch_k", "tema", "trix"),
    # Over assets, in core/tests/rules_panel.rs.
    "rank",
}


def windows(
    x: NDArray[np.float64], n: int, of: Callable[[NDArray[np.float64]], float]
) -> NDArray[np.float64]:
    """A number of the last n values; undefined before there are so many."""
    return np.array([NAN if t + 1 < n else of(x[t + 1 - n : t + 1]) for t in range(len(x))])


def lagged(x: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    return np.concatenate([np.full(n, NAN), x[:-n]])


def ema(x: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    made = np.full(len(x), NAN)
    made[n - 1] = x[:n].mean()
    for t in range(n, len(x)):
        made[t] = made[t - 1] + 2.0 / (n + 1) * (x[t] - made[t - 1])
    return made


def since(condition: NDArray[np.bool_]) -> NDArray[np.float64]:
    last, made = None, []
    for t, holds in enumerate(condition):
        last = t if holds else last
        made.append(NAN if last is None else float(t - last))
    return np.array(made)


def bars(seed: int) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    close = 80.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, N)))
    # Prices that repeat: ties in windows, bars without a change.
    close = np.round(close, 1)
    spread = np.round(np.abs(rng.normal(0.0, 1.0, (2, N))), 1)
    return {
        "close": close,
        "high": close + spread[0],
        "low": close - spread[1],
        "volume": rng.integers(0, 900, N).astype(float),
        "x": rng.normal(0.0, 2.0, N),
        "y": rng.normal(0.0, 2.0, N),
    }


def obv(close: NDArray[np.float64], volume: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.sign(np.diff(close)) * volume[1:]
    return np.cumsum(np.concatenate([volume[:1], steps]))


def bands(x: NDArray[np.float64], n: int, k: float) -> NDArray[np.float64]:
    return windows(x, n, lambda w: w.mean() + k * w.std())


def aroon(
    x: NDArray[np.float64], n: int, extreme: Callable[[NDArray[np.float64]], float]
) -> NDArray[np.float64]:
    # The newest of equal extremes counts.
    return windows(x, n + 1, lambda w: 100.0 * (n - int(np.argmax(w[::-1] == extreme(w)))) / n)


CASES: dict[str, tuple[Callable[[dict[str, Any]], Any], Callable[[dict[str, Any]], Any]]] = {
    "abs": (lambda d: indicator.abs(d["x"]), lambda d: np.abs(d["x"])),
    "aroon_down": (
        lambda d: indicator.aroon_down(d["low"], 9),
        lambda d: aroon(d["low"], 9, np.min),
    ),
    "aroon_up": (lambda d: indicator.aroon_up(d["high"], 9), lambda d: aroon(d["high"], 9, np.max)),
    "bars_since": (lambda d: indicator.bars_since(d["x"] > 1.5), lambda d: since(d["x"] > 1.5)),
    "bbands_lower": (
        lambda d: indicator.bbands_lower(d["close"], 7, 1.5),
        lambda d: bands(d["close"], 7, -1.5),
    ),
    "bbands_middle": (
        lambda d: indicator.bbands_middle(d["close"], 7, 1.5),
        lambda d: bands(d["close"], 7, 0.0),
    ),
    "bbands_upper": (
        lambda d: indicator.bbands_upper(d["close"], 7, 1.5),
        lambda d: bands(d["close"], 7, 1.5),
    ),
    "ceil": (lambda d: indicator.ceil(d["x"]), lambda d: np.ceil(d["x"])),
    "clip": (lambda d: indicator.clip(d["x"], -1.0, 0.5), lambda d: np.clip(d["x"], -1.0, 0.5)),
    "cross_above": (
        lambda d: indicator.cross_above(d["x"], d["y"]),
        lambda d: (lagged(d["x"], 1) <= lagged(d["y"], 1)) & (d["x"] > d["y"]),
    ),
    "cross_below": (
        lambda d: indicator.cross_below(d["x"], d["y"]),
        lambda d: (lagged(d["x"], 1) >= lagged(d["y"], 1)) & (d["x"] < d["y"]),
    ),
    "ema": (lambda d: indicator.ema(d["close"], 6), lambda d: ema(d["close"], 6)),
    "exp": (lambda d: indicator.exp(d["x"]), lambda d: np.exp(d["x"])),
    "floor": (lambda d: indicator.floor(d["x"]), lambda d: np.floor(d["x"])),
    "highest": (lambda d: indicator.highest(d["close"], 8), lambda d: windows(d["close"], 8, np.max)),
    "if_else": (
        lambda d: indicator.if_else(d["x"] > 0.0, d["x"], d["y"]),
        lambda d: np.where(d["x"] > 0.0, d["x"], d["y"]),
    ),
    "log": (lambda d: indicator.log(d["x"]), lambda d: np.log(np.where(d["x"] > 0.0, d["x"], NAN))),
    "lowest": (lambda d: indicator.lowest(d["close"], 8), lambda d: windows(d["close"], 8, np.min)),
    "max": (lambda d: indicator.max(d["x"], d["y"]), lambda d: np.maximum(d["x"], d["y"])),
    "min": (lambda d: indicator.min(d["x"], d["y"]), lambda d: np.minimum(d["x"], d["y"])),
    "mom": (lambda d: indicator.mom(d["close"], 5), lambda d: d["close"] - lagged(d["close"], 5)),
    "obv": (lambda d: indicator.obv(d["close"], d["volume"]), lambda d: obv(d["close"], d["volume"])),
    "pow": (lambda d: indicator.pow(np.abs(d["x"]), 1.7), lambda d: np.abs(d["x"]) ** 1.7),
    "roc": (
        lambda d: indicator.roc(d["close"], 5),
        lambda d: 100.0 * (d["close"] / lagged(d["close"], 5) - 1.0),
    ),
    "rocp": (lambda d: indicator.rocp(d["close"], 5), lambda d: d["close"] / lagged(d["close"], 5) - 1.0),
    "shift": (lambda d: indicator.shift(d["x"], 4), lambda d: lagged(d["x"], 4)),
    "sign": (lambda d: indicator.sign(d["x"]), lambda d: np.sign(d["x"])),
    "sma": (lambda d: indicator.sma(d["close"], 7), lambda d: windows(d["close"], 7, np.mean)),
    "sqrt": (lambda d: indicator.sqrt(d["x"]), lambda d: np.sqrt(np.where(d["x"] >= 0.0, d["x"], NAN))),
    "stddev": (lambda d: indicator.stddev(d["close"], 7), lambda d: windows(d["close"], 7, np.std)),
    "sum": (lambda d: indicator.sum(d["close"], 7), lambda d: windows(d["close"], 7, np.sum)),
    "tr": (
        lambda d: indicator.tr(d["high"], d["low"], d["close"]),
        lambda d: np.max(
            [
                d["high"] - d["low"],
                np.abs(d["high"] - lagged(d["close"], 1)),
                np.abs(d["low"] - lagged(d["close"], 1)),
            ],
            axis=0,
        ),
    ),
    "willr": (
        lambda d: indicator.willr(d["high"], d["low"], d["close"], 6),
        lambda d: (
            -100.0
            * (windows(d["high"], 6, np.max) - d["close"])
            / (windows(d["high"], 6, np.max) - windows(d["low"], 6, np.min))
        ),
    ),
    "wma": (
        lambda d: indicator.wma(d["close"], 5),
        lambda d: windows(d["close"], 5, lambda w: float(np.average(w, weights=np.arange(1, 6)))),
    ),
    "zscore": (
        lambda d: indicator.zscore(d["close"], 9),
        lambda d: windows(d["close"], 9, lambda w: (w[-1] - w.mean()) / w.std() if np.ptp(w) else NAN),
    ),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", CASES)
def test_a_function_is_its_definition(name: str, seed: int) -> None:
    ours, plain = CASES[name]
    data = bars(seed)
    np.testing.assert_allclose(np.asarray(ours(data), dtype=float), plain(data), rtol=1e-10, atol=1e-12)


def test_every_function_is_compared_with_something() -> None:
    assert set(CASES) | ELSEWHERE == {*indicator.indicators(), "rank"}
    assert not set(CASES) & ELSEWHERE
