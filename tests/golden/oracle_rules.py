"""The strategies of the oracle's cases as rules, made from the parameters of a case only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RENAMED = {"low": "lower", "high": "upper"}
"""Parameters of cases that have the name of a series."""


def parameters(case: Mapping[str, Any]) -> dict[str, float]:
    """Parameters as the rules name them."""
    return {RENAMED.get(name, name): value for name, value in case["params"].items()}


def size(case: Mapping[str, Any]) -> dict[str, Any]:
    return {"qty": "shares"} if "shares" in case["params"] else {"pct_equity": "fraction"}


def buy_hold() -> dict[str, Any]:
    return {"enter": "bar_index == bar"}


def sma_cross() -> dict[str, Any]:
    return {
        "enter": "cross_above(sma(close, fast), sma(close, slow))",
        "exit": "cross_below(sma(close, fast), sma(close, slow))",
    }


def short_sma() -> dict[str, Any]:
    return {
        "enter_short": "cross_below(sma(close, fast), sma(close, slow))",
        "exit_short": "cross_above(sma(close, fast), sma(close, slow))",
    }


def ema_reverse() -> dict[str, Any]:
    return {
        "enter": "cross_above(ema(close, fast), ema(close, slow))",
        "enter_short": "cross_below(ema(close, fast), ema(close, slow))",
        "on_opposite": "reverse",
    }


def boll_breakout() -> dict[str, Any]:
    return {
        "enter": "close > sma(close, period) + k * stddev(close, period)",
        "exit": "close < sma(close, period)",
    }


def donchian() -> dict[str, Any]:
    return {
        "enter": "close > shift(highest(high, entry), 1)",
        "exit": "close < shift(lowest(low, exit), 1)",
    }


def rsi_revert() -> dict[str, Any]:
    return {"enter": "rsi(close, period) < lower", "exit": "rsi(close, period) > upper"}


def stop_entry_short() -> dict[str, Any]:
    return {
        "enter_short": "close < sma(close, trend) and bar_index >= entry",
        "entry_short": {"stop": "lowest(low, entry)"},
        "valid_bars": 1,
        "exit_short": "close > sma(close, trend)",
    }


def market_bracket() -> dict[str, Any]:
    return {
        "enter": "cross_above(close, sma(close, trend))",
        "stop_loss": {"pct": "sl", "from": "signal"},
        "take_profit": {"pct": "tp", "from": "signal"},
    }


def momentum() -> dict[str, Any]:
    return {
        "weights": "if_else(rank(1 - close / shift(close, lookback)) <= top, weight, 0)",
        "rebalance": {"every": "every", "offset": "lookback"},
    }


RULES: dict[str, Callable[[], dict[str, Any]]] = {
    made.__name__: made
    for made in (
        buy_hold, sma_cross, short_sma, ema_reverse, boll_breakout, donchian, rsi_revert, stop_entry_short,
        market_bracket, momentum,
    )
}  # fmt: skip


def rules(case: Mapping[str, Any]) -> dict[str, Any]:
    """Slots of the case's strategy, with its size where it has one."""
    slots = RULES[case["strategy"]]()
    return slots if "weights" in slots else {**slots, "size": size(case)}
