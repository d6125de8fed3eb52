"""The layers of the package: who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "akq_dist"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "specs", "validate", "report"),
    ("data",),
    ("strategy", "indicator"),
    (
        "request",
        "backtest",
        "engine",
        "frames",
        "metrics",
        "result",
        "risk",
        "runner",
        "lookahead",
        "paper",
        "several",
    ),
    ("record",),
    ("search",),
    ("track",),
    ("cluster",),
    ("sweep", "explore", "optimize"),
    ("cli",),
)
"""Lowest first; a part may import its own layer and the ones before it."""

ONLY_IN = {
    "ray": "cluster",
    "optuna": "search",
    "mlflow": "track",
    "optuna_dashboard": "track",
    "plotly": "report",
}
"""A heavy package and the one part that may name it."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "akq_dist":
                for alias in node.names:
                    yield f"akq_dist.{alias.name}"
            elif node.module:
                yield node.module


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_part_uses_only_the_layers_below_it(path: Path) -> None:
    level = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
    part = part_of(path)
    if part in {"__init__", "__main__"}:
        return
    assert part in level, f"{part} has no place among the layers"
    for name in imported_names(path):
        if not name.startswith("akq_dist."):
            continue
        other = name.split(".")[1]
        if other == "_core" or other not in level:
            continue
        assert level[other] <= level[part], f"{part} imports {name}, which stands above it"


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_heavy_package_is_named_in_one_part_only(package: str) -> None:
    for path in modules():
        if part_of(path) == ONLY_IN[package]:
            continue
        for name in imported_names(path):
            assert name.split(".")[0] != package, f"{path.relative_to(ROOT)} imports {name}"


def test_pyo3_is_named_in_one_folder_only() -> None:
    for path in sorted((ROOT / "core" / "src").rglob("*.rs")):
        if "py" not in path.relative_to(ROOT / "core" / "src").parts:
            assert not re.search(r"\bpyo3\b", path.read_text()), path


def test_the_top_level_is_the_fixed_one() -> None:
    allowed = {"Cargo.toml", "Cargo.lock", "pyproject.toml", "core", "akq_dist", "sweeps", "cluster", "tests"}
    allowed |= {"README.md", "LICENSE"}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    top = {Path(name).parts[0] for name in tracked}
    assert {name for name in top if not name.startswith(".")} <= allowed


@pytest.mark.parametrize("module", ["akq_dist", "akq_dist.cli"])
def test_importing_costs_no_heavy_package(module: str) -> None:
    heavy = ("ray", "mlflow", "optuna", "pandas", "plotly", "polars", "pyarrow", "scipy", "numpy")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_no_pickle_of_files() -> None:
    """Caches, resume state and artifacts are JSON, Arrow or Parquet: nothing unpickles a file."""
    banned = {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}
    for path in modules():
        for name in imported_names(path):
            assert name.split(".")[0] not in banned, f"{path.relative_to(ROOT)} imports {name}"


def test_unsafe_rust_stays_rare() -> None:
    blocks = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "core" / "src").rglob("*.rs"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\bunsafe\s*(\{|fn|impl)", line)
    ]
    assert len(blocks) <= 3, blocks
