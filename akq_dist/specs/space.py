"""The parameters of a search and the values they may take.

A point of a space is a row of float64: an int as its value, a float as its value, a choice as the index of
its value. Rows are what crosses processes; `decode` gives a person the values back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import InvalidPartsError, Scalar, json_hash, shown
from akq_dist.specs.param import ParamDef, parse_param
from akq_dist.specs.suggest import did_you_mean
from akq_dist.specs.where import Where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Space:
    """The parameters of a search, in the order of the columns of a row."""

    params: tuple[ParamDef, ...] = ()

    @staticmethod
    def from_mapping(data: Mapping[str, Any]) -> Space:
        """Build a space from what a sweep file has. Raises AkqUsageError naming every bad parameter."""
        try:
            return space_from_mapping(data)
        except InvalidPartsError as error:
            lines = [f"space.{'.'.join(map(str, place))}: {text}" for place, text in error.found]
            raise AkqUsageError("\n".join(lines)) from None

    def to_mapping(self) -> dict[str, Any]:
        """Return the definitions as they are written in a sweep file."""
        return {param.name: param.to_mapping() for param in self.params}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters in column order."""
        return tuple(param.name for param in self.params)

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, name: str) -> ParamDef:
        for param in self.params:
            if param.name == name:
                return param
        raise AkqUsageError(f"unknown parameter {name!r}{did_you_mean(name, self.names)}")

    def content_hash(self) -> str:
        """Return the SHA-256 of the definitions; the order of the parameters counts."""
        return json_hash([[param.name, param.to_mapping()] for param in self.params])

    def cardinality(self) -> int | None:
        """Return the number of points of the grid; None when a parameter is continuous.

        Of a conditional space some of them stand for the same point, see `canonical`.
        """
        total = 1
        for param in self.params:
            n = param.n_values()
            if n is None:
                return None
            total *= n
        return total

    @cached_property
    def conditional(self) -> bool:
        """Tell whether some parameter matters only where others have certain values."""
        return any(param.when is not None for param in self.params)

    def canonical(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows, shape (n, parameters), in which a parameter that does not matter has its idle value.

        Points that differ only in what does not matter become one point.
        """
        if not self.conditional:
            return rows
        found: NDArray[np.float64] = rows.copy()
        for column, condition in self._conditions.items():
            found[~condition.mask(self, found), column] = self.params[column].idle
        return found

    def active(self, values: Mapping[str, Scalar]) -> tuple[str, ...]:
        """Return the names of the parameters that matter at a point."""
        return tuple(
            param.name
            for column, param in enumerate(self.params)
            if column not in self._conditions or self._conditions[column].check(values)
        )

    def matters(self, column: int, values: Mapping[str, Scalar]) -> bool:
        """Tell whether a parameter matters, given the values of those above it."""
        return column not in self._conditions or self._conditions[column].check(values)

    @cached_property
    def _conditions(self) -> dict[int, Where]:
        return {
            column: Where.compile((param.when,), Space(self.params[:column]))
            for column, param in enumerate(self.params)
            if param.when is not None
        }

    def decode(self, row: NDArray[np.float64]) -> dict[str, Scalar]:
        """Return the values of a row by name."""
        values: dict[str, Scalar] = {}
        for param, number in zip(self.params, row.tolist(), strict=True):
            values[param.name] = param.decode(number)
        return values

    def encode(self, params: Mapping[str, Scalar]) -> NDArray[np.float64]:
        """Return the row of some values.

        Raises AkqUsageError naming a parameter that is unknown, missing, out of range or off its steps.
        """
        for name in params:
            if name not in self.names:
                raise AkqUsageError(f"unknown parameter {name!r}{did_you_mean(str(name), self.names)}")
        missing = [param.name for param in self.params if param.name not in params and param.when is None]
        if missing:
            raise AkqUsageError(f"no value for the parameter{'s' * (len(missing) > 1)} {', '.join(missing)}")
        row = np.array(
            [
                param.encode(params[param.name]) if param.name in params else param.idle
                for param in self.params
            ],
            dtype=np.float64,
        )
        found: NDArray[np.float64] = self.canonical(row[np.newaxis, :])[0]
        absent = [name for name in self.active(self.decode(found)) if name not in params]
        if absent:
            raise AkqUsageError(f"no value for the parameter {absent[0]}, which matters here")
        return found

    def grid_point(self, index: int) -> NDArray[np.float64]:
        """Return the point with that number in the grid; the last parameter changes fastest."""
        total = self._grid_size()
        if not 0 <= index < total:
            raise AkqUsageError(f"grid point {index} is outside 0..{total - 1}")
        row = np.empty(len(self.params))
        for column in range(len(self.params) - 1, -1, -1):
            param = self.params[column]
            index, digit = divmod(index, param.n_values() or 1)
            row[column] = param.value_at(digit)
        return row

    def grid_rows(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the grid points `start..stop` as rows, made in one go."""
        total = self._grid_size()
        if not 0 <= start <= stop <= total:
            raise AkqUsageError(f"grid points {start}..{stop} are outside 0..{total}")
        if stop >= 2**63:
            return np.array([self.grid_point(i) for i in range(start, stop)]).reshape(-1, len(self.params))
        index = np.arange(start, stop, dtype=np.int64)
        rows = np.empty((stop - start, len(self.params)))
        for column in range(len(self.params) - 1, -1, -1):
            param = self.params[column]
            index, digit = np.divmod(index, param.n_values() or 1)
            rows[:, column] = param.values_at(digit)
        return rows

    def unit_to_rows(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points of the unit cube, shape (n, parameters), each in [0, 1), to rows.

        Every value of a stepped parameter gets an equal share; a logarithmic one is uniform in its logarithm.
        """
        if u.ndim != 2 or u.shape[1] != len(self.params):
            raise AkqUsageError(f"points have the shape {u.shape}, expected (n, {len(self.params)})")
        rows = np.empty(u.shape)
        for column, param in enumerate(self.params):
            rows[:, column] = param.from_unit(u[:, column])
        return rows

    def rule_values(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a row, or many, as numbers for the rule engine: a choice becomes its value, not its index.

        Raises AkqUsageError when a choice has values that are no numbers.
        """
        values = np.array(row, dtype=np.float64, copy=True, order="C")
        for column, param in enumerate(self.params):
            if param.kind == "choice":
                table = np.array([param.as_number(value) for value in param.values])
                values[..., column] = table[values[..., column].astype(np.int64)]
        return values

    def _grid_size(self) -> int:
        total = self.cardinality()
        if total is None:
            endless = [param.name for param in self.params if param.n_values() is None]
            raise AkqUsageError(
                f"space.{endless[0]} has no steps, a grid needs them: give step or choice, or another sampler"
            )
        return total


def space_from_mapping(data: Any) -> Space:
    """Build a space; raises InvalidPartsError (a ValueError) with one entry a bad parameter."""
    if not isinstance(data, dict):
        raise InvalidPartsError([((), f"found {shown(data)}, expected a mapping of parameters")])
    params: list[ParamDef] = []
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, written in data.items():
        try:
            params.append(parse_param(str(name), written))
        except ValueError as error:
            found.append(((str(name),), str(error)))
    for column, param in enumerate(params):
        if param.when is not None:
            try:
                Where.compile((param.when,), Space(tuple(params[:column])))
            except AkqUsageError as error:
                # Only parameters above it may be named, so that conditions are never circular.
                found.append(((param.name, "when"), str(error).removeprefix("where ")))
    if found:
        raise InvalidPartsError(found)
    return Space(tuple(params))
