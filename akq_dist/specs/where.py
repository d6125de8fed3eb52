"""Conditions between parameters: `fast < slow`, `slow - fast >= 10 or fast <= 5`.

The text looks like Python and is never run as Python: it is parsed, every node is checked against a short
list, and what is left is evaluated over whole columns of points.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import Scalar, shown
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.specs.space import Space

    Column = NDArray[Any]

Kind = Literal["number", "text", "condition"]

_MAX_LENGTH = 2_000
_MAX_DEPTH = 100


@dataclass(frozen=True)
class Where:
    """Conditions that every point of a search has to meet; picklable, compiled from text."""

    texts: tuple[str, ...]
    kinds: Mapping[str, Kind]
    """Parameters that may be named, and what they are."""
    constants: Mapping[str, Scalar]
    _trees: tuple[ast.expr, ...] = field(default=(), repr=False, compare=False)

    @staticmethod
    def compile(texts: Sequence[str], space: Space, constants: Mapping[str, Scalar] | None = None) -> Where:
        """Parse conditions over the parameters of a space and some fixed values.

        Raises AkqUsageError naming the condition and what is wrong with it.
        """
        fixed = dict(constants or {})
        kinds: dict[str, Kind] = {name: _kind_of(name, (value,)) for name, value in fixed.items()}
        for param in space.params:
            kinds[param.name] = _kind_of(param.name, param.values) if param.kind == "choice" else "number"
        trees = tuple(_parse(text, kinds) for text in texts)
        return Where(tuple(texts), kinds, fixed, trees)

    def check(self, params: Mapping[str, Scalar]) -> bool:
        """Tell whether one point meets all conditions."""
        columns = {name: np.array([value]) for name, value in {**self.constants, **params}.items()}
        return bool(self._evaluate(columns, 1)[0])

    def mask(self, space: Space, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for each row of a space whether it meets all conditions.

        A comparison with an undefined number (a division by zero) is false.
        """
        if not self._trees:
            return np.ones(len(rows), dtype=np.bool_)
        columns: dict[str, Column] = {name: np.array([value]) for name, value in self.constants.items()}
        for ix, param in enumerate(space.params):
            columns[param.name] = (
                np.array(param.values)[rows[:, ix].astype(np.int64)]
                if param.kind == "choice"
                else rows[:, ix]
            )
        return self._evaluate(columns, len(rows))

    def _evaluate(self, columns: Mapping[str, Column], n: int) -> NDArray[np.bool_]:
        result = np.ones(n, dtype=np.bool_)
        with np.errstate(all="ignore"):
            for tree in self._trees:
                result &= np.broadcast_to(_evaluate(tree, columns).astype(np.bool_), (n,))
        return result

    def __reduce__(self) -> tuple[Callable[..., Where], tuple[Any, ...]]:
        return (_rebuild, (self.texts, dict(self.kinds), dict(self.constants)))


def _rebuild(texts: tuple[str, ...], kinds: dict[str, Kind], constants: dict[str, Scalar]) -> Where:
    return Where(texts, kinds, constants, tuple(_parse(text, kinds) for text in texts))


def _kind_of(name: str, values: Sequence[Scalar]) -> Kind:
    if all(isinstance(value, bool) for value in values):
        return "condition"
    if all(isinstance(value, str) for value in values):
        return "text"
    if not any(isinstance(value, str | bool) for value in values):
        return "number"
    raise AkqUsageError(
        f"where: the values of {name!r} are of different kinds, so no condition can be checked"
    )


def _parse(text: str, kinds: Mapping[str, Kind]) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise AkqUsageError(
            f"where: a condition of {len(text)} characters, at most {_MAX_LENGTH} are allowed"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise AkqUsageError(f"where {shown(text)}: {error.msg} at character {error.offset}") from None
    except (ValueError, RecursionError, MemoryError):
        raise AkqUsageError(f"where {shown(text)}: not an expression") from None
    try:
        kind = _check(tree, kinds, 0)
    except _RefusedError as error:
        raise AkqUsageError(f"where {shown(text)}: {error}") from None
    if kind != "condition":
        raise AkqUsageError(
            f"where {shown(text)}: this is a {kind}, expected a condition such as fast < slow"
        )
    return tree


class _RefusedError(ValueError):
    """A part of a condition that is not allowed."""


_ARITHMETIC: dict[type[ast.operator], Callable[[Column, Column], Column]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
}
_DIVISION: dict[type[ast.operator], Callable[[Column, Column], Column]] = {
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Column, Column], Column]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
}


def _check(node: ast.expr, kinds: Mapping[str, Kind], depth: int) -> Kind:
    if depth > _MAX_DEPTH:
        raise _RefusedError("nested too deeply")
    match node:
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str):
            if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
                raise _RefusedError(f"the number {shown(value)} is too large")
            return _kind_of("", (value,))
        case ast.Name(id=name):
            if name not in kinds:
                raise _RefusedError(f"unknown parameter {name!r}{did_you_mean(name, kinds)}")
            return kinds[name]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _need("condition", operand, kinds, depth)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _need("number", operand, kinds, depth)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC or type(op) in _DIVISION:
            _need("number", left, kinds, depth)
            return _need("number", right, kinds, depth)
        case ast.BoolOp(values=operands):
            for part in operands:
                _need("condition", part, kinds, depth)
            return "condition"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            found = [_check(part, kinds, depth + 1) for part in (left, *comparators)]
            if len(set(found)) != 1:
                raise _RefusedError(
                    f"a {found[0]} is compared with a {next(k for k in found if k != found[0])}"
                )
            for comparison in ops:
                _check_comparison(comparison, found[0])
            return "condition"
    raise _RefusedError(
        f"{shown(ast.unparse(node))} is not allowed; allowed are names, numbers, text, + - * / // %, "
        "comparisons, and, or, not"
    )


def _check_comparison(op: ast.cmpop, kind: Kind) -> None:
    if not isinstance(op, ast.NotEq) and type(op) not in _COMPARE:
        raise _RefusedError(f"the comparison '{type(op).__name__}' is not allowed; use < <= > >= == !=")
    if kind != "number" and not isinstance(op, ast.Eq | ast.NotEq):
        raise _RefusedError(f"a {kind} can only be compared by == and !=")


def _need(kind: Kind, node: ast.expr, kinds: Mapping[str, Kind], depth: int) -> Kind:
    found = _check(node, kinds, depth + 1)
    if found != kind:
        raise _RefusedError(f"{shown(ast.unparse(node))} is a {found}, expected a {kind}")
    return kind


def _evaluate(node: ast.expr, columns: Mapping[str, Column]) -> Column:
    match node:
        case ast.Constant(value=value):
            return np.array([value])
        case ast.Name(id=name):
            return columns[name]
        case ast.UnaryOp(op=op, operand=operand):
            inner = _evaluate(operand, columns)
            if isinstance(op, ast.Not):
                return ~inner.astype(np.bool_)
            return -_number(inner) if isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _number(_evaluate(left, columns)), _number(_evaluate(right, columns))
            if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](a, b)
            return np.where(b == 0.0, np.nan, _DIVISION[type(op)](a, b))
        case ast.BoolOp(op=op, values=values):
            parts = [_evaluate(value, columns).astype(np.bool_) for value in values]
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            result = parts[0]
            for part in parts[1:]:
                result = join(result, part)
            return result
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compare([_evaluate(part, columns) for part in (left, *comparators)], ops)
    raise AkqUsageError("internal: a condition was evaluated that was never checked")


def _compare(parts: list[Column], ops: list[ast.cmpop]) -> Column:
    result: Column = np.array([True])
    for op, left, right in zip(ops, parts[:-1], parts[1:], strict=True):
        is_text = left.dtype.kind in "US"
        a, b = (left, right) if is_text else (_number(left), _number(right))
        if isinstance(op, ast.NotEq):
            held = np.not_equal(a, b) if is_text else np.less(a, b) | np.greater(a, b)
        else:
            held = _COMPARE[type(op)](a, b)
        result = np.logical_and(result, held)
    return result


def _number(column: Column) -> Column:
    return column.astype(np.float64)
