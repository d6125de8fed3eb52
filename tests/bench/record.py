"""S1, the record of a sweep: trials a second until ledger, Optuna's database and MLflow hold everything.

    python tests/bench/record.py [--trials 1000 10000] [--samplers grid random qmc tpe] [--peers]

A sweep of rules with ten parameters on half a year of daily bars, so that running a trial costs next to nothing.
Timed is the whole run: search, ledger, both databases committed, the parent run closed. Then everything is read back
through the tools themselves and compared. Peers are Optuna with a callback to MLflow and Ray Tune with OptunaSearch
and MLflow's logger; they record fewer trials of an empty objective, and are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import math
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

N_METRICS = 20


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


def measure(sampler: str, n_trials: int) -> tuple[float, float]:
    """Wall and CPU seconds of one recorded sweep, checked by reading all of it back."""
    import akq_dist as akq

    study = akq.sweep(spec(sampler, n_trials))
    started, cpu = time.perf_counter(), time.process_time()
    study.run()
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    check(study, n_trials)
    return wall, cpu


def check(study: Any, n_trials: int) -> None:
    """Compare what the ledger holds with what Optuna and MLflow give back."""
    import optuna
    from mlflow import MlflowClient
    from optuna.trial import TrialState

    held = study.results().sort("number")
    assert held.height == n_trials
    url = study.spec.storage.optuna
    trials = optuna.load_study(study_name=study.spec.name, storage=url).get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == held["number"].to_list()
    finished = [trial.state is TrialState.COMPLETE for trial in trials]
    assert finished == (held["state"] == "complete").to_list()
    assert [trial.value for trial in trials] == held["value"].to_list()
    summaries = {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage=url)}
    assert summaries[study.spec.name] == n_trials
    client = MlflowClient(tracking_uri=study.spec.track.mlflow)
    experiment = client.get_experiment_by_name(study.spec.experiment)
    assert experiment is not None
    parent = study.mlflow_run_id
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent}'",
            max_results=5_000,
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            break
    by_number = {int(run.data.tags["akq.number"]): run for run in runs}
    assert sorted(by_number) == held["number"].to_list()
    assert len(runs) == n_trials
    for row in held.iter_rows(named=True):
        run = by_number[row["number"]]
        complete = row["state"] == "complete"
        assert run.info.status == ("FINISHED" if complete else "FAILED")
        assert run.data.tags["akq.result_hash"] == row["hash"]
        if complete:
            assert run.data.metrics["objective"] == row["value"]
        assert float(run.data.params["d"]) == row["params_d"]


def peer_optuna(n_trials: int) -> float:
    """Seconds of Optuna with a callback that logs a run a trial, as its own MLflow callback does, on SQLite."""
    import mlflow
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mlflow.set_tracking_uri("sqlite:///peer.db")
    study = optuna.create_study(
        storage="sqlite:///peer-optuna.db", sampler=optuna.samplers.RandomSampler(seed=1)
    )

    def objective(trial: Any) -> float:
        return float(sum(trial.suggest_float(f"x{ix}", 0.0, 1.0) for ix in range(10)))

    def log(_: Any, trial: Any) -> None:
        with mlflow.start_run(run_name=str(trial.number)):
            mlflow.log_params(trial.params)
            mlflow.log_metrics({f"m{ix}": math.sin(trial.value + ix) for ix in range(N_METRICS)})
            mlflow.set_tags({"number": trial.number, "state": trial.state.name})

    study.optimize(objective, n_trials=1, callbacks=[log])
    started = time.perf_counter()
    study.optimize(objective, n_trials=n_trials, callbacks=[log])
    return time.perf_counter() - started


def peer_ray_tune(n_trials: int) -> float:
    """Seconds of Ray Tune with OptunaSearch and MLflow's logger on SQLite."""
    import optuna
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    def objective(config: dict[str, float]) -> None:
        total = sum(config.values())
        tune.report({"objective": total, **{f"m{ix}": math.sin(total + ix) for ix in range(N_METRICS)}})

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        search = OptunaSearch(metric="objective", mode="min", sampler=optuna.samplers.RandomSampler(seed=1))
        tuner = tune.Tuner(
            objective,
            param_space={f"x{ix}": tune.uniform(0.0, 1.0) for ix in range(10)},
            tune_config=tune.TuneConfig(search_alg=ConcurrencyLimiter(search, 2), num_samples=n_trials),
            run_config=tune.RunConfig(
                storage_path=tempfile.mkdtemp(),
                verbose=0,
                callbacks=[MLflowLoggerCallback(tracking_uri="sqlite:///tune.db", experiment_name="tune")],
            ),
        )
        started = time.perf_counter()
        tuner.fit()
        return time.perf_counter() - started
    finally:
        ray.shutdown()


PEERS: dict[str, tuple[Callable[[int], float], int, tuple[str, ...]]] = {
    "Optuna, random, a callback to MLflow": (peer_optuna, 40, ()),
    "Ray Tune, OptunaSearch, MLflow logger": (peer_ray_tune, 12, ("ray.tune",)),
}


def _has(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--samplers", nargs="+", default=["grid", "random", "qmc", "tpe"])
    parser.add_argument("--peers", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import mlflow  # noqa: F401 - two seconds that are not the record's

    print("| work | trials | trials a second | CPU a trial |\n|---|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for n_trials in given.trials:
            for sampler in given.samplers:
                wall, cpu = measure(sampler, n_trials)
                print(
                    f"| sweep, {sampler} | {n_trials:,} | {n_trials / wall:,.0f} | {cpu / n_trials * 1e3:.2f} ms |",
                    flush=True,
                )
        for name, (run, n_trials, packages) in PEERS.items() if given.peers else ():
            if any(not _has(package) for package in packages):
                print(f"| {name} | not installed | | |")
                continue
            print(f"| {name} | {n_trials} | {n_trials / run(n_trials):,.2f} | |", flush=True)


if __name__ == "__main__":
    main()
