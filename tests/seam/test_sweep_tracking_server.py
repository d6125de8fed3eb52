"""A real MLflow server that is killed, frozen, slow or not there: the search goes on, nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.record import follower
from akq_dist.sweep import Sweep, sweep, sync, verify
from tests.mlflow_server import MlflowServer

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRIALS = 60
DEADLINE_S = 120.0
SEED = 61
AWAY_S = 60.0
"""How long the server is away in the long variant, and how long 500 runs may take when it is back."""
STRATEGY = """
import time
import akq_dist as akq

class Slow(akq.Strategy):
    n: int = akq.Param(1)
    pause_s: float = akq.Param(0.02)

    def on_bar(self, bar):
        if bar.index == 2:
            time.sleep(self.pause_s)
            self.buy(self.n)
        if bar.index == 2 + self.n % 40:
            self.close()
"""
_SEARCH = """
import os, sys, time
from akq_dist.sweep import sweep

handle = sweep(sys.argv[1]).start()
while handle.running and (handle.status() is None or handle.status().done < int(sys.argv[2])):
    time.sleep(0.02)
# What is left to be recorded takes minutes at this pace.
handle.cancel()
handle.cancel()
handle.wait(60)
print(handle.summary()["wall_s"], flush=True)
os._exit(0)
"""
N_PAIRS = 3
ROOT = Path(__file__).parents[2]
# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its runs: its tables are made once."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture
def server(data: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(data)
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Nobody waits here for a store that stays away.
    monkeypatch.setattr(follower, "NEVER_REACHED_S", 1.0)
    monkeypatch.setattr(follower, "AWAY_S", 1.0)
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "slow.py").write_text(STRATEGY)
    return tmp_path


def made(folder: Path, url: str | None, name: str, n_trials: int = TRIALS, pause_s: float = 0.02) -> Sweep:
    """Prepare a sweep whose every trial takes three pauses, one an asset."""
    spec: dict[str, Any] = {
        **SPEC,
        "name": name,
        "strategy": {"python": "slow.py:Slow"},
        "params": {"pause_s": pause_s},
        "space": {"n": {"int": [1, n_trials]}},
        "where": [],
        "search": {"sampler": "grid"},
        "run": {"executor": "serial", "batch": 2},
        "track": {"mlflow": url, "artifacts": "none"},
        "storage": {"optuna": None, "ledger": f"{name}.db"},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    return sweep(f"{name}.yaml")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def write_spec_and_search(folder: Path, url: str | None, name: str) -> float:
    """Search in a process of its own, as a command does; return how long that took, without what comes after."""
    made(folder, url, name, pause_s=0.05).close()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SEARCH, f"{name}.yaml", str(TRIALS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def n_done(handle: Sweep) -> int:
    found = handle.status()
    return 0 if found is None else found.done


def undisturbed_s(folder: Path) -> float:
    """Time of the search without any tracking."""
    handle = made(folder, None, "alone").run()
    wall_s = float(handle.summary()["wall_s"])
    handle.close()
    return wall_s


def finish_and_check(handle: Sweep, n_trials: int = TRIALS) -> float:
    """Wait for a started sweep that nothing of all this may have disturbed; return the time of its search."""
    assert handle.wait(4 * DEADLINE_S)
    facts = handle.summary()
    assert (handle.state, handle.exit_code) == ("finished", 0)
    assert (facts["trials"]["complete"], facts["trials"]["failed"]) == (n_trials, 0)
    handle.close()
    return float(facts["wall_s"])


def assert_synced(name: str, warned: tuple[str, ...], n_trials: int = TRIALS) -> None:
    """Bring the record up to the ledger, once and again: every trial is there once."""
    assert not warned or any("akq sweep sync" in text for text in warned), warned
    for _ in range(2):
        assert sync(f"{name}.yaml") == []
        found = verify(f"{name}.yaml")
        assert found.ok, found.to_dict()
        (check,) = [check for check in found.checks if check.view == "mlflow"]
        assert (check.n_expected, check.n_found) == (n_trials, n_trials)


def test_a_server_killed_in_mid_sweep_is_caught_up_with_when_it_is_back(
    folder: Path, server: MlflowServer
) -> None:
    alone_s = undisturbed_s(folder)
    server.start()
    handle = made(folder, server.url, "killed").start()
    wait_for(lambda: n_done(handle) >= 10)
    server.stop()
    wall_s = finish_and_check(handle)
    print(f"search {wall_s:.1f} s, {alone_s:.1f} s without tracking")
    # Importing MLflow takes its share of the processor in the beginning.
    assert wall_s < 1.5 * alone_s + 10.0
    server.start()
    assert_synced("killed", handle.warnings)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_minute_without_the_server_costs_neither_trials_nor_time(
    folder: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "AWAY_S", 2 * AWAY_S)
    n_trials = 500
    at = random.Random(SEED).randrange(20, 60)
    print(f"seed {SEED}: killed at trial {at} of {n_trials}, back {AWAY_S:.0f} s later")
    server.start()
    healthy_s = finish_and_check(made(folder, server.url, "healthy", n_trials, 0.05).start(), n_trials)
    handle = made(folder, server.url, "minute", n_trials, 0.05).start()
    wait_for(lambda: n_done(handle) >= at)
    server.stop()
    began_s = time.monotonic()
    threading.Event().wait(AWAY_S)
    n_at_return = n_done(handle)
    assert n_at_return < n_trials, "it was away in mid-sweep"
    server.start()
    back_s = time.monotonic()
    wait_for(lambda: n_done(handle) == n_trials)
    searched_s = time.monotonic()
    wall_s = finish_and_check(handle, n_trials)
    took_s = time.monotonic() - max(back_s, searched_s)
    print(
        f"search {wall_s:.1f} s, with a healthy server {healthy_s:.1f} s; away for {back_s - began_s:.0f} s; "
        f"all recorded {took_s:.0f} s after server and search were there"
    )
    assert healthy_s >= 0.95 * wall_s
    assert handle.warnings == ()
    found = verify("minute.yaml")
    assert found.ok, found.to_dict()
    assert_synced("minute", handle.warnings, n_trials)
    # The server does the work. Beside others on this machine it takes as much longer as they leave it less.
    is_quiet = os.getloadavg()[2] < 1.5 * (os.cpu_count() or 1)
    assert took_s <= (AWAY_S if is_quiet else 4 * AWAY_S)


@pytest.mark.slow
def test_a_server_that_was_never_there_is_one_warning_and_a_sync_later(
    folder: Path, server: MlflowServer
) -> None:
    handle = made(folder, server.url, "never").start()
    finish_and_check(handle)
    assert len(handle.warnings) == 1, handle.warnings
    server.start()
    assert_synced("never", handle.warnings)


@pytest.mark.slow
def test_a_frozen_server_that_thaws_gets_everything_before_the_sweep_ends(
    folder: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "AWAY_S", DEADLINE_S)
    alone_s = undisturbed_s(folder)
    server.start()
    handle = made(folder, server.url, "frozen").start()
    wait_for(lambda: n_done(handle) >= 5)
    server.freeze()
    wait_for(lambda: n_done(handle) == TRIALS)
    assert handle.running
    server.thaw()
    wall_s = finish_and_check(handle)
    print(f"search {wall_s:.1f} s, {alone_s:.1f} s without tracking")
    assert handle.warnings == ()
    assert_synced("frozen", handle.warnings)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_slow_server_does_not_slow_the_search(folder: Path, server: MlflowServer) -> None:
    server.start()
    alone: list[float] = []
    slow: list[float] = []
    with Delay(server.url, 2.0) as delay:
        for ix in range(N_PAIRS):
            alone.append(write_spec_and_search(folder, None, f"alone{ix}"))
            slow.append(write_spec_and_search(folder, delay.url, f"slow{ix}"))
            print(f"search {slow[-1]:.2f} s with 2 s a call, {alone[-1]:.2f} s without tracking")
    ratio = statistics.median(slow) / statistics.median(alone)
    print(f"medians {ratio:.3f}")
    assert ratio <= 1.05


@pytest.mark.slow
def test_a_sweep_that_is_cancelled_at_a_slow_server_can_be_synced_at_once(
    folder: Path, server: MlflowServer
) -> None:
    server.start()
    with Delay(server.url, 2.0) as delay:
        handle = made(folder, delay.url, "slow").start()
        wait_for(lambda: n_done(handle) == TRIALS)
        # The rest is recorded later: minutes at this pace.
        handle.cancel()
        handle.cancel()
        finish_and_check(handle)
        delay.delay_s = 0.0
        assert_synced("slow", handle.warnings)


class Delay:
    """A server in front of another that lets every request wait."""

    def __init__(self, url: str, delay_s: float) -> None:
        self._target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self.delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pumps: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Delay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._sockets:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
        for pump in self._pumps:
            pump.join(DEADLINE_S)
        for held in self._sockets:
            held.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                pump = threading.Thread(target=self._pump, args=(source, target), daemon=True)
                self._pumps.append(pump)
                pump.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        """Pass bytes on; each burst waits half of the delay, which is what is tested."""
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                threading.Event().wait(self.delay_s / 2.0)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
