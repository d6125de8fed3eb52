"""Finds what a strategy reads by itself: files that no engine has cut off at the current bar."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from akq_dist.strategy.source import SourceModule

READERS: Final = frozenset(
    f"{verb}_{kind}"
    for verb in ("read", "scan")
    for kind in (
        "csv", "csv_batched", "database", "delta", "excel", "feather", "hdf", "ipc", "json", "ndjson",
        "parquet", "pickle", "sql", "table",
    )
) | {"fromfile", "genfromtxt", "load_panel", "loadtxt", "memmap", "open", "open_dataset", "urlopen"}  # fmt: skip
"""Names of functions that read data; some of them read in native code, where no other trace is left."""

_IGNORED_SUFFIXES: Final = (".py", ".pyc", ".pyd", ".so", ".pth")
_state = threading.local()
_installed = False


class Opened:
    """Files that were opened by Python code while watching, in order, each once."""

    def __init__(self) -> None:
        self.paths: dict[Path, None] = {}


@contextmanager
def watched_opens() -> Iterator[Opened]:
    """Note which files this thread opens through Python; native readers such as Polars' leave no trace here."""
    _install()
    opened = Opened()
    before = getattr(_state, "opened", None)
    _state.opened = opened
    try:
        yield opened
    finally:
        _state.opened = before


def reading_calls(modules: Sequence[SourceModule]) -> list[tuple[str, int, str, str | None]]:
    """Return the calls that read data: file, line, function and, where it is written out, the path."""
    found = []
    for module in modules:
        for node in ast.walk(ast.parse(module.text)):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in READERS:
                texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                path = next((text for text in texts if isinstance(text, str)), None)
                found.append((module.path, node.lineno, name, path))
    return sorted(found, key=lambda call: call[:2])


def _install() -> None:
    # A hook of the interpreter stays for ever, so there is one, and it does nothing while nobody watches.
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hear)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if event != "open":
        return
    opened = getattr(_state, "opened", None)
    if opened is None or not isinstance(args[0], str | bytes | os.PathLike):
        return
    path = Path(os.fsdecode(args[0]))
    if not path.name.endswith(_IGNORED_SUFFIXES) and not _is_of_python(path):
        opened.paths[path.absolute()] = None


def _is_of_python(path: Path) -> bool:
    """Whether a file belongs to Python, an installed package or the machine."""
    text = str(path.absolute())
    own = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    package = str(Path(__file__).parents[1])
    system = ["/proc", "/sys", "/dev", "/etc", "/usr/share/zoneinfo"]
    return any(text.startswith(folder + os.sep) for folder in (*own, package, *system))
