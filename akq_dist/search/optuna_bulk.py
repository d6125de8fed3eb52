"""Finished trials written to Optuna's own tables, many in one transaction.

Optuna's public way costs tens of statements a trial. The tables are Optuna's private matter, so this is done
only for versions of it that are listed here, each compared with the public way; for any other there is no
bulk writer.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import optuna
from optuna.distributions import (
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.pool import NullPool

from akq_dist.errors import AkqStudyError
from akq_dist.record.sqlite import CACHED_STATEMENTS, insert_rows
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection, Engine, Table

KNOWN: frozenset[tuple[str, str]] = frozenset({("5.0.0", "v3.2.0.a")})
"""(version of Optuna, revision of its tables) that this file was compared with."""
DIALECTS: Final = frozenset({"sqlite", "postgresql"})

_LOCK_WAIT_S: Final = 30.0
_CACHE_KIB: Final = 4 * 1024


class StaleViewError(Exception):
    """The study is not what it was when it was opened; opening it again tells what has happened."""


def open_bulk(study: Study, key_attribute: str) -> BulkWriter | None:
    """Return a writer for this study, or None where only Optuna's public way is safe.

    `key_attribute` is the user attribute that identifies a trial.
    """
    backend = getattr(study._storage, "_backend", None)
    if not isinstance(backend, optuna.storages.RDBStorage):
        return None
    url = backend.engine.url
    in_memory = ":memory:" in (url.database or ":memory:") or "memory" in url.query.values()
    if url.get_backend_name() not in DIALECTS or (url.get_backend_name() == "sqlite" and in_memory):
        return None
    if not is_known(backend):
        return None
    return BulkWriter(backend, study._study_id, len(study.directions), key_attribute)


def is_known(backend: RDBStorage) -> bool:
    """Tell whether the tables of a database are those that this package was compared with."""
    return (optuna.__version__, backend.get_current_version()) in KNOWN


class BulkWriter:
    """Appends trials to one study over a connection of its own.

    What it writes is what `Study.add_trial` would have written. Used by one thread.
    """

    piece: Final = 1000
    """Number of trials that are worth a transaction and still take well under a second."""

    def __init__(self, backend: RDBStorage, study_id: int, n_objectives: int, key_attribute: str) -> None:
        # Not at the top: another version of Optuna may not have it, and then has no bulk writer.
        from optuna.storages._rdb import models

        self._models = models
        self._study_id = study_id
        self._n_objectives = n_objectives
        self._key_attribute = key_attribute
        self._engine = _own_engine(backend)
        self._shown = redact_url(str(self._engine.url))
        self._connection: Connection | None = None
        self._held: dict[str, tuple[BaseDistribution, str]] = {}
        """The newest distribution of a parameter, and its JSON."""

    def count(self) -> int:
        """Return how many trials the study has. Raises AkqStudyError unless they are numbered 0, 1, 2, ..."""
        trials = self._table("TrialModel")
        number = trials.c.number
        query = select(func.count(), func.count(number.distinct()), func.min(number), func.max(number))
        connection = self._connect()
        with connection.begin():
            n, n_distinct, low, high = connection.execute(
                query.where(trials.c.study_id == self._study_id)
            ).one()
        if n and (n_distinct, low, high) != (n, 0, n - 1):
            raise AkqStudyError(
                f"the trials of the study in the Optuna storage {self._shown} are not numbered 0 to {n - 1}: "
                "something else has written to it. Name another storage in storage.optuna; "
                "it is filled from the ledger."
            )
        return int(n)

    def key_of(self, number: int) -> Any:
        """Return what identifies the trial of a number; None when the trial, or its key, is not there."""
        trials, attributes = self._table("TrialModel"), self._table("TrialUserAttributeModel")
        query = (
            select(attributes.c.value_json)
            .join(trials, trials.c.trial_id == attributes.c.trial_id)
            .where(trials.c.study_id == self._study_id, trials.c.number == number)
            .where(attributes.c.key == self._key_attribute)
        )
        connection = self._connect()
        with connection.begin():
            written = connection.execute(query).scalar()
        return None if written is None else json.loads(written)

    def add(self, first_number: int, trials: Sequence[FrozenTrial]) -> None:
        """Append finished trials, the first under this number: all of them, or none.

        Raises StaleViewError when the study has not exactly the trials before it.
        """
        if not trials:
            return
        connection = self._connect()
        with connection.begin():
            self._lock(connection, first_number)
            self._check_distributions(connection, trials)
            ids = _new_ids(connection, self._table("TrialModel"), len(trials))
            for model, columns, values in self._rows(ids, first_number, trials):
                if values:
                    self._insert(connection, self._table(model), columns, values)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()

    def _connect(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect()
            if self._engine.name == "sqlite":
                connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KIB}")
                connection.rollback()
            self._connection = connection
        return self._connection

    def _table(self, model: str) -> Table:
        table: Table = getattr(self._models, model).__table__
        return table

    def _insert(
        self, connection: Connection, table: Table, columns: tuple[str, ...], values: list[Any]
    ) -> None:
        """Insert rows whose values stand one after another."""
        width = len(columns)
        if self._engine.name != "sqlite":
            by_column = [values[ix::width] for ix in range(width)]
            rows = zip(*by_column, strict=True)
            connection.execute(table.insert(), [dict(zip(columns, row, strict=True)) for row in rows])
            return
        # Past SQLAlchemy's machinery, which costs more than the database; its types still convert the values.
        dialect = connection.dialect
        for ix, name in enumerate(columns):
            convert = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
            if convert is not None:
                # States, kinds of value and times: thousands of rows have a few of them.
                values[ix::width] = map(cache(convert), values[ix::width])
        insert_rows(connection.exec_driver_sql, table.name, columns, values)

    def _lock(self, connection: Connection, first_number: int) -> None:
        """Keep others from adding trials to the study, as Optuna does, and look whether they have."""
        if self._engine.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        studies, trials = self._table("StudyModel"), self._table("TrialModel")
        mine = select(studies.c.study_id).where(studies.c.study_id == self._study_id).with_for_update()
        if connection.execute(mine).first() is None:
            raise StaleViewError("the study is no longer in the Optuna storage")
        # Ids grow with numbers, and everything before the newest was counted when the study was opened.
        newest = select(trials.c.number).where(trials.c.study_id == self._study_id)
        number = connection.execute(newest.order_by(trials.c.trial_id.desc()).limit(1)).scalar()
        if (-1 if number is None else number) != first_number - 1:
            raise StaleViewError(
                f"the newest trial in the Optuna storage is {number}, and not {first_number - 1}"
            )

    def _check_distributions(self, connection: Connection, trials: Iterable[FrozenTrial]) -> None:
        """Raise ValueError when a parameter was of another kind before, as Optuna does."""
        table, params = self._table("TrialModel"), self._table("TrialParamModel")
        checked: object = None
        for trial in trials:
            if trial.distributions is checked:
                continue
            checked = trial.distributions
            for name, distribution in trial.distributions.items():
                held = self._held.get(name)
                if held is not None and held[0] is distribution:
                    continue
                if held is None:
                    query = (
                        select(params.c.distribution_json)
                        .join(table, table.c.trial_id == params.c.trial_id)
                        .where(table.c.study_id == self._study_id, params.c.param_name == name)
                        .limit(1)
                    )
                    written = connection.execute(query).scalar()
                    before = distribution if written is None else json_to_distribution(written)
                else:
                    before = held[0]
                check_distribution_compatibility(before, distribution)
                self._held[name] = (distribution, distribution_to_json(distribution))

    def _rows(
        self, ids: Sequence[int], first_number: int, trials: Sequence[FrozenTrial]
    ) -> Iterator[tuple[str, tuple[str, ...], list[Any]]]:
        """Give the rows of these trials, a table at a time and the trials first, for the others point at them.

        Of a table its columns, and the values of its rows one after another.
        """
        placed = list(zip(ids, trials, strict=True))
        values: list[Any] = []
        in_utc = cache(_utc)
        for number, (trial_id, trial) in enumerate(placed, first_number):
            values += self._trial_row(trial_id, number, trial, in_utc)
        columns: tuple[str, ...] = (
            "trial_id",
            "number",
            "study_id",
            "state",
            "datetime_start",
            "datetime_complete",
        )
        yield "TrialModel", columns, values
        values = []
        for trial_id, trial in placed:
            self._add_values(values, trial_id, trial)
        yield "TrialValueModel", ("trial_id", "objective", "value", "value_type"), values
        values = []
        for trial_id, trial in placed:
            self._add_intermediate(values, trial_id, trial)
        columns = ("trial_id", "step", "intermediate_value", "intermediate_value_type")
        yield "TrialIntermediateValueModel", columns, values
        values = []
        for trial_id, trial in placed:
            self._add_params(values, trial_id, trial)
        yield "TrialParamModel", ("trial_id", "param_name", "param_value", "distribution_json"), values
        values = []
        for trial_id, trial in placed:
            _add_attributes(values, trial_id, trial.user_attrs)
        yield "TrialUserAttributeModel", ("trial_id", "key", "value_json"), values
        values = []
        for trial_id, trial in placed:
            # Constraints are among these.
            _add_attributes(values, trial_id, trial.system_attrs)
        yield "TrialSystemAttributeModel", ("trial_id", "key", "value_json"), values

    def _trial_row(
        self,
        trial_id: int,
        number: int,
        trial: FrozenTrial,
        in_utc: Callable[[dt.datetime | None, int], dt.datetime | None],
    ) -> tuple[Any, ...]:
        if not trial.state.is_finished():
            raise AkqStudyError("internal: only finished trials are written in bulk.")
        return (
            trial_id,
            number,
            self._study_id,
            trial.state,
            in_utc(trial.datetime_start, _fold(trial.datetime_start)),
            in_utc(trial.datetime_complete, _fold(trial.datetime_complete)),
        )

    def _add_values(self, values: list[Any], trial_id: int, trial: FrozenTrial) -> None:
        told = trial.values
        if told is None:
            return
        if len(told) != self._n_objectives:
            raise AkqStudyError(
                f"internal: a trial has {len(told)} values, the study {self._n_objectives} objectives."
            )
        for objective, value in enumerate(told):
            values += (trial_id, objective, *self._models.TrialValueModel.value_to_stored_repr(value))

    def _add_intermediate(self, values: list[Any], trial_id: int, trial: FrozenTrial) -> None:
        model = self._models.TrialIntermediateValueModel
        for step, value in trial.intermediate_values.items():
            values += (trial_id, step, *model.intermediate_value_to_stored_repr(value))

    def _add_params(self, values: list[Any], trial_id: int, trial: FrozenTrial) -> None:
        distributions = trial.distributions
        for name, value in trial.params.items():
            distribution = distributions[name]
            held, written = self._held[name]
            if held is not distribution:
                written = distribution_to_json(distribution)
            values += (trial_id, name, distribution.to_internal_repr(value), written)


def _own_engine(backend: RDBStorage) -> Engine:
    """Return an engine of ours for the same database, so that no setting of it reaches Optuna's connections."""
    url = backend.engine.url
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        # Transactions begin where this file says so, and with the lock that writing needs.
        arguments["isolation_level"] = None
        arguments["cached_statements"] = CACHED_STATEMENTS
        if "timeout" not in url.query:
            arguments["timeout"] = _LOCK_WAIT_S
    return create_engine(url, poolclass=NullPool, connect_args=arguments)


def _new_ids(connection: Connection, trials: Table, n: int) -> list[int]:
    """Return ids for new trials, growing, as the database itself would have given them."""
    if connection.dialect.name == "sqlite":
        top = connection.execute(select(func.max(trials.c.trial_id))).scalar() or 0
        return list(range(top + 1, top + 1 + n))
    query = text("SELECT nextval(pg_get_serial_sequence('trials', 'trial_id')) FROM generate_series(1, :n)")
    return sorted(connection.execute(query, {"n": n}).scalars())


def _add_attributes(values: list[Any], trial_id: int, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        # Nearly all are floats, which JSON writes as Python does.
        plain = type(value) is float and math.isfinite(value)
        values += (trial_id, key, repr(value) if plain else json.dumps(value))


def _fold(moment: dt.datetime | None) -> int:
    """Return which of two hours of one name a local time is in; times that differ only there count as equal."""
    return 0 if moment is None else moment.fold


def _utc(moment: dt.datetime | None, fold: int) -> dt.datetime | None:
    """Return a local time as Optuna stores it: in UTC, without saying so."""
    return None if moment is None else moment.replace(fold=fold).astimezone(dt.UTC).replace(tzinfo=None)
