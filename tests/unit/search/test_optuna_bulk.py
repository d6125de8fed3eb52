"""The bulk writer: whole blocks or nothing, under the right numbers, and only where Optuna's tables are known."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial
from sqlalchemy import create_engine, text

from akq_dist.errors import AkqStudyError, TrackerError
from akq_dist.search import optuna_bulk
from akq_dist.search.optuna_bulk import BulkWriter, StaleViewError, open_bulk
from akq_dist.search.storage import OptunaView, PublicWriter, load_optuna_study
from akq_dist.search.view_thread import ViewThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SPACE = {"x": FloatDistribution(0.0, 10.0), "c": CategoricalDistribution(["a", "b"])}
CHILD_TABLES = ("trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes")


def trials_of(first: int, n: int) -> list[FrozenTrial]:
    return [
        create_trial(
            value=float(number),
            params={"x": number % 100 / 10, "c": "a"},
            distributions=SPACE,
            user_attrs={"key": f"key{number}"},
            constraints={"n >= 1": -1.0},
        )
        for number in range(first, first + n)
    ]


def writer_of(url: str, name: str = "s") -> BulkWriter:
    writer = open_bulk(optuna.create_study(storage=url, study_name=name, load_if_exists=True), "key")
    assert writer is not None
    return writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "optuna.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_plain_optuna_goes_on_where_the_writer_ended(url: str) -> None:
    other = optuna.create_study(storage=url, study_name="other")
    writer = writer_of(url)
    writer.add(0, trials_of(0, 5))
    other.add_trials(trials_of(0, 2))
    writer.add(5, trials_of(5, 6))
    assert (writer.count(), writer.key_of(7), writer.key_of(11)) == (11, "key7", None)
    writer.close()
    study = optuna.load_study(storage=url, study_name="s", sampler=optuna.samplers.TPESampler(seed=1))
    assert study.best_trial.number == 0
    study.optimize(
        lambda trial: (
            trial.suggest_float("x", 0.0, 10.0) + (trial.suggest_categorical("c", ["a", "b"]) == "b")
        ),
        n_trials=3,
    )
    assert [trial.number for trial in study.trials] == list(range(14))
    assert [trial.user_attrs["key"] for trial in study.trials[:11]] == [f"key{n}" for n in range(11)]
    assert study.trials[4].constraints == {"n >= 1": -1.0}
    assert len(other.trials) == 2
    again = writer_of(url)
    again.add(14, trials_of(14, 1))
    assert again.count() == 15
    again.close()


def test_the_dashboard_shows_the_trials(url: str) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    writer = writer_of(url)
    writer.add(0, trials_of(0, 4))
    writer.close()
    app = dashboard.wsgi(url)
    status: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/1", "QUERY_STRING": "after=0"}
    environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
    body = b"".join(app(environ, lambda line, headers, *rest: status.append(line)))
    assert status == ["200 OK"], (status, body)
    assert all(f'"key{n}' in body.decode().replace('\\"', '"') for n in range(4)), body


@pytest.mark.parametrize("known", [set(), {("5.0.0", "v3.1.0.a")}, {("4.9.0", "v3.2.0.a")}])
def test_tables_of_another_version_are_written_the_public_way(
    known: set[tuple[str, str]], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_bulk, "KNOWN", frozenset(known))
    study = optuna.create_study(storage=url, study_name="s")
    assert open_bulk(study, "akq.key") is None
    writer = PublicWriter(study)
    writer.add(0, trials_of(0, 3))
    assert (writer.count(), writer.key_of(0), writer.key_of(3)) == (3, None, None)
    writer.close()


def test_storages_without_tables_on_disk_are_written_the_public_way(tmp_path: Path) -> None:
    from optuna.storages import InMemoryStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    storages: tuple[Any, ...] = (InMemoryStorage(), journal, "sqlite://", "sqlite:///:memory:")
    for storage in storages:
        assert open_bulk(optuna.create_study(storage=storage), "key") is None


def test_numbers_that_do_not_follow_are_refused_and_nothing_is_written(url: str) -> None:
    writer = writer_of(url)
    with pytest.raises(StaleViewError):
        writer.add(1, trials_of(1, 2))
    writer.add(0, trials_of(0, 3))
    for first in (0, 2, 4):
        with pytest.raises(StaleViewError):
            writer.add(first, trials_of(first, 2))
    assert writer.count() == 3
    optuna.delete_study(study_name="s", storage=url)
    with pytest.raises(StaleViewError, match="no longer"):
        writer.add(3, trials_of(3, 1))
    writer.close()


def test_a_gap_in_the_numbers_is_named(url: str, path: Path) -> None:
    writer = writer_of(url)
    writer.add(0, trials_of(0, 3))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM trials WHERE number = 1")
    connection.close()
    with pytest.raises(AkqStudyError, match="not numbered 0 to 1"):
        writer.count()
    writer.close()


def test_a_block_that_fails_leaves_nothing(url: str, path: Path) -> None:
    writer = writer_of(url)
    writer.add(0, trials_of(0, 2))
    bad = trials_of(2, 3)
    bad[2].system_attrs["odd"] = object()
    with pytest.raises(TypeError, match="JSON"):
        writer.add(2, bad)
    changed = create_trial(value=0.0, params={"c": "z"}, distributions={"c": CategoricalDistribution(["z"])})
    with pytest.raises(ValueError, match="dynamic value space"):
        writer.add(2, [changed])
    running = create_trial(state=optuna.trial.TrialState.RUNNING)
    with pytest.raises(AkqStudyError, match="internal"):
        writer.add(2, [running])
    assert orphans(path) == 0
    writer.add(2, trials_of(2, 1))
    assert writer.count() == 3
    writer.close()


def test_a_new_writer_knows_the_kind_of_a_parameter(url: str) -> None:
    first = writer_of(url)
    first.add(0, trials_of(0, 1))
    first.close()
    second = writer_of(url)
    changed = create_trial(
        value=0.0, params={"x": 1.0}, distributions={"x": FloatDistribution(1.0, 2.0, log=True)}
    )
    with pytest.raises(ValueError, match="log configuration"):
        second.add(1, [changed])
    second.close()


def orphans(path: Path) -> int:
    """Count the rows that belong to no trial, and the trials that lack some."""
    connection = sqlite3.connect(path)
    n = 0
    for table in CHILD_TABLES:
        outside = f"SELECT count(*) FROM {table} WHERE trial_id NOT IN (SELECT trial_id FROM trials)"
        lacking = f"SELECT count(*) FROM trials WHERE trial_id NOT IN (SELECT trial_id FROM {table})"
        n += connection.execute(outside).fetchone()[0] + connection.execute(lacking).fetchone()[0]
    connection.close()
    return n


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from sqlalchemy import event
from test_optuna_bulk import trials_of, writer_of

writer = writer_of({url!r})
writer.add(0, trials_of(0, 1000))

@event.listens_for(writer._engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    if statement.startswith({at!r}):
        os.kill(os.getpid(), signal.SIGKILL)

writer.add(1000, trials_of(1000, 1000))
"""


KILLED_AT = ["INSERT INTO trials", "INSERT INTO trial_system_attributes"]


def kill_a_writer(at: str, url: str) -> None:
    """Let a process write a thousand trials and die in the middle of the next thousand; then write those."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    code = KILLED.format(paths=paths, url=url, at=at)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    writer = writer_of(url)
    assert writer.count() == 1000
    writer.add(1000, trials_of(1000, 1000))
    assert writer.count() == 2000
    writer.close()
    trials = load_optuna_study(url, "s").get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == list(range(2000))
    assert [trial.user_attrs["key"] for trial in trials] == [f"key{n}" for n in range(2000)]


@pytest.mark.parametrize("at", KILLED_AT)
def test_a_writer_killed_in_the_middle_of_a_block_leaves_whole_blocks(at: str, url: str, path: Path) -> None:
    kill_a_writer(at, url)
    assert orphans(path) == 0


# Optuna's own studies leave their connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("at", KILLED_AT)
def test_a_writer_killed_on_postgresql_leaves_whole_blocks(at: str, postgresql: Callable[[], str]) -> None:
    url = postgresql()
    kill_a_writer(at, url)
    engine = create_engine(url)
    with engine.connect() as connection:
        for table in CHILD_TABLES:
            left = text(f"SELECT count(*) FROM {table} WHERE trial_id NOT IN (SELECT trial_id FROM trials)")
            assert connection.execute(left).scalar() == 0, table
    engine.dispose()


class PlainView(OptunaView):
    """A view whose records are trials already."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._writer = None

    def open(self) -> int:
        self.close()
        self._writer = writer_of(self.url)
        return self._writer.count()

    def check(self, records: Sequence[Any]) -> None:
        (number,) = records
        assert self._opened().key_of(number) == f"key{number}"

    def add(self, records: Sequence[Any]) -> None:
        self._opened().add(records[0], trials_of(records[0], len(records)))


def upto(n: int) -> Callable[[int, int], Any]:
    """Give numbers in place of records, up to a count."""
    return lambda start, limit: list(range(start, min(start + limit, n)))


def test_a_locked_database_is_tried_again(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_bulk, "_LOCK_WAIT_S", 0.05)
    monkeypatch.setattr("akq_dist.record.follower.FIRST_PAUSE_S", 0.01)
    writer_of(url).close()
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    errors: list[str] = []
    failed = ViewThread._failed

    def read(start: int, limit: int) -> Any:
        if not errors and not blocker.in_transaction:
            blocker.execute("BEGIN IMMEDIATE")
        return upto(1500)(start, limit)

    def unlock(self: ViewThread, error: TrackerError) -> None:
        errors.append(str(error))
        blocker.rollback()
        failed(self, error)

    monkeypatch.setattr(ViewThread, "_failed", unlock)
    thread = ViewThread(PlainView(url), read, lambda _: None)
    assert thread.catch_up(60, lambda: False), thread.error
    thread.close()
    blocker.close()
    assert len(errors) == 1
    assert "database is locked" in errors[0]
    assert len(load_optuna_study(url, "s").get_trials(deepcopy=False)) == 1500


def test_a_block_whose_answer_was_lost_is_not_written_twice(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akq_dist.record.follower.FIRST_PAUSE_S", 0.01)
    add, losses = BulkWriter.add, [0, 1]

    def lossy(self: BulkWriter, first_number: int, trials: Sequence[FrozenTrial]) -> None:
        add(self, first_number, trials)
        if losses:
            losses.pop()
            raise ConnectionError("the server went away after the commit")

    monkeypatch.setattr(BulkWriter, "add", lossy)
    marks: list[int] = []
    thread = ViewThread(PlainView(url), upto(3500), marks.append)
    assert thread.catch_up(60, lambda: False), thread.error
    thread.close()
    assert marks[-1] == 3500
    trials = load_optuna_study(url, "s").get_trials(deepcopy=False)
    assert [trial.user_attrs["key"] for trial in trials] == [f"key{n}" for n in range(3500)]


def test_a_study_that_vanishes_is_filled_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akq_dist.record.follower.FIRST_PAUSE_S", 0.01)
    held = [20]
    thread = ViewThread(PlainView(url), lambda start, limit: upto(held[0])(start, limit), lambda _: None)
    assert thread.catch_up(60, lambda: False), thread.error
    optuna.delete_study(study_name="s", storage=url)
    held[0] = 30
    thread.notify(1)
    assert thread.catch_up(60, lambda: False), thread.error
    thread.close()
    assert len(load_optuna_study(url, "s").get_trials(deepcopy=False)) == 30
