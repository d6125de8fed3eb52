"""The judge of a recorded study, and its best trials, from the ledger alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from akq_dist.search.best import BestTracker, feasible_rows
from akq_dist.search.judge import Judge, Objective

if TYPE_CHECKING:
    from akq_dist.record.ledger import StudyRecord
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.record.trials import TrialStore
    from akq_dist.specs import MetricConstraint


def judge_of(study: StudyRecord) -> Judge:
    """Return the judge that a recorded study was run with."""
    from akq_dist.specs import MetricConstraint as Bound

    spec = study.spec.get("objective", ())
    missing = [part.get("missing") for part in spec] if spec else [None] * len(study.objectives)
    objectives = [
        Objective(output, direction, value)
        for (output, direction), value in zip(study.objectives, missing, strict=True)
    ]
    bounds = [Bound.parse(text) for text in study.spec.get("constraints", ())]
    return Judge(study.outputs, objectives, [(_output(bound, study.outputs), bound) for bound in bounds])


def best_of(store: TrialStore) -> list[TrialRecord]:
    """Return the best trials of a recorded study."""
    return best_trials(judge_of(store.study), store)


def best_trials(judge: Judge, store: TrialStore) -> list[TrialRecord]:
    """Return the best feasible trial, or with several objectives every one that no other dominates."""
    tracker = BestTracker(judge.objectives)
    for block in store.blocks(size=20_000):
        tracker.add(block.numbers, block.values, feasible_rows(judge.violations(block.metrics)))
    numbers = [best.number for best in tracker.best()]
    if not numbers:
        return []
    block = store.take(numbers)
    return [store.record(block, ix) for ix in range(len(block))]


def _output(bound: MetricConstraint, outputs: tuple[str, ...]) -> str:
    """Return the column that a constraint is about: one account has no aggregates, many have them all."""
    metric, aggregate = bound.metric, bound.aggregate
    candidates = [f"{metric}.{aggregate}", metric] if aggregate else [metric]
    for name in candidates:
        if name in outputs:
            return name
    return next(name for name in outputs if name.startswith(f"{metric}."))
