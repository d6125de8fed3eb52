"""The batch TPE as a sampler of Optuna studies of several kinds."""

from __future__ import annotations

import logging
import pickle
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import akq_dist as akq
from akq_dist.errors import AkqUsageError
from akq_dist.search.tpe_sampler import _History

if TYPE_CHECKING:
    from pathlib import Path

SPACE: dict[str, Any] = {
    "x": FloatDistribution(-5.0, 5.0),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "share": FloatDistribution(0.0, 1.0, step=0.1),
    "n": IntDistribution(1, 50, step=7),
    "kind": CategoricalDistribution(("a", None, 3)),
    "fixed": IntDistribution(4, 4),
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def loss(params: dict[str, Any]) -> float:
    return float((params["x"] - 1) ** 2 + abs(np.log10(params["rate"]) + 2) + (params["kind"] != 3))


def run(sampler: Any, n_trials: int, group: int, direction: Any = "minimize") -> Any:
    study = optuna.create_study(sampler=sampler, direction=direction)
    sign = 1 if direction == "minimize" else -1
    while len(study.trials) < n_trials:
        for trial in sampler.ask_many(study, group, SPACE):
            study.tell(trial, sign * loss(trial.params))
    return study


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_batch_finds_more_than_chance_in_a_mixed_space(direction: str) -> None:
    seeds = range(3)
    sign = 1 if direction == "minimize" else -1
    found = [sign * run(akq.BatchTPESampler(seed=seed), 96, 16, direction).best_value for seed in seeds]
    chance = []
    for seed in seeds:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        for _ in range(96):
            trial = study.ask(SPACE)
            study.tell(trial, loss(trial.params))
        chance.append(study.best_value)
    assert np.median(found) < np.median(chance), (found, chance)


def test_the_same_seed_is_the_same_study_and_another_seed_is_not() -> None:
    held = [[t.params for t in run(akq.BatchTPESampler(seed=seed), 64, 16).trials] for seed in (3, 3, 4)]
    assert held[0] == held[1] != held[2]


def test_a_pickled_sampler_goes_on_where_it_was() -> None:
    sampler = akq.BatchTPESampler(seed=3)
    study = run(sampler, 32, 16)
    again = pickle.loads(pickle.dumps(sampler))
    other = optuna.create_study(sampler=again)
    other.add_trials(study.trials)
    asked = [
        [t.params for t in held.ask_many(own, 8, SPACE)] for held, own in ((sampler, study), (again, other))
    ]
    assert asked[0] == asked[1]


def test_it_serves_optimize_with_parameters_that_only_some_trials_have(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def objective(trial: optuna.Trial) -> float:
        value = trial.suggest_float("x", -5, 5) ** 2
        if trial.suggest_categorical("more", [True, False]):
            value += (trial.suggest_int("k", 0, 20) - 7) ** 2 / 100 - 0.5
        return value

    study = optuna.create_study(sampler=akq.BatchTPESampler(seed=1))
    with caplog.at_level(logging.INFO):
        study.optimize(objective, n_trials=60)
    assert study.best_value < -0.2
    assert "k is not in every trial" in caplog.text
    assert study.best_params["more"] is True


def test_points_to_try_first_come_first_and_a_stranger_sampler_is_refused() -> None:
    sampler = akq.BatchTPESampler(seed=1)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({"x": 4.5})
    trials = sampler.ask_many(study, 3, {"x": SPACE["x"]})
    assert [t.number for t in trials] == [0, 1, 2]
    assert trials[0].params == {"x": 4.5}
    with pytest.raises(AkqUsageError, match="another sampler"):
        sampler.ask_many(optuna.create_study(), 3, {"x": SPACE["x"]})
    with pytest.raises(AkqUsageError, match="window: found 3"):
        akq.BatchTPESampler(window=3)


def test_several_objectives_are_left_to_optuna_and_said(caplog: pytest.LogCaptureFixture) -> None:
    sampler = akq.BatchTPESampler(seed=1)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    plain = optuna.create_study(
        directions=["minimize", "maximize"], sampler=optuna.samplers.TPESampler(seed=1)
    )
    with caplog.at_level(logging.WARNING):
        for own in (study, plain):
            for _ in range(30):
                trial = own.ask({"x": SPACE["x"]})
                own.tell(trial, [trial.params["x"] ** 2, trial.params["x"]])
    assert [t.params for t in study.trials] == [t.params for t in plain.trials]
    assert caplog.text.count("TPESampler suggests") == 1


def test_constraints_keep_the_search_where_they_hold() -> None:
    sampler = akq.BatchTPESampler(seed=2)
    study = optuna.create_study(sampler=sampler)
    for _ in range(8):
        for trial in sampler.ask_many(study, 16, {"x": SPACE["x"]}):
            # The best value is where the constraint is broken.
            trial.set_constraint("c", 1.0 - trial.params["x"])
            study.tell(trial, trial.params["x"])
    late = [t.params["x"] for t in study.trials[64:]]
    assert np.mean([x >= 1.0 for x in late]) > 0.5
    assert min(x for x in late if x >= 1.0) < 1.2


def test_failed_and_running_trials_are_no_good_points() -> None:
    sampler = akq.BatchTPESampler(seed=2)
    study = optuna.create_study(sampler=sampler)
    for trial in sampler.ask_many(study, 64, SPACE):
        if trial.number % 3 == 0:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 3 == 1:
            study.tell(trial, loss(trial.params))
    history = _History({"x": SPACE["x"]}, 1.0, 1_000)
    seen = history.read(study, {})
    *_, running = seen.columns()
    assert (len(running), int(running.sum())) == (42, 21)


def test_a_fit_sees_a_window_however_long_the_study_is() -> None:
    """What a fit costs is a matter of the rows it is given."""
    rng = np.random.default_rng(0)
    study = optuna.create_study()
    history = _History({"x": SPACE["x"]}, 1.0, 100)
    sizes = []
    for _ in range(30):
        values = rng.uniform(-5, 5, 40).tolist()
        study.add_trials(
            [create_trial(params={"x": x}, distributions={"x": SPACE["x"]}, value=x * x) for x in values]
        )
        seen = history.read(study, {})
        sizes.append(len(seen))
    assert max(sizes) < 125 + 40
    best = sorted(t.value for t in study.trials if t.value is not None)[:40]
    assert set(best) <= set(seen.columns()[1].tolist()), "the best are never forgotten"
    latest = [t.value for t in study.trials[-40:]]
    assert set(latest) <= set(seen.columns()[1].tolist()), "nor the latest"


def test_a_study_in_a_database_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/o.db"
    for _ in range(2):
        sampler = akq.BatchTPESampler(seed=1)
        study = optuna.create_study(storage=url, study_name="s", sampler=sampler, load_if_exists=True)
        for trial in sampler.ask_many(study, 12, {"x": SPACE["x"]}):
            study.tell(trial, trial.params["x"] ** 2)
    assert [t.number for t in study.trials] == list(range(24))


def test_the_example_runs_and_finds_the_place() -> None:
    text = akq.BatchTPESampler.__doc__ or ""
    begin, end = text.index("import optuna"), text.index("It also serves")
    names: dict[str, Any] = {}
    exec(textwrap.dedent("        " + text[begin:end]), names)
    study = names["study"]
    assert len(study.trials) == 160
    assert study.best_value < 1.0


def test_several_jobs_give_distinct_points_and_leave_nothing_behind() -> None:
    sampler = akq.BatchTPESampler(seed=5, window=40)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", -5, 5) ** 2, n_trials=160, n_jobs=4)
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)
    assert len({trial.params["x"] for trial in study.trials}) == 160
    assert abs(study.best_params["x"]) < 0.1
    assert not sampler._suggested
    (history,) = (held for held in sampler._histories.values() if len(held.axes) == 1)
    history.read(study, {})
    assert not history._open
    assert len(history._memory.entries) < 40 + 10 + 4, "memory is bounded by the window"


def test_pruned_trials_that_came_far_with_a_good_value_show_where_to_look() -> None:
    sampler = akq.BatchTPESampler(seed=3)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    rng = np.random.default_rng(0)
    for x in rng.uniform(-5, 5, 120).tolist():
        # Below zero a trial stops at once, with values that look well.
        values = {0: 99.0} if x < 0 else {0: 0.0, 7: -abs(x - 2.0)}
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED,
                params={"x": x},
                distributions={"x": SPACE["x"]},
                intermediate_values=values,
            )
        )
    found = [trial.params["x"] for trial in sampler.ask_many(study, 32, {"x": SPACE["x"]})]
    assert np.median(np.abs(np.array(found) - 2.0)) < 0.5, found


def test_pruned_trials_without_values_and_with_nan_are_no_obstacle() -> None:
    sampler = akq.BatchTPESampler(seed=3)
    study = optuna.create_study(sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -5, 5)
        if trial.number % 3 == 0:
            raise optuna.TrialPruned
        if trial.number % 3 == 1:
            trial.report(float("nan"), 1)
            raise optuna.TrialPruned
        return x**2

    study.optimize(objective, n_trials=60)
    assert study.best_value < 0.5


def test_a_fit_costs_the_same_at_the_end_of_a_long_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted are the rows of a fit and the trials that are read anew, which is all that its cost depends on."""
    sampler = akq.BatchTPESampler(seed=0, window=60)
    study = optuna.create_study(sampler=sampler)
    rows: list[int] = []
    read: list[int] = []
    add = _History._add

    def counted(self: _History, trial: Any) -> None:
        read.append(trial.number)
        add(self, trial)

    monkeypatch.setattr(_History, "_add", counted)
    for _ in range(40):
        for trial in sampler.ask_many(study, 16, {"x": SPACE["x"]}):
            study.tell(trial, trial.params["x"] ** 2)
        rows.append(len(sampler._histories["x",]._ended))
    assert max(rows) < 60 + 15 + 16
    assert sorted(read) == list(range(39 * 16)), "each trial is read once"
