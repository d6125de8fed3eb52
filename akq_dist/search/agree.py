"""Proof that ledger, Optuna and MLflow agree about a study, and the repair of the two that are views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqStudyError
from akq_dist.record.agreement import Agreement, ViewCheck, check_ledger
from akq_dist.record.ledger import Ledger
from akq_dist.record.lock import StudyLock
from akq_dist.record.protocols import SweepInfo
from akq_dist.record.registry import tracker_module
from akq_dist.record.trials import TrialStore
from akq_dist.search.facts import sweep_info
from akq_dist.search.ranking import judge_of
from akq_dist.search.storage import delete_optuna_study
from akq_dist.search.verify import check_optuna
from akq_dist.search.views import best_numbers, sync_views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from akq_dist.record.ledger import StudyRecord
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.request import Request
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import SweepSpec


def verify_study(spec: SweepSpec, ledger: Path, name: str, *, repaired: bool = False) -> Agreement:
    """Compare the views that a sweep has with its ledger, trial by trial; nothing is written.

    Data and strategy are not needed. Raises AkqStudyError when the ledger has no such study.
    """
    book = Ledger(ledger, must_exist=True)
    try:
        store = _store(book, name)
        checks = [check_ledger(book, store)]
        if spec.storage.optuna is not None:
            checks.append(check_optuna(spec.storage.optuna, store, judge_of(store.study)))
        if spec.track.mlflow is not None:
            checks.append(_check_tracker(spec, store))
        return Agreement(store.study.name, store.counts(), store.result_hash(), tuple(checks), repaired)
    finally:
        book.close()


def repair_study(
    request: Request, ledger: Path, name: str, on_progress: Callable[[str, int], None] | None = None
) -> Agreement:
    """Make the views what the ledger says, and compare again.

    Entries that are wrong are deleted and written anew; somebody else's are left alone. Raises AkqStudyError
    when the ledger itself is damaged, because then nothing is left to repair from.
    """
    from akq_dist.search.prepare import prepare

    spec = request.spec
    before = verify_study(spec, ledger, name)
    checks = {check.view: check for check in before.checks}
    if not checks["ledger"].ok:
        raise AkqStudyError(
            f"the ledger {ledger} is damaged itself ({checks['ledger'].lines[0]}); views cannot be rebuilt from it."
        )
    if before.ok:
        return before
    prepared = prepare(request)
    book = Ledger(ledger, must_exist=True)
    try:
        with StudyLock(ledger, spec.name) as lock:
            store = _store(book, name)
            optuna = checks.get("optuna")
            if optuna is not None and (optuna.wrong or optuna.surplus) and not optuna.foreign:
                delete_optuna_study(spec.storage.optuna or "", store.study)
            sync_views(prepared, book, lock, name, on_progress)
            if _rewrite_runs(prepared, store):
                # Opening the record of the sweep has set it running again; this ends it.
                sync_views(prepared, book, lock, name, on_progress)
    finally:
        book.close()
    return verify_study(spec, ledger, name, repaired=True)


def _rewrite_runs(prepared: Prepared, store: TrialStore) -> bool:
    """Replace the runs that are not what the ledger says; tell whether there were any."""
    spec = prepared.spec
    if spec.track.mlflow is None:
        return False
    check = _check_tracker(spec, store)
    if not check.wrong and not check.surplus:
        return False
    info = sweep_info(prepared, store.study)
    tracker_module("mlflow").rewrite_runs(spec.track.mlflow, spec.experiment, info, check, _taker(store))
    return True


def _check_tracker(spec: SweepSpec, store: TrialStore) -> ViewCheck:
    module = tracker_module("mlflow")
    uri = spec.track.mlflow or ""
    study = store.study
    n_settled = store.n_settled()
    open_left = store.numbers()[1]
    limit = module.plan_runs(spec.track.runs, study.budget, uri).limit
    if limit is None:
        expected = set(range(n_settled))
    elif open_left or not limit:
        expected = set()
    else:
        expected = set(best_numbers(judge_of(study), store, limit))
    checked: ViewCheck = module.check_runs(
        uri, spec.experiment, recorded_info(study), expected, _taker(store), finished=not open_left
    )
    return checked


def recorded_info(study: StudyRecord) -> SweepInfo:
    """Return what the ledger alone knows of a sweep, enough to read and write the runs of its trials."""
    identity: dict[str, Any] = dict(study.identity)
    return SweepInfo(
        study=study.name,
        study_id=study.id,
        spec_yaml="",
        data_digest=identity.get("data", {}).get("digest", ""),
        data_source="",
        n_rows=0,
        symbols=(),
        build=identity.get("build", ""),
        seed=study.seed,
        objectives=study.objectives,
        outputs=study.outputs,
        environment={},
        git_commit=None,
    )


def _taker(store: TrialStore) -> Callable[[Sequence[int]], list[TrialRecord]]:
    def take(numbers: Sequence[int]) -> list[TrialRecord]:
        block = store.take(numbers)
        return [store.record(block, ix) for ix in range(len(block)) if block.states[ix] != "asked"]

    return take


def _store(book: Ledger, name: str) -> TrialStore:
    record = book.find(name)
    if record is None:
        raise AkqStudyError(f"the ledger {book.path} has no study '{name}'.")
    return TrialStore(book, record)
