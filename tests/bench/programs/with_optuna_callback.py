"""Optuna on SQLite, two trials at a time, with its callback to MLflow on SQLite."""

from __future__ import annotations

import time
from typing import Any

import mlflow
import optuna
from optuna_integration import MLflowCallback

from tests.bench.programs import objective

STORAGE = "sqlite:///optuna.db"
TRACKING = "sqlite:///mlflow.db"


def run(sampler: str, n_trials: int) -> dict[str, Any]:
    def optimize(name: str, n: int) -> None:
        callback = MLflowCallback(tracking_uri=TRACKING, metric_name="objective", create_experiment=True)

        @callback.track_in_mlflow()  # type: ignore[untyped-decorator]
        def of(trial: optuna.Trial) -> float:
            value = objective.value({x: trial.suggest_float(x, 0.0, 1.0) for x in objective.NAMES})
            mlflow.log_metrics(objective.metrics(value))
            mlflow.set_tags(objective.TAGS)
            return value

        study = optuna.create_study(study_name=name, storage=STORAGE, sampler=objective.sampler(sampler))
        study.optimize(of, n_trials=n, n_jobs=2, callbacks=[callback])

    optimize("both databases are made", 2)
    started, cpu = time.perf_counter(), time.process_time()
    optimize("timed", n_trials)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    objective.check(STORAGE, "timed", TRACKING, "timed", n_trials)
    return {"seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    objective.main(run)
