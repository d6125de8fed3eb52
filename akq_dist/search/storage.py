"""The Optuna view of a study: finished trials copied to a storage URL, in number order, behind the search."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from akq_dist.errors import AkqStudyError, MissingDependencyError
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

logger = logging.getLogger(__name__)

STUDY_ID: Final = "akq.study_id"
BLOCK: Final = 50
_SQLITE: Final = "sqlite:///"
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_GIVE_UP_AFTER: Final = 4


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
        self._study: Study | None = None

    def open(self) -> int:
        """Find or make the study; return how many trials it has.

        Raises AkqStudyError when a study of the same name belongs to somebody else or holds other trials.
        """
        optuna = import_optuna()
        storage = open_storage(self.url)
        study = optuna.create_study(
            storage=storage,
            study_name=self._record.name,
            directions=[direction for _, direction in self._record.objectives],
            load_if_exists=True,
        )
        owner = study.user_attrs.get(STUDY_ID)
        trials = study.get_trials(deepcopy=False)
        if owner is None and not trials:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([output for output, _ in self._record.objectives])
            study.set_user_attr(STUDY_ID, self._record.id)
        elif owner != self._record.id:
            raise AkqStudyError(
                f"the Optuna storage {redact_url(self.url)} already has a study '{self._record.name}' "
                "that is not this one. Rename the sweep, or name another storage in storage.optuna."
            )
        self._distributions = {param.name: view_distribution(param) for param in self._space.params}
        self._study = study
        return len(trials)

    def check(self, records: Sequence[TrialRecord]) -> None:
        """Raise AkqStudyError unless these trials, which the view has, are the ledger's."""
        if self._study is None:
            return
        held = self._study.get_trials(deepcopy=False)
        for record in records:
            key = held[record.number].user_attrs.get("akq.key") if record.number < len(held) else None
            if key != record.key:
                raise AkqStudyError(
                    f"trial {record.number} of study '{self._record.name}' in the Optuna storage "
                    f"{redact_url(self.url)} is not the ledger's. Name another storage in "
                    "storage.optuna; it is filled from the ledger."
                )

    def add(self, records: Sequence[TrialRecord]) -> None:
        """Append finished trials; the first one's number is the number of trials that the view has."""
        if self._study is None:
            raise AkqStudyError("internal: the Optuna view was used before it was opened.")
        self._study.add_trials([self._frozen(record) for record in records])

    def close(self) -> None:
        """Give the connections back."""
        if self._study is not None:
            remove = getattr(getattr(self._study, "_storage", None), "remove_session", None)
            if remove is not None:
                remove()
            self._study = None

    def _frozen(self, record: TrialRecord) -> FrozenTrial:
        from optuna.trial import TrialState, create_trial

        state = {"complete": TrialState.COMPLETE, "fail": TrialState.FAIL, "pruned": TrialState.PRUNED}[
            record.state
        ]
        attributes: dict[str, Any] = dict(record.metrics)
        attributes["akq.key"] = record.key
        attributes["akq.hash"] = record.hash
        if record.reason is not None:
            attributes["akq.reason"] = record.reason[:2000]
        trial = create_trial(
            state=state,
            values=list(record.values) if record.state == "complete" else None,
            params={name: record.params[name] for name in self._distributions},
            distributions=self._distributions,
            user_attrs=attributes,
            constraints=self._constraints(record) or None,
        )
        trial.datetime_start = dt.datetime.fromtimestamp(record.started_ms / 1000.0)
        trial.datetime_complete = dt.datetime.fromtimestamp(record.ended_ms / 1000.0)
        return trial

    def _constraints(self, record: TrialRecord) -> dict[str, float]:
        if record.state != "complete":
            return {}
        return {
            constraint.text: min(constraint.violation(record.metrics.get(output, float("nan"))), 1e300)
            for output, constraint in self._judge.constraints
        }


class ViewThread:
    """Keeps an Optuna view up to date from the ledger without holding up the search.

    Nothing is buffered here: the thread reads from the ledger what the view does not have yet. A storage that
    is away is tried again; it never costs a result.
    """

    def __init__(
        self,
        view: OptunaView,
        read: Callable[[int, int], Sequence[TrialRecord]],
        watermark: Callable[[int], None],
    ) -> None:
        """`read` gives finished trials from a number on, `watermark` notes how many the view has.

        Both from the thread.
        """
        self._view = view
        self._read = read
        self._watermark = watermark
        self._changed = threading.Condition()
        self._dirty = True
        self._busy = True
        """The thread is between taking note of something to do and having done it."""
        self._stopping = False
        self._n_failures = 0
        self._fatal = False
        self._position = 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name="akq-optuna-view", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        """Why the view is behind; None while all is well."""
        with self._changed:
            return self._error

    @property
    def position(self) -> int:
        """Number of trials that the view has."""
        with self._changed:
            return self._position

    @property
    def is_stuck(self) -> bool:
        """True when trying again is of no use, or has been tried often enough."""
        with self._changed:
            return self._fatal or self._n_failures >= _GIVE_UP_AFTER or not self._thread.is_alive()

    def notify(self) -> None:
        """Say that further trials have ended."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def flush(self, timeout_s: float, on_progress: Callable[[int], None] | None = None) -> bool:
        """Wait until the view has everything that has ended in number order; False when it cannot be."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._dirty = True
            self._changed.notify_all()
        while True:
            with self._changed:
                if not self._dirty and not self._busy and self._error is None:
                    return True
                left_s = deadline_s - time.monotonic()
                if (
                    self._fatal
                    or self._n_failures >= _GIVE_UP_AFTER
                    or left_s <= 0.0
                    or not self._thread.is_alive()
                ):
                    return False
                self._changed.wait(min(left_s, 0.2))
                position = self._position
            if on_progress is not None:
                on_progress(position)

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop the thread after the block it is writing."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        opened = False
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._dirty and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    break
                self._dirty = False
                self._busy = True
            try:
                if not opened:
                    self._open()
                    opened = True
                self._copy()
                pause_s = _FIRST_PAUSE_S
                self._report(None)
            except (AkqStudyError, MissingDependencyError) as error:
                # Nothing that waiting could change.
                self._report(str(error), fatal=True)
                break
            # The edge of a thread: a storage raises errors of many drivers, and none may end the sweep.
            except Exception as error:
                opened = False
                self._report(redact_url(f"{type(error).__name__}: {error}"))
                logger.info("the Optuna storage cannot be written, trying again: %s", self._error)
                with self._changed:
                    self._dirty = True
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)
        self._view.close()

    def _open(self) -> None:
        n_held = self._view.open()
        if n_held:
            last = self._read(n_held - 1, 1)
            if not last:
                raise AkqStudyError(
                    f"the Optuna storage {redact_url(self._view.url)} has {n_held} trials of this study, "
                    "more than the ledger. Name another storage in storage.optuna; it is filled from the ledger."
                )
            self._view.check(last)
        with self._changed:
            self._position = n_held

    def _copy(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                start = self._position
            records = self._read(start, BLOCK)
            if not records:
                return
            self._view.add(records)
            self._watermark(start + len(records))
            with self._changed:
                self._position = start + len(records)
                self._changed.notify_all()

    def _report(self, error: str | None, *, fatal: bool = False) -> None:
        with self._changed:
            self._error = error
            self._fatal = fatal
            self._n_failures = 0 if error is None else self._n_failures + 1
            self._changed.notify_all()


def open_storage(url: str) -> BaseStorage:
    """Open an Optuna storage; the folder of an SQLite file is made when it is missing."""
    optuna = import_optuna()
    if url.startswith(_SQLITE):
        Path(url.removeprefix(_SQLITE).partition("?")[0]).parent.mkdir(parents=True, exist_ok=True)
    storage: BaseStorage = optuna.storages.get_storage(url)
    return storage


def load_optuna_study(url: str, name: str) -> Study:
    """Return the Optuna study of a sweep. Raises AkqStudyError when there is none."""
    optuna = import_optuna()
    try:
        study: Study = optuna.load_study(study_name=name, storage=open_storage(url))
    except KeyError as error:
        raise AkqStudyError(f"the Optuna storage {redact_url(url)} has no study '{name}'.") from error
    return study


def owner_of(url: str, name: str) -> str | None:
    """Return the id of the ledger study behind an Optuna study.

    Empty for somebody else's, None when there is none.

    Raises AkqStudyError when the storage cannot be opened.
    """
    optuna = import_optuna()
    try:
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
