"""Declared, typed parameters of a strategy class."""

from __future__ import annotations

import inspect
import math
import numbers
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

type_names: Final = "int, float, bool or str"
_KINDS: Final[Mapping[str, type]] = {"int": int, "float": float, "bool": bool, "str": str}


class _Required:
    """Stands for "no default": the value has to be given."""

    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class ParamInfo:
    """What a class declares about one parameter."""

    name: str
    kind: type
    default: Any
    low: float | None
    high: float | None
    choices: tuple[Any, ...] | None
    doc: str
    optional: bool = False

    def check(self, value: Any, owner: str) -> Any:
        """Return the value in its declared type, or raise AkqUsageError that names parameter and value."""
        if value is None and self.optional:
            return None
        checked = _coerce(value, self.kind)
        where = f"{owner}.{self.name}"
        if checked is None:
            raise AkqUsageError(f"{where}: {value!r} is not {_article(self.kind)}")
        if isinstance(checked, float) and not math.isfinite(checked):
            raise AkqUsageError(f"{where}: {value!r} is not a finite number")
        if self.low is not None and checked < self.low:
            raise AkqUsageError(f"{where}: {checked!r} is below its low of {self.low!r}")
        if self.high is not None and checked > self.high:
            raise AkqUsageError(f"{where}: {checked!r} is above its high of {self.high!r}")
        if self.choices is not None and checked not in self.choices:
            raise AkqUsageError(f"{where}: {checked!r} is not one of {', '.join(map(repr, self.choices))}")
        return checked


class ParamField:
    """Descriptor behind `Param`: reads the value that the instance was made with."""

    def __init__(
        self, default: Any, low: float | None, high: float | None, choices: Sequence[Any] | None, doc: str
    ) -> None:
        self._default = default
        self._low = low
        self._high = high
        self._choices = None if choices is None else tuple(choices)
        self._doc = doc
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            return instance._params[self._name]
        except (AttributeError, KeyError):
            raise AttributeError(
                f"{type(instance).__name__}.{self._name} is not set yet: "
                "a strategy with its own __init__ calls super().__init__(**params) first"
            ) from None

    def __set__(self, instance: Any, value: Any) -> None:
        raise AttributeError(
            f"{type(instance).__name__}.{self._name} is a parameter and does not change during a run"
        )

    def info(self, owner: type) -> ParamInfo:
        """Resolve the declared type; raises AkqUsageError when there is none or the default does not fit."""
        kind, optional = _declared_kind(owner, self._name, self._default)
        found = ParamInfo(
            self._name, kind, self._default, self._low, self._high, self._choices, self._doc,
            optional or self._default is None,
        )  # fmt: skip
        if self._default is REQUIRED:
            return found
        return ParamInfo(**{**vars(found), "default": found.check(self._default, owner.__name__)})


def Param(  # noqa: N802 - reads as a declaration, like a class
    default: Any = REQUIRED,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    doc: str = "",
) -> Any:
    """Declare a parameter of a strategy: `fast: int = Param(10, low=2, high=60)`.

    Without a default the value has to be given. The annotation (int, float, bool or str) is the type that
    values are checked against; without one the type of the default counts.
    """
    return ParamField(default, low, high, choices, doc)


def declared(cls: type) -> dict[str, ParamInfo]:
    """Parameters of a class and its bases, in order of declaration, bases first."""
    found: dict[str, ParamInfo] = {}
    for owner in reversed(cls.__mro__):
        for name, field in vars(owner).items():
            if isinstance(field, ParamField):
                found[name] = field.info(owner)
            elif name in found:
                raise AkqUsageError(
                    f"{owner.__name__}.{name} hides the parameter of the same name; declare it with Param"
                )
    return found


def bind(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete and check the parameters for one instance."""
    infos = declared(cls)
    unknown = [name for name in given if name not in infos]
    if unknown:
        raise AkqUsageError(
            f"{cls.__name__}: unknown parameter {unknown[0]!r}{did_you_mean(unknown[0], infos)}"
        )
    bound: dict[str, Any] = {}
    for name, info in infos.items():
        if name in given:
            bound[name] = info.check(given[name], cls.__name__)
        elif info.default is REQUIRED:
            raise AkqUsageError(f"{cls.__name__}: parameter {name!r} has no default and was not given")
        else:
            bound[name] = info.default
    return bound


def _coerce(value: Any, kind: type) -> Any:
    """Give the value in the wanted type, None where that would change its meaning."""
    if kind is bool:
        return bool(value) if type(value).__name__ in ("bool", "bool_") else None
    if kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if kind is float:
        return float(value)
    try:
        whole = int(value)  # type: ignore[call-overload]
    except (ValueError, OverflowError):
        return None
    return whole if whole == value else None


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


def _declared_kind(owner: type, name: str, default: Any) -> tuple[type, bool]:
    note = inspect.get_annotations(owner).get(name)
    kind, optional = _kind_of(note)
    if kind is None and note is None and type(default) in _KINDS.values():
        kind = type(default)
    if kind is None:
        said = "no type" if note is None else f"the type {note!r}"
        raise AkqUsageError(f"{owner.__name__}.{name} has {said}; a parameter is {type_names}")
    return kind, optional


def _kind_of(note: Any) -> tuple[type | None, bool]:
    """Read an annotation, which is text under `from __future__ import annotations`."""
    if isinstance(note, str):
        parts = [part.strip() for part in note.removeprefix("Optional[").removesuffix("]").split("|")]
        optional = note.startswith("Optional[") or "None" in parts
        kinds = [_KINDS[part] for part in parts if part in _KINDS]
        others = [part for part in parts if part not in _KINDS and part != "None"]
        return (kinds[0], optional) if len(kinds) == 1 and not others else (None, optional)
    if typing.get_origin(note) in (typing.Union, types.UnionType):
        args = typing.get_args(note)
        kinds = [arg for arg in args if arg in _KINDS.values()]
        return (
            (kinds[0], True) if len(kinds) == 1 and len(args) == 2 and type(None) in args else (None, False)
        )
    return (note, False) if note in _KINDS.values() else (None, False)
