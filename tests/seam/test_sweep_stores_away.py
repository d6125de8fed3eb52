"""Databases that are locked, cut off, frozen or restarted in mid-sweep: written again, nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.sweep import Sweep, sweep, verify
from tests.postgresql import NoServerError, Server, server

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEED = 41
TRIALS = 40
DEADLINE_S = 240.0
STRATEGY = """
import pathlib, time
import akq_dist as akq

class Held(akq.Strategy):
    n: int = akq.Param(1)

    def on_bar(self, bar):
        if bar.index == 2:
            while self.n > {at} and not pathlib.Path({go!r}).exists():
                time.sleep(0.01)
            self.buy(self.n)
        if bar.index == 2 + self.n % 40:
            self.close()
"""
_LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.rollback()
"""
# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    return tmp_path


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A server that these tests alone disturb."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(server())
        except NoServerError as error:
            pytest.skip(str(error))
        yield running


def start(folder: Path, stores: dict[str, str], at: int) -> Sweep:
    """Start a sweep whose trials from a number on wait for `go`."""
    (folder / "held.py").write_text(STRATEGY.format(at=at, go=str(folder / "go")))
    spec: dict[str, Any] = {
        **SPEC,
        "strategy": {"python": "held.py:Held"},
        "space": {"n": {"int": [1, TRIALS]}},
        "where": [],
        "search": {"sampler": "grid"},
        "run": {"executor": "serial", "batch": 2},
        "track": {"mlflow": stores.get("mlflow"), "artifacts": "none"},
        "storage": {"optuna": stores.get("optuna"), "ledger": "ledger.db"},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))
    return sweep("sweep.yaml").start()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def copied() -> int:
    """How many trials every view has, as the ledger knows."""
    marks = []
    # There is no ledger in the first moment, and no table in it in the second.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect("file:ledger.db?mode=ro", timeout=5, uri=True)) as connection,
    ):
        marks = [row[0] for row in connection.execute("SELECT watermark FROM view WHERE name != 'strategy'")]
    return min(marks, default=0)


def searched(handle: Sweep) -> bool:
    found = handle.status()
    return found is not None and found.done == TRIALS


def assert_complete(handle: Sweep) -> None:
    """The sweep ends well without a word, and every view holds every trial once."""
    assert handle.wait(DEADLINE_S)
    assert (handle.state, handle.exit_code, handle.warnings) == ("finished", 0, ())
    assert handle.summary()["trials"]["complete"] == TRIALS
    handle.close()
    found = verify("sweep.yaml")
    assert found.ok, found.to_dict()
    assert all((check.n_expected, check.n_found) == (TRIALS, TRIALS) for check in found.checks)
    gc.collect()


@pytest.mark.parametrize(
    ("view", "lock_s"),
    [
        ("optuna", 2.0),
        ("mlflow", 2.0),
        # Longer than any of the writers waits by itself.
        pytest.param("optuna", 33.0, marks=pytest.mark.slow),
        pytest.param("mlflow", 33.0, marks=pytest.mark.slow),
    ],
)
def test_a_store_that_somebody_locks_is_written_when_it_is_free(
    folder: Path, monkeypatch: pytest.MonkeyPatch, view: str, lock_s: float
) -> None:
    if lock_s < 10.0:
        # In the short variant the writers give up as often as they do in half a minute.
        monkeypatch.setattr("akq_dist.search.optuna_bulk._LOCK_WAIT_S", 0.2)
        monkeypatch.setattr("akq_dist.track.bulk._BUSY_TIMEOUT_S", 0.2)
    at = random.Random(SEED).randrange(2, TRIALS // 2, 2)
    print(f"seed {SEED}: {view} locked for {lock_s:.0f} s from trial {at} on")
    handle = start(folder, {view: f"sqlite:///{folder}/{view}.db"}, at)
    wait_for(lambda: copied() == at)
    command = [sys.executable, "-c", _LOCKER, str(folder / f"{view}.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
        assert locker.stdout is not None
        assert locker.stdin is not None
        assert locker.stdout.readline() == "locked\n"
        began_s = time.monotonic()
        (folder / "go").touch()
        wait_for(lambda: searched(handle))
        print(f"the search of the rest took {time.monotonic() - began_s:.1f} s")
        # It lasts as long as the bar says.
        while (left_s := began_s + lock_s - time.monotonic()) > 0.0:
            threading.Event().wait(left_s)
        assert handle.running
        assert copied() == at, "the store was not locked"
        locker.stdin.write("\n")
        locker.stdin.flush()
        assert_complete(handle)


def cut(postgres: Server, away_s: float) -> None:
    """Every connection is ended, again and again."""
    deadline_s = time.monotonic() + away_s
    while time.monotonic() < deadline_s:
        postgres.cut()
        threading.Event().wait(0.3)


def freeze(postgres: Server, away_s: float) -> None:
    postgres.signal(signal.SIGSTOP)
    threading.Event().wait(away_s)
    postgres.signal(signal.SIGCONT)


def restart(postgres: Server, away_s: float) -> None:
    postgres.stop()
    threading.Event().wait(away_s)
    postgres.start()


@pytest.mark.slow
# Connections that the server has ended are left to the collector.
@pytest.mark.filterwarnings(r"ignore:.*psycopg\.Connection:ResourceWarning")
@pytest.mark.parametrize("disturb", [cut, freeze, restart])
def test_a_postgresql_server_that_is_away_for_a_while_loses_nothing(
    folder: Path, postgres: Server, disturb: Callable[[Server, float], None]
) -> None:
    at = random.Random(SEED).randrange(2, TRIALS // 2, 2)
    print(f"seed {SEED}: {disturb.__name__} from trial {at} on")
    handle = start(folder, {"optuna": postgres.database(), "mlflow": postgres.database()}, at)
    wait_for(lambda: copied() == at)
    (folder / "go").touch()
    disturb(postgres, 5.0)
    assert_complete(handle)
