"""Child runs in bulk: many whole runs in one transaction, where the store is a database of a known layout.

MLflow has no public way to write many runs at once; its client needs tens of milliseconds a run. This writer
inserts the rows that `create_run`, `log_batch` and `set_terminated` leave behind. The tables are private to
MLflow, so it serves only schema revisions that it has been compared with; every other store gets the client.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from akq_dist.errors import TrackerError
from akq_dist.record.sqlite import CACHED_STATEMENTS, insert_by_name, insert_rows
from akq_dist.track.policy import is_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from akq_dist.record.protocols import TrialRecord
    from akq_dist.track.run_values import RunValues

SCHEMA_REVISIONS = {"dc11669786a5": "MLflow 3.17.2"}
"""Alembic revisions whose tables this writer knows; add one only after the differential tests pass on it."""
RUNS_PER_TRANSACTION = 1_000
"""Every index grows at one place a key, and a transaction writes each of these pages once."""
_DIALECTS = ("sqlite", "postgresql")
_BUSY_TIMEOUT_S = 20
_CACHE_KIB = 32_768
"""Every index grows at one place a key; these pages stay in memory."""
_PLACEHOLDER = "0123456789abcdef" * 2
_RUN_COLUMNS = {
    "run_uuid": "text",
    "name": "text",
    "source_type": "text",
    "source_name": "text",
    "entry_point_name": "text",
    "user_id": "text",
    "status": "text",
    "start_time": "bigint",
    "end_time": "bigint",
    "deleted_time": "bigint",
    "source_version": "text",
    "lifecycle_stage": "text",
    "artifact_uri": "text",
    "experiment_id": "integer",
}
_TEXT_COLUMNS = {"key": "text", "value": "text", "run_uuid": "text"}
_METRIC_COLUMNS = {
    "key": "text",
    "value": "double precision",
    "timestamp": "bigint",
    "step": "bigint",
    "is_nan": "boolean",
    "run_uuid": "text",
}
_BY_NAME = {
    "tags": ("(key, value, run_uuid)", "n0, value, o0"),
    "params": ("(key, value, run_uuid)", "n0, value, o0"),
    "metrics": ("(key, value, timestamp, step, is_nan, run_uuid)", "n0, value, o1, 0, 0, o0"),
}
"""Tables with a row for each name that a run has a value under: columns, and what goes there (`insert_by_name`)."""
_SPARSE = 4
"""A table of runs and names that is emptier than one in so many is not written as such."""
_LATEST = "latest_metrics"
"""The newest value of each metric of a run: of runs made here the only one, so these rows are copies."""
_COLUMNS = {
    "runs": _RUN_COLUMNS,
    "tags": _TEXT_COLUMNS,
    "params": _TEXT_COLUMNS,
    "metrics": _METRIC_COLUMNS,
    _LATEST: _METRIC_COLUMNS,
    "inputs": {
        "input_uuid": "text",
        "source_type": "text",
        "source_id": "text",
        "destination_type": "text",
        "destination_id": "text",
        "step": "bigint",
    },
    "input_tags": {"input_uuid": "text", "name": "text", "value": "text"},
}
"""Runs come first: all others refer to them."""


class UnknownSchemaError(TrackerError):
    """The tables have been changed since the writer was made."""


@dataclass
class Written:
    """What a call leaves to be done through the client."""

    unfinished: list[tuple[str, RunValues]] = field(default_factory=list)
    """Runs that still run, because texts belong to them that only the client can store."""
    refused: set[int] = field(default_factory=set)
    """Trials whose values the database does not take; none of them is in it."""
    n_new: int = 0


class BulkWriter:
    """Writes runs of one experiment; one thread uses it."""

    def __init__(self, engine: Any, experiment_id: str, artifact_location: str) -> None:
        from mlflow.utils.uri import append_to_uri_path

        self._engine = engine
        self._experiment_id = int(experiment_id)
        self._artifact_uri = append_to_uri_path(artifact_location, _PLACEHOLDER, "artifacts")
        self._inserts = _Inserts(engine.dialect.name)
        self._dataset: Any = None
        self._dataset_id = ""

    def use_dataset(self, dataset: Any) -> None:
        """Make a dataset the input of every run from here on: a DatasetInput that the parent has already."""
        self._dataset, self._dataset_id = dataset, ""

    def write(
        self, parent_id: str, trials: Sequence[TrialRecord], values_of: Callable[[TrialRecord], RunValues]
    ) -> Written:
        """Insert the runs of some trials; one that is there is left alone, and its values are not asked for.

        Raises UnknownSchemaError before anything is written to tables that have changed.
        """
        left = Written()
        for first in range(0, len(trials), RUNS_PER_TRANSACTION):
            self._write_block(parent_id, trials[first : first + RUNS_PER_TRANSACTION], values_of, left)
        return left

    def present(self, parent_id: str, numbers: Iterable[int]) -> dict[int, str]:
        """Return the ids of the runs of some trials that are in the store and not deleted."""
        by_id = {run_id(parent_id, number): number for number in numbers}
        with self._engine.begin() as connection:
            states = self._states(connection, list(by_id))
        return {by_id[found]: found for found, (_, stage) in states.items() if stage == "active"}

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        self._engine.dispose()

    def _write_block(
        self,
        parent_id: str,
        trials: Sequence[TrialRecord],
        values_of: Callable[[TrialRecord], RunValues],
        left: Written,
    ) -> None:
        try:
            self._insert(parent_id, trials, values_of, left)
        except _refusals():
            # One odd value has undone the block: find it.
            if len(trials) == 1:
                left.refused.add(trials[0].number)
                return
            half = len(trials) // 2
            self._write_block(parent_id, trials[:half], values_of, left)
            self._write_block(parent_id, trials[half:], values_of, left)

    def _insert(
        self,
        parent_id: str,
        trials: Sequence[TrialRecord],
        values_of: Callable[[TrialRecord], RunValues],
        left: Written,
    ) -> None:
        by_id = {run_id(parent_id, trial.number): trial for trial in trials}
        unfinished = []
        with self._engine.begin() as connection:
            self._check(connection)
            self._find_dataset(connection)
            states = self._states(connection, list(by_id))
            rows = _Rows()
            new = [ident for ident in by_id if ident not in states]
            now_ms = time.time_ns() // 1_000_000
            for ident, trial in by_id.items():
                state = states.get(ident)
                if state is None or state == ("RUNNING", "active"):
                    values = values_of(trial)
                    if state is None:
                        self._add_rows(rows, ident, values, now_ms)
                    if state is not None or values.files:
                        unfinished.append((ident, values))
            for table, cells in rows.whole.items():
                self._inserts.run(connection, table, cells)
            for table, found in rows.by_name.items():
                self._inserts.named(connection, table, found)
            if new:
                self._inserts.latest(connection, min(new), max(new))
        left.n_new += len(new)
        left.unfinished += unfinished

    def _check(self, connection: Any) -> None:
        """Look at what may have changed since the last transaction, in the one that is to write."""
        from sqlalchemy import text

        revision = _revision(connection)
        if revision not in SCHEMA_REVISIONS:
            raise UnknownSchemaError(f"the tables of the MLflow store are now of revision {revision}")
        stage = connection.execute(
            text("SELECT lifecycle_stage FROM experiments WHERE experiment_id = :id"),
            {"id": self._experiment_id},
        ).scalar()
        if stage != "active":
            raise TrackerError(
                f"the MLflow experiment {self._experiment_id} has been deleted; restore it with "
                f"`mlflow experiments restore -x {self._experiment_id}` or rename track.experiment"
            )

    def _find_dataset(self, connection: Any) -> None:
        from sqlalchemy import text

        if self._dataset is None or self._dataset_id:
            return
        found = self._dataset.dataset
        query = text(
            "SELECT dataset_uuid FROM datasets WHERE experiment_id = :id AND name = :name AND digest = :digest"
        )
        values = {"id": self._experiment_id, "name": found.name, "digest": found.digest}
        self._dataset_id = connection.execute(query, values).scalar() or ""

    def _states(self, connection: Any, ids: list[str]) -> dict[str, tuple[str, str]]:
        from sqlalchemy import bindparam, text

        query = text("SELECT run_uuid, status, lifecycle_stage FROM runs WHERE run_uuid IN :ids").bindparams(
            bindparam("ids", expanding=True)
        )
        return {row[0]: (row[1], row[2]) for row in connection.execute(query, {"ids": ids})}

    def _add_rows(self, rows: _Rows, ident: str, values: RunValues, now_ms: int) -> None:
        """Add what a run is made of, as the client would have left it."""
        running = bool(values.files)
        rows.whole["runs"] += (
            ident,
            values.name,
            "UNKNOWN",
            "",
            "",
            values.tags.get("mlflow.user", "unknown"),
            "RUNNING" if running else values.status,
            # The client takes no time for a time that is not known.
            values.start_ms or now_ms,
            None if running else values.end_ms or now_ms,
            None,
            "",
            "active",
            self._artifact_uri.replace(_PLACEHOLDER, ident),
            self._experiment_id,
        )
        rows.by_name["tags"].append(((ident,), {**values.tags, "mlflow.runName": values.name}))
        rows.by_name["params"].append(((ident,), values.params))
        rows.by_name["metrics"].append(((ident, values.end_ms), values.metrics))
        if self._dataset_id:
            # An input has an id of its own; that of the run grows with time as well.
            rows.whole["inputs"] += (ident, "DATASET", self._dataset_id, "RUN", ident, 0)
            for tag in self._dataset.tags:
                rows.whole["input_tags"] += (ident, tag.key, tag.value)


@dataclass
class _Rows:
    """What a transaction inserts."""

    whole: dict[str, list[Any]] = field(
        default_factory=lambda: {table: [] for table in ("runs", "inputs", "input_tags")}
    )
    """For each table the values of all rows, one after another: many small tuples would keep the garbage
    collector busier than all the rest. Runs come first: all others refer to them.
    """
    by_name: dict[str, list[tuple[tuple[Any, ...], Mapping[str, Any]]]] = field(
        default_factory=lambda: {table: [] for table in _BY_NAME}
    )
    """For each table the run, where metrics have their time beside it, and its values by name."""


def run_id(parent_id: str, number: int) -> str:
    """Return the id of a trial's run: the same in every session, and in number order within a sweep.

    It derives from the parent rather than from the study, so that a sweep whose runs were deleted, or that
    moves to another experiment, can be recorded again.
    """
    digest = hashlib.sha256(f"{parent_id}/{number}".encode()).hexdigest()
    return f"{parent_id[:8]}{number:08x}{digest[:16]}"


def is_possible(uri: str) -> bool:
    """Tell whether a tracking URI can be written in bulk at all, before anything is connected."""
    if is_http(uri) or uri.partition(":")[0].partition("+")[0].lower() not in _DIALECTS:
        return False
    # Experiments in workspaces belong to a store with rules of its own.
    return os.environ.get("MLFLOW_ENABLE_WORKSPACES", "").lower() not in {"1", "true"}


def open_writer(uri: str, experiment_id: str, artifact_location: str | None) -> BulkWriter | None:
    """Connect to a store; None where it has to be written through the client."""
    if not is_possible(uri) or not artifact_location or not experiment_id.isdigit():
        return None
    engine = _connect(uri)
    with engine.begin() as connection:
        known = _revision(connection) in SCHEMA_REVISIONS
    if not known:
        engine.dispose()
        return None
    return BulkWriter(engine, experiment_id, artifact_location)


class _Inserts:
    """Inserts of many rows in one call; a row that is there already stays as it is."""

    def __init__(self, dialect_name: str) -> None:
        self._is_sqlite = dialect_name == "sqlite"
        self._statements = {
            name: f"INSERT INTO {name} ({', '.join(columns)}) {_arrays(columns)} ON CONFLICT DO NOTHING"
            for name, columns in _COLUMNS.items()
        }

    def run(self, connection: Any, table: str, values: list[Any]) -> None:
        """Insert rows whose values stand one after another, in the order of the columns."""
        from sqlalchemy import text

        columns = list(_COLUMNS[table])
        if not values:
            return
        if self._is_sqlite:
            # The driver takes them as they are, which is twice as fast as binding them by name.
            insert_rows(connection.exec_driver_sql, table, columns, values, "ON CONFLICT DO NOTHING")
            return
        arrays = {name: values[ix :: len(columns)] for ix, name in enumerate(columns)}
        connection.execute(text(self._statements[table]), arrays)

    def named(
        self, connection: Any, table: str, found: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]
    ) -> None:
        """Insert the values that runs have under names."""
        names = sorted(set(chain.from_iterable(values for _, values in found)))
        if not names:
            return
        n_values = sum(len(values) for _, values in found)
        if not self._is_sqlite or len(names) * len(found) > _SPARSE * n_values:
            cells: list[Any] = []
            for owner, values in found:
                for key, value in values.items():
                    cells += (
                        (key, value, owner[1], 0, False, owner[0])
                        if table == "metrics"
                        else (key, value, *owner)
                    )
            self.run(connection, table, cells)
            return
        wide: list[Any] = []
        for owner, values in found:
            wide += owner
            wide += map(values.get, names)
        columns, wanted = _BY_NAME[table]
        keys = [(name,) for name in names]
        execute = connection.exec_driver_sql
        insert_by_name(
            execute, f"{table} {columns}", wanted, keys, wide, len(found[0][0]), "ON CONFLICT DO NOTHING"
        )

    def latest(self, connection: Any, first_id: str, last_id: str) -> None:
        """Give the runs between two ids, whose metrics are there, their newest metrics, by a copy in the database.

        What other runs between them have stays as it is.
        """
        from sqlalchemy import text

        names = ", ".join(_METRIC_COLUMNS)
        connection.execute(
            text(
                f"INSERT INTO {_LATEST} ({names}) SELECT {names} FROM metrics "
                "WHERE run_uuid >= :first AND run_uuid <= :last ON CONFLICT DO NOTHING"
            ),
            {"first": first_id, "last": last_id},
        )


def _arrays(columns: Mapping[str, str]) -> str:
    """Return the source of rows that come as one array a column: drivers of PostgreSQL send rows one by one."""
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    return f"SELECT * FROM unnest({arrays})"


def _connect(uri: str) -> Any:
    from sqlalchemy import create_engine, event

    if not uri.startswith("sqlite"):
        return create_engine(uri, pool_pre_ping=True, pool_size=1, hide_parameters=True)
    arguments = {"timeout": _BUSY_TIMEOUT_S, "cached_statements": CACHED_STATEMENTS}
    engine = create_engine(uri, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        # Transactions begin where SQLAlchemy says so, not at the first insert.
        connection.isolation_level = None
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        # What is looked up at the start of a transaction is still so when it writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _revision(connection: Any) -> str:
    from sqlalchemy import text

    return ",".join(sorted(connection.execute(text("SELECT version_num FROM alembic_version")).scalars()))


def _refusals() -> tuple[type[Exception], ...]:
    """Return the exceptions that name a value rather than a store that is away."""
    from sqlalchemy.exc import DataError, IntegrityError

    return (DataError, IntegrityError, ValueError, OverflowError)
