"""Finds which files of a sweep folder a strategy needs, by reading its imports."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

from akq_dist.errors import AkqStrategyError
from akq_dist.specs.suggest import did_you_mean
from akq_dist.strategy.source import SourceModule

if TYPE_CHECKING:
    from pathlib import Path

MAX_MODULES = 200
"""A strategy that reaches more files than this has most likely been put into the wrong folder."""


def collect_modules(
    path: Path, folder: Path, only: str | None = None
) -> tuple[tuple[SourceModule, ...], str]:
    """Return the entry file and every file below `folder` that it imports, and the entry's path.

    `only` limits absolute imports to one top-level name, for a package that lives among many others.

    The walk is static: an import inside a function counts, one through `importlib` does not. Raises
    AkqStrategyError for a file that is missing, outside the folder, not text, or not Python.
    """
    root = folder.resolve()
    start = _inside(path, root)
    entry = start.relative_to(root).as_posix()
    found: dict[str, SourceModule] = {}
    waiting = [start]
    while waiting:
        file = waiting.pop()
        key = file.relative_to(root).as_posix()
        if key in found:
            continue
        module = SourceModule(key, read_source(file, key))
        found[key] = module
        if len(found) > MAX_MODULES:
            raise AkqStrategyError(f"{path.name} imports more than {MAX_MODULES} files of its folder")
        for level, dotted in _imports(ast.parse(module.text)):
            if level or only is None or dotted.split(".")[0] == only:
                waiting.extend(_files(level, dotted, (module.path, entry), root))
    return tuple(found[key] for key in sorted(found)), entry


def search_folders(name: str, importer: str, entry: str) -> list[str]:
    """Folders in which an absolute import of a shipped module is looked for, first one first.

    As in `sys.path` of a script: beside the entry file, then in the sweep folder. The folder of the importing
    file comes last, and only for names that the standard library does not have.
    """
    own, first = _folder(importer), _folder(entry)
    folders = [first, ""]
    if name.split(".")[0] not in sys.stdlib_module_names:
        folders.append(own)
    return list(dict.fromkeys(folders))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def read_source(file: Path, shown: str) -> str:
    """Read a module as text and check that it is Python."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AkqStrategyError(f"{shown} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise AkqStrategyError(f"{shown} cannot be read: {error.strerror}") from None
    check_syntax(text, shown)
    return text


def check_syntax(text: str, shown: str) -> None:
    """Raise AkqStrategyError with line and column where the text is not Python."""
    try:
        ast.parse(text, filename=shown)
    except SyntaxError as error:
        line = (error.text or "").strip()
        quoted = f": {line}" if line else ""
        raise AkqStrategyError(
            f"{shown} line {error.lineno}, column {error.offset}: {error.msg}{quoted}"
        ) from None
    except ValueError as error:
        raise AkqStrategyError(f"{shown}: {error}") from None


def _inside(path: Path, root: Path) -> Path:
    if not path.exists():
        folder = path.parent
        names = sorted(p.name for p in folder.glob("*.py")) if folder.is_dir() else []
        hint = did_you_mean(path.name, names) if names else ""
        raise AkqStrategyError(f"strategy file {path.name!r} does not exist in {folder.name or '.'}/{hint}")
    if not path.is_file():
        raise AkqStrategyError(f"strategy file {path.name!r} is not a file")
    resolved = path.resolve()
    if not resolved.is_relative_to(root):
        raise AkqStrategyError(
            f"strategy file {path.name!r} lies outside the sweep folder, so it cannot travel to workers"
        )
    return resolved


def _imports(tree: ast.AST) -> set[tuple[int, str]]:
    """Every (level, dotted name) that the module may import; `from a import b` gives both `a` and `a.b`."""
    found: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found.add((node.level, base))
            for alias in node.names:
                found.add((node.level, f"{base}.{alias.name}".lstrip(".")))
    found.discard((0, ""))
    return found


def _files(level: int, dotted: str, paths: tuple[str, str], root: Path) -> list[Path]:
    """Files below the folder that an import runs: the module and the packages around it."""
    importer, entry = paths
    if level:
        base = (root / importer).parent
        for _ in range(level - 1):
            base = base.parent
        bases = [base]
    else:
        bases = [root / folder for folder in search_folders(dotted, importer, entry)]
    for base in bases:
        if not base.is_relative_to(root):
            continue
        files = _chain(base, [part for part in dotted.split(".") if part], root)
        if files:
            return files
    return []


def _chain(base: Path, parts: list[str], root: Path) -> list[Path]:
    """Files that `parts` name below `base`, as far as they exist; the last may be a name in a module."""
    files: list[Path] = []
    init = base / "__init__.py"
    if not parts and init.is_file():
        files.append(init)
    for part in parts:
        package, file = base / part / "__init__.py", base / f"{part}.py"
        if package.is_file():
            files.append(package)
        elif file.is_file():
            files.append(file)
            break
        elif not (base / part).is_dir():
            break
        base = base / part
    return [file for file in (f.resolve() for f in files) if file.is_relative_to(root)]
