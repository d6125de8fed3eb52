"""Metrics become values, states and broken constraints; nothing that is not finite becomes a value."""

from __future__ import annotations

import numpy as np

from akq_dist.record.trials import UNDEFINED
from akq_dist.search.best import BestTracker, feasible_rows, rank_best
from akq_dist.search.judge import WORST_VIOLATION, Judge, Objective
from akq_dist.specs import MetricConstraint

OUTPUTS = ("sharpe.median", "max_drawdown.median", "n_trades.sum")
NAN = float("nan")


def judge(*constraints: str, missing: float | None = None) -> Judge:
    bounds = [MetricConstraint.parse(text) for text in constraints]
    objectives = [Objective("sharpe.median", "maximize", missing)]
    return Judge(OUTPUTS, objectives, [(f"{b.metric}.{b.aggregate}", b) for b in bounds])


def test_not_a_number_and_infinity_fail_with_the_reason_undefined() -> None:
    verdict = judge().judge(
        np.array([[1.0, -0.1, 5], [NAN, -0.1, 5], [np.inf, 0, 5], [-np.inf, 0, 5]]), [None] * 4
    )
    assert verdict.states == ["complete", "fail", "fail", "fail"]
    assert verdict.reasons == [None, UNDEFINED, UNDEFINED, UNDEFINED]
    assert verdict.values[0, 0] == 1.0
    assert np.isnan(verdict.values[1:]).all()


def test_an_error_is_the_reason_and_hides_whatever_came_with_it() -> None:
    verdict = judge(missing=0.0).judge(np.array([[9.0, -0.1, 5]]), ["boom"])
    assert (verdict.states, verdict.reasons) == (["fail"], ["boom"])
    assert np.isnan(verdict.metrics).all()


def test_a_stated_value_may_stand_for_an_undefined_objective() -> None:
    verdict = judge(missing=-1.0).judge(np.array([[NAN, -0.1, 0]]), [None])
    assert (verdict.states, verdict.values.tolist()) == (["complete"], [[-1.0]])
    assert np.isnan(verdict.metrics[0, 0]), "the metric itself stays undefined"


def test_constraints_are_violated_by_their_gap_and_worst_when_undefined() -> None:
    found = judge("sum(n_trades) >= 50", "median(max_drawdown) > -0.25").judge(
        np.array([[1.0, -0.1, 60], [1.0, -0.25, 40], [1.0, NAN, 60]]), [None] * 3
    )
    assert found.violations[0].max() <= 0.0
    assert found.violations[1, 0] == 10.0
    assert found.violations[1, 1] > 0.0, "a strict bound excludes itself"
    assert found.violations[2, 1] == WORST_VIOLATION
    assert feasible_rows(found.violations).tolist() == [True, False, False]


def test_the_best_does_not_depend_on_the_order_of_arrival() -> None:
    rng = np.random.default_rng(11)
    values = np.round(rng.normal(size=(60, 1)), 1)
    values[rng.integers(0, 60, 5)] = NAN
    feasible = rng.random(60) > 0.3
    numbers = np.arange(60)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(60)
        tracker = BestTracker([Objective("x", "minimize")])
        for part in np.array_split(order, 7):
            tracker.add(numbers[part], values[part], feasible[part])
        usable = feasible & ~np.isnan(values[:, 0])
        lowest = values[usable].min()
        expected = int(numbers[usable & (values[:, 0] == lowest)].min())
        assert [(b.number, b.values) for b in tracker.best()] == [(expected, (lowest,))], seed


def test_the_front_is_what_nothing_dominates() -> None:
    rng = np.random.default_rng(3)
    values = np.round(rng.normal(size=(80, 2)), 1)
    numbers = np.arange(80)
    signed = values * [-1.0, 1.0]
    expected = [
        n
        for n in numbers
        if not any(
            (signed[m] <= signed[n]).all() and ((signed[m] < signed[n]).any() or m < n)
            for m in numbers
            if m != n
        )
    ]
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(80)
        tracker = BestTracker([Objective("a", "maximize"), Objective("b", "minimize")])
        for part in np.array_split(order, 9):
            tracker.add(numbers[part], values[part], np.ones(len(part), dtype=np.bool_))
        assert [b.number for b in tracker.best()] == expected, seed


def test_ranking_is_by_value_then_number_and_front_by_front() -> None:
    single = judge()
    assert rank_best(single, np.array([4, 2, 9, 7]), np.array([[1.0], [3.0], [3.0], [2.0]]), 3) == [2, 9, 7]
    double = Judge(OUTPUTS, [Objective("sharpe.median", "maximize"), Objective("n_trades.sum", "minimize")])
    values = np.array([[1.0, 1.0], [2.0, 2.0], [0.5, 2.0], [0.1, 9.0]])
    assert rank_best(double, np.arange(4), values, 3) == [0, 1, 2]
