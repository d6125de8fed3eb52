"""Virtual environments for other people's packages, made once below a folder and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALL_LIMIT_S = 1_800


class CannotInstallError(Exception):
    """An environment could not be made; says what pip said."""


class ProgramError(Exception):
    """A program of an environment failed; says how it ended."""


@dataclass(frozen=True)
class Environment:
    """A folder with a Python and exactly the packages that `requirements` name, with what these need."""

    name: str
    requirements: tuple[str, ...]

    def make(self, folder: Path) -> Path:
        """Install it unless that is done; returns its Python. Raises CannotInstallError."""
        home = folder / self.name
        python = home / "bin" / "python"
        finished = home / "requirements.txt"
        wanted = "\n".join(self.requirements)
        if finished.is_file() and finished.read_text() == wanted:
            return python
        shutil.rmtree(home, ignore_errors=True)
        steps = (  # -I: what PYTHONPATH names here is not installed there
            [sys.executable, "-I", "-m", "venv", str(home)],
            [str(python), "-I", "-m", "pip", "install", "--quiet", *self.requirements],
        )
        for step in steps:
            try:
                done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise CannotInstallError(str(error)) from None
            if done.returncode:
                raise CannotInstallError(_last_line(done.stderr))
        finished.write_text(wanted)
        return python


def run_module(python: Path, module: str, *arguments: str, limit_s: float, folder: Path = ROOT) -> str:
    """Standard output of a module of this project run by some Python. Raises ProgramError."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            [str(python), "-m", module, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"no result within {limit_s:,.0f} s") from None
    if done.returncode:
        raise ProgramError(_last_line(done.stderr) or f"exit code {done.returncode}")
    return done.stdout


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [""])[-1][:200]
