"""The Optuna view: what the ledger holds, under the same numbers, whatever happens in between."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from akq_dist.errors import AkqStudyError
from akq_dist.record.ledger import StudyRecord
from akq_dist.record.protocols import TrialRecord
from akq_dist.search.judge import Judge, Objective
from akq_dist.search.storage import OptunaView, load_optuna_study, owner_of, view_distribution
from akq_dist.search.view_thread import ViewThread
from akq_dist.specs import MetricConstraint, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SPACE = Space.from_mapping(
    {
        "a": {"int": [1, 20], "step": 4},
        "b": {"float": [0.0, 1.0], "step": 0.3},
        "c": {"choice": ["x", 2, True]},
        "d": {"float": [0.01, 1], "log": True},
    }
)
OUTPUTS = ("sharpe", "n_trades", "ulcer_index", "w00.sharpe")


def make_view(
    url: str, *, study_id: str = "id-1", name: str = "s", spec: dict[str, Any] | None = None
) -> OptunaView:
    study = StudyRecord(
        1,
        study_id,
        name,
        name,
        0,
        "",
        spec or {},
        {},
        SPACE.names,
        OUTPUTS,
        (("sharpe", "maximize"),),
        7,
        "random",
        None,
    )
    bound = MetricConstraint.parse("n_trades >= 50")
    return OptunaView(
        url, study, SPACE, Judge(OUTPUTS, [Objective("sharpe", "maximize")], [("n_trades", bound)])
    )


def record(number: int, state: str = "complete") -> TrialRecord:
    point = SPACE.unit_to_rows(np.random.default_rng(number).random((1, 4)))[0]
    complete = state == "complete"
    return TrialRecord(
        number=number,
        key=f"key{number}",
        params=SPACE.decode(point),
        state=state,  # type: ignore[arg-type]
        values=(number / 10,) if complete else (),
        metrics=dict(zip(OUTPUTS, (number / 10, 45.0 + number, 0.5, 0.25), strict=True)) if complete else {},
        reason=None if complete else "Traceback\nValueError: no",
        hash=f"h{number}",
        started_ms=1_700_000_000_000,
        ended_ms=1_700_000_001_500,
    )


def reader(records: Sequence[TrialRecord]) -> Callable[[int, int], Sequence[TrialRecord]]:
    return lambda start, limit: records[start : start + min(limit, 3)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/new/folder/optuna.db"


def test_trials_appear_under_their_numbers_with_everything_known(url: str) -> None:
    records = [record(0), record(1, "fail"), record(2), record(3, "pruned"), *map(record, range(4, 10))]
    marks: list[int] = []
    thread = ViewThread(make_view(url), reader(records), marks.append)
    assert thread.catch_up(30, lambda: False)
    thread.close()
    study = load_optuna_study(url, "s")
    trials = study.trials
    assert [t.number for t in trials] == list(range(10))
    assert [t.state for t in trials[:4]] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
        TrialState.PRUNED,
    ]
    assert [dict(t.params) for t in trials] == [dict(r.params) for r in records]
    assert trials[2].values == [0.2]
    assert trials[2].user_attrs["n_trades"] == 47.0
    assert trials[2].user_attrs["akq.key"] == "key2"
    assert trials[1].user_attrs["akq.reason"] == "Traceback\nValueError: no"
    assert trials[2].constraints == {"n_trades >= 50.0": 3.0}
    assert trials[2].duration is not None
    assert trials[2].duration.total_seconds() == 1.5
    assert study.best_trial.number == 9
    assert study.metric_names == ["sharpe"]
    assert marks[-1] == 10


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(None, {"sharpe", "n_trades"}), ("named", {"sharpe", "n_trades"}), ("all", {*OUTPUTS})],
)
def test_attributes_are_the_metrics_that_matter_unless_all_are_wanted(
    url: str, setting: str | None, expected: set[str]
) -> None:
    spec = {} if setting is None else {"storage": {"optuna_metrics": setting}}
    thread = ViewThread(make_view(url, spec=spec), reader([record(0)]), lambda _: None)
    assert thread.catch_up(30, lambda: False)
    thread.close()
    (trial,) = load_optuna_study(url, "s").trials
    assert {name for name in trial.user_attrs if not name.startswith("akq.")} == expected


def test_copying_again_changes_nothing(url: str) -> None:
    records = [record(n) for n in range(7)]
    for _ in range(3):
        thread = ViewThread(make_view(url), reader(records), lambda _: None)
        assert thread.catch_up(30, lambda: False)
        assert thread.position == 7
        thread.close()
    assert len(load_optuna_study(url, "s").trials) == 7


def test_new_trials_follow_while_the_thread_runs(url: str) -> None:
    records = [record(0)]
    thread = ViewThread(make_view(url), reader(records), lambda _: None)
    assert thread.catch_up(30, lambda: False)
    records += [record(n) for n in range(1, 6)]
    thread.notify(1)
    assert thread.catch_up(30, lambda: False)
    assert thread.position == 6
    thread.close()


def test_a_study_of_somebody_else_is_left_alone(url: str) -> None:
    thread = ViewThread(make_view(url), reader([record(0)]), lambda _: None)
    assert thread.catch_up(30, lambda: False)
    thread.close()
    assert owner_of(url, "s") == "id-1"
    assert owner_of(url, "t") is None
    other = ViewThread(make_view(url, study_id="id-2"), reader([record(0), record(1)]), lambda _: None)
    assert not other.catch_up(30, lambda: False)
    assert "is not this one" in (other.error or "")
    other.close()
    assert len(load_optuna_study(url, "s").trials) == 1


def test_trials_that_are_not_the_ledgers_are_found(url: str) -> None:
    thread = ViewThread(make_view(url), reader([record(0), record(1)]), lambda _: None)
    assert thread.catch_up(30, lambda: False)
    thread.close()
    changed = TrialRecord(**{**record(1).__dict__, "key": "other"})
    other = ViewThread(make_view(url), reader([record(0), changed, record(2)]), lambda _: None)
    assert not other.catch_up(30, lambda: False)
    assert "trial 1 of study 's'" in (other.error or "")
    other.close()
    fewer = ViewThread(make_view(url), reader([record(0)]), lambda _: None)
    assert not fewer.catch_up(30, lambda: False)
    assert "more than the ledger" in (fewer.error or "")
    fewer.close()


def test_a_store_that_is_away_for_a_while_is_tried_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 2
    add = OptunaView.add

    def flaky(self: OptunaView, records: Sequence[TrialRecord]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError("postgresql://me:secret@host/db is away")
        add(self, records)

    monkeypatch.setattr(OptunaView, "add", flaky)
    monkeypatch.setattr("akq_dist.record.follower.FIRST_PAUSE_S", 0.01)
    thread = ViewThread(make_view(url), reader([record(n) for n in range(5)]), lambda _: None)
    assert thread.catch_up(30, lambda: False)
    assert thread.error is None
    thread.close()
    assert [t.number for t in load_optuna_study(url, "s").trials] == list(range(5))


def test_a_store_that_stays_away_does_not_hold_up_the_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: OptunaView) -> int:
        raise ConnectionError("postgresql://me:secret@host/db is away")

    monkeypatch.setattr(OptunaView, "open", away)
    monkeypatch.setattr("akq_dist.record.follower.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("akq_dist.record.follower.NEVER_REACHED_S", 0.2)
    thread = ViewThread(make_view(url), reader([record(0)]), lambda _: None)
    assert not thread.catch_up(30, lambda: False)
    assert "ConnectionError" in (thread.error or "")
    assert "secret" not in (thread.error or "")
    thread.close()
    assert not [t for t in threading.enumerate() if t.name == "akq-optuna-view"]


def test_a_storage_url_that_leads_nowhere_is_named_without_its_password() -> None:
    with pytest.raises(AkqStudyError, match=r"storage\.optuna: .* cannot be opened") as caught:
        owner_of("nosuchdb://me:secret@host/db", "s")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        ({"int": [1, 20], "step": 4}, 1, 17),
        ({"float": [0.0, 1.0], "step": 0.3}, 0.0, 0.9),
        ({"int": [3, 3]}, 3, 3),
        ({"float": [2, 2]}, 2, 2),
    ],
)
def test_ranges_end_on_their_last_step(written: dict[str, Any], low: float, high: float) -> None:
    found: Any = view_distribution(Space.from_mapping({"p": written}).params[0])
    assert (found.low, found.high) == (low, high)
    assert isinstance(found, optuna.distributions.BaseDistribution)
