"""Takes the source of a strategy class that lives in memory: of a module, a script or a notebook."""

from __future__ import annotations

import ast
import inspect
import linecache
import math
import symtable
import sys
import sysconfig
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqStrategyError
from akq_dist.strategy.collect import collect_modules
from akq_dist.strategy.loader import loaded_source
from akq_dist.strategy.source import PythonSource, SourceModule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from akq_dist.strategy.base import Strategy

ENTRY = "_notebook.py"
MAX_CONSTANT_CHARS = 100_000
_HINT = "put the class into a file and name it as 'file.py:Class'"


def extract_class(cls: type[Strategy]) -> PythonSource:
    """Return the source of a class; raises AkqStrategyError when it cannot be expressed as text."""
    if "<locals>" in cls.__qualname__ or "." in cls.__qualname__:
        raise AkqStrategyError(
            f"{cls.__qualname__} is defined inside another scope; move it to the top of its module"
        )
    shipped = loaded_source(cls.__module__)
    if shipped is not None:
        return PythonSource(shipped.entry, cls.__name__, shipped.modules)
    module = sys.modules.get(cls.__module__)
    if module is not None and module.__name__ != "__main__" and getattr(module, "__file__", None):
        modules, entry = _of_module(module)
        return PythonSource(entry, cls.__name__, modules)
    source = _Extraction(cls).source()
    source.load()
    return source


def _of_module(module: ModuleType) -> tuple[tuple[SourceModule, ...], str]:
    """Modules that a module with a file needs: of its package or, outside an installation, its folder."""
    file = Path(str(module.__file__))
    parts = module.__name__.split(".")
    depth = len(parts) if file.name == "__init__.py" else len(parts) - 1
    root = file.resolve().parents[depth]
    only = parts[0] if depth or _is_installed(file) else None
    return collect_modules(file, root, only)


def _is_installed(file: Path) -> bool:
    """Whether a file belongs to Python or to an installed package, which workers have too."""
    if {"site-packages", "dist-packages"}.intersection(file.parts):
        return True
    places = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(file.resolve().is_relative_to(Path(place).resolve()) for place in places)


class _Extraction:
    """Collects a class and everything of its script or notebook that it names."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._globals = _globals_of(cls)
        self._imports: list[str] = []
        self._pieces: list[str] = []
        self._seen: set[str] = set()
        self._modules: dict[str, SourceModule] = {}

    def source(self) -> PythonSource:
        self._add(self._cls.__name__, self._cls)
        text = "\n".join(["from __future__ import annotations", *self._imports, "", *self._pieces])
        self._modules[ENTRY] = SourceModule(ENTRY, text)
        return PythonSource(
            ENTRY, self._cls.__name__, tuple(self._modules[key] for key in sorted(self._modules))
        )

    def _add(self, name: str, value: Any) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        home = getattr(value, "__module__", None)
        if isinstance(value, ModuleType):
            self._import(value.__name__, f"import {value.__name__} as {name}", name)
        elif isinstance(value, type | FunctionType) and home == self._cls.__module__:
            text = _definition(value, name)
            for used in _global_names(text):
                if used in self._globals:
                    self._add(used, self._globals[used])
            self._pieces.append(text)
        elif isinstance(home, str) and _is_member(home, value):
            self._import(home, f"from {home} import {value.__qualname__} as {name}", name)
        else:
            self._pieces.append(f"{name} = {self._constant(name, value)}")

    def _import(self, module_name: str, statement: str, name: str) -> None:
        if module_name == "__main__":
            raise AkqStrategyError(f"{self._cls.__name__} uses {name!r} of __main__ as a module; {_HINT}")
        module = sys.modules[module_name]
        file = getattr(module, "__file__", None)
        foreign = file is not None and file.endswith(".py") and not _is_installed(Path(file))
        if foreign and module_name.split(".")[0] != "akq_dist":
            for shipped in _of_module(module)[0]:
                self._modules[shipped.path] = shipped
        self._imports.append(statement)

    def _constant(self, name: str, value: Any) -> str:
        text = _literal(value)
        if text is None or len(text) > MAX_CONSTANT_CHARS:
            what = "is too large" if text is not None else f"is a {type(value).__name__}"
            raise AkqStrategyError(
                f"{self._cls.__name__} uses the name {name!r}, which {what} and cannot travel to workers; "
                f"make it a parameter, or {_HINT}"
            )
        return text


def _globals_of(cls: type) -> dict[str, Any]:
    module = sys.modules.get(cls.__module__)
    if module is not None:
        return vars(module)
    for value in vars(cls).values():
        if isinstance(value, FunctionType):
            return value.__globals__
    raise AkqStrategyError(f"the source of {cls.__name__} cannot be found; {_HINT}")


def _is_member(home: str, value: Any) -> bool:
    qualname = getattr(value, "__qualname__", None)
    module = sys.modules.get(home)
    return module is not None and isinstance(qualname, str) and getattr(module, qualname, None) is value


def _definition(value: Any, name: str) -> str:
    """Text of the last top-level statement that defines a name, from the file or cell the value came from."""
    for lines in _candidate_lines(value):
        text = "".join(lines)
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        found = [node for node in tree.body if _defines(node, name)]
        if found:
            node = found[-1]
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(d.lineno for d in decorators)])
            return "".join(lines[first - 1 : node.end_lineno]).rstrip("\n") + "\n"
    raise AkqStrategyError(f"the source of {name} cannot be found; {_HINT}")


def _candidate_lines(value: Any) -> Iterator[list[str]]:
    functions = (
        [value]
        if isinstance(value, FunctionType)
        else [v for v in vars(value).values() if isinstance(v, FunctionType)]
    )
    for file in dict.fromkeys(inspect.unwrap(f).__code__.co_filename for f in functions):
        yield linecache.getlines(file)
    try:
        yield inspect.getsource(value).splitlines(keepends=True)
    except (OSError, TypeError):
        return


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name == name
    return isinstance(node, ast.Assign) and any(
        isinstance(t, ast.Name) and t.id == name for t in node.targets
    )


def _global_names(text: str) -> list[str]:
    """Names that a definition takes from its module. Annotations do not count: they are not evaluated."""
    top = symtable.symtable("from __future__ import annotations\n" + text, "<strategy>", "exec")
    names: dict[str, None] = {}
    waiting = [(top, True)]
    while waiting:
        table, is_top = waiting.pop()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (is_top or symbol.is_global()):
                names[symbol.get_name()] = None
        waiting.extend((child, False) for child in table.get_children())
    return sorted(names)


def _literal(value: Any) -> str | None:
    """Python text that makes an equal value, None where there is none."""
    if value is None or (
        isinstance(value, bool | int | str | bytes) and type(value).__module__ == "builtins"
    ):
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if type(value) in (list, tuple, set, frozenset):
        items = [
            _literal(item)
            for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)
        ]
        if any(item is None for item in items):
            return None
        inner = ", ".join(item for item in items if item is not None)
        if type(value) is list:
            return f"[{inner}]"
        if type(value) is tuple:
            return f"({inner},)" if items else "()"
        return f"{type(value).__name__}([{inner}])"
    if type(value) is dict:
        pairs = [(_literal(key), _literal(item)) for key, item in value.items()]
        if any(key is None or item is None for key, item in pairs):
            return None
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    return None
