"""`akq doctor`: what is installed, what this machine offers, and what would go wrong."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from akq_dist.cli.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES: Final = (
    "numpy", "polars", "pyarrow", "pandas", "pydantic", "optuna", "mlflow", "ray", "arch", "scipy", "typer",
    "rich",
)  # fmt: skip
OPTIONAL: Final = {"optuna-dashboard": "dashboard"}


@dataclass(frozen=True)
class Finding:
    """One fact about the installation."""

    topic: str
    level: Literal["ok", "warning", "error"]
    text: str


def run(*, as_json: bool) -> int:
    """Print the findings; the exit code is 1 when something needed is missing."""
    findings = list(_findings())
    if as_json:
        print_json({"findings": [vars(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}[finding.level]
            print(f"{mark}  {finding.topic:18} {finding.text}")
    errors = sum(finding.level == "error" for finding in findings)
    if errors and not as_json:
        say(f"{errors} problem{'s' * (errors > 1)} found")
    return 1 if errors else 0


def _findings() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _engine()
    for name in PACKAGES:
        version = _version(name)
        yield (
            Finding(name, "ok", version)
            if version
            else Finding(name, "error", f"missing: pip install {name}")
        )
    for name, extra in OPTIONAL.items():
        version = _version(name)
        hint = f"not installed (optional): pip install 'akq-dist[{extra}]'"
        yield Finding(name, "ok", version) if version else Finding(name, "warning", hint)
    yield from _guarded("ray", _ray)
    yield from _guarded("machine", _machine)
    yield _folder()


def _engine() -> Iterator[Finding]:
    try:
        from akq_dist import _core
    except ImportError as error:
        yield Finding("engine", "error", f"akq_dist._core cannot be imported: {error}")
        return
    level: Literal["ok", "warning"] = "ok" if _core.PROFILE == "release" else "warning"
    slow = "" if _core.PROFILE == "release" else ", a debug build: sweeps are many times slower"
    yield Finding("engine", level, f"{_core.BUILD} ({_core.PROFILE}){slow}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _guarded(topic: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Report what cannot be looked at and go on."""
    try:
        yield from look()
    except (ImportError, OSError, RuntimeError) as error:
        yield Finding(topic, "warning", f"cannot be looked at: {error}")


def _ray() -> Iterator[Finding]:
    if importlib.util.find_spec("ray") is None:
        return
    from akq_dist.cluster.doctor import facts

    for fact in facts():
        yield Finding(f"ray: {fact.topic}", fact.level, fact.text)


def _machine() -> Iterator[Finding]:
    from akq_dist.cluster import machine

    yield Finding("cpus", "ok", f"{machine.usable_cpus()} usable of {os.cpu_count()}")
    memory = machine.memory_bytes()
    if memory is not None:
        yield Finding("memory", "ok", f"{memory / 2**30:.1f} GiB")


def _folder() -> Finding:
    if os.access(Path.cwd(), os.W_OK):
        return Finding("current folder", "ok", "writable: ledger and stores go to ./akq")
    return Finding("current folder", "error", "not writable: run from a folder where ./akq can be made")
