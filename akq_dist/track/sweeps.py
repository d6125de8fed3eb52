"""Sweeps that a tracking store holds."""

from __future__ import annotations

import json
from dataclasses import dataclass

from akq_dist.record.protocols import TrackerLinks
from akq_dist.track import mlflow_env, notes, store
from akq_dist.track.links import run_url, trials_url, view_url


@dataclass(frozen=True)
class TrackedSweep:
    """A sweep found in a store."""

    study: str
    status: str
    links: TrackerLinks
    ascending: bool | None
    """Whether small objectives are good; None where there are several objectives."""
    has_view: bool
    """Whether the experiment keeps a view of its trials."""

    def urls(self, base: str) -> tuple[str, str]:
        """Return the pages of the sweep and of all its trials at a UI that serves the store."""
        experiment_id, run_id = self.links.experiment_id, self.links.run_id
        if self.has_view:
            trials = view_url(base, experiment_id, notes.view_key(run_id))
        else:
            trials = trials_url(base, experiment_id, run_id, ascending=self.ascending)
        return run_url(base, experiment_id, run_id), trials


def find_sweeps(uri: str, limit: int = 5, study_id: str | None = None) -> list[TrackedSweep]:
    """Find the newest sweeps of a store in all experiments, or that of one study.

    Raises TrackerError when the store cannot be read.
    """
    uri = store.absolute_uri(uri)
    mlflow_env.knock(uri)
    client_class = mlflow_env.import_client()
    try:
        client = client_class(tracking_uri=uri)
        experiments = {found.experiment_id: found.tags for found in client.search_experiments()}
        runs = client.search_runs(
            list(experiments),
            "tags.`akq.kind` = 'sweep'" + (f" and tags.`akq.study_id` = '{study_id}'" if study_id else ""),
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
            notes.view_tag(run.info.run_id) in experiments[run.info.experiment_id],
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
