"""Rules written as Python expressions; they become the same text that a sweep file holds.

    from akq_dist.strategy.rules import Rules, close, cross_above, cross_below, param, sma

    rules = Rules(
        enter=cross_above(sma(close, param("fast")), sma(close, param("slow"))),
        exit=cross_below(sma(close, param("fast")), sma(close, param("slow"))),
        size={"pct_equity": 1.0, "size_at": "fill"},
    )

Every function of the rule language can be imported from here by its name; `fn.sma` is the same one where the
name would hide a builtin (`fn.max`). The text is read by the engine's parser only: here nothing is evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from akq_dist.specs.strategy import StrategySpec

    Operand: TypeAlias = "Expr | float | bool"

_OR, _AND, _NOT, _COMPARE, _ADD, _MULTIPLY, _UNARY, _ATOM = range(8)


@dataclass(frozen=True, eq=False)
class Expr:
    """An expression of the rule language; operators build larger ones, `str` gives the text."""

    text: str
    level: int = _ATOM
    """How tightly its outermost operator binds."""

    def __str__(self) -> str:
        return self.text

    def __add__(self, other: Operand) -> Expr:
        return _binary(self, "+", other, _ADD)

    def __radd__(self, other: Operand) -> Expr:
        return _binary(other, "+", self, _ADD)

    def __sub__(self, other: Operand) -> Expr:
        return _binary(self, "-", other, _ADD)

    def __rsub__(self, other: Operand) -> Expr:
        return _binary(other, "-", self, _ADD)

    def __mul__(self, other: Operand) -> Expr:
        return _binary(self, "*", other, _MULTIPLY)

    def __rmul__(self, other: Operand) -> Expr:
        return _binary(other, "*", self, _MULTIPLY)

    def __truediv__(self, other: Operand) -> Expr:
        return _binary(self, "/", other, _MULTIPLY)

    def __rtruediv__(self, other: Operand) -> Expr:
        return _binary(other, "/", self, _MULTIPLY)

    def __neg__(self) -> Expr:
        return Expr(f"-{_wrapped(self, _UNARY)}", _UNARY)

    def __lt__(self, other: Operand) -> Expr:
        return _compare(self, "<", other)

    def __le__(self, other: Operand) -> Expr:
        return _compare(self, "<=", other)

    def __gt__(self, other: Operand) -> Expr:
        return _compare(self, ">", other)

    def __ge__(self, other: Operand) -> Expr:
        return _compare(self, ">=", other)

    def __eq__(self, other: Operand) -> Expr:  # type: ignore[override]
        return _compare(self, "==", other)

    def __ne__(self, other: Operand) -> Expr:  # type: ignore[override]
        return _compare(self, "!=", other)

    def __and__(self, other: Operand) -> Expr:
        return _binary(self, "and", other, _AND)

    def __or__(self, other: Operand) -> Expr:
        return _binary(self, "or", other, _OR)

    def __invert__(self) -> Expr:
        return Expr(f"not {_wrapped(self, _NOT)}", _NOT)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> NoReturn:
        raise AkqUsageError(
            f"the rule {self.text!r} has no truth value in Python: combine conditions with & | ~ instead of "
            "and, or, not, and write (0 < x) & (x < 1) instead of 0 < x < 1"
        )


@dataclass(frozen=True)
class Function:
    """A function of the rule language; calling it writes the call down."""

    name: str

    def __call__(self, *args: Operand, **named: Operand) -> Expr:
        parts = [_text(arg) for arg in args]
        parts += [f"{key}={_text(value)}" for key, value in named.items()]
        return Expr(f"{self.name}({', '.join(parts)})")


class _Functions:
    """Functions by attribute: `fn.sma(close, 10)`."""

    def __getattr__(self, name: str) -> Function:
        if name.startswith("_"):
            raise AttributeError(name)
        known = function_names()
        if name not in known:
            raise AttributeError(f"the rule language has no function {name!r}{did_you_mean(name, known)}")
        return Function(name)

    def __dir__(self) -> list[str]:
        return sorted(function_names())


fn: Final = _Functions()
open: Final = Expr("open")  # noqa: A001 - the name of the series
high: Final = Expr("high")
low: Final = Expr("low")
close: Final = Expr("close")
volume: Final = Expr("volume")
bar_index: Final = Expr("bar_index")


def param(name: str) -> Expr:
    """Name a parameter of the sweep."""
    return Expr(_identifier("param", name))


def column(name: str) -> Expr:
    """Name an extra column of the data."""
    return Expr(_identifier("column", name))


def on(frequency: str, x: Expr) -> Expr:
    """Evaluate an expression on bars of a coarser frequency, as of the last complete one: `on("1d", sma(close, 20))`.

    Frequencies are 5m, 1h, 1d, 1w, 1mo, 20bars and the like.
    """
    if not isinstance(frequency, str) or '"' in frequency:
        raise AkqUsageError(f"on: {frequency!r} is no frequency, expected one such as '1h' or '1d'")
    return Expr(f'on("{frequency}", {_text(x)})')


@dataclass(frozen=True)
class Rules:
    """The slots of a rules strategy, as text: what the `strategy.rules` part of a sweep file holds."""

    slots: Mapping[str, Any]

    def __init__(self, **slots: Any) -> None:
        object.__setattr__(
            self, "slots", {name: plain(slot) for name, slot in slots.items() if slot is not None}
        )

    def spec(self) -> StrategySpec:
        """Check the slots; raises AkqUsageError that names an unknown one."""
        from akq_dist.specs.strategy import StrategySpec

        return StrategySpec.parse({"rules": dict(self.slots)})


def plain(value: Any) -> Any:
    """Replace every expression inside a slot by its text."""
    if isinstance(value, Expr):
        return value.text
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@cache
def function_names() -> frozenset[str]:
    """Names of the functions of the rule language, as the engine lists them."""
    import pyarrow as pa

    from akq_dist import _core

    return frozenset(pa.table(_core.function_reference())["name"].to_pylist())


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(fn, name)


def _binary(left: Operand, operator: str, right: Operand, level: int) -> Expr:
    # The right side of equal strength is wrapped: a - (b - c) is another rule than a - b - c.
    return Expr(f"{_wrapped(left, level)} {operator} {_wrapped(right, level + 1)}", level)


def _compare(left: Operand, operator: str, right: Operand) -> Expr:
    # Both sides are wrapped: the language reads a < b < c as a chain.
    return Expr(f"{_wrapped(left, _COMPARE + 1)} {operator} {_wrapped(right, _COMPARE + 1)}", _COMPARE)


def _wrapped(value: Operand, level: int) -> str:
    text = _text(value)
    own = value.level if isinstance(value, Expr) else _ATOM if not text.startswith("-") else _UNARY
    return f"({text})" if own < level else text


def _text(value: Any) -> str:
    if isinstance(value, Expr):
        return value.text
    if isinstance(value, Function):
        raise AkqUsageError(f"{value.name} is a function: call it, {value.name}(...)")
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        raise AkqUsageError(
            f"{value!r} is text; name a parameter with param({value!r}) or a column with column({value!r})"
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise AkqUsageError(f"{value!r} ({type(value).__name__}) cannot be part of a rule") from None
    if not math.isfinite(number):
        raise AkqUsageError(f"{value!r} cannot be part of a rule: it is not a finite number")
    return repr(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _identifier(what: str, name: str) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise AkqUsageError(
            f"{what}({name!r}): a name has letters, digits and underscores and begins with a letter"
        )
    return name
