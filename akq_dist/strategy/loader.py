"""Imports shipped strategy source under hashed names."""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqError, AkqStrategyError
from akq_dist.strategy.collect import search_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from akq_dist.strategy.source import PythonSource, SourceModule

PREFIX = "_akq_strategy_"
_lock = threading.Lock()


def load_module(source: PythonSource) -> ModuleType:
    """Return the entry module, imported on first use; raises AkqStrategyError when the import fails."""
    package = f"{PREFIX}{source.digest[:24]}"
    with _lock:
        if not any(isinstance(finder, _Finder) and finder.package == package for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder(package, source))
    entry = next(module for module in source.modules if module.path == source.entry)
    name = f"{package}.{entry.name}" if entry.name else package
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        # What a user's module raises at import can be anything: this is the edge to foreign code.
        kind = "" if isinstance(error, AkqError) else f"{type(error).__name__}: "
        raise AkqStrategyError(f"{_place(error, source)}: {kind}{error}") from error


def loaded_source(module_name: str) -> PythonSource | None:
    """Return the source that a module was loaded from by `load_module`, if it was."""
    for finder in sys.meta_path:
        if isinstance(finder, _Finder) and module_name.startswith(f"{finder.package}."):
            return finder.source
    return None


def _place(error: BaseException, source: PythonSource) -> str:
    paths = {module.path for module in source.modules}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
    if not frames:
        return source.entry
    return f"{frames[-1].filename} line {frames[-1].lineno}"


class _Finder(importlib.abc.MetaPathFinder):
    """Knows the modules of one shipped source, and nothing else."""

    def __init__(self, package: str, source: PythonSource) -> None:
        self.package = package
        self.source = source
        self._modules: Mapping[str, SourceModule] = {module.name: module for module in source.modules}
        self._folders = {
            ".".join(parts[:end])
            for parts in (module.path.split("/")[:-1] for module in source.modules)
            for end in range(1, len(parts) + 1)
        }

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.package and not fullname.startswith(f"{self.package}."):
            return None
        name = fullname[len(self.package) + 1 :]
        module = self._modules.get(name)
        if module is None and name and name not in self._folders:
            return None
        is_package = not name or module is None or module.is_package
        loader = _Loader(self, module)
        spec = importlib.util.spec_from_loader(fullname, loader, is_package=is_package)
        if spec is not None and is_package:
            spec.submodule_search_locations = []
        return spec

    def resolve(self, name: str, importer: SourceModule) -> str | None:
        """Return the package in which an absolute import is found, None for the world outside."""
        first = name.split(".")[0]
        for folder in search_folders(name, importer.path, self.source.entry):
            base = [part for part in folder.split("/") if part]
            candidate = ".".join([*base, first])
            if candidate in self._modules or candidate in self._folders:
                return ".".join([self.package, *base])
        return None


class _Loader(importlib.abc.InspectLoader):
    """Runs one shipped module; a folder without a file of its own is an empty package."""

    def __init__(self, finder: _Finder, module: SourceModule | None) -> None:
        self._finder = finder
        self._module = module

    def get_source(self, fullname: str) -> str:  # noqa: ARG002
        """Text for tracebacks."""
        return self._module.text if self._module is not None else ""

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002
        return self._module is None or self._module.is_package

    def exec_module(self, module: ModuleType) -> None:
        if self._module is None:
            return
        # The source's own modules are found through the import statement of its own namespace only, so that
        # the rest of the process never meets them.
        own_builtins = dict(vars(builtins))
        own_builtins["__import__"] = _import_hook(self._finder, self._module)
        module.__dict__["__builtins__"] = own_builtins
        module.__file__ = self._module.path
        code = compile(self._module.text, self._module.path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - running the user's strategy is the purpose


def _import_hook(finder: _Finder, importer: SourceModule) -> Callable[..., Any]:
    def import_(
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        base = finder.resolve(name, importer) if level == 0 else None
        if base is None:
            return builtins.__import__(name, globals_, locals_, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{base}.{name}", globals_, locals_, fromlist, 0)
        importlib.import_module(f"{base}.{name}")
        return sys.modules[f"{base}.{name.split('.')[0]}"]

    return import_
