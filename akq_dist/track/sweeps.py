"""Sweeps that a tracking store holds."""

from __future__ import annotations

from dataclasses import dataclass

from akq_dist.record.protocols import TrackerLinks
from akq_dist.track import mlflow_env, store


@dataclass(frozen=True)
class TrackedSweep:
    """A sweep found in a store."""

    study: str
    status: str
    links: TrackerLinks


def find_sweeps(uri: str, limit: int = 5) -> list[TrackedSweep]:
    """Find the newest sweeps of a store in all experiments. Raises TrackerError when it cannot be read."""
    uri = store.absolute_uri(uri)
    mlflow_env.knock(uri)
    client_class = mlflow_env.import_client()
    try:
        client = client_class(tracking_uri=uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(
            experiments,
            "tags.`akq.kind` = 'sweep'",
            max_results=limit,
            order_by=["attributes.start_time DESC"],
        )
    except mlflow_env.store_errors() as error:
        raise mlflow_env.explain(error, uri) from None
    return [
        TrackedSweep(
            run.info.run_name, run.info.status, TrackerLinks(uri, run.info.experiment_id, run.info.run_id)
        )
        for run in runs
    ]
