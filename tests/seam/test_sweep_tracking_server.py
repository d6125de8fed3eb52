"""A real MLflow server that is killed, frozen, slow or not there: the search goes on, nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.record import follower
from akq_dist.sweep import Sweep, sweep, sync, verify
from tests.mlflow_server import MlflowServer

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TRIALS = 60
DEADLINE_S = 120.0
STRATEGY = """
import time
import akq_dist as akq

class Slow(akq.Strategy):
    n: int = akq.Param(1)

    def on_bar(self, bar):
        if bar.index == 2:
            time.sleep(0.02)
            self.buy(self.n)
        if bar.index == 2 + self.n % 40:
            self.close()
"""
# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("server"))
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


def made(folder: Path, url: str | None, name: str) -> Sweep:
    spec: dict[str, Any] = {
        **SPEC,
        "name": name,
        "strategy": {"python": "slow.py:Slow"},
        "space": {"n": {"int": [1, TRIALS]}},
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


def n_done(handle: Sweep) -> int:
    found = handle.status()
    return 0 if found is None else found.done


def undisturbed_s(folder: Path) -> float:
    """Time of the search without any tracking."""
    handle = made(folder, None, "alone").run()
    wall_s = float(handle.summary()["wall_s"])
    handle.close()
    return wall_s


def finish_and_check(handle: Sweep) -> float:
    """Wait for a started sweep that nothing of all this may have disturbed; return the time of its search."""
    assert handle.wait(DEADLINE_S)
    facts = handle.summary()
    assert (handle.state, handle.exit_code) == ("finished", 0)
    assert (facts["trials"]["complete"], facts["trials"]["failed"]) == (TRIALS, 0)
    handle.close()
    return float(facts["wall_s"])


def assert_synced(name: str, warned: tuple[str, ...]) -> None:
    """Bring the record up to the ledger, once and again: every trial is there once."""
    assert not warned or any("akq sweep sync" in text for text in warned), warned
    for _ in range(2):
        assert sync(f"{name}.yaml") == []
        found = verify(f"{name}.yaml")
        assert found.ok, found.to_dict()
        (check,) = [check for check in found.checks if check.view == "mlflow"]
        assert (check.n_expected, check.n_found) == (TRIALS, TRIALS)


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
    server.stop()


@pytest.mark.slow
def test_a_server_that_was_never_there_is_one_warning_and_a_sync_later(
    folder: Path, server: MlflowServer
) -> None:
    server.stop()
    handle = made(folder, server.url, "never").start()
    finish_and_check(handle)
    assert len(handle.warnings) == 1, handle.warnings
    server.start()
    assert_synced("never", handle.warnings)
    server.stop()


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
    server.stop()


@pytest.mark.slow
def test_a_slow_server_does_not_slow_the_search(folder: Path, server: MlflowServer) -> None:
    server.start()
    # What is imported once is not what a slow server costs.
    made(folder, server.url, "warm").run().close()
    alone_s = undisturbed_s(folder)
    with Delay(server.url, 2.0) as delay:
        handle = made(folder, delay.url, "slow").start()
        wait_for(lambda: n_done(handle) == TRIALS)
        # The rest is recorded later: minutes at this pace.
        handle.cancel()
        handle.cancel()
        wall_s = finish_and_check(handle)
        delay.delay_s = 0.0
        print(f"search {wall_s:.2f} s with 2 s a call, {alone_s:.2f} s without tracking")
        assert wall_s < 1.25 * alone_s + 0.5
        assert_synced("slow", handle.warnings)
    server.stop()


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
