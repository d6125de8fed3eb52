"""What the usual stacks are given to record: ten parameters, twenty metrics, six tags, and an objective of no cost."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

import optuna

if TYPE_CHECKING:
    from collections.abc import Callable

N_METRICS = 20
NAMES = tuple(f"x{ix}" for ix in range(10))
TAGS = {f"tag{ix}": f"value {ix}" for ix in range(6)}


def value(params: dict[str, float]) -> float:
    return sum(params.values())


def metrics(value: float) -> dict[str, float]:
    return {f"m{ix}": math.sin(value + ix) for ix in range(N_METRICS)}


def sampler(name: str) -> optuna.samplers.BaseSampler:
    """Optuna's own sampler of that name; the grid has 10,000 points, few enough not to slow it."""
    steps = [ix / 10 for ix in range(10)]
    grid = {name: steps if ix < 4 else [0.5] for ix, name in enumerate(NAMES)}
    made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "grid": lambda: optuna.samplers.GridSampler(grid, seed=1),
        "random": lambda: optuna.samplers.RandomSampler(seed=1),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=1, warn_independent_sampling=False),
        "tpe": lambda: optuna.samplers.TPESampler(seed=1),
    }
    return made[name]()


def main(run: Callable[[str, int], dict[str, Any]]) -> None:
    """Print what a run of the command line (sampler, trials) took, as one line of JSON."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))


def check(storage: str, study: str, tracking: str, experiment: str, n_trials: int) -> None:
    """Count what Optuna and MLflow hold."""
    from mlflow import MlflowClient
    from optuna.trial import TrialState

    trials = optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
    assert sum(trial.state is TrialState.COMPLETE for trial in trials) == n_trials, len(trials)
    client = MlflowClient(tracking_uri=tracking)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id], "attributes.status = 'FINISHED'", max_results=5_000)
    assert len(runs) == n_trials, len(runs)
    assert all(len(run.data.params) == len(NAMES) and len(run.data.metrics) >= N_METRICS for run in runs)
