"""Points of `qmc` and `random` beside those of Optuna's own samplers at the same seed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from akq_dist.search.points import RandomCandidates, SobolCandidates
from akq_dist.specs import Space

N = 64
SPACE = Space.from_mapping(
    {"a": {"float": [-2.0, 6.0]}, "b": {"float": [0.001, 1.0], "log": True}, "c": {"int": [0, 15]}}
)
DISTRIBUTIONS: dict[str, Any] = {
    "a": FloatDistribution(-2.0, 6.0),
    "b": FloatDistribution(0.001, 1.0, log=True),
    "c": IntDistribution(0, 15),
}


def optuna_points(sampler: Any, n: int) -> Any:
    study = optuna.create_study(sampler=sampler)
    points = []
    for _ in range(n):
        trial = study.ask(DISTRIBUTIONS)
        study.tell(trial, 0.0)
        points.append([trial.params[name] for name in DISTRIBUTIONS])
    return np.array(points)


def qmc(seed: int, *, scramble: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.QMCSampler(qmc_type="sobol", scramble=scramble, seed=seed)


def test_without_scrambling_qmc_is_optunas_sequence_one_trial_later() -> None:
    # Optuna learns the space from its first trial, which is a random point.
    theirs = optuna_points(qmc(7, scramble=False), N + 1)[1:]
    ours = SobolCandidates(SPACE, 7, scramble=False).rows(0, N)
    assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 7])
def test_with_scrambling_both_fill_every_axis_evenly_each_in_its_own_way(seed: int) -> None:
    """Each scrambles with the seed by a stream of its own: what they share is the evenness, not the points."""
    theirs = optuna_points(qmc(seed, scramble=True), N + 1)[1:]
    ours = SobolCandidates(SPACE, seed).rows(0, N)
    for points in (ours, theirs):
        cells = np.floor((points[:, 0] + 2.0) / 8.0 * N).astype(int)
        assert sorted(cells.tolist()) == list(range(N))
        assert np.bincount(points[:, 2].astype(int), minlength=16).tolist() == [N // 16] * 16
    assert not np.allclose(ours, theirs)


def test_random_points_are_independent_of_optunas_and_of_the_same_kind() -> None:
    theirs = optuna_points(optuna.samplers.RandomSampler(seed=7), 400)
    ours = RandomCandidates(SPACE, 7).rows(0, 400)
    assert not np.allclose(ours, theirs)
    for column in range(3):
        low, high = (np.quantile(points[:, column], [0.25, 0.75]) for points in (ours, theirs))
        # Five standard errors of a quartile of 400 even points; the second column is even in its logarithm.
        if column == 1:
            low, high = np.log(low), np.log(high)
        width = [8.0, np.log(1_000.0), 15.0][column]
        assert np.abs(low - high).max() < 5 * 0.0307 * width + (column == 2)
