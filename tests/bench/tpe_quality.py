"""Compares the batch TPE with Optuna's: the best value found after equal trials, over many seeds.

    python -m tests.bench.tpe_quality [--seeds 100] [--single 24] [--sweeps 24] [--write]

Both samplers are asked in groups of 16 of which each is told one group late, as a sweep does, and over fewer seeds one
by one. Sweeps of strategies are those of the embedded data and, where AKQ_REFERENCE_DATA names it, of the reference
data. What Optuna finds is a matter of its version and of the seed alone, so `tpe_optuna.json` keeps it.

"better" is the share of pairs of studies, one of each sampler, in which the batch TPE found more (a tie is a half),
with a 95 % interval by bootstrap over the seeds. Two samplers are called equal when that interval lies within `MARGIN`
of a half. No rule was chosen by any of the cases.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from scipy.stats import mannwhitneyu

import akq_dist as akq
from tests.bench import machine, tables
from tests.bench.tpe_cases import CASES, SWEEPS, Case, reference_sweeps, sphere

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Run = Callable[[str, int], float]

GROUP = 16
N_TRIALS = 200
MARGIN = 0.1
"""Of the share of better pairs around a half: as small as a hundred seeds can tell."""
KEPT = Path(__file__).with_name("tpe_optuna.json")
LARGEST_OPTUNA = 10_000
"""Trials of the largest study in which Optuna's sampler is timed: its cost grows with them."""
_N_RESAMPLES = 2_000


def sampler_of(name: str, seed: int) -> Any:
    return akq.BatchTPESampler(seed=seed) if name == "batch" else optuna.samplers.TPESampler(seed=seed)


def ask(study: Any, case: Case, n: int) -> list[Any]:
    """Trials with all their parameters."""
    if case.ask is None and n > 1 and isinstance(study.sampler, akq.BatchTPESampler):
        return study.sampler.ask_many(study, n, case.space)
    trials = []
    for _ in range(n):
        trials.append(study.ask(dict(case.space)))
        if case.ask is not None:
            case.ask(trials[-1])
    return trials


def best_of(name: str, seed: int, case: Case, group: int) -> float:
    """Best value of one study; `group` 1 is one by one."""
    study = optuna.create_study(sampler=sampler_of(name, seed))
    late: list[tuple[Any, float]] = []
    losses: list[float] = []
    truths: list[float] = []
    while len(losses) < N_TRIALS:
        trials = ask(study, case, min(group, N_TRIALS - len(losses)))
        for trial, loss in late:
            study.tell(trial, loss)
        late = [(trial, case.loss(trial.params)) for trial in trials]
        losses += [loss for _, loss in late]
        truths += [(case.truth or case.loss)(trial.params) for trial in trials]
        if group == 1:
            study.tell(*late.pop())
    return truths[int(np.argmin(losses))]


def best_of_sweep(name: str, seed: int, spec: dict[str, Any]) -> float:
    """Loss of the best trial of a sweep."""
    sampler = "tpe" if name == "batch" else "optuna_tpe"
    study = akq.sweep(
        {
            **spec,
            "name": f"quality-{sampler}-{seed}",
            "search": {"sampler": sampler, "trials": N_TRIALS, "seed": seed},
            "run": {"executor": "serial"},
            "track": {"mlflow": None},
            "storage": {"optuna": None},
        }
    )
    study.run()
    assert study.best is not None
    return -float(study.best.values[0])


def costs(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """CPU seconds of a suggestion in a study of so many trials of ten parameters, in memory: an ask and a tell."""
    space: dict[str, Any] = {f"x{ix}": FloatDistribution(0.0, 1.0) for ix in range(10)}
    rng = np.random.default_rng(0)
    study = optuna.create_study()
    rows = []
    for size in sizes:
        points = rng.random((size - len(study.get_trials(deepcopy=False)), len(space))).tolist()
        study.add_trials(
            [
                create_trial(
                    params=dict(zip(space, point, strict=True)), distributions=space, value=sum(point)
                )
                for point in points
            ]
        )
        row: dict[str, Any] = {"trials": size}
        for name, n in (("batch", GROUP), ("batch", 1), ("optuna", 1)):
            if name == "optuna" and size > LARGEST_OPTUNA:
                continue
            study.sampler = sampler_of(name, 0)
            took = []
            for _ in range(6):
                started = time.process_time()
                for trial in ask(study, Case(sphere, space), n):
                    study.tell(trial, sphere(trial.params))
                took.append((time.process_time() - started) / n)
            # The first one reads the whole study.
            row[f"{name}_{n}"] = min(took[1:])
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows


class Kept:
    """What Optuna found: by version and case a list over the seeds from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        held = json.loads(path.read_text()) if path.is_file() else {}
        self._found: dict[str, list[float]] = held.get(optuna.__version__, {})

    def values(self, label: str, run: Run, n_seeds: int) -> list[float]:
        """Return what Optuna finds; what is not kept is run and kept."""
        found = self._found.setdefault(label, [])
        for seed in range(len(found), n_seeds):
            found.append(run("optuna", seed))
            self._write()
        return found[:n_seeds]

    def _write(self) -> None:
        self._path.write_text(json.dumps({optuna.__version__: self._found}, indent=1) + "\n")


def share_better(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Share of pairs in which ours is less, a tie a half, and its 95 % interval by bootstrap over both sides."""
    a, b = np.array(ours), np.array(theirs)
    wins = (a[:, np.newaxis] < b) + 0.5 * (a[:, np.newaxis] == b)
    rng = np.random.default_rng(0)
    shares = [
        wins[np.ix_(rng.integers(0, len(a), len(a)), rng.integers(0, len(b), len(b)))].mean()
        for _ in range(_N_RESAMPLES)
    ]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(wins.mean()), float(low), float(high)


def compare(label: str, run: Run, kept: Kept, n_seeds: int) -> dict[str, Any]:
    theirs = kept.values(label, run, n_seeds)
    started = time.process_time()
    ours = [run("batch", seed) for seed in range(n_seeds)]
    seconds = time.process_time() - started
    better, low, high = share_better(ours, theirs)
    row = {
        "function": label,
        "seeds": n_seeds,
        "batch": statistics.median(ours),
        "optuna": statistics.median(theirs),
        "better": better,
        "low": low,
        "high": high,
        "p": float(mannwhitneyu(ours, theirs, alternative="two-sided").pvalue),
        "cpu_trial": seconds / n_seeds / N_TRIALS,
    }
    print(row, file=sys.stderr, flush=True)
    return row


def together(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean share over the functions in groups, and its interval: their seeds are independent."""
    judged = [row for row in rows if row["function"].endswith(f"groups of {GROUP}")]
    if not judged:
        return {}
    better = statistics.fmean(row["better"] for row in judged)
    half = sum(((row["high"] - row["low"]) / 2) ** 2 for row in judged) ** 0.5 / len(judged)
    return {"n_cases": len(judged), "better": better, "low": better - half, "high": better + half}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--single", type=int, default=24, help="seeds of studies that are asked one by one")
    parser.add_argument("--sweeps", type=int, default=24, help="seeds of sweeps")
    parser.add_argument("--write", action="store_true", help="keep the figures and write the table")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found = machine.describe(Optuna=optuna.__version__)
    kept = Kept(KEPT)
    rows = []
    for group, n_seeds in ((GROUP, given.seeds), (1, given.single)):
        for name, case in CASES.items() if n_seeds else ():
            label = f"{name}, {'one by one' if group == 1 else f'groups of {group}'}"

            def run(sampler: str, seed: int, case: Case = case, group: int = group) -> float:
                return best_of(sampler, seed, case, group)

            rows.append(compare(label, run, kept, n_seeds))
    for name, spec in {**SWEEPS, **reference_sweeps()}.items() if given.sweeps else ():

        def run_sweep(sampler: str, seed: int, spec: dict[str, Any] = spec) -> float:
            return best_of_sweep(sampler, seed, spec)

        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            label = f"a sweep of {name}, groups of {GROUP}"
            rows.append(compare(label, run_sweep, kept, given.sweeps))
    section = {
        "machine": found,
        "trials": N_TRIALS,
        "margin": MARGIN,
        "rows": rows,
        "together": together(rows),
        "costs": costs([1_000, 10_000, 100_000]),
    }
    print(tables.tpe(section))
    if given.write:
        tables.write({"tpe": section})


if __name__ == "__main__":
    main()
