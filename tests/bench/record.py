"""S1, the record of a sweep: trials a second until ledger, Optuna's database and MLflow hold everything.

    python -m tests.bench.record [--trials 1000 10000] [--samplers grid random qmc tpe] [--peers FOLDER] [--write]

A sweep of rules with ten parameters on half a year of daily bars, so that running a trial costs next to nothing.
Timed is the whole run: search, ledger, both databases committed, the parent run closed. Then everything is read back
through the tools themselves and compared, value by value; that time is shown apart. With `--peers` the usual stacks
record the same samplers' trials of an empty objective, fewer of them, in an environment below FOLDER; this project then
records as few too. Both databases exist before the clock starts, on either side.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import copies, machine, tables
from tests.bench.environments import CannotInstallError, Environment, ProgramError, run_module
from tests.bench.read_back import read_back

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAMPLERS = ("grid", "random", "qmc", "tpe")
RAY, OPTUNA, MLFLOW = (version(name) for name in ("ray", "optuna", "mlflow"))
ENVIRONMENT = Environment(
    "stack",
    (f"ray[tune]=={RAY}", f"optuna=={OPTUNA}", "optuna-integration==5.0.0", f"mlflow=={MLFLOW}"),
)
"""The versions that are installed here."""
STACKS = (
    (
        f"Optuna {OPTUNA}, MLflowCallback",
        "tests.bench.programs.with_optuna_callback",
        SAMPLERS,
        100,
    ),
    (
        f"Ray Tune {RAY}, OptunaSearch, MLflowLoggerCallback",
        "tests.bench.programs.with_ray_tune",
        ("random", "tpe"),
        20,
    ),
)
"""Name, program, samplers and how many trials: the fewer, the slower."""
LIMIT_S = 1_800.0
N_SEARCHED = 10_000


def spec(sampler: str, n_trials: int) -> dict[str, Any]:
    """A sweep with ten parameters; a grid has enough steps for every number of trials here."""
    numbers: dict[str, Any] = {
        "a": {"int": [2, 20]},
        "b": {"int": [10, 40]},
        "c": {"int": [2, 40]},
        "d": {"float": [0.9, 1.1], "step": 0.01},
        "e": {"int": [2, 30]},
        "f": {"float": [20.0, 100.0], "step": 1.0},
        "g": {"int": [2, 30]},
        "h": {"float": [50.0, 100.0], "step": 1.0},
        "s": {"float": [0.01, 0.2], "step": 0.001},
        "t": {"float": [0.01, 0.2], "step": 0.001},
    }
    return {
        "name": f"record-{sampler}-{n_trials}",
        "strategy": {
            "rules": {
                "enter": "cross_above(sma(close, a), sma(close, b)) and close > sma(close, c) * d "
                "and rsi(close, e) < f",
                "exit": "cross_below(sma(close, a), sma(close, b)) or rsi(close, g) > h",
                "stop_loss": {"pct": "s"},
                "take_profit": {"pct": "t"},
            }
        },
        "data": {"source": "embedded", "name": "sp500", "start": "2010-01-01", "end": "2010-06-30"},
        "space": numbers,
        "objective": {"metric": "total_return", "direction": "maximize"},
        "search": {"sampler": sampler, "trials": n_trials, "seed": 1},
        "run": {"executor": "serial"},
        "track": {"artifacts": "none"},
    }


def measure(sampler: str, n_trials: int) -> tuple[Any, dict[str, float]]:
    """One recorded sweep: wall and CPU seconds of it, and seconds of reading all of it back and comparing it."""
    import akq_dist as akq

    study = akq.sweep(spec(sampler, n_trials))
    started, cpu = time.perf_counter(), cpu_s()
    study.run()
    found = {"seconds": time.perf_counter() - started, "cpu": cpu_s() - cpu}
    started = time.perf_counter()
    read_back(study, n_trials)
    return study, found | {"read": time.perf_counter() - started}


def cpu_s() -> float:
    """CPU of this process so far and of those that it started and that ended."""
    return sum(os.times()[:4])


SEARCHES = {
    "newest 100": ("", "attributes.start_time DESC", 100),
    "by a metric, first 100": ("", "metrics.`objective` DESC", 100),
    "by a parameter, first 100": ("", "params.`a` DESC", 100),
    "filter on a metric and a parameter, by a metric": (
        "metrics.`objective` > 0 and params.`a` = '5'",
        "metrics.`objective` DESC",
        100,
    ),
    "children of a sweep by a metric, 100": ("{children}", "metrics.`objective` DESC", 100),
    "children of a sweep by a metric, 1,000": ("{children}", "metrics.`objective` DESC", 1_000),
}
"""What the run list of MLflow sends: filter, order and number of runs."""


def searches(study: Any) -> dict[str, float]:
    """CPU seconds of every search of the run list over a sweep, the least of three."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=study.spec.track.mlflow)
    experiment = client.get_experiment_by_name(study.spec.experiment)
    assert experiment is not None
    children = f"tags.`mlflow.parentRunId` = '{study.mlflow_run_id}'"
    least = {}
    for name, (condition, order, n) in SEARCHES.items():
        took = []
        for _ in range(3):
            cpu = time.process_time()
            client.search_runs(
                [experiment.experiment_id],
                condition.format(children=children),
                order_by=[order],
                max_results=n,
            )
            took.append(time.process_time() - cpu)
        least[name] = min(took)
    return least


def row(stack: str, sampler: str, n_trials: int, **found: Any) -> dict[str, Any]:
    return {"stack": stack, "sampler": sampler, "n_trials": n_trials, **found}


def bench(samplers: Sequence[str], sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Sweeps of this project, all in one folder; one that is not counted makes the databases.

    The last sweep of a size has the searches over its runs, where these are enough for a search to take time.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        measure("random", 7)
        for n_trials in sizes:
            for sampler in samplers:
                study, measured = measure(sampler, n_trials)
                found: dict[str, Any] = dict(measured)
                if n_trials >= N_SEARCHED and sampler == samplers[-1]:
                    found["searches"] = searches(study)
                yield row(tables.OURS, sampler, n_trials, **found)


def bench_stacks(folder: Path, samplers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The usual stacks, a process and a folder for each run."""
    try:
        python = ENVIRONMENT.make(folder)
    except CannotInstallError as error:
        for name, _, known, n_trials in STACKS:
            for sampler in known:
                yield row(name, sampler, n_trials, reason=str(error))
        return
    for name, program, known, n_trials in STACKS:
        for sampler in (sampler for sampler in samplers if sampler in known):
            with tempfile.TemporaryDirectory() as scratch:
                command = (python, program, sampler, str(n_trials))
                try:
                    printed = run_module(*command, limit_s=LIMIT_S, folder=Path(scratch))
                except ProgramError as error:
                    yield row(name, sampler, n_trials, reason=str(error))
                else:
                    yield row(name, sampler, n_trials, **json.loads(printed.splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="the usual stacks, in an environment below it"
    )
    parser.add_argument("--write", action="store_true", help="keep the figures and write the tables")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import mlflow  # noqa: F401 - two seconds that are not the record's

    found: dict[str, Any] = {"machine": machine.describe(Optuna=OPTUNA, MLflow=MLFLOW)}
    rows = found["rows"] = []
    few = {n_trials for *_, n_trials in STACKS} if given.peers else set()
    sources = [bench(given.samplers, sorted({*given.trials, *few}))]
    if given.peers:
        sources.append(bench_stacks(given.peers.expanduser().resolve(), given.samplers))
    for source in sources:
        for one in source:
            rows.append(one)
            print(one, file=sys.stderr, flush=True)
    found["copies"] = copies.measure(n_bulk=10_000, n_public=40)
    print(tables.record(found))
    if given.write:
        tables.write({"record": found})


if __name__ == "__main__":
    main()
