"""Whether an MLflow store holds what the ledger holds, read through MLflow's public client alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.errors import TrackerError
from akq_dist.record.agreement import ViewCheck
from akq_dist.specs.units import redact_url
from akq_dist.track import mlflow_env, store
from akq_dist.track.mlflow_tracker import MlflowOptions, MlflowTracker
from akq_dist.track.run_values import trial_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.record.protocols import SweepInfo, TrialRecord

_PAGE = 1_000
_CHECKED_TAGS = ("akq.number", "akq.key", "akq.result_hash", "akq.seed", "akq.state")


def check_runs(
    uri: str,
    experiment: str,
    info: SweepInfo,
    expected: set[int],
    take: Callable[[Sequence[int]], Sequence[TrialRecord]],
    *,
    finished: bool,
) -> ViewCheck:
    """Compare every run of a study with the ledger's trials: status, parameters, metrics, tags.

    `expected` are the numbers that should have a run, `take` reads trials of the ledger, `finished` tells that
    no trial of the study is open, so that its parent has ended as well.
    """
    check = ViewCheck("mlflow", redact_url(uri), n_expected=len(expected))
    mlflow_env.prepare_environment()
    seen: dict[int, str] = {}
    errors: tuple[type[Exception], ...] = (*mlflow_env.store_errors(), TrackerError)
    try:
        absolute = store.absolute_uri(uri)
        mlflow_env.knock(absolute)
        client = mlflow_env.import_client()(tracking_uri=absolute)
        found = client.get_experiment_by_name(experiment)
        parent = None if found is None else _parent(client, found.experiment_id, info)
        if found is not None and parent is not None:
            if finished and parent.info.status == "RUNNING":
                check.differ("the run of the sweep is left RUNNING")
            token = None
            while True:
                page = client.search_runs(
                    [found.experiment_id],
                    f"tags.`akq.study_id` = '{info.study_id}' and tags.`akq.kind` = 'trial'",
                    max_results=_PAGE,
                    page_token=token,
                )
                _compare_page(check, list(page), seen, expected, take, info, parent.info.run_id)
                token = page.token
                if not token:
                    break
    except errors as error:
        text = redact_url(str(error)).splitlines()
        check.differ(f"cannot be read: {text[0] if text else type(error).__name__}")
    check.n_found = len(seen) + len(check.surplus)
    check.lacks(expected - set(seen))
    return check


def rewrite_runs(
    uri: str,
    experiment: str,
    info: SweepInfo,
    check: ViewCheck,
    take: Callable[[Sequence[int]], Sequence[TrialRecord]],
) -> None:
    """Delete the runs that a check found wrong and write those trials again, through the client.

    MLflow keeps deleted runs until it is told to collect them.
    """
    absolute = store.absolute_uri(uri)
    client = mlflow_env.import_client()(tracking_uri=absolute)
    for run_id in check.surplus:
        client.delete_run(run_id)
    # A deleted run keeps its id, so the bulk writer, which derives ids, could not write the trial again.
    tracker = MlflowTracker(uri, experiment, options=MlflowOptions(bulk=False))
    try:
        tracker.open(info)
        numbers = sorted(check.wrong)
        for start in range(0, len(numbers), _PAGE):
            tracker.record(take(numbers[start : start + _PAGE]))
    finally:
        tracker.close()


def _parent(client: Any, experiment_id: str, info: SweepInfo) -> Any:
    runs = client.search_runs(
        [experiment_id],
        f"tags.`akq.study_id` = '{info.study_id}' and tags.`akq.kind` = 'sweep'",
        max_results=1,
    )
    return runs[0] if runs else None


def _compare_page(
    check: ViewCheck,
    runs: list[Any],
    seen: dict[int, str],
    expected: set[int],
    take: Callable[[Sequence[int]], Sequence[TrialRecord]],
    info: SweepInfo,
    parent_id: str,
) -> None:
    numbered = [(int(run.data.tags.get("akq.number", -1)), run) for run in runs]
    records = {
        record.number: record for record in take([number for number, _ in numbered if number in expected])
    }
    for number, run in numbered:
        run_id = run.info.run_id
        if number in seen:
            check.surplus.append(run_id)
            check.differ(f"trial {number} has two runs, {seen[number]} and {run_id}")
        elif number not in records:
            check.surplus.append(run_id)
            check.differ(f"run {run_id} is of trial {number}, which should have none")
        else:
            seen[number] = run_id
            before = check.n_differences
            _compare(check, run, records[number], info, parent_id)
            if check.n_differences > before:
                check.surplus.append(run_id)


def _compare(check: ViewCheck, run: Any, record: TrialRecord, info: SweepInfo, parent_id: str) -> None:
    held = trial_values(record, info, parent_id)
    number = record.number
    check.compare(number, "the status of the run", held.status, run.info.status)
    check.compare(number, "a parameter", dict(held.params), dict(run.data.params))
    metrics = {name: run.data.metrics.get(name) for name in held.metrics}
    check.compare(number, "a metric", dict(held.metrics), metrics)
    check.compare(number, "the parent", parent_id, run.data.tags.get("mlflow.parentRunId"))
    for tag in _CHECKED_TAGS:
        check.compare(number, tag, held.tags[tag], run.data.tags.get(tag))
