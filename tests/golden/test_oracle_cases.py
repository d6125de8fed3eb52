"""Every case of the oracle, as rules where the rule language can say it, and as a Python strategy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .oracle_callbacks import CALLBACKS
from .oracle_compare import compare, read_case, run_case
from .oracle_rules import RULES, parameters, rules

ORACLE = os.environ.get("AKQ_ORACLE")
CASES = sorted((Path(ORACLE) / "cases").glob("*.json")) if ORACLE else []
needs_oracle = pytest.mark.skipif(
    not ORACLE, reason="AKQ_ORACLE does not name the folder of expected results"
)


def with_strategies(known: object) -> list[Path]:
    return [path for path in CASES if path.name.split("-")[0] in known]  # type: ignore[operator]


@needs_oracle
def test_every_case_has_a_strategy() -> None:
    assert CASES
    assert {path.name.split("-")[0] for path in CASES} <= set(CALLBACKS)


@needs_oracle
@pytest.mark.parametrize("path", with_strategies(RULES), ids=lambda path: path.stem)
def test_rules_give_the_expected_fills_equity_and_metrics(path: Path) -> None:
    case = read_case(path)
    compare(case, run_case(case, {"rules": rules(case)}, parameters(case)))


@needs_oracle
@pytest.mark.parametrize("path", with_strategies(CALLBACKS), ids=lambda path: path.stem)
def test_callbacks_give_the_expected_fills_equity_and_metrics(path: Path) -> None:
    case = read_case(path)
    params = {**case["params"], "same_close": case["fill_mode"] == "same_close"}
    compare(case, run_case(case, CALLBACKS[case["strategy"]], params))
