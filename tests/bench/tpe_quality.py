"""Compares the batch TPE with Optuna's: the best value found after equal trials, over many seeds.

    python -m tests.bench.tpe_quality [--seeds 24] [--trials 200] [--write]

Both samplers are asked one by one, and in groups of 16 of which each is told one group late, as a sweep does. The
last row is a sweep of a strategy on the embedded data. `p` is of the two-sided Mann-Whitney U test: small when the
two samplers differ.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import statistics
import sys
import tempfile
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import mannwhitneyu

import akq_dist as akq
from tests.bench import machine, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GROUP = 16

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


def sphere(x: Any) -> float:
    return float(((x - 0.3) ** 2).sum())


def rosenbrock(x: Any) -> float:
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def ackley(x: Any) -> float:
    y = x - 0.7
    near = -20 * math.exp(-0.2 * math.sqrt((y**2).mean()))
    return float(near - math.exp(np.cos(2 * math.pi * y).mean()) + 20 + math.e)


def rastrigin(x: Any) -> float:
    y = x - 0.4
    return float(10 * len(y) + (y**2 - 10 * np.cos(2 * math.pi * y)).sum())


def hartmann6(x: Any) -> float:
    heights = np.array([1.0, 1.2, 3.0, 3.2])
    return float(-(heights * np.exp(-(_HARTMANN_A * (x - _HARTMANN_P) ** 2).sum(axis=1))).sum())


def mixed(x: Any) -> float:
    """Whole numbers, logarithms, steps and a choice that moves the best place."""
    units, rate, width, kind, shift, share = x
    penalty = (0.0, 0.6, 0.3, 0.9, 1.2)[int(kind)]
    return float(
        ((units - 13) / 10) ** 2
        + (math.log10(rate) + 2.5) ** 2
        + (math.log2(width) - 5) ** 2 / 4
        + penalty * (1 + abs(shift))
        + (shift - 1.1 * (kind == 0)) ** 2
        + ((share - 0.35) / 0.3) ** 2
    )


def _floats(n: int, low: float, high: float) -> dict[str, Any]:
    return {f"x{ix}": FloatDistribution(low, high) for ix in range(n)}


FUNCTIONS: dict[str, tuple[Callable[[Any], float], Mapping[str, Any]]] = {
    "sphere, 5": (sphere, _floats(5, -5.0, 5.0)),
    "rosenbrock, 4": (rosenbrock, _floats(4, -2.0, 2.0)),
    "ackley, 5": (ackley, _floats(5, -30.0, 30.0)),
    "rastrigin, 4": (rastrigin, _floats(4, -5.12, 5.12)),
    "hartmann, 6": (hartmann6, _floats(6, 0.0, 1.0)),
    "mixed, 6": (
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
}


def sampler_of(name: str, seed: int) -> Any:
    return akq.BatchTPESampler(seed=seed) if name == "batch" else optuna.samplers.TPESampler(seed=seed)


def best_of(name: str, seed: int, function: str, n_trials: int, group: int) -> float:
    """Best value of one study; `group` 1 is one by one."""
    objective, distributions = FUNCTIONS[function]
    study = optuna.create_study(sampler=sampler_of(name, seed))
    late: list[tuple[Any, float]] = []
    values: list[float] = []
    while len(values) < n_trials:
        n = min(group, n_trials - len(values))
        if isinstance(study.sampler, akq.BatchTPESampler) and n > 1:
            trials = study.sampler.ask_many(study, n, distributions)
        else:
            trials = [study.ask(dict(distributions)) for _ in range(n)]
        for trial, value in late:
            study.tell(trial, value)
        late = [(trial, objective(np.array(list(trial.params.values()), dtype=float))) for trial in trials]
        values += [value for _, value in late]
        if group == 1:
            study.tell(*late.pop())
    return min(values)


def best_of_sweep(name: str, seed: int, n_trials: int) -> float:
    """Loss of the best trial of a sweep: a stop and two averages, the Sharpe ratio of two indices."""
    study = akq.sweep(
        {
            "name": f"quality-{name}-{seed}",
            "strategy": {
                "rules": {
                    "enter": "cross_above(sma(close, fast), sma(close, slow))",
                    "exit": "cross_below(sma(close, fast), sma(close, slow))",
                    "stop_loss": {"pct": "stop"},
                }
            },
            "data": {"source": "embedded", "name": "sp500"},
            "space": {
                "fast": {"int": [2, 100]},
                "slow": {"int": [20, 400]},
                "stop": {"float": [0.005, 0.3], "log": True},
            },
            "where": ["fast < slow"],
            "objective": {"metric": "sharpe", "direction": "maximize"},
            "search": {"sampler": name, "trials": n_trials, "seed": seed},
            "run": {"executor": "serial"},
            "track": {"mlflow": None},
            "storage": {"optuna": None},
        }
    )
    study.run()
    assert study.best is not None
    return -float(study.best.values[0])


def compare(
    label: str, run: Callable[[str, int], float], names: tuple[str, str], n_seeds: int
) -> dict[str, Any]:
    found = {}
    seconds = {}
    for name in names:
        started = time.process_time()
        found[name] = [run(name, seed) for seed in range(n_seeds)]
        seconds[name] = time.process_time() - started
    ours, theirs = (found[name] for name in names)
    p = mannwhitneyu(ours, theirs, alternative="two-sided").pvalue
    better = sum((a < b) + 0.5 * (a == b) for a in ours for b in theirs) / len(ours) / len(theirs)
    row = {
        "function": label,
        "batch": statistics.median(ours),
        "optuna": statistics.median(theirs),
        "better": better,
        "p": float(p),
        "cpu_ratio": seconds[names[1]] / seconds[names[0]],
    }
    print(row, file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="keep the figures and write the table")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found = machine.describe(Optuna=optuna.__version__)
    rows = []
    for group in (1, GROUP):
        for function in FUNCTIONS:
            label = f"{function}, {'one by one' if group == 1 else f'groups of {group}'}"
            run = partial(best_of, function=function, n_trials=given.trials, group=group)
            rows.append(compare(label, run, ("batch", "optuna"), given.seeds))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run = partial(best_of_sweep, n_trials=given.trials)
        rows.append(compare("a sweep, 3, groups of 16", run, ("tpe", "optuna_tpe"), given.seeds))
    section = {"machine": found, "seeds": given.seeds, "trials": given.trials, "rows": rows}
    print(tables.tpe(section))
    if given.write:
        tables.write({"tpe": section})


if __name__ == "__main__":
    main()
