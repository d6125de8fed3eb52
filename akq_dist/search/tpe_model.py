"""The batch TPE behind the model interface of a sweep: no Optuna study, one fit a group."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from akq_dist.search.tpe import Axis, Seen, TpeSettings, fit_seed, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.search.memory import Entry
    from akq_dist.specs import ParamDef, Space
    from akq_dist.specs.base import Scalar


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
        self._free = [(ix, param) for ix, param in enumerate(space.params) if param.name not in held]
        """Columns of a row that are searched."""
        self._axes = [model_axis(param) for _, param in self._free]
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
        for ix, entry in enumerate(entries):
            self.give(entry.point)
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
        for (ix, param), value in zip(self._free, point.tolist(), strict=True):
            row[ix] = _from_axis(param, value)
        return row

    def give(self, point: NDArray[np.float64]) -> None:
        self._seen.add(np.array([_to_axis(param, float(point[ix])) for ix, param in self._free]))

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


def _to_axis(param: ParamDef, value: float) -> float:
    if not _is_index(param):
        return value
    return 0.0 if param.step is None else float(round((value - param.low) / param.step))


def _from_axis(param: ParamDef, value: float) -> float:
    return param.value_at(int(value)) if _is_index(param) else value
