"""Sweeps that a tracking store holds."""

from __future__ import annotations

import json
from dataclasses import dataclass

from akq_dist.record.protocols import TrackerLinks
from akq_dist.track import mlflow_env, store


@dataclass(frozen=True)
class TrackedSweep:
    """A sweep found in a store."""

    study: str
    status: str
    links: TrackerLinks
    ascending: bool | None
    """Whether small objectives are good; None where there are several objectives."""


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
            run.info.run_name,
            run.info.status,
            TrackerLinks(uri, run.info.experiment_id, run.info.run_id),
            _ascending(run.data.params.get("objective", "")),
        )
        for run in runs
    ]


def _ascending(objectives: str) -> bool | None:
    """Read the direction of a sweep with one objective from the parameter of its run."""
    try:
        (objective,) = json.loads(objectives)
        return {"minimize": True, "maximize": False}.get(objective["direction"])
    except (ValueError, TypeError, KeyError):
        return None
