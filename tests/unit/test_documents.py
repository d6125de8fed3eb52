"""What the documents show as code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import akq_dist as akq

ROOT = Path(__file__).parents[2]


def snippets(name: str) -> list[str]:
    """Blocks of Python in a document, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(code, "snippet.py", "exec"), names)
    return names


def test_the_backtests_of_the_readme_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = [code for code in snippets("README.md") if "akq.backtest" in code]
    assert shown
    for code in shown:
        result = run(code)["result"]
        assert result.fills.height > 0
        assert result.exposure.height == result.equity.height


def test_the_question_to_a_risk_manager_has_the_answer_that_is_shown() -> None:
    (code,) = [code for code in snippets("sweeps/README.md") if "RiskManager" in code]
    assert not run(code)["answer"].accepted


@pytest.mark.parametrize("code", [code for code in snippets("sweeps/README.md") if "class " in code])
def test_every_strategy_of_the_sweeps_readme_trades(code: str) -> None:
    """A callback is run under its own name, signals too."""
    found = [
        value
        for value in run(code).values()
        if isinstance(value, type)
        and issubclass(value, akq.Strategy)
        and value not in (akq.Strategy, akq.SignalStrategy)
    ]
    assert found
    for cls in found:
        result = akq.backtest(strategy=cls, data={"name": "sp500", "end": "2005-12-31"})
        assert result.fills.height > 3, cls
