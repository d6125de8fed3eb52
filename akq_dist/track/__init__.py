"""MLflow behind the Tracker protocol. Only this folder names MLflow; importing it does not import MLflow."""

from akq_dist.track.background import BackgroundTracker
from akq_dist.track.mlflow_env import warm
from akq_dist.track.mlflow_tracker import MlflowOptions, MlflowTracker
from akq_dist.track.policy import ArtifactsPlan, RunsPlan, plan_artifacts, plan_runs
from akq_dist.track.verify import check_runs, rewrite_runs

__all__ = [
    "ArtifactsPlan",
    "BackgroundTracker",
    "MlflowOptions",
    "MlflowTracker",
    "RunsPlan",
    "check_runs",
    "plan_artifacts",
    "plan_runs",
    "rewrite_runs",
    "warm",
]
