"""What a person meets at the command line: help, misspelt words, exit codes, messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Akq, Start

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_the_commands_and_goes_to_stdout(akq_process: Start) -> None:
    process = akq_process("--help")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    for word in ("sweep", "backtest", "study", "replay", "data", "ui", "doctor", "Exit codes"):
        assert word in output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("swep",), "Did you mean 'sweep'"),
        (("sweep", "rnu", "x.yaml"), "Did you mean 'run'"),
        (("sweep", "run", "--sett", "a=b", "x.yaml"), "--set"),
        (("sweep", "run"), "Missing argument"),
        (("sweep", "run", "smal.yaml"), "smal.yaml: no such file, did you mean 'small.yaml'"),
        (("sweep", "run", "small.yaml", "--set", "space.fast={int: [60, 2]}"), "low 60 is above high 2"),
        (("sweep", "run", "small.yaml", "--set", "objective=shrpe"), "did you mean 'sharpe'"),
        (("sweep", "run", "shaky.yaml", "--set", "strategy.python=shaky.py:Shakey"), "did you mean 'Shaky'"),
        (("sweep", "status", "nothing"), "there is no ledger at"),
        (("sweep", "resume", "small.yaml"), "there is no ledger at"),
        (("study", "list"), "there is no ledger at"),
        (("backtest", "small.yaml", "--param", "fast"), "expected name=value such as fast=10"),
        (("backtest", "small.yaml", "--param", "fast=2", "--param", "fast=3"), "fast: given twice"),
        (("backtest", "small.yaml", "--param", "fast=2"), "no value for slow"),
        (("backtest", "small.yaml", "--param", "fsat=2"), "unknown parameter 'fsat', did you mean 'fast'"),
        (("backtest", "shaky.yaml", "--param", "m=2"), "Shaky: unknown parameter 'm'"),
        (("backtest", "small.yaml", "--set", "serach.trials=3"), "did you mean 'search'"),
    ],
)
def test_a_fault_of_usage_is_one_message_and_exit_code_2(
    akq: Akq, args: tuple[str, ...], message: str
) -> None:
    shown = akq(*args)
    assert shown.returncode == 2, shown.stderr
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""


def test_bad_data_are_exit_code_3_and_debug_shows_the_traceback(akq: Akq, folder: Path) -> None:
    (folder / "bad.csv").write_text("date,open,high,low,close\n2024-01-02,10,9,11,10\n")
    for args in (("data", "check", "bad.csv"), ("sweep", "run", "small.yaml", "--set", "data.path=bad.csv")):
        shown = akq(*args)
        assert shown.returncode == 3, shown.stderr
        assert "bad.csv" in shown.stderr
        assert "Traceback" not in shown.stderr
    shown = akq("data", "check", "bad.csv", "--debug")
    assert shown.returncode == 3
    assert "Traceback" in shown.stderr


def test_a_failing_strategy_is_shown_from_its_own_first_line(akq: Akq) -> None:
    shown = akq("backtest", "shaky.yaml", "--param", "n=2")
    assert shown.returncode == 2
    assert 'File "shaky.py", line 11, in on_bar' in shown.stderr
    assert shown.stderr.rstrip().endswith("ValueError: n is 2")
    assert "akq_dist" not in shown.stderr


def test_data_commands_read_sweep_files_and_data_files(akq: Akq) -> None:
    digest = akq("data", "digest", "bars.parquet").stdout.strip()
    assert len(digest) == 64
    facts = json.loads(akq("data", "check", "small.yaml", "--json").stdout)
    assert facts["digest"] == digest
    assert (facts["rows"], facts["symbols"], facts["first"], facts["last"]) == (
        780, 3, "2020-01-01", "2020-09-16",
    )  # fmt: skip


def test_the_schema_is_json(akq: Akq) -> None:
    schema = json.loads(akq("sweep", "schema").stdout)
    assert "strategy" in schema["properties"]


def test_the_doctor_looks_at_the_installation(akq: Akq) -> None:
    shown = akq("doctor", "--json")
    findings = {finding["topic"]: finding for finding in json.loads(shown.stdout)["findings"]}
    assert findings["engine"]["level"] != "error"
    assert findings["polars"]["level"] == "ok"
    assert shown.returncode == int(any(finding["level"] == "error" for finding in findings.values()))


def test_help_and_import_load_nothing_heavy() -> None:
    heavy = ["polars", "pandas", "pyarrow", "ray", "optuna", "mlflow", "pydantic", "rich"]
    code = f"import sys, akq_dist, akq_dist.cli.app; print([m for m in {heavy!r} if m in sys.modules])"
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=paths, check=True
    )
    assert shown.stdout.strip() == "[]"
