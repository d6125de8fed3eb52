"""`akq lookahead`: exit codes, the one line that matters, and the report as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Akq

CHEAT = """
import polars as pl
from akq_dist import Param, SignalStrategy


class Cheat(SignalStrategy):
    ahead: int = Param(1, low=0)

    def signals(self, bars):
        return {"enter": pl.col("close").shift(-self.ahead) > pl.col("close") * 1.001, "max_bars": 2}
"""
SWEEP = """
name: cheat
strategy: {python: "cheat.py:Cheat"}
data: {path: bars.parquet}
params: {ahead: 1}
"""


def test_a_cheat_is_found_and_named(akq: Akq, folder: Path) -> None:
    (folder / "cheat.py").write_text(CHEAT)
    (folder / "cheat.yaml").write_text(SWEEP)
    shown = akq("lookahead", "cheat.yaml", "--samples", "4")
    assert shown.returncode == 5
    assert "look-ahead: bars after 2020-" in shown.stderr
    assert "order of " in shown.stderr
    assert "ahead=1" in shown.stderr


def test_without_the_cheat_nothing_is_found(akq: Akq, folder: Path) -> None:
    (folder / "cheat.py").write_text(CHEAT)
    (folder / "cheat.yaml").write_text(SWEEP)
    shown = akq("lookahead", "cheat.yaml", "--set", "params.ahead=0", "--samples", "4")
    assert shown.returncode == 0
    assert "no look-ahead was found" in shown.stderr


def test_rules_pass_with_searched_parameters_filled_in(akq: Akq) -> None:
    shown = akq("lookahead", "small.yaml", "--param", "fast=3", "--samples", "3", "--json")
    assert shown.returncode == 0
    report = json.loads(shown.stdout)
    assert report["clean"]
    assert report["params"]["fast"] == 3
    assert report["n_runs"] == 8
    assert report["n_orders"] > 0
    assert report["differences"] == []


def test_json_has_the_first_difference(akq: Akq, folder: Path) -> None:
    (folder / "cheat.py").write_text(CHEAT)
    (folder / "cheat.yaml").write_text(SWEEP)
    shown = akq("lookahead", "cheat.yaml", "--samples", "4", "--seed", "3", "--json")
    assert shown.returncode == 5
    first = json.loads(shown.stdout)["differences"][0]
    assert first["what"] == "order"
    assert first["symbol"] in ("AAA", "BBB", "CCC")
    assert first["time"] <= first["after"]


def test_a_strategy_that_fails_as_it_is_fails_the_command(akq: Akq) -> None:
    shown = akq("lookahead", "shaky.yaml", "--param", "n=4")
    assert shown.returncode == 2
    assert "n is 4" in shown.stderr
