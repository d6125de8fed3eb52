"""Rows into SQLite, many in a statement, and what a database file of ours is set to."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_VARIABLES: Final = 8_000
"""Values of rows in a statement: with more it is no faster, and a connection keeps what it has prepared."""

CACHED_STATEMENTS: Final = 16
"""Prepared statements that a connection keeps. Python keeps 128; those with many rows take a megabyte each."""

PAGE_BYTES: Final = 8192
"""Page size of the files that we make: bulk inserts cost a sixth less than with SQLite's own 4096."""


_URL: Final = "sqlite:///"


def insert_rows(
    execute: Callable[[str, tuple[Any, ...]], Any],
    table: str,
    columns: Sequence[str],
    values: Sequence[Any],
    suffix: str = "",
) -> None:
    """Insert rows, thousands in a statement; `execute` runs one with its values.

    `values` holds the rows one after another: a tuple a row would cost more to make than to insert.
    """
    head = f"INSERT INTO {table} ({', '.join(columns)})"
    for statement, part in with_rows(f"{head} VALUES {{}} {suffix}", len(columns), values):
        execute(statement, part)


def with_rows(statement: str, width: int, values: Sequence[Any]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Give statements whose `{}` stands for rows of so many values, with what each of them binds.

    A statement runs without holding the interpreter. With one statement a row, a writer beside a busy thread
    would have to win the interpreter back after every row.
    """
    marks = f"({','.join('?' * width)})"
    size = _VARIABLES // width * width
    for first in range(0, len(values), size):
        part = tuple(values[first : first + size])
        yield statement.format(",".join([marks] * (len(part) // width))), part


def prepare_file(path: Path) -> None:
    """Set up a database file that is about to be made, before a tool fills it; one that has tables stays as it is.

    A write-ahead log lets readers go on while a writer writes, and syncs once a commit. Where the file system has
    no shared memory for it, such as on a network, SQLite goes on without.
    """
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=5.0)) as connection,
    ):
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()


def file_of(url: str) -> Path | None:
    """Return the file that a SQLAlchemy URL names; None for another database and for one in memory."""
    if not url.startswith(_URL) or ":memory:" in url:
        return None
    return Path(url.removeprefix(_URL).partition("?")[0])
