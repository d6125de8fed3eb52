"""Ray Tune with OptunaSearch on SQLite and MLflow's logger on SQLite, two trials at a time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from tests.bench.programs import objective


def trainable(config: dict[str, float]) -> None:
    value = objective.value(config)
    tune.report({"objective": value, **objective.metrics(value)})


def run(sampler: str, n_trials: int) -> dict[str, Any]:
    here = Path.cwd()
    storage, tracking = f"sqlite:///{here}/optuna.db", f"sqlite:///{here}/mlflow.db"

    def fit(name: str, n: int) -> None:
        search = OptunaSearch(
            {x: optuna.distributions.FloatDistribution(0.0, 1.0) for x in objective.NAMES},
            metric="objective",
            mode="min",
            sampler=objective.sampler(sampler),
            study_name=name,
            storage=optuna.storages.RDBStorage(storage),
        )
        logger = MLflowLoggerCallback(tracking_uri=tracking, experiment_name=name, tags=objective.TAGS)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(search_alg=ConcurrencyLimiter(search, 2), num_samples=n),
            run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(dir=here), verbose=0, callbacks=[logger]),
        )
        results = tuner.fit()
        assert not results.errors, results.errors

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        fit("both databases are made", 2)
        started, cpu = time.perf_counter(), time.process_time()
        fit("timed", n_trials)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    finally:
        ray.shutdown()
    objective.check(storage, "timed", tracking, "timed", n_trials)
    return {"seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    objective.main(run)
