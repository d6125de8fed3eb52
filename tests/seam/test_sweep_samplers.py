"""Every model-based sampler: one study for any number of workers and after any interruption."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.search.judge import Objective
from akq_dist.search.samplers import check_fit, check_options
from akq_dist.specs import Space

from .sweep_fakes import SPACE, Crash, FakeExecutor, Study, surface

if TYPE_CHECKING:
    from pathlib import Path

CONDITIONAL = Space.from_mapping(
    {
        "fast": {"int": [2, 60]},
        "slow": {"int": [20, 250], "step": 5},
        "kind": {"choice": ["none", "stop", "trail"]},
        "stop": {"float": [0.01, 0.2], "log": True, "when": "kind != 'none'", "else": 0.05},
        "steps": {"int": [1, 4], "when": "kind == 'trail'"},
    }
)
has_cmaes = find_spec("cmaes") is not None
needs_cmaes = pytest.mark.skipif(not has_cmaes, reason="the package cmaes is not installed")
SAMPLED = [
    "tpe",
    "nsgaii",
    "nsgaiii",
    pytest.param("cmaes", marks=needs_cmaes),
]
OPTIONS = {"nsgaii": {"population_size": 10}, "nsgaiii": {"population_size": 12}, "cmaes": {"popsize": 6}}


def study(path: Path, sampler: str, **settings: Any) -> Study:
    return Study(path, sampler=sampler, options=OPTIONS.get(sampler), trials=70, **settings)


@pytest.mark.parametrize("sampler", SAMPLED)
@pytest.mark.parametrize("space", [SPACE, CONDITIONAL], ids=["plain", "conditional"])
def test_workers_order_and_interruption_do_not_change_a_study(
    tmp_path: Path, sampler: str, space: Space
) -> None:
    hashes = []
    for n_workers, seed, batch in ((1, None, 4), (2, 3, 5)):
        one = study(tmp_path / f"{n_workers}.db", sampler, space=space)
        executor = FakeExecutor(space=space, n_workers=n_workers, seed=seed)
        assert one.run(executor, batch=batch).status == "finished"
        hashes.append(one.store.result_hash())
        one.close()
    path = tmp_path / "cut.db"
    for crash_after in (1, 7):
        cut = study(path, sampler, space=space)
        with pytest.raises(Crash):
            cut.run(FakeExecutor(space=space, seed=crash_after, crash_after=crash_after), batch=3)
        cut.close()
    resumed = study(path, sampler, space=space)
    assert resumed.run(FakeExecutor(space=space, seed=9), batch=6).status == "finished"
    hashes.append(resumed.store.result_hash())
    resumed.close()
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("sampler", SAMPLED)
def test_a_model_finds_better_points_than_chance(tmp_path: Path, sampler: str) -> None:
    best = {}
    for name in ("random", sampler):
        one = study(tmp_path / f"{name}.db", name, seed=11)
        one.run(FakeExecutor())
        values = np.concatenate([block.values[:, 0] for block in one.store.blocks()])
        best[name] = np.sort(values[np.isfinite(values)])[-20:].mean()
        one.close()
    assert best[sampler] > best["random"]


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "nsgaiii"])
def test_two_objectives_and_a_constraint_give_the_same_front_again(tmp_path: Path, sampler: str) -> None:
    objectives = (Objective("sharpe.median", "maximize"), Objective("max_drawdown.median", "maximize"))
    hashes = set()
    for n_workers in (1, 2):
        one = study(
            tmp_path / f"{n_workers}.db",
            sampler,
            objectives=objectives,
            constraints=("sum(n_trades) >= 20",),
        )
        outcome = one.run(FakeExecutor(n_workers=n_workers, seed=n_workers))
        front = [best.number for best in outcome.best]
        metrics = one.store.take(front).metrics
        assert len(front) > 1
        assert (metrics[:, 2] >= 20).all()
        hashes.add(one.store.result_hash())
        one.close()
    assert len(hashes) == 1


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "nsgaii"])
def test_conditional_parameters_have_their_idle_value_where_they_do_not_matter(
    tmp_path: Path, sampler: str
) -> None:
    one = study(tmp_path / "l.db", sampler, space=CONDITIONAL)
    one.run(FakeExecutor(space=CONDITIONAL))
    points = np.concatenate([block.points for block in one.store.blocks()])
    one.close()
    kind, stop, steps = points[:, 2], points[:, 3], points[:, 4]
    assert set(kind) == {0.0, 1.0, 2.0}
    assert (stop[kind == 0.0] == 0.05).all()
    assert len(set(stop[kind != 0.0])) > 5
    assert (steps[kind != 2.0] == 1.0).all()
    assert len(set(steps[kind == 2.0])) > 1


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "nsgaii"])
def test_fixed_parameters_keep_their_value(tmp_path: Path, sampler: str) -> None:
    one = study(tmp_path / "l.db", sampler, fixed={"slow": 100})
    one.run(FakeExecutor())
    points = np.concatenate([block.points for block in one.store.blocks()])
    one.close()
    assert set(points[:, 1]) == {100.0}
    assert len({tuple(point) for point in points}) > 30


def test_a_sampler_that_does_not_fit_is_refused_with_one_that_does() -> None:
    if has_cmaes:
        with pytest.raises(AkqUsageError, match="cmaes takes one objective, the sweep has 2; use one of tpe"):
            check_fit("cmaes", SPACE, n_objectives=2)
        one = Space.from_mapping({"a": {"int": [1, 9]}, "b": {"choice": [1, 2]}})
        with pytest.raises(AkqUsageError, match="at least two parameters that are numbers"):
            check_fit("cmaes", one, n_objectives=1)
    with pytest.raises(AkqUsageError, match="population_size: found 0, which is too small"):
        check_options("nsgaii", {"population_size": 0})
    with pytest.raises(AkqUsageError, match="unknown option of nsgaii, did you mean 'population_size'"):
        check_options("nsgaii", {"population_sise": 9})


def test_the_surface_takes_a_conditional_point() -> None:
    assert len(surface(CONDITIONAL.decode(CONDITIONAL.encode({"fast": 9, "slow": 50, "kind": "none"})))) == 3
