"""What a row of metrics means for the search: values, the state of the trial, broken constraints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from akq_dist.record.trials import UNDEFINED, canonical_nan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from akq_dist.specs.constraint import MetricConstraint

PRUNED = "stopped by the pruner"
"""Reason of a trial that was not run to its end."""

WORST_VIOLATION = 1e300
"""Stands for a constraint on an undefined metric: worse than any other, and still a number that every store
takes.
"""


@dataclass(frozen=True)
class Objective:
    """One direction of the search."""

    output: str
    direction: str
    """`maximize` or `minimize`."""
    missing: float | None = None
    """Value that stands for an undefined objective; without it the trial fails."""

    @property
    def sign(self) -> float:
        """Factor that turns the value into something to be minimised."""
        return -1.0 if self.direction == "maximize" else 1.0


@dataclass(frozen=True)
class Verdict:
    """States, values and reasons of some trials, in their order."""

    states: list[str]
    values: NDArray[np.float64]
    reasons: list[str | None]
    metrics: NDArray[np.float64]
    violations: NDArray[np.float64]
    """One column a constraint, above zero where it is broken; NaN for a trial that failed."""


class Judge:
    """Turns metrics into values. Nothing that is not finite ever becomes a value."""

    def __init__(
        self,
        outputs: Sequence[str],
        objectives: Sequence[Objective],
        constraints: Sequence[tuple[str, MetricConstraint]] = (),
    ) -> None:
        """`constraints` pair the output that is bounded with the bound."""
        columns = {name: ix for ix, name in enumerate(outputs)}
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self._value_ix = [columns[objective.output] for objective in objectives]
        self._bound_ix = [columns[output] for output, _ in constraints]

    def judge(
        self,
        metrics: NDArray[np.float64],
        errors: Sequence[str | None],
        pruned: NDArray[np.bool_] | None = None,
    ) -> Verdict:
        """Judge trials by their metrics; a trial with an error fails with that error as its reason.

        `pruned` trials were stopped before their end.
        """
        clean = canonical_nan(metrics)
        failed = np.array([error is not None for error in errors], dtype=np.bool_)
        clean[failed] = np.nan
        values = clean[:, self._value_ix]
        for ix, objective in enumerate(self.objectives):
            if objective.missing is not None:
                values[np.isnan(values[:, ix]), ix] = objective.missing
        undefined: NDArray[np.bool_] = np.asarray(np.isnan(values).any(axis=1))
        stopped = np.zeros(len(failed), dtype=np.bool_) if pruned is None else pruned & ~failed
        complete = ~failed & ~undefined & ~stopped
        values[~complete] = np.nan
        reasons = [
            error if error is not None else PRUNED if stopped[ix] else UNDEFINED if undefined[ix] else None
            for ix, error in enumerate(errors)
        ]
        violations = self.violations(clean)
        violations[~complete] = np.nan
        states = np.where(complete, "complete", np.where(stopped, "pruned", "fail")).tolist()
        return Verdict(states, values, reasons, clean, violations)

    def violations(self, metrics: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much each constraint is broken, one column a constraint.

        Not above zero where it holds.
        """
        broken = np.empty((len(metrics), len(self.constraints)))
        for column, (ix, (_, constraint)) in enumerate(zip(self._bound_ix, self.constraints, strict=True)):
            for row, value in enumerate(metrics[:, ix].tolist()):
                broken[row, column] = min(constraint.violation(value), WORST_VIOLATION)
        return broken
