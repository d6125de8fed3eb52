"""The trials of one study in the ledger: asked, finished, read back in number order."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqStudyError
from akq_dist.record.canonical import derive_seed
from akq_dist.record.protocols import TrialRecord
from akq_dist.record.sqlite import insert_rows, with_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from akq_dist.record.ledger import Ledger, StudyRecord

logger = logging.getLogger(__name__)

UNDEFINED = "undefined"
"""Reason of a trial whose objective has no value; not a failure of the strategy or the machines."""

_READ_BLOCK = 2000


@dataclass(frozen=True)
class AskBlock:
    """Trials that are about to run: one row of `points` a trial."""

    numbers: NDArray[np.int64]
    groups: NDArray[np.int64]
    """Group of a model-based sampler; -1 where points depend on no result."""
    points: NDArray[np.float64]
    params: Sequence[str]
    """Canonical JSON of the decoded parameters."""
    keys: Sequence[str]

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class FinishBlock:
    """Trials that ended.

    `values` and `metrics` hold NaN where undefined; `values` counts for complete trials only.
    """

    numbers: NDArray[np.int64]
    states: Sequence[str]
    values: NDArray[np.float64]
    metrics: NDArray[np.float64]
    reasons: Sequence[str | None]
    hashes: Sequence[str]
    n_bars: NDArray[np.int64]
    started_ms: int
    ended_ms: int
    cached: bool = False

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class TrialBlock:
    """Trials as read back, in number order; an open trial has state `asked`, NaN rows and empty texts."""

    numbers: NDArray[np.int64]
    groups: NDArray[np.int64]
    states: Sequence[str]
    keys: Sequence[str]
    params: Sequence[str]
    points: NDArray[np.float64]
    values: NDArray[np.float64]
    metrics: NDArray[np.float64]
    reasons: Sequence[str | None]
    hashes: Sequence[str]
    n_bars: NDArray[np.int64]
    cached: NDArray[np.bool_]
    started_ms: NDArray[np.int64]
    ended_ms: NDArray[np.int64]
    sessions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class CachedResult:
    """What a complete trial of the same key gave."""

    metrics: NDArray[np.float64]
    hash: str
    n_bars: int


class TrialStore:
    """Reads and writes the trials of one study.

    Every write is one transaction, and writing twice changes nothing.
    """

    def __init__(self, ledger: Ledger, study: StudyRecord, session: int | None = None) -> None:
        self.ledger = ledger
        self.study = study
        self._session = session

    def ask(self, block: AskBlock, rejected: Sequence[tuple[int, int, NDArray[np.float64]]] = ()) -> None:
        """Record trials before they run, and the points (group, position, point) that `where` refused."""
        sid = self.study.sid
        values: list[Any] = []
        for number, group, key, params, point in zip(
            block.numbers.tolist(),
            block.groups.tolist(),
            block.keys,
            block.params,
            block.points,
            strict=True,
        ):
            values += (sid, number, group, "asked", key, params, point.tobytes())
        columns = ("sid", "number", "grp", "state", "key", "params", "point")
        with self.ledger.transaction() as connection:
            insert_rows(connection.execute, "trial", columns, values, "ON CONFLICT DO NOTHING")
            connection.executemany(
                "INSERT INTO rejected VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                ((sid, group, seq, point.tobytes()) for group, seq, point in rejected),
            )

    def finish(self, block: FinishBlock) -> int:
        """Record results of asked trials; return how many were news.

        A trial that has ended keeps its first result: a later one is dropped, and logged when it differs.
        """
        metrics = canonical_nan(block.metrics)
        values = canonical_nan(block.values)
        rows = [
            (
                number,
                state,
                values[ix].tobytes() if state == "complete" else None,
                metrics[ix].tobytes() if state != "fail" or block.reasons[ix] == UNDEFINED else None,
                block.reasons[ix],
                block.hashes[ix],
                n_bars,
            )
            for ix, (number, state, n_bars) in enumerate(
                zip(block.numbers.tolist(), block.states, block.n_bars.tolist(), strict=True)
            )
        ]
        head = (int(block.cached), block.started_ms, block.ended_ms, self._session)
        n_new = 0
        with self.ledger.transaction() as connection:
            for statement, part in with_rows(_FINISH, 7, list(chain.from_iterable(rows))):
                n_new += connection.execute(statement, (*head, *part, self.study.sid)).rowcount
            if n_new != len(rows):
                self._check_repeats(connection, rows)
        return n_new

    def numbers(self) -> tuple[int, int]:
        """Return (number of trials asked so far, number of them still open)."""
        row = self._row(
            "SELECT coalesce(max(number) + 1, 0), total(state = 'asked') FROM trial WHERE sid = ?"
        )
        return int(row[0]), int(row[1])

    def counts(self) -> dict[str, int]:
        """Return the number of trials: asked, complete, fail, pruned, and of these undefined, cached.

        And all bars.
        """
        row = self._row(
            "SELECT count(*), total(state = 'asked'), total(state = 'complete'), total(state = 'fail'), "
            f"total(state = 'pruned'), total(reason = '{UNDEFINED}'), total(cached), total(n_bars) "
            "FROM trial WHERE sid = ?"
        )
        names = ("total", "asked", "complete", "fail", "pruned", "undefined", "cached", "n_bars")
        return dict(zip(names, map(int, row), strict=True))

    def blocks(
        self, start: int = 0, stop: int | None = None, *, size: int = _READ_BLOCK
    ) -> Iterator[TrialBlock]:
        """Stream trials with start <= number < stop, in number order."""
        while stop is None or start < stop:
            limit = size if stop is None else min(size, stop - start)
            block = self._read("number >= ? ORDER BY number LIMIT ?", (start, limit))
            if stop is not None and len(block) and block.numbers[-1] >= stop:
                # Numbers are dense, so this happens only past a damaged range.
                raise AkqStudyError(
                    f"internal: trial numbers of study '{self.study.name}' have a gap at {start}."
                )
            if len(block):
                yield block
            if len(block) < limit:
                return
            start = int(block.numbers[-1]) + 1

    def open_trials(self) -> TrialBlock:
        """Return the trials that were asked and have not ended, in number order."""
        return self._read("state = 'asked' ORDER BY number", ())

    def take(self, numbers: Iterable[int]) -> TrialBlock:
        """Return some trials, in number order."""
        wanted = sorted(set(numbers))
        marks = ",".join("?" * len(wanted))
        return self._read(f"number IN ({marks}) ORDER BY number", tuple(wanted))

    def read_finished(self, start: int, limit: int) -> list[TrialRecord]:
        """Return at most `limit` finished trials from `start` on, up to the first one that is still open.

        What views copy: the same trials in the same order whenever they ask.
        """
        block = self._read("number >= ? ORDER BY number LIMIT ?", (start, limit))
        n_ended = 0
        for number, state in zip(block.numbers.tolist(), block.states, strict=True):
            if number != start + n_ended or state == "asked":
                break
            n_ended += 1
        return self._records(block, range(n_ended))

    def record(self, block: TrialBlock, ix: int) -> TrialRecord:
        """Return one finished trial of a block."""
        if block.states[ix] == "asked":
            raise AkqStudyError(f"trial {int(block.numbers[ix])} of study '{self.study.name}' has not ended.")
        return self._records(block, range(ix, ix + 1))[0]

    def _records(self, block: TrialBlock, rows: range) -> list[TrialRecord]:
        """Return the trials of some rows; column by column, which is cheaper than by row."""
        part = slice(rows.start, rows.stop)
        states, written = block.states[part], block.params[part]
        values = block.values[part].tolist()
        defined = np.isfinite(block.metrics[part]).tolist()
        outputs, seed = self.study.outputs, self.study.seed
        return list(
            map(
                TrialRecord,
                block.numbers[part].tolist(),
                block.keys[part],
                # One text for the parser instead of thousands.
                json.loads(f"[{','.join(written)}]"),
                states,
                (
                    tuple(row) if state == "complete" else ()
                    for row, state in zip(values, states, strict=True)
                ),
                (
                    dict(compress(zip(outputs, row, strict=True), known))
                    for row, known in zip(block.metrics[part].tolist(), defined, strict=True)
                ),
                block.reasons[part],
                block.hashes[part],
                block.started_ms[part].tolist(),
                block.ended_ms[part].tolist(),
                block.n_bars[part].tolist(),
                block.cached[part].tolist(),
                (derive_seed(seed, text) for text in written),
            )
        )

    def rejected(self) -> dict[int, list[tuple[int, NDArray[np.float64]]]]:
        """Return the points that `where` refused: for each group (position in the order of asking, point)."""
        found: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
        with self.ledger.errors():
            rows = self.ledger.connection().execute(
                "SELECT grp, seq, point FROM rejected WHERE sid = ? ORDER BY grp, seq", (self.study.sid,)
            )
            for group, seq, point in rows:
                found.setdefault(group, []).append((seq, np.frombuffer(point, dtype=np.float64)))
        return found

    def lookup(self, keys: Sequence[str]) -> dict[str, CachedResult]:
        """Return what complete trials of these keys gave, in any study of the ledger."""
        found: dict[str, CachedResult] = {}
        with self.ledger.errors():
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                rows = self.ledger.connection().execute(
                    "SELECT key, metrics, hash, n_bars FROM trial "
                    f"WHERE state = 'complete' AND key IN ({marks})",
                    part,
                )
                for key, metrics, text, n_bars in rows:
                    row = np.frombuffer(metrics, dtype=np.float64)
                    if len(row) == len(self.study.outputs):
                        found.setdefault(key, CachedResult(row, text, int(n_bars)))
        return found

    def result_hash(self) -> str:
        """Return a digest over all trials in number order; equal for equal results.

        Timings, worker, reason texts and whether the cache answered do not enter.
        """
        state = hashlib.sha256()
        with self.ledger.errors():
            rows = self.ledger.connection().execute(
                'SELECT number, params, state, "values", metrics, hash FROM trial '
                "WHERE sid = ? ORDER BY number",
                (self.study.sid,),
            )
            for number, params, kind, values, metrics, text in rows:
                head = f"{number}\n{params}\n{kind}\n{text or ''}\n"
                state.update(head.encode())
                for part in (values, metrics):
                    state.update(len(part or b"").to_bytes(8, "little"))
                    state.update(part or b"")
        return state.hexdigest()

    def n_settled(self) -> int:
        """Return how many trials have ended before the first that is still open: what a view can hold."""
        row = self._row(
            "SELECT coalesce(min(CASE WHEN state = 'asked' THEN number END), max(number) + 1, 0) "
            "FROM trial WHERE sid = ?"
        )
        return int(row[0])

    def contradictions(self) -> list[tuple[str, int]]:
        """Return the keys whose complete trials have different result hashes, and how many hashes."""
        with self.ledger.errors():
            rows = self.ledger.connection().execute(
                "SELECT key, count(DISTINCT hash) FROM trial WHERE sid = ? AND state = 'complete' "
                "GROUP BY key HAVING count(DISTINCT hash) > 1 ORDER BY key",
                (self.study.sid,),
            )
            return [(str(key), int(n)) for key, n in rows]

    def results(self) -> pa.Table:
        """Return one row a trial: number, state, values, parameters (`params_x`), metrics, reason, timings."""
        from akq_dist.record.table import results_table

        return results_table(self)

    def watermark(self, view: str) -> tuple[int, dict[str, Any]]:
        """Return how many trials a view has, in number order, and what it noted about itself."""
        with self.ledger.errors():
            row = (
                self.ledger.connection()
                .execute(
                    "SELECT watermark, info FROM view WHERE sid = ? AND name = ?", (self.study.sid, view)
                )
                .fetchone()
            )
        return (0, {}) if row is None else (int(row[0]), json.loads(row[1]))

    def set_watermark(self, view: str, watermark: int, info: Mapping[str, Any] | None = None) -> None:
        """Note how far a view has come; `info` replaces what was noted when given."""
        note = None if info is None else json.dumps(dict(info))
        with self.ledger.transaction() as connection:
            connection.execute(
                "INSERT INTO view VALUES (?1, ?2, ?3, coalesce(?4, '{}')) ON CONFLICT DO UPDATE "
                "SET watermark = ?3, info = coalesce(?4, info)",
                (self.study.sid, view, watermark, note),
            )

    def _read(self, where: str, values: tuple[Any, ...]) -> TrialBlock:
        with self.ledger.errors():
            rows = (
                self.ledger.connection()
                .execute(
                    f"SELECT {_TRIAL_COLUMNS} FROM trial WHERE sid = ? AND {where}", (self.study.sid, *values)
                )
                .fetchall()
            )
        return _block(rows, len(self.study.params), len(self.study.objectives), len(self.study.outputs))

    def _row(self, sql: str) -> tuple[Any, ...]:
        with self.ledger.errors():
            row: tuple[Any, ...] = self.ledger.connection().execute(sql, (self.study.sid,)).fetchone()
        return row

    def _check_repeats(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        for row in rows:
            number = row[0]
            held = connection.execute(
                'SELECT state, "values", metrics FROM trial WHERE sid = ? AND number = ?',
                (self.study.sid, number),
            ).fetchone()
            if held is None:
                raise AkqStudyError(f"internal: a result for trial {number}, which was never asked.")
            if held != row[1:4]:
                logger.warning("trial %d has ended already; a second, different result was dropped", number)


def canonical_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values with one bit pattern for everything that is not finite, and no negative zero."""
    clean = np.where(np.isfinite(values), values, np.nan) + 0.0
    return np.ascontiguousarray(clean, dtype=np.float64)


_FINISH = (
    'UPDATE trial SET state = v.column2, "values" = v.column3, metrics = v.column4, reason = v.column5, '
    "hash = v.column6, n_bars = v.column7, cached = ?, started_ms = ?, ended_ms = ?, session = ? "
    "FROM (VALUES {}) AS v WHERE sid = ? AND number = v.column1 AND state = 'asked'"
)
_TRIAL_COLUMNS = (
    'number, grp, state, key, params, point, "values", metrics, reason, hash, '
    "n_bars, cached, started_ms, ended_ms, session"
)


def _block(rows: list[tuple[Any, ...]], n_params: int, n_values: int, n_metrics: int) -> TrialBlock:
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 15

    def ints(column: tuple[Any, ...]) -> NDArray[np.int64]:
        return np.array([cell or 0 for cell in column], dtype=np.int64)

    return TrialBlock(
        numbers=ints(columns[0]),
        groups=ints(columns[1]),
        states=columns[2],
        keys=columns[3],
        params=columns[4],
        points=_matrix(columns[5], n_params),
        values=_matrix(columns[6], n_values),
        metrics=_matrix(columns[7], n_metrics),
        reasons=columns[8],
        hashes=[text or "" for text in columns[9]],
        n_bars=ints(columns[10]),
        cached=ints(columns[11]).astype(np.bool_),
        started_ms=ints(columns[12]),
        ended_ms=ints(columns[13]),
        sessions=ints(columns[14]),
    )


def _matrix(blobs: tuple[bytes | None, ...], width: int) -> NDArray[np.float64]:
    empty = np.full(width, np.nan).tobytes()
    joined = b"".join(empty if blob is None else blob for blob in blobs)
    return np.frombuffer(joined, dtype=np.float64).reshape(len(blobs), width)
