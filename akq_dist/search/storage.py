"""The Optuna view of a study: finished trials copied to a storage URL, in number order, behind the search."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from akq_dist.errors import AkqStudyError
from akq_dist.record.pruning import values_at_looks
from akq_dist.record.sqlite import file_of, prepare_file
from akq_dist.search.optuna_model import import_optuna
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from akq_dist.record.ledger import StudyRecord
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.search.judge import Judge
    from akq_dist.specs import ParamDef, Space

    OptunaStudy: TypeAlias = Study
    """The name under which other parts speak of an Optuna study."""

logger = logging.getLogger(__name__)

STUDY_ID: Final = "akq.study_id"
TRIAL_KEY: Final = "akq.key"
HEADLINES: Final = frozenset({"total_return", "cagr", "sharpe", "sortino", "max_drawdown", "n_trades"})
"""Metrics that a trial has in Optuna whatever the search is about."""


class TrialWriter(Protocol):
    """Appends finished trials to one Optuna study."""

    @property
    def piece(self) -> int:
        """Number of trials to hand over at once; they take well under a second."""
        ...

    def count(self) -> int:
        """Return how many trials the study has."""
        ...

    def key_of(self, number: int) -> Any:
        """Return the key of a trial that the study has; None when there is none."""
        ...

    def add(self, first_number: int, trials: Sequence[FrozenTrial]) -> None:
        """Append trials; the first one's number is the number of trials that the study has."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class OptunaView:
    """An Optuna study that holds what the ledger holds.

    Trial numbers are the ledger's, and no trial is ever RUNNING.

    Used by one thread.
    """

    def __init__(self, url: str, study: StudyRecord, space: Space, judge: Judge) -> None:
        self.url = url
        self._record = study
        self._judge = judge
        self._distributions: dict[str, BaseDistribution] = {}
        self._space = space
        self._copied = copied_metrics(study, judge)
        self._writer: TrialWriter | None = None

    @property
    def piece(self) -> int:
        """Number of trials to hand to `add` at once."""
        return 1 if self._writer is None else self._writer.piece

    def open(self) -> int:
        """Find or make the study; return how many trials it has.

        Raises AkqStudyError when a study of the same name belongs to somebody else or holds other trials.
        """
        self.close()
        optuna = import_optuna()
        storage = open_storage(self.url)
        study = optuna.create_study(
            storage=storage,
            study_name=self._record.name,
            directions=[direction for _, direction in self._record.objectives],
            load_if_exists=True,
        )
        # Not at the top: it brings SQLAlchemy, which few commands need.
        from akq_dist.search.optuna_bulk import open_bulk

        bulk = open_bulk(study, TRIAL_KEY)
        self._writer = bulk or PublicWriter(study)
        owner = study.user_attrs.get(STUDY_ID)
        n_held = self._writer.count()
        if owner is None and not n_held:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([output for output, _ in self._record.objectives])
            study.set_user_attr(STUDY_ID, self._record.id)
        elif owner != self._record.id:
            raise AkqStudyError(
                f"the Optuna storage {redact_url(self.url)} already has a study '{self._record.name}' "
                "that is not this one. Rename the sweep, or name another storage in storage.optuna."
            )
        if bulk is not None:
            _release(study)
        self._distributions = {param.name: view_distribution(param) for param in self._space.params}
        return n_held

    def check(self, records: Sequence[TrialRecord]) -> None:
        """Raise AkqStudyError unless these trials, which the view has, are the ledger's."""
        for record in records:
            if self._opened().key_of(record.number) != record.key:
                raise AkqStudyError(
                    f"trial {record.number} of study '{self._record.name}' in the Optuna storage "
                    f"{redact_url(self.url)} is not the ledger's. Name another storage in "
                    "storage.optuna; it is filled from the ledger."
                )

    def add(self, records: Sequence[TrialRecord]) -> None:
        """Append finished trials; the first one's number is the number of trials that the view has."""
        if records:
            local_time = functools.cache(_local_time)
            self._opened().add(records[0].number, [self._frozen(record, local_time) for record in records])

    def close(self) -> None:
        """Give the connections back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self) -> TrialWriter:
        if self._writer is None:
            raise AkqStudyError("internal: the Optuna view was used before it was opened.")
        return self._writer

    def _frozen(self, record: TrialRecord, local_time: Callable[[int], dt.datetime]) -> FrozenTrial:
        """Return a record as Optuna's own trial; all trials of a batch have the same two times."""
        from optuna.trial import FrozenTrial, TrialState

        state = {"complete": TrialState.COMPLETE, "fail": TrialState.FAIL, "pruned": TrialState.PRUNED}[
            record.state
        ]
        attributes: dict[str, Any] = {
            name: value for name, value in record.metrics.items() if name in self._copied
        }
        attributes[TRIAL_KEY] = record.key
        attributes["akq.hash"] = record.hash
        if record.reason is not None:
            attributes["akq.reason"] = record.reason[:2000]
        active, distributions = self._space.names, self._distributions
        if self._space.conditional:
            active = self._space.active(record.params)
            distributions = {name: distributions[name] for name in active}
        # Not through `create_trial`, which checks again what the space has made, at the price of all the rest.
        trial = FrozenTrial(
            number=record.number,
            trial_id=-1,
            state=state,
            value=None,
            values=list(record.values) if record.state == "complete" else None,
            datetime_start=local_time(record.started_ms),
            datetime_complete=local_time(record.ended_ms),
            params={name: record.params[name] for name in active},
            distributions=distributions,
            user_attrs=attributes,
            system_attrs={},
            intermediate_values=values_at_looks(record.metrics),
        )
        for name, value in self._constraints(record).items():
            trial.set_constraint(name, value)
        return trial

    def _constraints(self, record: TrialRecord) -> dict[str, float]:
        if record.state != "complete":
            return {}
        return {
            constraint.text: min(constraint.violation(record.metrics.get(output, float("nan"))), 1e300)
            for output, constraint in self._judge.constraints
        }


def shown_metrics(study: StudyRecord, judge: Judge) -> frozenset[str]:
    """Return the outputs that a person looks at first: of objective and constraints, and the usual ones."""
    named = {objective.output for objective in judge.objectives} | {name for name, _ in judge.constraints}
    return frozenset(name for name in study.outputs if name in named or name.partition(".")[0] in HEADLINES)


def copied_metrics(study: StudyRecord, judge: Judge) -> frozenset[str]:
    """Return the outputs that each trial has as user attributes; the ledger and the tracker have all.

    Optuna makes an object of every attribute whenever it reads a study, and optuna-dashboard a column.
    """
    if study.spec.get("storage", {}).get("optuna_metrics") == "all":
        return frozenset(study.outputs)
    return shown_metrics(study, judge)


def _local_time(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000.0)


class PublicWriter:
    """Appends trials as any user of Optuna could: for every storage and version, slowly in a database."""

    piece: Final = 5

    def __init__(self, study: Study) -> None:
        self._study = study

    def count(self) -> int:
        return len(self._study.get_trials(deepcopy=False))

    def key_of(self, number: int) -> Any:
        held = self._study.get_trials(deepcopy=False)
        return held[number].user_attrs.get(TRIAL_KEY) if number < len(held) else None

    def add(self, first_number: int, trials: Sequence[FrozenTrial]) -> None:
        del first_number  # Optuna counts.
        self._study.add_trials(trials)

    def close(self) -> None:
        _release(self._study)


def _release(study: Study) -> None:
    """Give back the connections of a study's storage; it opens others when it is used again."""
    study._storage.remove_session()
    engine = getattr(getattr(study._storage, "_backend", None), "engine", None)
    if engine is not None:
        engine.dispose()


def open_storage(url: str) -> BaseStorage:
    """Open an Optuna storage; an SQLite file, and its folder, is made when it is missing."""
    optuna = import_optuna()
    _make_file(url)
    storage: BaseStorage = optuna.storages.get_storage(url)
    return storage


def open_for_pages(url: str) -> BaseStorage | str:
    """Return the storage for the pages of an Optuna database, or the URL where only Optuna knows its layout.

    Nothing is made or migrated.
    """
    optuna = import_optuna()
    if "://" not in url:
        return url
    backend = optuna.storages.RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)
    # Not at the top: another version of Optuna may not have what they import.
    from akq_dist.search.optuna_bulk import is_known

    if not is_known(backend):
        return url
    from akq_dist.search.bulk_reads import PagesStorage

    return PagesStorage(backend)


def _make_file(url: str) -> bool:
    """Make the SQLite file that a URL names, where it names one and there is none; tell whether it did."""
    path = file_of(url)
    if path is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return False
    prepare_file(path)
    return path.exists()


def load_optuna_study(url: str, name: str) -> Study:
    """Return the Optuna study of a sweep. Raises AkqStudyError when there is none."""
    optuna = import_optuna()
    try:
        study: Study = optuna.load_study(study_name=name, storage=open_storage(url))
    except KeyError as error:
        raise AkqStudyError(f"the Optuna storage {redact_url(url)} has no study '{name}'.") from error
    return study


def delete_optuna_study(url: str, record: StudyRecord) -> None:
    """Delete the Optuna study of a sweep, so that it is filled again from the ledger.

    Raises AkqStudyError when the study of that name is somebody else's.
    """
    if owner_of(url, record.name) != record.id:
        raise AkqStudyError(
            f"the Optuna storage {redact_url(url)} has a study '{record.name}' that is not this one; "
            "it is left as it is."
        )
    import_optuna().delete_study(study_name=record.name, storage=open_storage(url))


def owner_of(url: str, name: str) -> str | None:
    """Return the id of the ledger study behind an Optuna study.

    Empty for somebody else's, None when there is none.

    Raises AkqStudyError when the storage cannot be opened.
    """
    optuna = import_optuna()
    try:
        if _make_file(url):
            return None
        storage = open_storage(url)
        for study_id, held in ((s._study_id, s.study_name) for s in storage.get_all_studies()):
            if held == name:
                attributes = storage.get_study_user_attrs(study_id)
                return str(attributes.get(STUDY_ID, ""))
    # Drivers of many databases raise errors of their own here.
    except Exception as error:
        message = redact_url(f"{type(error).__name__}: {error}")
        raise AkqStudyError(
            f"storage.optuna: {redact_url(url)} cannot be opened ({message.splitlines()[0]}). "
            "Correct it, or write null to do without."
        ) from error
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    return None


def view_distribution(param: ParamDef) -> BaseDistribution:
    """Return the distribution that a person sees in the Optuna study: the parameter's own values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    n = param.n_values()
    if param.kind == "choice":
        return CategoricalDistribution(param.values)
    # The range ends on the last step, where Optuna would end it too, with a warning.
    high = param.value_at(n - 1) if n is not None and not param.log else param.high
    if param.kind == "int":
        return IntDistribution(int(param.low), int(high), log=param.log, step=int(param.step or 1))
    return FloatDistribution(param.low, high, log=param.log, step=None if n is None else param.step)
