"""Rows into SQLite, many in a statement, and what a database file of ours is set to."""

from __future__ import annotations

import contextlib
import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_VARIABLES: Final = 32_766
"""Values that a statement may have in every build of SQLite since 3.32."""


def insert_rows(
    execute: Callable[[str, tuple[Any, ...]], Any],
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    suffix: str = "",
) -> None:
    """Insert rows, thousands in a statement; `execute` runs one with its values.

    A statement runs without holding the interpreter. With one statement a row, a writer beside a busy thread
    would have to win the interpreter back after every row.
    """
    marks = f"({','.join('?' * len(columns))})"
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    size = _VARIABLES // len(columns)
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        statement = f"{head}{','.join([marks] * len(part))} {suffix}"
        execute(statement, tuple(chain.from_iterable(part)))


def use_write_ahead_log(path: Path) -> None:
    """Let readers go on while a writer writes, and sync once a commit; for files that we have made.

    Where the file system has no shared memory, such as on a network, SQLite leaves it as it is.
    """
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=5.0)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
