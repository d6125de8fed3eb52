"""The ledger: one SQLite file that holds every study and every trial. It is the truth; the rest are views."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqStudyError, free_space
from akq_dist.record.canonical import canonical_json
from akq_dist.record.files import is_read_only
from akq_dist.record.schema import SCHEMA_VERSION, TABLES
from akq_dist.record.sqlite import CACHED_STATEMENTS, PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True)
class StudyRecord:
    """A study as the ledger holds it: what was asked for, and what its columns mean."""

    sid: int
    id: str
    name: str
    series: str
    """Name in the sweep file; `name` is numbered when a series is started anew."""
    created_ms: int
    base_dir: str
    spec: Mapping[str, Any]
    identity: Mapping[str, Any]
    """Everything that results depend on; a resume compares it."""
    params: tuple[str, ...]
    """Columns of a point, in order."""
    outputs: tuple[str, ...]
    """Columns of a metrics row, in order."""
    objectives: tuple[tuple[str, str], ...]
    """(output, "maximize" | "minimize"), one a direction."""
    seed: int
    source: str
    """Where points come from: the sampler, or `enumerate` for a space that fits the budget."""
    budget: int | None
    """Number of trials asked for; None for all of a space."""


class Ledger:
    """Opens the file, makes and finds studies. Safe to use from several threads: each has its own connection.

    A committed batch survives the death of the process and the loss of power: write-ahead log, synced at each
    commit that results depend on.
    """

    def __init__(self, path: Path | str, *, must_exist: bool = False) -> None:
        # Threads open their own connections later, when the current folder may be another one.
        self.path = Path(path).absolute()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        if must_exist and not self.path.is_file():
            raise AkqStudyError(
                f"there is no ledger at {self.path}. Run a sweep first, or name another file."
            )
        with self.errors():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise AkqStudyError(
                    f"the folder of the ledger {self.path} cannot be made: {error.strerror}."
                ) from error
            self._read_only = is_read_only(self.path.parent)
            if self._read_only:
                self._check_readable(must_exist=must_exist)
            self._open_schema()

    def create(
        self,
        series: str,
        *,
        name: str,
        base_dir: str,
        spec: Mapping[str, Any],
        identity: Mapping[str, Any],
        params: Sequence[str],
        outputs: Sequence[str],
        objectives: Sequence[tuple[str, str]],
        seed: int,
        source: str,
        budget: int | None,
    ) -> StudyRecord:
        """Add a study. Raises AkqStudyError when the name is taken."""
        row = (
            str(uuid.uuid4()),
            name,
            series,
            time.time_ns() // 1_000_000,
            base_dir,
            canonical_json(spec),
            canonical_json(identity),
            json.dumps(list(params)),
            json.dumps(list(outputs)),
            json.dumps([list(objective) for objective in objectives]),
            seed,
            source,
            budget,
        )
        marks = ",".join("?" * len(row))
        columns = _STUDY_COLUMNS.removeprefix("sid, ")
        try:
            with self.transaction() as connection:
                connection.execute(f"INSERT INTO study ({columns}) VALUES ({marks})", row)
        except sqlite3.IntegrityError as error:
            raise AkqStudyError(f"the ledger {self.path} already has a study named '{name}'.") from error
        study = self.find(name)
        if study is None:
            raise AkqStudyError(f"internal: study '{name}' vanished from the ledger {self.path}.")
        return study

    def find(self, name: str) -> StudyRecord | None:
        """Return the study of exactly this name or id."""
        return self._one("WHERE name = ? OR id = ?", (name, name))

    def latest(self, series: str) -> StudyRecord | None:
        """Return the newest study of a sweep file's name."""
        return self._one("WHERE series = ? ORDER BY sid DESC LIMIT 1", (series,))

    def studies(self) -> list[StudyRecord]:
        """Return all studies, oldest first."""
        with self.errors():
            rows = self.connection().execute(f"SELECT {_STUDY_COLUMNS} FROM study ORDER BY sid").fetchall()
        return [_study(row) for row in rows]

    def update_study(
        self, sid: int, *, spec: Mapping[str, Any], identity: Mapping[str, Any], budget: int | None
    ) -> None:
        """Record the settings a study was resumed with."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE study SET spec = ?, identity = ?, budget = ? WHERE sid = ?",
                (canonical_json(spec), canonical_json(identity), budget, sid),
            )

    def open_session(self, sid: int, *, build: str, executor: str, environment: Mapping[str, str]) -> int:
        """Record that a driver starts to work on a study; its trials carry the number returned."""
        with self.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO session (sid, started_ms, build, executor, environment) VALUES (?, ?, ?, ?, ?)",
                (sid, time.time_ns() // 1_000_000, build, executor, canonical_json(dict(environment))),
            )
            return int(cursor.lastrowid or 0)

    def session(self, session_id: int) -> tuple[str, dict[str, str]] | None:
        """Return (build, environment) of a session."""
        with self.errors():
            row = (
                self.connection()
                .execute("SELECT build, environment FROM session WHERE id = ?", (session_id,))
                .fetchone()
            )
        return None if row is None else (str(row[0]), json.loads(row[1]))

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file itself; empty when it is sound."""
        with self.errors():
            rows = self.connection().execute("PRAGMA quick_check(10)").fetchall()
        return [f"the file is damaged: {row[0]}" for row in rows if row[0] != "ok"]

    @contextmanager
    def transaction(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """Everything inside becomes durable together or not at all; one inside another joins it.

        What is not `synced` survives the death of the process, but a loss of power only once a later transaction is
        synced: for what would be written again as it was.
        """
        connection = self.connection()
        if connection.in_transaction:
            yield connection
            return
        with self.errors():
            connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite rolls back by itself on some errors, such as a full disk.
                _roll_back(connection)
                raise

    def connection(self) -> sqlite3.Connection:
        """Return the calling thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Where nobody can write, SQLite needs to be told that nobody will: it cannot set up a log there.
            place = f"{self.path.as_uri()}?mode=ro&immutable=1" if self._read_only else self.path
            connection = sqlite3.connect(
                place,
                timeout=30.0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=CACHED_STATEMENTS,
                uri=self._read_only,
            )
            self._local.connection = connection
            with self._guard:
                self._connections.append(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def close(self) -> None:
        """Close every thread's connection; the threads must be done with them."""
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an error of the store into one that names the file and what is left on its disk."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise AkqStudyError(
                f"ledger {self.path}: {error} ({free_space(self.path)}). What was committed before is intact; "
                "repeat the command when the cause is gone."
            ) from error

    def _check_readable(self, *, must_exist: bool) -> None:
        """Refuse what a folder that nobody can write to does not allow."""
        if not must_exist:
            raise AkqStudyError(
                f"the folder of the ledger {self.path} is read-only, so nothing can be recorded there."
            )
        log = self.path.with_name(f"{self.path.name}-wal")
        if log.is_file() and log.stat().st_size:
            raise AkqStudyError(
                f"ledger {self.path}: its last session was not closed and its folder is read-only, so what stands "
                "in its log cannot be read; copy both files to a folder that can be written to."
            )

    def _open_schema(self) -> None:
        connection = self.connection()
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        mode = "" if self._read_only else connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal" and not self._read_only:
            raise AkqStudyError(
                f"ledger {self.path}: the file system does not allow a write-ahead log; use a local disk."
            )
        if empty:
            with self.transaction():
                # Another process may have been first between the look and the lock.
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    for statement in TABLES:
                        connection.execute(statement)
                    connection.execute(
                        "INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),)
                    )
        try:
            row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
        except sqlite3.OperationalError:
            row = None
        if row is None:
            raise AkqStudyError(
                f"{self.path} is an SQLite file but not a ledger; name another file in storage.ledger."
            )
        if int(row[0]) > SCHEMA_VERSION:
            raise AkqStudyError(
                f"ledger {self.path} has schema {row[0]}, this program reads up to {SCHEMA_VERSION}: "
                "it was written by a newer version. Update akq_dist, or use another ledger."
            )

    def _one(self, where: str, values: tuple[Any, ...]) -> StudyRecord | None:
        with self.errors():
            row = self.connection().execute(f"SELECT {_STUDY_COLUMNS} FROM study {where}", values).fetchone()
        return None if row is None else _study(row)


_STUDY_COLUMNS = (
    "sid, id, name, series, created_ms, base_dir, spec, identity, "
    "params, outputs, objectives, seed, source, budget"
)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undo what is open, if anything is."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _study(row: tuple[Any, ...]) -> StudyRecord:
    return StudyRecord(
        sid=row[0],
        id=row[1],
        name=row[2],
        series=row[3],
        created_ms=row[4],
        base_dir=row[5],
        spec=json.loads(row[6]),
        identity=json.loads(row[7]),
        params=tuple(json.loads(row[8])),
        outputs=tuple(json.loads(row[9])),
        objectives=tuple((output, direction) for output, direction in json.loads(row[10])),
        seed=row[11],
        source=row[12],
        budget=row[13],
    )
