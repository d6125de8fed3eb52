"""Optuna's database read in a few statements, for pages.

Optuna makes an object of every row, more than a millisecond a trial, and optuna-dashboard asks for all trials
again and again.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from optuna.distributions import json_to_distribution
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Float, cast, func, select

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.study._frozen import FrozenStudy
    from sqlalchemy import ColumnElement, Connection

_TRIAL_COLUMNS: Final = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
MAX_SHOWN: Final = 10_000
"""Trials of a study that a browser draws in seconds; of more it gets the best and some of all others."""
_N_BEST: Final = 100
_NOTE: Final = {"version": "dashboard:note_ver", "text": "dashboard:note_str:0"}
"""Where optuna-dashboard keeps the note of a study."""
_CONSTRAINTS: Final = "constraints"
"""Where the dashboard looks for them; Optuna 5 keeps each under a key of its own that begins with this."""


@dataclass
class _Held:
    """The trials of a study as they were read last."""

    by_id: dict[int, FrozenTrial] = field(default_factory=dict)
    open_ids: set[int] = field(default_factory=set)
    n_passed: int = 0
    """Trials that are not shown because there are too many."""
    picked: frozenset[int] = frozenset()
    """Trials that are shown for their values alone, which statistics must not count."""
    last_id: int = -1
    """Everything up to here has been seen."""


class PagesStorage(_CachedStorage):
    """What Optuna's storage gives, with finished trials read once and fast. For databases of a known layout.

    Of a study with more than MAX_SHOWN trials when it is first read it gives the best and evenly spaced others, and
    a note on the study says so.

    Constraints stand where optuna-dashboard looks for them as well, so that it knows the trials that break one.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._read_studies: dict[int, _Held] = {}
        self._reading = threading.Lock()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study in number order. Raises KeyError when there is no such study.

        Trials of some states are asked for by what computes, importances for example: of too many trials these
        are the evenly spaced ones alone.
        """
        with self._reading:
            held = self._read(study_id)
            found = sorted(held.by_id.values(), key=lambda trial: trial.number)
            picked = held.picked
        if states is not None:
            found = [trial for trial in found if trial.state in states and trial._trial_id not in picked]
        return copy.deepcopy(found) if deepcopy else found

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best of the complete trials that meet the constraints, or of all where none does."""
        (direction,) = self.get_study_directions(study_id)
        found = self.get_all_trials(study_id, deepcopy=False)
        complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
        if not complete:
            raise ValueError("No trials are completed yet.")
        feasible = [trial for trial in complete if all(value <= 0.0 for value in trial.constraints.values())]
        best = max if direction == StudyDirection.MAXIMIZE else min
        return best(feasible or complete, key=lambda trial: trial.values[0])

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the studies, those with many trials with a note that says that not all are shown."""
        trials = models.TrialModel.__table__
        counted = select(trials.c.study_id, func.count()).group_by(trials.c.study_id)
        with self._backend.engine.connect() as connection:
            counts = {row[0]: int(row[1]) for row in connection.execute(counted)}
        studies = super().get_all_studies()
        for study in studies:
            study.system_attrs = _with_note(study.system_attrs, counts.get(study._study_id, 0))
        return studies

    def _read(self, study_id: int) -> _Held:
        """Read what has come or changed since the last time."""
        studies, trials = models.StudyModel.__table__, models.TrialModel.__table__
        with self._backend.engine.connect() as connection:
            named = select(studies.c.study_id).where(studies.c.study_id == study_id)
            if connection.execute(named).first() is None:
                self._read_studies.pop(study_id, None)
                raise KeyError(f"no study {study_id}")
            held = self._read_studies.setdefault(study_id, _Held())
            of_study = trials.c.study_id == study_id
            n_still = select(func.count()).where(of_study, trials.c.trial_id <= held.last_id)
            if connection.execute(n_still).scalar() != len(held.by_id) + held.n_passed:
                # The study was deleted and made again.
                held = self._read_studies[study_id] = _Held()
            is_new = trials.c.trial_id > held.last_id
            wanted = of_study & (is_new | trials.c.trial_id.in_(held.open_ids))
            columns = [trials.c[name] for name in _TRIAL_COLUMNS]
            rows = connection.execute(select(*columns).where(wanted).order_by(trials.c.number)).all()
            if not rows:
                return held
            last_id = max(held.last_id, *(row.trial_id for row in rows))
            if not held.by_id and len(rows) > MAX_SHOWN:
                spaced = {
                    rows[ix * len(rows) // (MAX_SHOWN - _N_BEST)].trial_id
                    for ix in range(MAX_SHOWN - _N_BEST)
                }
                held.picked = frozenset(self._best_ids(connection, study_id) - spaced)
                chosen = spaced | held.picked
                held.n_passed = len(rows) - len(chosen)
                rows = [row for row in rows if row.trial_id in chosen]
                wanted = trials.c.trial_id.in_(chosen)
            parts = _Parts(connection, wanted)
            for trial_id, *facts in rows:
                trial = held.by_id[trial_id] = parts.trial(trial_id, *facts)
                (held.open_ids.discard if trial.state.is_finished() else held.open_ids.add)(trial_id)
            held.last_id = last_id
        return held

    def _best_ids(self, connection: Connection, study_id: int) -> set[int]:
        """Return the ids of the trials that meet the constraints and are the best by one of the objectives."""
        trials, system = models.TrialModel.__table__, models.TrialSystemAttributeModel.__table__
        values = models.TrialValueModel.__table__
        limits = select(system.c.trial_id).where(
            system.c.key.startswith(f"{_CONSTRAINTS}:"), cast(system.c.value_json, Float) > 0.0
        )
        directions = self.get_study_directions(study_id)
        found: set[int] = set()
        for ix, direction in enumerate(directions):
            order = values.c.value.desc() if direction == StudyDirection.MAXIMIZE else values.c.value
            best = (
                select(values.c.trial_id)
                .join(trials, trials.c.trial_id == values.c.trial_id)
                .where(trials.c.study_id == study_id, trials.c.state == TrialState.COMPLETE)
                .where(
                    values.c.objective == ix, values.c.value.is_not(None), values.c.trial_id.not_in(limits)
                )
                .order_by(order, trials.c.number)
                .limit(_N_BEST // len(directions))
            )
            found.update(connection.execute(best).scalars())
        return found


def _with_note(attributes: dict[str, Any], n_trials: int) -> dict[str, Any]:
    """Add a note to the attributes of a study that has more trials than are shown, unless it has a note."""
    if n_trials <= MAX_SHOWN or _NOTE["version"] in attributes:
        return attributes
    text = (
        f"**{MAX_SHOWN:,} of {n_trials:,} trials are shown**: the best {_N_BEST:,} and evenly spaced others, because a "
        "browser cannot draw all. Importances are of the evenly spaced ones. `akq sweep report` and "
        "`akq sweep export` take all of them."
    )
    return {**attributes, _NOTE["version"]: 0, _NOTE["text"]: text}


class _Parts:
    """What belongs to some trials, by their ids."""

    def __init__(self, connection: Connection, wanted: ColumnElement[bool]) -> None:
        self._connection, self._wanted = connection, wanted
        self._distributions: dict[str, BaseDistribution] = {}
        values, reports = models.TrialValueModel, models.TrialIntermediateValueModel
        self._values = self._dicts(
            values, "objective", lambda row: values.stored_repr_to_value(*row), "value", "value_type"
        )
        self._reports = self._dicts(
            reports,
            "step",
            lambda row: reports.stored_repr_to_intermediate_value(*row),
            "intermediate_value",
            "intermediate_value_type",
        )
        self._user = self._dicts(models.TrialUserAttributeModel, "key", _from_json, "value_json")
        self._system = self._dicts(models.TrialSystemAttributeModel, "key", _from_json, "value_json")
        self._params = self._dicts(
            models.TrialParamModel, "param_name", self._param, "param_value", "distribution_json"
        )

    def trial(
        self,
        trial_id: int,
        number: int,
        state: TrialState,
        start: dt.datetime | None,
        complete: dt.datetime | None,
    ) -> FrozenTrial:
        """Put a trial together."""
        values, params = self._values.get(trial_id), self._params.get(trial_id, {})
        system = self._system.get(trial_id, {})
        limits = [value for key, value in system.items() if key.startswith(f"{_CONSTRAINTS}:")]
        if limits:
            system.setdefault(_CONSTRAINTS, limits)
        return FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=None if values is None else [values[ix] for ix in range(len(values))],
            datetime_start=_local(start),
            datetime_complete=_local(complete),
            params={name: value for name, (value, _) in params.items()},
            distributions={name: distribution for name, (_, distribution) in params.items()},
            user_attrs=self._user.get(trial_id, {}),
            system_attrs=system,
            intermediate_values=self._reports.get(trial_id, {}),
            trial_id=trial_id,
        )

    def _dicts(
        self, model: Any, key: str, read: Callable[[Sequence[Any]], Any], *columns: str
    ) -> dict[int, dict[Any, Any]]:
        """Return by trial what a table has of each, by one of its columns, in the order in which it was written."""
        table, trials = model.__table__, models.TrialModel.__table__
        (primary,) = table.primary_key.columns
        query = (
            select(table.c.trial_id, table.c[key], *(table.c[name] for name in columns))
            .join(trials, trials.c.trial_id == table.c.trial_id)
            .where(self._wanted)
            .order_by(table.c.trial_id, primary)
        )
        found: dict[int, dict[Any, Any]] = {}
        for trial_id, name, *row in self._connection.execute(query):
            found.setdefault(trial_id, {})[name] = read(row)
        return found

    def _param(self, row: Sequence[Any]) -> tuple[Any, BaseDistribution]:
        written, text = row
        distribution = self._distributions.get(text)
        if distribution is None:
            distribution = self._distributions[text] = json_to_distribution(text)
        return distribution.to_external_repr(written), distribution


def _from_json(row: Sequence[Any]) -> Any:
    return json.loads(row[0])


def _local(moment: dt.datetime | None) -> dt.datetime | None:
    """Return a moment of the tables, which is in UTC without saying so, as Optuna gives it."""
    return None if moment is None else moment.replace(tzinfo=dt.UTC).astimezone().replace(tzinfo=None)
