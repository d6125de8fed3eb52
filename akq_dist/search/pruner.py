"""What earlier trials say about when to stop a trial: the same for any number of workers.

Group k of trials is judged by what groups up to k-2 have shown, as it is proposed from them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from akq_dist.record.pruning import PruneRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from akq_dist.record.pruning import Rungs
    from akq_dist.record.trials import TrialStore
    from akq_dist.search.feed import Ask, PointFeed
    from akq_dist.search.judge import Verdict
    from akq_dist.specs.pruner import PrunerSpec

POINT_GROUP = 64
"""Trials of a group where points depend on no result."""


class Pruner:
    """Collects values at the rungs and turns them into the rule of each group."""

    def __init__(
        self, spec: PrunerSpec, rungs: Rungs, outputs: tuple[str, ...], sign: float, group: int
    ) -> None:
        """`outputs` are the columns of a trial; `sign` turns the first objective into a cost."""
        self._spec = spec
        self._sign = sign
        self._group = group
        self._columns = [outputs.index(name) for name in rungs.names]
        self._objective = outputs.index(rungs.output)
        self._by_window = [outputs.index(name) for name in rungs.by_window]
        self._n_brackets = len(self._columns) if spec.name == "hyperband" else 1
        self._seen: list[list[list[float]]] = [[[] for _ in self._columns] for _ in range(self._n_brackets)]
        self._best: tuple[float, int] | None = None
        self._best_values: tuple[float, ...] | None = None
        self._n_complete = 0
        self._points: dict[int, NDArray[np.float64]] = {}
        self._told: dict[int, dict[int, NDArray[np.float64]]] = {}
        """Values of trials that no rule has used yet, by group."""
        self._rules: list[PruneRule] = []

    def load(self, store: TrialStore) -> None:
        """Learn what earlier sessions have found."""
        for block in store.blocks():
            done = np.array([state != "asked" for state in block.states], dtype=np.bool_)
            self.note_points(block.numbers, block.points)
            self.tell(block.numbers[done], block.metrics[done])

    def note_points(self, numbers: NDArray[np.int64], points: NDArray[np.float64]) -> None:
        """Remember points, where the rule compares with the best one."""
        if self._spec.name == "wilcoxon":
            self._points.update(zip(numbers.tolist(), points, strict=True))

    def tell(self, numbers: NDArray[np.int64], metrics: NDArray[np.float64]) -> None:
        """Take note of trials that ended."""
        for number, row in zip(numbers.tolist(), metrics, strict=True):
            self._told.setdefault(self.group_of(number), {})[number] = row

    def group_of(self, number: int) -> int:
        return number // self._group

    def rule(self, group: int) -> PruneRule:
        """Return the rule of a group; every group up to two before it has ended."""
        while len(self._rules) <= group:
            self._absorb(len(self._rules) - 2)
            self._rules.append(self._rule())
        return self._rules[group]

    def _absorb(self, group: int) -> None:
        for number, row in sorted(self._told.pop(group, {}).items()):
            bracket = self._seen[number % self._n_brackets]
            for rung, column in enumerate(self._columns):
                if math.isfinite(row[column]):
                    bracket[rung].append(self._sign * float(row[column]))
            cost = self._sign * float(row[self._objective])
            if math.isfinite(cost):
                self._n_complete += 1
                if self._best is None or cost < self._best[0]:
                    self._best = (cost, number)
                    self._best_values = tuple(row[self._by_window].tolist())

    def _rule(self) -> PruneRule:
        spec = self._spec
        reference = best_values = None
        if spec.name == "wilcoxon" and self._best is not None and self._n_complete >= spec.min_trials:
            if self._by_window:
                best_values = self._best_values
            else:
                reference = tuple(self._points[self._best[1]].tolist())
        return PruneRule(
            spec.name,
            self._sign,
            limits=tuple(self._limits(bracket) for bracket in range(self._n_brackets)),
            patience=spec.patience,
            min_delta=spec.min_delta,
            lower=-math.inf if spec.lower is None else spec.lower,
            upper=math.inf if spec.upper is None else spec.upper,
            reference=reference,
            best_values=best_values,
            p_threshold=spec.p_threshold,
        )

    def _limits(self, bracket: int) -> tuple[float, ...]:
        """Return the largest cost that goes on from each rung."""
        share = {"median": 0.5, "percentile": self._spec.percentile / 100.0}.get(
            self._spec.name, 1.0 / self._spec.eta
        )
        limits = []
        for rung, costs in enumerate(self._seen[bracket]):
            # A later bracket of Hyperband begins to halve at a later rung.
            if (
                self._spec.name in ("wilcoxon", "patience", "threshold")
                or rung < bracket
                or len(costs) < self._spec.min_trials
            ):
                limits.append(math.inf)
            else:
                limits.append(float(np.quantile(costs, share)))
        return tuple(limits)


class GroupedPoints:
    """Points that depend on no result, handed out in groups because the pruner learns from results."""

    model_based = True

    def __init__(self, points: PointFeed, group: int, open_numbers: NDArray[np.int64]) -> None:
        """`open_numbers` are trials of an earlier session that have not ended."""
        self._points = points
        self._group = group
        self._open: dict[int, int] = {}
        self._register(open_numbers)

    @property
    def n_asked(self) -> int:
        return self._points.n_asked

    @property
    def exhausted(self) -> bool:
        return self._points.exhausted

    def next(self, limit: int) -> Ask | None:
        """Return the rest of a group; None while a group two before it runs."""
        del limit
        k = self.n_asked // self._group
        if self.exhausted or any(group <= k - 2 for group in self._open):
            return None
        ask = self._points.next((k + 1) * self._group - self.n_asked)
        if ask is not None:
            self._register(ask.numbers)
        return ask

    def tell(self, numbers: NDArray[np.int64], verdict: Verdict) -> None:
        """Take note of trials that ended; only that they did matters here."""
        del verdict
        for number in numbers.tolist():
            group = number // self._group
            self._open[group] -= 1
            if not self._open[group]:
                del self._open[group]

    def _register(self, numbers: NDArray[np.int64]) -> None:
        for number in numbers.tolist():
            group = number // self._group
            self._open[group] = self._open.get(group, 0) + 1
