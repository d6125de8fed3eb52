"""What every specification shares: frozen, unknown keys refused, a content hash, clear errors."""

from __future__ import annotations

import hashlib
import json
import math
import types
from typing import TYPE_CHECKING, Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean, nearest
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic_core import ErrorDetails

Scalar = bool | int | float | str
"""A value of a parameter."""

Place = tuple[str | int, ...]


class Spec(BaseModel):
    """Base of all specifications. Use `parse` for outside input: it answers with AkqUsageError."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )

    @classmethod
    def parse(cls, data: Any, describe: Callable[[Place], str] | None = None) -> Self:
        """Validate plain data; `describe` turns a place in it into text (default: the dotted path)."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise AkqUsageError(explain(error, cls, describe)) from None
        except RecursionError:
            raise AkqUsageError(f"{cls.__name__}: nested too deeply") from None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `parse` reads back to an equal value."""
        return self.model_dump(mode="json", by_alias=True)

    def content_hash(self) -> str:
        """Return the SHA-256 of the canonical JSON, as 64 hex digits."""
        return json_hash(self.to_dict())

    def __hash__(self) -> int:
        return hash(self.content_hash())


class InvalidError(ValueError):
    """A value that a specification refuses: what was found and what is expected, without the place."""


class InvalidPartsError(InvalidError):
    """Several problems found in one place; each names the place below it."""

    def __init__(self, found: Sequence[tuple[Place, str]]) -> None:
        super().__init__("; ".join(f"{dotted(place)}: {text}" if place else text for place, text in found))
        self.found = tuple(found)


class EnvText(str):
    """Text that came from the environment; error messages show its template instead of its content."""

    template: str

    def __new__(cls, text: str, template: str) -> Self:
        made = super().__new__(cls, text)
        made.template = template
        return made

    def __reduce__(self) -> tuple[type[EnvText], tuple[str, str]]:
        return (type(self), (str(self), self.template))


def json_hash(data: Any) -> str:
    """Return the SHA-256 of plain data in canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def dotted(place: Place) -> str:
    """Return a place as people write it: `space.fast.int[0]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def shown(value: object) -> str:
    """Return a short form of a value for a message, without secrets."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, EnvText):
        return f"the value of {value.template}"
    if isinstance(value, dict | list | tuple):
        inner = "{...}" if isinstance(value, dict) else "[...]"
        text = repr(value) if _is_small(value) else inner
    else:
        text = repr(value)
    text = redact_url(text)
    return text if len(text) <= 80 else text[:77] + "..."


def explain(
    error: ValidationError, root: type[BaseModel], describe: Callable[[Place], str] | None = None
) -> str:
    """Return one line a problem: where, what was found, what is expected."""
    locate = describe or dotted
    lines: list[str] = []
    for details in error.errors(include_url=False):
        for place, text in _problems_of(details, root):
            line = f"{locate(place)}: {text}" if place else text
            if line not in lines:
                lines.append(line)
    if len(lines) == 1:
        return lines[0]
    return f"{len(lines)} problems:\n" + "\n".join(f"  {line}" for line in lines)


def refuse_bool(value: Any) -> Any:
    """Stop true and false from being read as the numbers 1 and 0."""
    if isinstance(value, bool):
        raise InvalidError(f"found {shown(value)}, expected a number")
    return value


Int = Annotated[int, BeforeValidator(refuse_bool)]
Float = Annotated[float, BeforeValidator(refuse_bool)]


def to_expression(value: Any) -> str:
    """Return the text of an expression; a plain number becomes its text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidError(f"found {shown(value)}, expected a number or an expression in quotes")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidError(f"found {value!r}, expected a finite number")
    text = value.strip() if isinstance(value, str) else repr(value)
    if not text:
        raise InvalidError("is empty, expected an expression")
    if len(text) > 10_000:
        raise InvalidError(f"is {len(text)} characters long, at most 10000 are allowed")
    return str(text)


Expression = Annotated[
    str,
    BeforeValidator(to_expression),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]}),
]
"""Text in the rule language; its names and types are checked when the plan is compiled."""

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "date": "a date such as 2018-02-07",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def _problems_of(details: ErrorDetails, root: type[BaseModel]) -> list[tuple[Place, str]]:
    place: Place = tuple(details["loc"])
    kind, found = details["type"], details["input"]
    context: Mapping[str, Any] = details.get("ctx") or {}
    cause = context.get("error")
    if isinstance(cause, InvalidPartsError):
        return [(place + below, text) for below, text in cause.found]
    if kind == "extra_forbidden":
        known = _keys_at(root, place[:-1])
        return [(place, f"unknown key{did_you_mean(str(place[-1]), known)}")]
    if kind == "missing":
        return [(place, "is required, but missing")]
    if kind == "value_error" and cause is not None:
        return [(place, str(cause))]
    if kind == "literal_error":
        expected = str(context.get("expected"))
        return [(place, f"found {shown(found)}, expected {expected}{_guess(found, expected)}")]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return [(place, f"found {shown(found)}, expected a number {words} {context[key]}")]
    if kind.startswith(
        ("int_from", "int_parsing", "float_parsing", "bool_parsing", "date_")
    ) or kind.endswith("_type"):
        return [
            (
                place,
                f"found {shown(found)}, expected {_EXPECTED.get(kind.split('_')[0], details['msg'].lower())}",
            )
        ]
    return [(place, f"found {shown(found)}: {details['msg'][:1].lower()}{details['msg'][1:]}")]


def _guess(found: object, expected: str) -> str:
    known = [part for part in expected.split("'") if part and part not in (", ", " or ")]
    guess = nearest(found, known) if isinstance(found, str) else None
    return f", did you mean {guess!r}?" if guess is not None else ""


def _keys_at(root: type[BaseModel], place: Place) -> list[str]:
    model: type[BaseModel] | None = root
    for part in place:
        if isinstance(part, int) or model is None:
            continue
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        model = _model_in(field.annotation) if field is not None else None
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, Annotated):
        for part in get_args(annotation):
            model = _model_in(part)
            if model is not None:
                return model
    return None


def _is_small(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> bool:
    parts = list(value.values()) if isinstance(value, dict) else list(value)
    return len(parts) <= 4 and all(
        isinstance(p, int | float | bool | type(None)) or (type(p) is str and len(p) < 20) for p in parts
    )
