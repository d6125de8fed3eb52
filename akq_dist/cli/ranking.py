"""The best trials of a recorded study."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.record.trials import TrialStore


def rank(store: TrialStore, n: int) -> list[TrialRecord]:
    """Return the n best complete trials that break no constraint; with several objectives front by front."""
    import numpy as np

    from akq_dist.search.best import feasible_rows, rank_best
    from akq_dist.search.ranking import judge_of

    judge = judge_of(store.study)
    numbers, values = [], []
    for block in store.blocks(size=20_000):
        keep = np.array([state == "complete" for state in block.states], dtype=np.bool_)
        keep &= feasible_rows(judge.violations(block.metrics))
        numbers.append(block.numbers[keep])
        values.append(block.values[keep])
    if not numbers:
        return []
    chosen = rank_best(judge, np.concatenate(numbers), np.concatenate(values), n)
    block = store.take(chosen)
    by_number = {int(number): ix for ix, number in enumerate(block.numbers)}
    return [store.record(block, by_number[number]) for number in chosen]
