"""Rows into SQLite, many in a statement, and what a database file of ours is set to."""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_VARIABLES: Final = 4_000
"""Values of rows in a statement: with more it is no faster, and each connection keeps what it has prepared."""

_NAMES: Final = 500
"""Names in a statement: SQLite allows 2,000 columns."""

CACHED_STATEMENTS: Final = 16
"""Prepared statements that a connection keeps. Python keeps 128; those with many rows take half a megabyte each."""

PAGE_BYTES: Final = 16_384
"""Page size of the files that we make: bulk inserts cost a quarter less than with SQLite's own 4096."""


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


def insert_by_name(
    execute: Callable[[str, tuple[Any, ...]], Any],
    into: str,
    cells: str,
    names: Sequence[tuple[Any, ...]],
    values: Sequence[Any],
    n_owner: int,
    suffix: str = "",
) -> None:
    """Insert a row for each value that owners have under names, from one wide row an owner; None is no value.

    `values` holds the wide rows one after another: `n_owner` cells of the owner, then a value for every name.
    `cells` says what is inserted, in terms of `o0, o1, ...` (the owner), `n0, n1, ...` (the name) and `value`.
    A third is bound of what whole rows would take, and the database, which does the rest, does not hold the
    interpreter. Rows come owner by owner, in the order of the names.
    """
    width = n_owner + len(names)
    for first in range(0, len(names), _NAMES):
        some = names[first : first + _NAMES]
        part = values
        if len(some) < len(names):
            kept = [*range(n_owner), *range(n_owner + first, n_owner + first + len(some))]
            part = [values[row + ix] for row in range(0, len(values), width) for ix in kept]
        statement = _by_name(into, cells, len(some), len(some[0]), n_owner, suffix)
        bound = tuple(cell for name in some for cell in name)
        for text, rows in with_rows(statement, n_owner + len(some), part):
            execute(text, rows + bound)


@functools.cache
def _by_name(into: str, cells: str, n_names: int, n_name: int, n_owner: int, suffix: str) -> str:
    """Return the statement of `insert_by_name`, with `{}` in place of the wide rows."""
    owner = [f"o{ix}" for ix in range(n_owner)]
    wide = [f"v{ix}" for ix in range(n_names)]
    marks = f", {','.join('?' * n_name)}" if n_name else ""
    rows = ", ".join(f"({ix}{marks})" for ix in range(n_names))
    name = ", ".join(["ix", *(f"n{ix}" for ix in range(n_name))])
    chosen = re.sub(r"\bvalue\b", _nth(wide, 0), cells)
    return (
        f"INSERT INTO {into} WITH owner ({', '.join(owner + wide)}) AS (VALUES {{}}), "
        f"name ({name}) AS (VALUES {rows}) SELECT {chosen} FROM owner CROSS JOIN name "
        f"WHERE {_nth(wide, 0)} IS NOT NULL {suffix}"
    )


def _nth(columns: Sequence[str], first: int) -> str:
    """Return the expression for the column of number `ix`, by halves: a list of cases is looked at from the front."""
    if len(columns) == 1:
        return columns[0]
    half = len(columns) // 2
    low, high = _nth(columns[:half], first), _nth(columns[half:], first + half)
    return f"CASE WHEN ix < {first + half} THEN {low} ELSE {high} END"


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
