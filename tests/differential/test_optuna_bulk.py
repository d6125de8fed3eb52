"""Trials written in bulk against the same trials added through Optuna's public interface."""

from __future__ import annotations

import datetime as dt
import functools
import json
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import create_engine, text

from akq_dist.search.bulk_reads import PagesStorage
from akq_dist.search.optuna_bulk import StaleViewError, open_bulk
from akq_dist.search.storage import _release, open_for_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from optuna.distributions import BaseDistribution

TABLES = {
    "trials": "trial_id",
    "trial_values": "trial_value_id",
    "trial_params": "param_id",
    "trial_user_attributes": "trial_user_attribute_id",
    "trial_system_attributes": "trial_system_attribute_id",
    "trial_intermediate_values": "trial_intermediate_value_id",
    "trial_heartbeats": "trial_heartbeat_id",
}
"""Every table that belongs to trials, with its key."""
_UNORDERED = {"_user_attrs", "_system_attrs", "intermediate_values"}
EPOCH_S = st.integers(0, 2_000_000_000_000).map(lambda ms: ms / 1000.0)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
JSON = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.text(max_size=50),
    st.lists(st.floats(width=32), max_size=3),
)
CHOICES = st.lists(
    st.one_of(st.text(max_size=10), st.integers(-99, 99), st.floats(allow_nan=False), st.booleans()),
    min_size=1,
    max_size=4,
    unique=True,
)


@st.composite
def distributions(draw: st.DrawFn) -> BaseDistribution:
    kind = draw(st.sampled_from(["int", "int step", "int log", "float", "float step", "float log", "choice"]))
    if kind == "choice":
        return CategoricalDistribution(draw(CHOICES))
    if kind.startswith("int"):
        low = draw(st.integers(1 if "log" in kind else -(10**6), 10**6))
        steps = draw(st.integers(0, 100))
        step = draw(st.integers(1, 9)) if "step" in kind else 1
        return IntDistribution(low, low + steps * step, log="log" in kind, step=step)
    if kind == "float step":
        low = draw(st.integers(-100, 100))
        return FloatDistribution(low, low + draw(st.integers(0, 50)) * 0.25, step=0.25)
    low_value = draw(st.floats(1e-9 if "log" in kind else -1e9, 1e9))
    return FloatDistribution(low_value, low_value + draw(st.floats(0.0, 1e9)), log="log" in kind)


def value_of(draw: st.DrawFn, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return draw(st.sampled_from(distribution.choices))
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is not None:
        n = round((distribution.high - distribution.low) / distribution.step)
        return distribution.low + draw(st.integers(0, n)) * distribution.step
    return draw(st.floats(distribution.low, distribution.high))


@st.composite
def studies(draw: st.DrawFn) -> tuple[int, list[FrozenTrial]]:
    """Draw a number of objectives and finished trials of one space."""
    n_objectives = draw(st.integers(1, 3))
    space = draw(st.dictionaries(NAMES, distributions(), max_size=6))
    trials = []
    for _ in range(draw(st.integers(1, 5))):
        state = draw(st.sampled_from([TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]))
        # A conditional parameter is absent from some trials.
        chosen = {name: found for name, found in space.items() if draw(st.integers(0, 9))}
        values = [draw(st.floats(allow_nan=False)) for _ in range(n_objectives)]
        trial = create_trial(
            state=state,
            values=values if state == TrialState.COMPLETE else None,
            params={name: value_of(draw, found) for name, found in chosen.items()},
            distributions=chosen,
            user_attrs=draw(st.dictionaries(NAMES, JSON, max_size=6)),
            intermediate_values=draw(st.dictionaries(st.integers(0, 99), st.floats(), max_size=3)),
            constraints=draw(st.none() | st.dictionaries(NAMES, st.floats(allow_nan=False), max_size=3)),
        )
        started_s = draw(EPOCH_S)
        trial.datetime_start = dt.datetime.fromtimestamp(started_s)
        trial.datetime_complete = dt.datetime.fromtimestamp(started_s + draw(st.floats(0, 1e6)))
        trials.append(trial)
    return n_objectives, trials


def in_public(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    study.add_trials(trials)


def in_bulk(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Write in two transactions, so that the second finds the first."""
    writer = open_bulk(study, "key")
    assert writer is not None
    half = len(trials) // 2
    writer.add(0, trials[:half])
    writer.add(half, trials[half:])
    assert writer.count() == len(trials)
    writer.close()


def as_pages_read(url: str, name: str) -> list[FrozenTrial]:
    """Return what the storage of the pages reads, in two parts, without what it adds for the dashboard."""
    storage = open_for_pages(url)
    assert isinstance(storage, PagesStorage)
    found = storage.get_all_trials(storage.get_study_id_from_name(name))
    for trial in found:
        added = trial._system_attrs.pop("constraints", [])
        assert added == list(trial.constraints.values())
    storage._backend.engine.dispose()
    return found


def spelled(trials: Sequence[FrozenTrial]) -> str:
    """Return trials as text, for NaN is not equal to itself, with what Optuna gives in any order in one."""
    facts = [
        {
            name: sorted(value.items(), key=repr) if name in _UNORDERED else value
            for name, value in vars(trial).items()
        }
        for trial in trials
    ]
    return repr(facts)


def written(
    url: str,
    n_objectives: int,
    trials: Sequence[FrozenTrial],
    write: Callable[[optuna.Study, Sequence[FrozenTrial]], None],
) -> tuple[list[FrozenTrial], dict[str, list[tuple[Any, ...]]]]:
    """Return what plain Optuna reads afterwards, and every row of the tables."""
    name = str(uuid.uuid4())
    study = optuna.create_study(storage=url, study_name=name, directions=["maximize"] * n_objectives)
    write(study, trials)
    _release(study)
    read = optuna.load_study(study_name=name, storage=url)
    found = read.get_trials(deepcopy=False)
    _release(read)
    assert spelled(as_pages_read(url, name)) == spelled(found)
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {
            table: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY {key}"))]
            for table, key in TABLES.items()
        }
    engine.dispose()
    return found, rows


@functools.cache
def empty_database() -> bytes:
    """Return a file with Optuna's tables, which take it a while to make."""
    with TemporaryDirectory() as folder:
        optuna.storages.RDBStorage(f"sqlite:///{folder}/a.db").engine.dispose()
        return (Path(folder) / "a.db").read_bytes()


def assert_same(n_objectives: int, trials: Sequence[FrozenTrial]) -> None:
    with TemporaryDirectory() as folder:
        for name in ("a.db", "b.db"):
            (Path(folder) / name).write_bytes(empty_database())
        expected, expected_rows = written(f"sqlite:///{folder}/a.db", n_objectives, trials, in_public)
        found, found_rows = written(f"sqlite:///{folder}/b.db", n_objectives, trials, in_bulk)
    # Their text, for NaN is not equal to itself.
    assert repr([vars(trial) for trial in found]) == repr([vars(trial) for trial in expected])
    for table, rows in expected_rows.items():
        assert repr(found_rows[table]) == repr(rows), table


@given(studies())
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_row_is_the_one_that_optuna_writes(drawn: tuple[int, list[FrozenTrial]]) -> None:
    assert_same(*drawn)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@given(studies())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_row_is_the_one_that_optuna_writes_for_longer(drawn: tuple[int, list[FrozenTrial]]) -> None:
    assert_same(*drawn)


def wide_trials(n_trials: int) -> list[FrozenTrial]:
    space: dict[str, BaseDistribution] = {f"p{k}": FloatDistribution(0.0, 1.0) for k in range(98)}
    space |= {"ε": CategoricalDistribution(["é", "\U0001f600", None]), "n": IntDistribution(1, 9, step=2)}
    return [
        create_trial(
            values=[float("inf") if number else -0.0, 5e-324],
            params={name: 0.04 * number for name in space if name[0] == "p"} | {"ε": None, "n": 3},
            distributions=space,
            user_attrs={"long": "ü" * 5_000, "nan": float("nan"), "nested": {"a": [1, None]}},
            constraints={"n_trades >= 50": 1e300, "c": -0.5},
        )
        for number in range(n_trials)
    ]


def test_a_hundred_parameters_and_long_texts() -> None:
    assert_same(2, wide_trials(3))


def test_summaries_and_the_dashboard_show_the_same() -> None:
    """Beside `load_study`: what a list of studies, and the pages of optuna-dashboard, are made of."""
    dashboard = pytest.importorskip("optuna_dashboard")
    trials = wide_trials(4)
    pages, summaries = [], []
    with TemporaryDirectory() as folder:
        for write in (in_public, in_bulk):
            path = Path(folder) / f"{write.__name__}.db"
            path.write_bytes(empty_database())
            url = f"sqlite:///{path}"
            study = optuna.create_study(storage=url, study_name="s", directions=["maximize"] * 2)
            write(study, trials)
            _release(study)
            (summary,) = optuna.study.get_all_study_summaries(storage=url)
            summaries.append({**vars(summary), "_study_id": 0})
            app = dashboard.wsgi(url)
            pages.append([page(app, where) for where in ("/api/studies", "/api/studies/1", "/csv/1")])
    assert repr(summaries[0]) == repr(summaries[1])
    assert summaries[0]["n_trials"] == 4
    assert pages[0] == pages[1]
    assert all("p97" in text for text in pages[0][1:])
    assert "ü" * 5_000 in pages[0][1] or "\\u00fc" * 5_000 in pages[0][1]


def test_the_pages_of_our_storage_are_those_of_optuna_but_for_the_constraints() -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    trials = [*wide_trials(4), create_trial(state=TrialState.FAIL), create_trial(state=TrialState.PRUNED)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        path.write_bytes(empty_database())
        url = f"sqlite:///{path}"
        study = optuna.create_study(storage=url, study_name="s", directions=["maximize"] * 2)
        in_bulk(study, trials)
        study.enqueue_trial({"n": 3})
        study.ask()
        _release(study)
        storage = open_for_pages(url)
        assert isinstance(storage, PagesStorage)
        apps = [dashboard.wsgi(url), dashboard.wsgi(storage)]
        assert len({page(app, "/api/studies") for app in apps}) == 1
        plain, ours = (json.loads(page(app, "/api/studies/1")) for app in apps)
    found = [trial["constraints"] for trial in ours["trials"]]
    assert found[:4] == [[1e300, -0.5]] * 4
    assert found[4:] == [[], [], []]
    for trial in (*plain["trials"], *ours["trials"], *plain["best_trials"], *ours["best_trials"]):
        del trial["constraints"]
        trial["user_attrs"].sort(key=lambda held: held["key"])
    assert plain.keys() == ours.keys()
    for name in ("name", "trials", "best_trials", "union_search_space", "objective_names"):
        assert plain.get(name) == ours.get(name), name


def page(app: Any, where: str) -> str:
    """Return what the dashboard answers."""
    status: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": where, "QUERY_STRING": "after=0"}
    environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
    body = b"".join(app(environ, lambda line, headers, *rest: status.append(line)))
    assert status == ["200 OK"], (where, status, body)
    return body.decode()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Live where an hour comes twice a year."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_times_are_the_ones_that_optuna_stores_also_when_an_hour_comes_twice() -> None:
    trials = []
    for start_s in (1_698_537_599.5, 1_698_539_400.25, 1_698_543_000.125):
        trial = create_trial(value=1.0)
        trial.datetime_start = dt.datetime.fromtimestamp(start_s)
        trial.datetime_complete = dt.datetime.fromtimestamp(start_s + 3_600.0)
        trials.append(trial)
    assert {trial.datetime_start.fold for trial in trials if trial.datetime_start} == {0, 1}
    assert_same(1, trials)


@pytest.mark.slow
def test_postgresql_holds_what_optuna_writes(postgresql: Callable[[], str]) -> None:
    url = postgresql()
    trials = wide_trials(20)
    expected, _ = written(url, 2, trials, in_public)
    found, _ = written(url, 2, trials, in_bulk)
    for trial in (*expected, *found):
        trial._trial_id = 0
    assert repr([vars(trial) for trial in found]) == repr([vars(trial) for trial in expected])


@pytest.mark.slow
def test_postgresql_takes_trials_from_both_in_turn(postgresql: Callable[[], str]) -> None:
    url = postgresql()
    name, trials = str(uuid.uuid4()), wide_trials(5)
    study = optuna.create_study(storage=url, study_name=name, directions=["maximize"] * 2)
    writer = open_bulk(study, "nan")
    assert writer is not None
    writer.add(0, trials)
    study.add_trials(trials[:2])
    with pytest.raises(StaleViewError):
        writer.add(5, trials)
    writer.add(7, trials)
    assert writer.count() == 12
    writer.close()
    study.add_trial(trials[0])
    assert [trial.number for trial in study.get_trials(deepcopy=False)] == list(range(13))
    _release(study)
