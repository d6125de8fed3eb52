"""The batch TPE behind the model interface of a sweep: no Optuna study, one fit a group."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from akq_dist.search.tpe import Axis, Seen, TpeSettings, fit_seed, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.search.memory import Entry
    from akq_dist.specs import ParamDef, Space
    from akq_dist.specs.base import Scalar

_KEPT = 4_096
"""Values of a parameter that are kept: making one of a decimal step takes microseconds."""


class TpeModel:
    """Proposes points for one objective.

    A group shares a fit; when `where` has refused so many points that it was not enough, there is another one,
    which has learned from them.
    """

    def __init__(
        self,
        space: Space,
        sign: float,
        *,
        group: int,
        settings: TpeSettings,
        fixed: Mapping[str, Scalar] | None = None,
    ) -> None:
        """`sign` turns a value into something to be minimised; `group` points are made at a time."""
        held = fixed or {}
        self._row = np.array([p.encode(held[p.name]) if p.name in held else 0.0 for p in space.params])
        free = [(ix, param) for ix, param in enumerate(space.params) if param.name not in held]
        self._columns = [ix for ix, _ in free]
        """Columns of a row that are searched."""
        self._axes = [model_axis(param) for _, param in free]
        self._steps = [_step(param) for _, param in free]
        self._values = [(ix, lru_cache(_KEPT)(param.value_at)) for ix, param in free if _is_index(param)]
        """Of columns that are searched by index: the value of an index."""
        self._sign = sign
        self._group = group
        self._settings = settings
        self._seen = Seen(len(self._axes))
        """In units of the axes."""
        self._rng = np.random.default_rng(0)
        self._made: list[NDArray[np.float64]] = []
        """Points of the last fit that have not been proposed, in reverse."""

    def load(self, entries: Sequence[Entry]) -> None:
        self._seen = Seen(len(self._axes))
        self._made = []
        for row in self._on_axes(np.array([entry.point for entry in entries])):
            self._seen.add(row)
        for ix, entry in enumerate(entries):
            if entry.state != "running":
                self.settle(ix, entry)

    def reseed(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._made = []

    def propose(self) -> NDArray[np.float64]:
        if not self._made:
            seed = fit_seed(self._rng)
            self._made = list(suggest(self._axes, self._seen, self._group, seed, self._settings))[::-1]
        point = self._made.pop()
        self._seen.add(point)
        row = self._row.copy()
        row[self._columns] = point
        for ix, value_at in self._values:
            row[ix] = value_at(int(row[ix]))
        return row

    def give(self, point: NDArray[np.float64]) -> None:
        self._seen.add(self._on_axes(point[np.newaxis, :])[0])

    def settle(self, entry_ix: int, entry: Entry) -> None:
        if entry.state == "complete":
            violation = sum(max(0.0, violation) for violation in entry.violations)
            self._seen.complete(entry_ix, self._sign * entry.values[0], violation)
        elif entry.state == "fail":
            self._seen.leave_out(entry_ix)
        else:
            # A refused point has no value; a broken constraint puts it among the bad ones.
            violation = 1.0 if entry.state == "rejected" else 0.0
            self._seen.stop(entry_ix, -math.inf, 0.0, violation)

    def _on_axes(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows in units of the axes."""
        found = points.reshape(-1, len(self._row))[:, self._columns]
        for axis, (first, step) in enumerate(self._steps):
            if step != 1.0 or first != 0.0:
                found[:, axis] = np.rint((found[:, axis] - first) / step)
        return found


def model_axis(param: ParamDef) -> Axis:
    """Return what the model searches for a parameter: the index of a stepped value, the value of any other."""
    n = param.n_values()
    if param.kind == "choice":
        return Axis(n_choices=len(param.values))
    if param.kind == "int" and param.log:
        return Axis(param.low, param.high, step=1.0, log=True)
    if n is not None:
        return Axis(0.0, n - 1.0, step=1.0)
    return Axis(param.low, param.high, log=param.log)


def _is_index(param: ParamDef) -> bool:
    return param.kind != "choice" and param.n_values() is not None and not (param.kind == "int" and param.log)


def _step(param: ParamDef) -> tuple[float, float]:
    """Return the value of index 0 and the step; 0 and 1 where the value itself is searched."""
    if not _is_index(param):
        return 0.0, 1.0
    return param.low, param.step or math.inf
