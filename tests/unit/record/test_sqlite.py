"""Rows into SQLite, many in a statement."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from akq_dist.record.sqlite import insert_rows, use_write_ahead_log

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("n", [0, 1, 16_383, 16_384, 40_000])
def test_every_row_is_there_once_in_order_whatever_the_number(n: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    statements: list[str] = []

    def execute(statement: str, values: tuple[Any, ...]) -> None:
        statements.append(statement)
        connection.execute(statement, values)

    rows = [(ix, f"ü{ix}") for ix in range(n)]
    insert_rows(execute, "t", ("a", "b"), rows)
    assert connection.execute("SELECT * FROM t ORDER BY rowid").fetchall() == rows
    assert len(statements) == -(-n // 16_383)
    insert_rows(execute, "t", ("a", "b"), [(0, "other"), (n + 1, "new")], "ON CONFLICT DO NOTHING")
    assert connection.execute("SELECT b FROM t WHERE a IN (0, ?) ORDER BY a", (n + 1,)).fetchall() == [
        ("ü0",) if n else ("other",),
        ("new",),
    ]


def test_a_file_keeps_its_write_ahead_log_and_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (7)")
    use_write_ahead_log(path)
    again = sqlite3.connect(path)
    assert again.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert again.execute("SELECT a FROM t").fetchall() == [(7,)]
