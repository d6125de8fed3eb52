"""Rows inserted from wide rows are those that a loop over owners and names would have inserted."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

import pytest

from akq_dist.record.sqlite import insert_by_name


@pytest.mark.parametrize("n_names", [1, 2, 7, 40, 1_203])
def test_each_value_is_a_row_of_its_owner_and_name(n_names: int) -> None:
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
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (name, value, at, tag, owner)")
    into = "t (name, value, at, tag, owner)"
    insert_by_name(connection.execute, into, "n0, value, o1, n1, o0", names, wide, 2)
    found = connection.execute("SELECT * FROM t ORDER BY owner, tag").fetchall()
    connection.close()
    assert found == expected
