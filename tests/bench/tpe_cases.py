"""What the two TPE samplers are compared on: functions whose least value is known, and sweeps of strategies."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optuna.trial import Trial

    Params = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A function to be minimised."""

    loss: Callable[[Params], float]
    """What a sampler is told."""
    space: Mapping[str, Any]
    """Distributions of the parameters; of those that every trial has, when `ask` is given."""
    ask: Callable[[Trial], None] | None = None
    """Asks a trial for its parameters one after another, where they depend on each other."""
    truth: Callable[[Params], float] | None = None
    """The value without its noise, which is what counts; `loss` when there is none."""


def _values(params: Params) -> Any:
    return np.array(list(params.values()), dtype=float)


def sphere(params: Params) -> float:
    return float(((_values(params) - 0.3) ** 2).sum())


def rosenbrock(params: Params) -> float:
    x = _values(params)
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def ackley(params: Params) -> float:
    y = _values(params) - 0.7
    near = -20 * math.exp(-0.2 * math.sqrt((y**2).mean()))
    return float(near - math.exp(np.cos(2 * math.pi * y).mean()) + 20 + math.e)


def rastrigin(params: Params) -> float:
    y = _values(params) - 0.4
    return float(10 * len(y) + (y**2 - 10 * np.cos(2 * math.pi * y)).sum())


def branin(params: Params) -> float:
    x, y = _values(params)
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(params: Params) -> float:
    heights = np.array([1.0, 1.2, 3.0, 3.2])
    inside = (_HARTMANN_A * (_values(params) - _HARTMANN_P) ** 2).sum(axis=1)
    return float(-(heights * np.exp(-inside)).sum())


def mixed(params: Params) -> float:
    """Whole numbers, logarithms, steps and a choice that moves the best place."""
    penalty = (0.0, 0.6, 0.3, 0.9, 1.2)[params["kind"]]
    return float(
        ((params["units"] - 13) / 10) ** 2
        + (math.log10(params["rate"]) + 2.5) ** 2
        + (math.log2(params["width"]) - 5) ** 2 / 4
        + penalty * (1 + abs(params["shift"]))
        + (params["shift"] - 1.1 * (params["kind"] == 0)) ** 2
        + ((params["share"] - 0.35) / 0.3) ** 2
    )


_WORTH = np.array([[0.0, 2.0, 1.0, 3.0], [2.5, 0.0, 1.5, 0.5], [1.0, 3.0, 0.0, 2.0]])


def choices(params: Params) -> float:
    """Three choices whose worth depends on their neighbours, and two numbers."""
    a, b, c = ("wxyz".index(params[name]) for name in "abc")
    match = float(_WORTH[0, (a + b) % 4] + _WORTH[1, (b + 2 * c) % 4] + _WORTH[2, c])
    return float(match + abs(params["n"] - 7) / 10 * (1 + a) + (params["x"] - 0.2 * b) ** 2)


def ask_conditional(trial: Trial) -> None:
    trial.suggest_float("x", -4.0, 4.0)
    kind = trial.suggest_categorical("kind", ["plain", "wave", "steps"])
    if kind == "wave":
        trial.suggest_float("width", 0.05, 5.0, log=True)
        trial.suggest_float("phase", 0.0, 3.0)
    elif kind == "steps":
        trial.suggest_int("n", 1, 30)


def conditional(params: Params) -> float:
    """Each kind has parameters of its own."""
    base = (params["x"] - 1.0) ** 2 / 4
    if params["kind"] == "wave":
        return float(base + math.log(params["width"] / 0.4) ** 2 + (params["phase"] - 1.2) ** 2)
    if params["kind"] == "steps":
        return float(base + 0.15 + (params["n"] - 21) ** 2 / 40)
    return float(base + 0.6)


def plateau(params: Params) -> float:
    """A landscape of terraces: many points have the same value."""
    return float(np.floor(4.0 * np.abs(_values(params) - 0.37)).sum())


def noisy_plateau(params: Params) -> float:
    """The terraces and a noise that is the same for the same point."""
    seed = int.from_bytes(hashlib.sha256(_values(params).tobytes()).digest()[:8], "big")
    return plateau(params) + float(np.random.default_rng(seed).normal(0.0, 1.0))


def _floats(n: int, low: float, high: float) -> dict[str, Any]:
    return {f"x{ix}": FloatDistribution(low, high) for ix in range(n)}


CASES: dict[str, Case] = {
    "sphere, 5": Case(sphere, _floats(5, -5.0, 5.0)),
    "ackley, 5": Case(ackley, _floats(5, -30.0, 30.0)),
    "mixed, 6": Case(
        mixed,
        {
            "units": IntDistribution(1, 40),
            "rate": FloatDistribution(1e-5, 1.0, log=True),
            "width": IntDistribution(1, 1024, log=True),
            "kind": CategoricalDistribution(tuple(range(5))),
            "shift": FloatDistribution(-3.0, 3.0),
            "share": FloatDistribution(0.0, 1.0, step=0.05),
        },
    ),
    "rosenbrock, 4": Case(rosenbrock, _floats(4, -2.0, 2.0)),
    "rastrigin, 4": Case(rastrigin, _floats(4, -5.12, 5.12)),
    "branin, 2": Case(branin, {"x": FloatDistribution(-5.0, 10.0), "y": FloatDistribution(0.0, 15.0)}),
    "hartmann, 6": Case(hartmann, _floats(6, 0.0, 1.0)),
    "choices, 5": Case(
        choices,
        {
            **{name: CategoricalDistribution(tuple("wxyz")) for name in "abc"},
            "n": IntDistribution(1, 60),
            "x": FloatDistribution(-1.0, 1.0),
        },
    ),
    "conditional, 2 to 4": Case(conditional, {}, ask=ask_conditional),
    "noisy plateau, 4": Case(noisy_plateau, _floats(4, -3.0, 3.0), truth=plateau),
}
"""Names say how many parameters there are."""

_CROSS = {
    "enter": "cross_above(sma(close, fast), sma(close, slow))",
    "exit": "cross_below(sma(close, fast), sma(close, slow))",
    "stop_loss": {"pct": "stop"},
}

SWEEPS: dict[str, dict[str, Any]] = {
    "an index, 3": {
        "strategy": {"rules": _CROSS},
        "data": {"source": "embedded", "name": "sp500"},
        "space": {
            "fast": {"int": [2, 100]},
            "slow": {"int": [20, 400]},
            "stop": {"float": [0.005, 0.3], "log": True},
        },
        "where": ["fast < slow"],
        "objective": {"metric": "sharpe", "direction": "maximize"},
    }
}


def reference_sweeps() -> dict[str, dict[str, Any]]:
    """Sweeps over the reference data; none where AKQ_REFERENCE_DATA does not name them."""
    folder = os.environ.get("AKQ_REFERENCE_DATA")
    if not folder:
        return {}
    return {
        "US stocks, 3": {
            "strategy": {"rules": {**_CROSS, "size": {"pct_equity": 1.0, "size_at": "fill"}}},
            "data": {
                "source": "parquet",
                "path": str(Path(folder) / "us_daily.parquet"),
                "symbols": ["AAPL", "GE", "JNJ", "KO", "MSFT", "T", "WMT", "XOM"],
                "start": "2013-02-08",
                "end": "2018-02-07",
                "on_bad": "drop_rows",
            },
            "market": {"profile": "us_stock", "cash": 1_000_000, "fill": "next_open", "slippage": {"bps": 2}},
            "space": {
                "fast": {"int": [2, 60]},
                "slow": {"int": [20, 250], "step": 5},
                "stop": {"float": [0.01, 0.2], "log": True},
            },
            "where": ["fast < slow"],
            "objective": {
                "metric": "sharpe",
                "aggregate": "median",
                "min_defined": 0.5,
                "direction": "maximize",
            },
        }
    }
