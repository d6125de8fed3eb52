"""What the page of a sweep says in MLflow, and which columns its table of trials has: texts from facts."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from akq_dist.track.run_values import clean_key, trial_name

if TYPE_CHECKING:
    from akq_dist.record.protocols import SweepInfo, TrialRecord

_MAX_COLUMNS = 24
_MAX_VIEW_CHARS = 4_900
"""A tag of an experiment has to fit in 5,000 characters."""


def description(info: SweepInfo) -> str:
    """Return what is searched for over which data, as Markdown."""
    goals = ", ".join(f"{direction} {output}" for output, direction in info.objectives)
    n_symbols = len(info.symbols)
    return (
        f"Sweep **{info.study}**: {goals or 'no objective'} over {n_symbols:,} "
        f"{'symbol' if n_symbols == 1 else 'symbols'}, {info.n_rows:,} bars of {info.data_source}. "
        f"Seed {info.seed}, engine {info.build}. Every trial is a row of trials.parquet."
    )


def winner(info: SweepInfo, trial: TrialRecord, parent_id: str) -> str:
    """Return who won, that this is not yet what to expect, and how to run it again, as Markdown."""
    pairs = zip(info.objectives, trial.values, strict=False)
    goals = ", ".join(f"{output} = {value:.6g}" for (output, _), value in pairs)
    params = ", ".join(f"{name} = {_text(value)}" for name, value in trial.params.items())
    study = shlex.quote(info.study)
    return (
        f"**Winner**: {trial_name(trial.number)} with {goals} at {params}. The best of many looks better than it is: "
        "report.html, among the artifacts, says how far it stands out.\n\n"
        f"Run it again: `akq replay {study} {trial.number}` beside its ledger, "
        f"`akq replay --run {parent_id}` from this record alone. Others: `akq study best {study}`."
    )


def view_key(parent_id: str) -> str:
    """Return the key of the view that shows the trials of a sweep."""
    return f"akq-{parent_id}"


def view_tag(parent_id: str) -> str:
    """Return the tag of the experiment under which MLflow's pages look for that view."""
    return f"mlflow.sharedViewState.{view_key(parent_id)}"


def trials_view(info: SweepInfo, parent_id: str) -> str:
    """Return the table of a sweep's trials, best first, with its parameters and main metrics as columns.

    In the form in which MLflow's pages keep a view that is shared; without one they show no metric at all.
    """
    is_single = len(info.objectives) == 1
    goals = ["objective"] if is_single else [f"objective.{clean_key(name)}" for name, _ in info.objectives]
    columns = [f"metrics.`{name}`" for name in (*goals, *map(clean_key, info.shown_metrics))]
    columns = [
        *columns[:_MAX_COLUMNS],
        *(f"params.`{clean_key(name)}`" for name in info.params[:_MAX_COLUMNS]),
    ]
    view: dict[str, Any] = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent_id}'",
        "orderByKey": f"metrics.`{goals[0]}`" if goals else "attributes.start_time",
        "orderByAsc": bool(info.objectives) and info.objectives[0][1] == "minimize",
        "selectedColumns": columns,
    }
    while len(text := json.dumps(view)) > _MAX_VIEW_CHARS:
        columns.pop()
    return text


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
