"""One parameter of a search: its range, how a person writes it, and its values as numbers of a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import InvalidError, Scalar, shown
from akq_dist.specs.names import check_parameter
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_INT = 2**53
_TABLE_LIMIT = 1_000_000
_KINDS = ("int", "float", "choice")
_WRITE = "write {int: [2, 60]}, {float: [0.01, 0.2]} or {choice: [a, b]}"


@dataclass(frozen=True)
class ParamDef:
    """One parameter of a space."""

    name: str
    kind: Literal["int", "float", "choice"]
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    values: tuple[Scalar, ...] = ()
    """Values of a choice."""
    when: str | None = None
    """Condition on parameters above it under which this one matters; None for always."""
    otherwise: Scalar | None = None
    """Value that it has where it does not matter; its first one when absent."""

    @property
    def idle(self) -> float:
        """Row value where the parameter does not matter."""
        return self.encode(self.otherwise) if self.otherwise is not None else self.value_at(0)

    def n_values(self) -> int | None:
        """Return the number of values; None when there is a continuum."""
        if self.kind == "choice":
            return len(self.values)
        if self.low == self.high:
            return 1
        if self.step is None:
            return None
        return int((Decimal(repr(self.high)) - Decimal(repr(self.low))) // Decimal(repr(self.step))) + 1

    def value_at(self, index: int) -> float:
        """Return the row value of a grid index; decimal steps give decimal values (0.3, not 0.3...04)."""
        if self.kind == "choice" or self.step is None:
            return float(index) if self.kind == "choice" else self.low
        if self.kind == "int":
            return self.low + index * self.step
        return float(Decimal(repr(self.low)) + index * Decimal(repr(self.step)))

    def values_at(self, indexes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the row values of many grid indexes."""
        if self.kind != "float" or self.step is None:
            step = 1.0 if self.kind == "choice" else (self.step or 0.0)
            return self.low + indexes.astype(np.float64) * step
        n = self.n_values() or 1
        if n <= _TABLE_LIMIT:
            table = np.array([self.value_at(i) for i in range(n)]) if n <= len(indexes) else None
            if table is not None:
                return table[indexes]
        return np.array([self.value_at(int(i)) for i in indexes], dtype=np.float64)

    def encode(self, value: Scalar) -> float:
        """Return the row value of a value. Raises AkqUsageError when it is out of range or off the steps."""
        if self.kind == "choice":
            for index, known in enumerate(self.values):
                if _identity(known) == _identity(value):
                    return float(index)
            raise AkqUsageError(
                f"{self.name}: found {shown(value)}, expected one of {', '.join(map(repr, self.values))}"
            )
        if isinstance(value, bool | str) or not math.isfinite(value):
            raise AkqUsageError(f"{self.name}: found {shown(value)}, expected a number")
        number = float(value)
        if self.kind == "int" and not number.is_integer():
            raise AkqUsageError(f"{self.name}: found {shown(value)}, expected a whole number")
        if not self.low <= number <= self.high:
            raise AkqUsageError(f"{self.name}: {shown(value)} is outside [{self.low:g}, {self.high:g}]")
        if self.step is None or (self.kind == "int" and self.step == 1.0):
            return number
        # The nearest point of the grid; arithmetic of others may be a few bits off.
        index = round((number - self.low) / self.step)
        on_grid = self.value_at(index)
        if abs(on_grid - number) > 1e-9 * self.step or index >= (self.n_values() or 1):
            raise AkqUsageError(
                f"{self.name}: {shown(value)} is not on the steps of {self.step:g} from {self.low:g}"
            )
        return on_grid

    def decode(self, number: float) -> Scalar:
        """Return the value that a row value stands for."""
        if self.kind == "choice":
            return self.values[int(number)]
        return int(number) if self.kind == "int" else float(number)

    def from_unit(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map numbers in [0, 1) to row values."""
        if self.kind == "int" and self.log:
            logs = math.log(self.low) + u * (math.log(self.high + 1.0) - math.log(self.low))
            return np.clip(np.floor(np.exp(logs)), self.low, self.high)
        n = self.n_values()
        if n is not None:
            return self.values_at(np.minimum((u * n).astype(np.int64), n - 1))
        if self.log:
            logs = math.log(self.low) + u * (math.log(self.high) - math.log(self.low))
            return np.clip(np.exp(logs), self.low, self.high)
        return np.clip(self.low + u * (self.high - self.low), self.low, self.high)

    def as_number(self, value: Scalar) -> float:
        """Return a value of a choice as a number. Raises AkqUsageError for text."""
        if isinstance(value, str):
            raise AkqUsageError(
                f"space.{self.name}: rules need numbers, the choice has the text {shown(value)}"
            )
        return float(value)

    def to_mapping(self) -> dict[str, Any]:
        """Return the definition as it is written in a sweep file."""
        condition: dict[str, Any] = {} if self.when is None else {"when": self.when}
        if self.otherwise is not None:
            condition["else"] = self.otherwise
        if self.kind == "choice":
            return {"choice": list(self.values), **condition}
        bounds = [int(self.low), int(self.high)] if self.kind == "int" else [self.low, self.high]
        written: dict[str, Any] = {self.kind: bounds}
        if self.step is not None and not (self.kind == "int" and self.step == 1.0):
            written["step"] = int(self.step) if self.kind == "int" else self.step
        if self.log:
            written["log"] = True
        return {**written, **condition}


def parse_param(name: str, written: Any) -> ParamDef:
    """Return the definition that a sweep file has under `name`. Raises ValueError saying what is wrong."""
    check_parameter(name)
    if isinstance(written, list | tuple):
        low_high = _is_range(written)
        hint = (
            f"{{int: [{min(written)}, {max(written)}]}} or {{choice: {list(written)}}}"
            if low_high
            else "{choice: [...]}"
        )
        raise InvalidError(f"found the bare list {shown(list(written))}: write {hint}")
    if not isinstance(written, dict):
        raise InvalidError(
            f"found {shown(written)}, which is no range: {_WRITE}; a fixed value goes under params"
        )
    known = (*_KINDS, "step", "log", "when", "else")
    for key in written:
        if key not in known:
            raise InvalidError(f"unknown key {key!r}{did_you_mean(str(key), known)}")
    kinds = [kind for kind in _KINDS if kind in written]
    if len(kinds) != 1:
        raise InvalidError(
            f"has {' and '.join(kinds) or 'no range'}, expected exactly one of {', '.join(_KINDS)}: {_WRITE}"
        )
    make = {"choice": _choice, "int": _int_param, "float": _float_param}[kinds[0]]
    return _with_condition(make(name, written), written)


def _with_condition(param: ParamDef, written: dict[str, Any]) -> ParamDef:
    when, otherwise = written.get("when"), written.get("else")
    if when is None:
        if otherwise is not None:
            raise InvalidError("has else without when: say on what the parameter depends")
        return param
    if not isinstance(when, str):
        raise InvalidError(f"found when {shown(when)}, expected a condition such as kind == 'trail'")
    if otherwise is not None:
        try:
            param.encode(otherwise)
        except AkqUsageError as error:
            raise InvalidError(f"else: {str(error).removeprefix(f'{param.name}: ')}") from None
    plain = str(otherwise) if isinstance(otherwise, str) else otherwise
    return replace(param, when=str(when), otherwise=plain)


def _choice(name: str, written: dict[str, Any]) -> ParamDef:
    values = written["choice"]
    if "step" in written or "log" in written:
        raise InvalidError("a choice has neither step nor log")
    if not isinstance(values, list | tuple) or not values:
        raise InvalidError(f"found choice {shown(values)}, expected a list of at least one value")
    for value in values:
        if not isinstance(value, bool | int | float | str) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InvalidError(f"found {shown(value)} in choice, expected a number, text, true or false")
        if type(value) is int and abs(value) > _LARGEST_INT:
            raise InvalidError(f"found {value} in choice, whole numbers go up to 2^53")
    plain = tuple(str(value) if isinstance(value, str) else value for value in values)
    if len({_identity(value) for value in plain}) < len(plain):
        raise InvalidError(f"choice {shown(list(values))} has a value twice")
    return ParamDef(name, "choice", values=plain)


def _int_param(name: str, written: dict[str, Any]) -> ParamDef:
    low, high = _bounds(written["int"], "int")
    step = written.get("step", 1)
    log = _log(written)
    if (
        isinstance(step, bool)
        or not isinstance(step, int | float)
        or not float(step).is_integer()
        or not 1 <= step <= _LARGEST_INT
    ):
        raise InvalidError(f"found step {shown(step)}, expected a whole number of at least 1")
    if log and low < 1:
        raise InvalidError(f"low {low:g} is below 1, which log: true needs")
    if log and step != 1:
        raise InvalidError("log and step cannot be combined")
    return ParamDef(name, "int", low, high, float(step), log)


def _float_param(name: str, written: dict[str, Any]) -> ParamDef:
    low, high = _bounds(written["float"], "float")
    step = written.get("step")
    log = _log(written)
    if step is not None and (
        isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < math.inf
    ):
        raise InvalidError(f"found step {shown(step)}, expected a number above 0")
    if log and low <= 0:
        raise InvalidError(f"low {low:g} is not above 0, which log: true needs")
    if log and step is not None:
        raise InvalidError("log and step cannot be combined")
    return ParamDef(name, "float", low, high, None if step is None else float(step), log)


def _bounds(found: Any, kind: str) -> tuple[float, float]:
    if not isinstance(found, list | tuple) or len(found) != 2:
        raise InvalidError(f"found {kind} {shown(found)}, expected [low, high]")
    bounds: list[float] = []
    for value in found:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidError(f"found {shown(value)} as a bound, expected a number")
        if kind == "int" and not (float(value).is_integer() and abs(value) <= _LARGEST_INT):
            raise InvalidError(
                f"found {shown(value)} as a bound, expected a whole number up to 2^53; float allows fractions"
            )
        bounds.append(float(value))
    low, high = bounds
    if low > high:
        raise InvalidError(f"low {found[0]} is above high {found[1]}")
    return low, high


def _log(written: dict[str, Any]) -> bool:
    log = written.get("log", False)
    if not isinstance(log, bool):
        raise InvalidError(f"found log {shown(log)}, expected true or false")
    return log


def _identity(value: Scalar) -> tuple[str, Scalar]:
    # 1 and 1.0 are one number, True is another thing.
    kind = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    return (kind, value)


def _is_range(values: list[Any] | tuple[Any, ...]) -> bool:
    return len(values) == 2 and all(type(value) is int for value in values)
