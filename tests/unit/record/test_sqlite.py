"""Rows into SQLite, many in a statement."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from akq_dist.record.sqlite import PAGE_BYTES, insert_by_name, insert_rows, prepare_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("n", [0, 1, 2_000, 2_001, 40_000])
def test_every_row_is_there_once_in_order_whatever_the_number(n: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    statements: list[str] = []

    def execute(statement: str, values: tuple[Any, ...]) -> None:
        statements.append(statement)
        connection.execute(statement, values)

    rows = [(ix, f"ü{ix}") for ix in range(n)]
    insert_rows(execute, "t", ("a", "b"), list(chain.from_iterable(rows)))
    assert connection.execute("SELECT * FROM t ORDER BY rowid").fetchall() == rows
    assert len(statements) == -(-n // 2_000)
    insert_rows(execute, "t", ("a", "b"), [0, "other", n + 1, "new"], "ON CONFLICT DO NOTHING")
    assert connection.execute("SELECT b FROM t WHERE a IN (0, ?) ORDER BY a", (n + 1,)).fetchall() == [
        ("ü0",) if n else ("other",),
        ("new",),
    ]


@pytest.mark.parametrize("n_names", [1, 2, 7, 40, 1_203])
def test_each_value_under_a_name_is_a_row(n_names: int) -> None:
    rng = random.Random(n_names)
    names = [(f"name {ix}", ix * 10) for ix in range(n_names)]
    # What SQL could take for something else, and nothing at all.
    values = [None, 0, -0.5, 1e300, "", "value", "n0", "ä\U0001f600", b"\x00\xff"]
    wide: list[Any] = []
    expected = []
    for owner in range(60):
        cells = [rng.choice(values) for _ in names]
        wide += (owner, f"at {owner}", *cells)
        expected += [
            (name, cell, f"at {owner}", tag, owner)
            for (name, tag), cell in zip(names, cells, strict=True)
            if cell is not None
        ]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (name, value, at, tag, owner)")
        into = "t (name, value, at, tag, owner)"
        insert_by_name(connection.execute, into, "n0, value, o1, n1, o0", names, wide, 2)
        assert connection.execute("SELECT * FROM t ORDER BY owner, tag").fetchall() == expected


def test_a_file_that_is_made_keeps_its_settings_and_one_with_rows_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    prepare_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (7)")
        connection.commit()
    prepare_file(path)
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert again.execute("PRAGMA page_size").fetchone() == (PAGE_BYTES,)
        assert again.execute("SELECT a FROM t").fetchall() == [(7,)]
