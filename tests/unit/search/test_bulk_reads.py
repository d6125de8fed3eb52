"""The storage of the pages: what is read once, read again, or left out because no browser draws it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from akq_dist.search import bulk_reads
from akq_dist.search.bulk_reads import PagesStorage
from akq_dist.search.storage import _release, open_for_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPACE: dict[str, optuna.distributions.BaseDistribution] = {
    "x": optuna.distributions.FloatDistribution(0.0, 1.0)
}


def ended(value: float, broken: float = -1.0) -> optuna.trial.FrozenTrial:
    return create_trial(value=value, params={"x": 0.5}, distributions=SPACE, constraints={"c": broken})


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    found = optuna.create_study(storage=f"sqlite:///{tmp_path}/o.db", study_name="s", direction="maximize")
    yield found
    _release(found)


@pytest.fixture
def pages(study: optuna.Study, tmp_path: Path) -> Iterator[PagesStorage]:
    storage = open_for_pages(f"sqlite:///{tmp_path}/o.db")
    assert isinstance(storage, PagesStorage)
    yield storage
    storage._backend.engine.dispose()


def shown(pages: PagesStorage) -> list[int]:
    return [trial.number for trial in pages.get_all_trials(1)]


def test_an_open_trial_is_read_again_until_it_ends_and_new_ones_follow(
    study: optuna.Study, pages: PagesStorage
) -> None:
    study.add_trial(ended(1.0))
    running = study.ask(SPACE)
    first = pages.get_all_trials(1, deepcopy=False)
    assert [trial.state for trial in first] == [TrialState.COMPLETE, TrialState.RUNNING]
    study.tell(running, 2.0)
    study.add_trial(ended(0.5))
    second = pages.get_all_trials(1, deepcopy=False)
    assert [trial.value for trial in second] == [1.0, 2.0, 0.5]
    assert second[0] is first[0], "a trial that has ended is read once"


def test_the_best_trial_meets_the_constraints_unless_none_does(
    study: optuna.Study, pages: PagesStorage
) -> None:
    study.add_trials([ended(1.0, broken=2.0), ended(3.0, broken=0.5)])
    assert pages.get_best_trial(1).value == 3.0
    study.add_trial(ended(0.25, broken=0.0))
    assert pages.get_best_trial(1).value == 0.25


def test_a_study_that_was_made_again_is_read_again(
    study: optuna.Study, pages: PagesStorage, tmp_path: Path
) -> None:
    study.add_trials([ended(1.0), ended(2.0)])
    assert len(shown(pages)) == 2
    url = f"sqlite:///{tmp_path}/o.db"
    optuna.delete_study(study_name="s", storage=url)
    with pytest.raises(KeyError):
        pages.get_all_trials(1)
    optuna.create_study(storage=url, study_name="t").add_trial(ended(7.0))
    assert [trial.value for trial in pages.get_all_trials(1)] == [7.0]


def test_of_too_many_trials_the_best_and_some_of_all_are_shown_and_a_note_says_so(
    study: optuna.Study, pages: PagesStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_reads, "MAX_SHOWN", 12)
    monkeypatch.setattr(bulk_reads, "_N_BEST", 4)
    values = [float(number % 7) for number in range(40)]
    values[33], values[17], values[23] = 99.0, 98.0, 97.0
    study.add_trials([ended(value, broken=1.0 if value == 99.0 else -1.0) for value in values])
    study.add_trial(create_trial(state=TrialState.FAIL))
    open_trial = study.ask(SPACE)
    found = shown(pages)
    assert {17, 23} <= set(found), "the best that meet the constraints"
    assert 33 not in found
    assert len(found) <= 12
    assert found == sorted(found)
    assert max(b - a for a, b in itertools.pairwise(found)) <= 42 // 8 + 1, "others are spaced evenly"
    complete = pages.get_all_trials(1, states=(TrialState.COMPLETE,))
    spaced = {ix * 42 // 8 for ix in range(8)}
    assert {trial.number for trial in complete} == spaced, "what computes gets no trial that was picked"
    assert pages.get_best_trial(1).number == 17, "the best is never left out"
    (listed,) = pages.get_all_studies()
    assert "12 of 42 trials are shown" in listed.system_attrs["dashboard:note_str:0"]

    study.tell(open_trial, 0.5)
    study.add_trials([ended(1.0), ended(2.0)])
    assert shown(pages)[: len(found)] == found, "what is shown stays"
    assert set(shown(pages)) - set(found) == {42, 43}
    study._storage.set_study_system_attr(study._study_id, "dashboard:note_ver", 1)
    (listed,) = pages.get_all_studies()
    assert "dashboard:note_str:0" not in listed.system_attrs, "a note of the user's own is left alone"
