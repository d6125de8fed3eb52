"""The table of known faults in tests/README.md: every row points to tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
REFERENCE = re.compile(r"`([\w/.]+)::(\w+)`")
N_ROWS = 35


def rows() -> dict[int, str]:
    found = ROW.findall((TESTS / "README.md").read_text(encoding="utf-8"))
    return {int(number): where for number, _, where in found}


def test_the_table_has_every_row_once() -> None:
    numbers = [int(number) for number, _, _ in ROW.findall((TESTS / "README.md").read_text(encoding="utf-8"))]
    assert numbers == list(range(1, N_ROWS + 1))


@pytest.mark.parametrize("number", range(1, N_ROWS + 1))
def test_a_row_names_tests_that_exist(number: int) -> None:
    where = rows()[number]
    named = REFERENCE.findall(where)
    assert named or where.startswith("not built yet"), where
    for path, name in named:
        # The Rust tests are beside the engine, written `core/...`.
        file = TESTS.parent / path if path.startswith("core/") else TESTS / path
        assert re.search(rf"^\s*(def|fn) {name}\(", file.read_text(encoding="utf-8"), re.MULTILINE), (
            path,
            name,
        )
