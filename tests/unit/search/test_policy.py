"""Lost batches are halved until the trial that kills is alone.

Failures stop a sweep only when they mean something.
"""

from __future__ import annotations

import pytest

from akq_dist.search.policy import Blame, FailureLimit, GiveUp, LossPolicy, Rerun
from akq_dist.search.transport import LARGEST_BATCH, BatchSizer


def test_a_lost_batch_is_halved_and_counts_against_nobody() -> None:
    policy = LossPolicy(retries=2)
    assert policy.lost([1, 2, 3, 4, 5], "died") == Rerun(((1, 2), (3, 4, 5)))
    assert policy.lost([1, 2], "died") == Rerun(((1,), (2,)))


@pytest.mark.parametrize(("retries", "lives"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_a_trial_that_kills_alone_fails_after_its_retries(retries: int, lives: int) -> None:
    policy = LossPolicy(retries)
    for _ in range(lives - 1):
        assert policy.lost([7], "died") == Rerun(((7,),))
    decision = policy.lost([7], "signal 9")
    assert isinstance(decision, GiveUp)
    assert decision.number == 7
    assert "signal 9" in decision.reason


def test_a_trial_that_finished_after_a_death_starts_afresh() -> None:
    policy = LossPolicy(retries=2)
    policy.lost([7], "died")
    policy.finished(7)
    assert policy.lost([7], "died") == Rerun(((7,),))


def test_any_batch_ends_with_the_poison_alone() -> None:
    policy = LossPolicy(retries=2)
    work, done, n_lost, given_up = [tuple(range(100))], set(), 0, []
    while work:
        part = work.pop()
        if 42 not in part:
            done |= set(part)
            continue
        n_lost += 1
        decision = policy.lost(part, "died")
        if isinstance(decision, GiveUp):
            given_up.append(decision.number)
        else:
            work.extend(decision.parts)
    assert given_up == [42]
    assert done == set(range(100)) - {42}
    assert n_lost <= 9


def test_failures_are_judged_after_twenty_trials_or_when_nothing_worked() -> None:
    limit = FailureLimit(share=0.05)
    assert not limit.exceeded(19, 19)
    assert limit.exceeded(2, 20)
    assert not limit.exceeded(1, 20)
    assert not limit.exceeded(3, 5, at_end=True)
    assert limit.exceeded(5, 5, at_end=True)
    assert not FailureLimit(count=3).exceeded(3, 1000)
    assert FailureLimit(count=3).exceeded(4, 1000)
    assert FailureLimit(count=0).exceeded(1, 20)
    assert not FailureLimit(count=0).exceeded(0, 0, at_end=True)


def test_batches_approach_the_wished_duration_and_spread_the_end() -> None:
    sizer = BatchSizer(fixed=None, n_workers=2, n_threads=4)
    assert sizer.full == 8
    for _ in range(20):
        sizer.observe(sizer.full, sizer.full * 0.001)
    assert 200 <= sizer.full <= 300
    assert sizer.size(50) == 25
    assert sizer.size(1) == 1
    for _ in range(20):
        sizer.observe(sizer.full, sizer.full * 1e-9)
    assert sizer.full == LARGEST_BATCH
    for _ in range(30):
        sizer.observe(sizer.full, sizer.full * 3.0)
    assert sizer.full == 1
    assert BatchSizer(fixed=7, n_workers=1, n_threads=1).size(3) == 7


def test_the_trial_that_ran_is_alone_to_blame() -> None:
    policy = LossPolicy(retries=2)
    assert policy.blame([1, 2, 3], 2, "died", "died") == Blame(((1, 3), (2,)))
    second = policy.blame([2], 2, "signal 9", "died")
    assert second.parts == ()
    assert second.given_up is not None
    assert second.given_up.number == 2
    assert policy.blame([1, 3], None, "died", "died") == Blame(((1,), (3,)))


def test_a_trial_over_its_time_fails_at_once_and_one_out_of_memory_runs_once_more_alone() -> None:
    policy = LossPolicy(retries=5)
    late = policy.blame([4, 5], 5, "ran longer than allowed", "timeout")
    assert (late.parts, late.given_up) == (((4,),), GiveUp(5, "ran longer than allowed"))
    assert policy.blame([6, 7], 6, "out of memory", "memory") == Blame(((7,), (6,)))
    assert [number for number in (4, 5, 6, 7) if policy.runs_alone(number)] == [6]
    again = policy.blame([6], 6, "out of memory", "memory")
    assert not policy.runs_alone(6)
    assert again.given_up is not None
    assert "out of memory" in again.given_up.reason


def test_the_end_of_a_machine_counts_against_no_trial() -> None:
    policy = LossPolicy(retries=1)
    for _ in range(10):
        assert policy.blame([1, 2], None, "the node is gone", "node") == Blame(((1, 2),))
