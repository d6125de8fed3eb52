"""The source text of a Python strategy, as it travels to workers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.strategy.base import Strategy


@dataclass(frozen=True)
class SourceModule:
    """One shipped file: its path below the sweep folder, with `/`, and its text."""

    path: str
    text: str

    @property
    def name(self) -> str:
        """Dotted name below the sweep folder; a package's own file has the name of its folder."""
        parts = self.path.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_package(self) -> bool:
        return self.path == "__init__.py" or self.path.endswith("/__init__.py")


@dataclass(frozen=True)
class PythonSource:
    """A strategy class as text: its module and every module of the sweep folder that this one imports.

    It pickles as plain text, compares by content, and loads under a name that contains its digest: two
    versions of a strategy live side by side in one process, and `sys.path` stays as it is.
    """

    entry: str
    """Path of the entry module, one of `modules`."""
    class_name: str
    modules: tuple[SourceModule, ...]
    """In order of path."""

    @classmethod
    def from_reference(cls, reference: str, folder: Path) -> PythonSource:
        """Read `strategies/sma.py:SmaCross`, a file relative to the sweep folder and a class in it.

        Raises AkqStrategyError that names the file, and the line or the nearest class where there is one.
        """
        path, colon, class_name = reference.rpartition(":")
        if not colon or not path.endswith(".py") or not class_name.isidentifier():
            raise AkqUsageError(
                f"strategy.python: {reference!r} is not of the form 'strategies/sma.py:SmaCross'"
            )
        return cls.from_file(folder / path, class_name, folder)

    @classmethod
    def from_file(cls, path: Path, class_name: str, folder: Path | None = None) -> PythonSource:
        """Read a class of a file, with the imported modules below `folder` (default: that of the file)."""
        from akq_dist.strategy.collect import collect_modules

        modules, entry = collect_modules(path, folder if folder is not None else path.parent)
        source = cls(entry, class_name, modules)
        source._check_class()
        return source

    @classmethod
    def from_class(cls, strategy: type[Strategy]) -> PythonSource:
        """Take the source of a class that is already imported, one of a notebook or script included.

        Raises AkqStrategyError when the class cannot be expressed as text that a worker could run.
        """
        from akq_dist.strategy.extract import extract_class

        return extract_class(strategy)

    @cached_property
    def digest(self) -> str:
        """Content hash over the entry and every shipped text."""
        hasher = hashlib.sha256()
        for part in (self.entry, self.class_name, *(text for m in self.modules for text in (m.path, m.text))):
            data = part.encode()
            hasher.update(len(data).to_bytes(8, "little"))
            hasher.update(data)
        return hasher.hexdigest()

    def load(self) -> type[Strategy]:
        """Import the shipped modules, once per process, and return the class.

        Raises AkqStrategyError when a module fails to import or the class is not a Strategy.
        """
        from akq_dist.strategy.base import Strategy
        from akq_dist.strategy.loader import load_module

        module = load_module(self)
        found = getattr(module, self.class_name, None)
        if found is None:
            known = [name for name, value in vars(module).items() if isinstance(value, type)]
            raise AkqStrategyError(
                f"{self.entry} has no class {self.class_name!r}{did_you_mean(self.class_name, known)}"
            )
        if not (isinstance(found, type) and issubclass(found, Strategy)):
            raise AkqStrategyError(
                f"{self.entry}:{self.class_name} is not a strategy; it has to derive from akq_dist.Strategy"
            )
        return found

    def _check_class(self) -> None:
        """Find a misspelt class before anything runs; an imported or computed one is left to `load`."""
        import ast

        text = next(module.text for module in self.modules if module.path == self.entry)
        tree = ast.parse(text)
        bound = {name for node in ast.walk(tree) for name in _bound_names(node)}
        if self.class_name in bound or "*" in bound:
            return
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        raise AkqStrategyError(
            f"{self.entry} has no class {self.class_name!r}{did_you_mean(self.class_name, classes)}"
        )

    def __getstate__(self) -> tuple[str, str, tuple[SourceModule, ...]]:
        return self.entry, self.class_name, self.modules

    def __setstate__(self, state: tuple[str, str, tuple[SourceModule, ...]]) -> None:
        for name, value in zip(("entry", "class_name", "modules"), state, strict=True):
            object.__setattr__(self, name, value)


def _bound_names(node: object) -> list[str]:
    import ast

    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return []
