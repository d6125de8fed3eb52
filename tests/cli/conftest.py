"""The command in a process of its own, and a small sweep to give it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from akq_dist.cli.edge import run as run_command

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "import sys; from akq_dist.cli import main; sys.argv[0] = 'akq'; main()"

SWEEP = """
name: small
strategy:
  rules:
    enter: cross_above(sma(close, fast), sma(close, slow))
    exit: cross_below(sma(close, fast), sma(close, slow))
data: {path: bars.parquet}
space:
  fast: {int: [2, 9]}
  slow: {int: [5, 30]}
where: ["fast < slow"]
objective: {metric: sharpe, aggregate: mean}
search: {sampler: random, trials: 40, seed: 5}
run: {executor: serial}
track: {mlflow: null}
storage: {optuna: null}
"""
PYTHON_SWEEP = """
name: shaky
strategy: {python: "shaky.py:Shaky"}
data: {path: bars.parquet}
space: {n: {int: [1, 100]}}
objective: {metric: total_return, aggregate: mean}
search: {sampler: grid}
run: {executor: serial}
track: {mlflow: null}
storage: {optuna: null}
"""
SHAKY = """
from akq_dist import Param, Strategy


class Shaky(Strategy):
    n: int = Param(1)
    every: int = Param(2)

    def on_bar(self, bar):
        if self.n % self.every == 0:
            raise ValueError(f"n is {self.n}")
        if bar.index == self.n:
            self.buy(pct_equity=0.5)
"""


def environment() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1"}


@dataclass(frozen=True)
class Shown:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


Akq = Callable[..., Shown]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def akq(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Akq:
    """Run a command in the folder and in this process: what `akq` does, without its start."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*args: str) -> Shown:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            code = run_command(args)
        return Shown(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def akq_process(folder: Path) -> Start:
    """Start the command in the folder, with its stderr as a pipe."""

    def start(*args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", ENTRY, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment(),
        )

    return start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with bars of three symbols and two sweeps over them."""
    rng = np.random.default_rng(11)
    frames = []
    for symbol in ("AAA", "BBB", "CCC"):
        close = 50.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, 260)))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 1, 1), eager=True).head(260),
                    "open": close,
                    "high": close * 1.01,
                    "low": close * 0.99,
                    "close": close,
                    "volume": 1e6,
                }
            )
        )
    pl.concat(frames).write_parquet(tmp_path / "bars.parquet")
    (tmp_path / "small.yaml").write_text(SWEEP)
    (tmp_path / "shaky.yaml").write_text(PYTHON_SWEEP)
    (tmp_path / "shaky.py").write_text(SHAKY)
    return tmp_path
