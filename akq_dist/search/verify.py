"""Whether an Optuna storage holds what the ledger holds, read through Optuna's public interface alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from akq_dist.record.agreement import ViewCheck
from akq_dist.search.optuna_model import import_optuna
from akq_dist.search.storage import STUDY_ID, TRIAL_KEY, copied_metrics, open_storage
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from akq_dist.record.protocols import TrialRecord
    from akq_dist.record.trials import TrialStore
    from akq_dist.search.judge import Judge

_BLOCK = 1_000
_STATES = {"complete": "COMPLETE", "fail": "FAIL", "pruned": "PRUNED"}


def settled_records(store: TrialStore) -> Iterator[TrialRecord]:
    """Stream the trials that a view can hold: those before the first that is still open."""
    start = 0
    while records := store.read_finished(start, _BLOCK):
        yield from records
        start += len(records)


def check_optuna(url: str, store: TrialStore, judge: Judge) -> ViewCheck:
    """Compare every trial of the Optuna study with the ledger's: number, state, values, parameters, metrics."""
    optuna = import_optuna()
    check = ViewCheck("optuna", redact_url(url), n_expected=store.n_settled())
    try:
        study: Study = optuna.load_study(study_name=store.study.name, storage=open_storage(url))
        trials = study.get_trials(deepcopy=False)
        owner = study.user_attrs.get(STUDY_ID)
        directions = [direction.name.lower() for direction in study.directions]
    except KeyError:
        check.lacks(set(range(check.n_expected)))
        return check
    # The edge to a store: drivers of many databases raise errors of their own.
    except Exception as error:
        check.differ(f"cannot be read: {redact_url(f'{type(error).__name__}: {error}').splitlines()[0]}")
        check.lacks(set(range(check.n_expected)))
        return check
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    check.n_found = len(trials)
    if owner != store.study.id:
        check.foreign = True
        check.differ(f"the study '{store.study.name}' there belongs to something else")
        return check
    wanted = [direction for _, direction in store.study.objectives]
    if directions != wanted:
        check.differ(f"directions are {', '.join(directions)}, the ledger has {', '.join(wanted)}")
    copied = copied_metrics(store.study, judge)
    _compare_all(check, settled_records(store), trials, judge, copied)
    return check


def _compare_all(
    check: ViewCheck,
    records: Iterable[TrialRecord],
    trials: list[FrozenTrial],
    judge: Judge,
    copied: frozenset[str],
) -> None:
    by_number: dict[int, FrozenTrial] = {}
    for trial in trials:
        if trial.number in by_number:
            check.surplus.append(str(trial.number))
            check.differ(f"trial {trial.number} is there twice")
        by_number[trial.number] = trial
        if trial.state.name in ("RUNNING", "WAITING"):
            check.wrong.add(trial.number)
            check.differ(f"trial {trial.number} is left {trial.state.name}")
    missing = set()
    for record in records:
        found = by_number.pop(record.number, None)
        if found is None:
            missing.add(record.number)
        else:
            _compare(check, record, found, judge, copied)
    check.lacks(missing)
    for number in sorted(by_number):
        check.surplus.append(str(number))
        check.differ(f"trial {number} is there, but not in the ledger")


def _compare(
    check: ViewCheck, record: TrialRecord, trial: FrozenTrial, judge: Judge, copied: frozenset[str]
) -> None:
    number = record.number
    check.compare(number, "the state", _STATES[record.state], trial.state.name)
    check.compare(number, "the value", record.values, tuple(trial.values or ()))
    check.compare(number, "the key", record.key, trial.user_attrs.get(TRIAL_KEY))
    check.compare(number, "the result hash", record.hash, trial.user_attrs.get("akq.hash"))
    held_params = {name: record.params.get(name) for name in trial.params}
    check.compare(number, "a parameter", _plain(held_params), _plain(trial.params))
    for name, value in record.metrics.items():
        # A study can have had more of them once; what is there has to be right.
        if name in copied or name in trial.user_attrs:
            check.compare(number, name, value, trial.user_attrs.get(name))
    if record.state == "complete":
        for output, constraint in judge.constraints:
            value = min(constraint.violation(record.metrics.get(output, math.nan)), 1e300)
            check.compare(
                number, f"constraint {constraint.text}", value, trial.constraints.get(constraint.text)
            )


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Sort parameters by name: a view may list them in another order."""
    return dict(sorted(params.items()))
