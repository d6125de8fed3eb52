"""Pages for people: the MLflow UI and optuna-dashboard, on this machine only."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError, MissingDependencyError, TrackerError
from akq_dist.specs.units import redact_url
from akq_dist.track import store
from akq_dist.track.links import without_user
from akq_dist.track.mlflow_env import prepare_environment
from akq_dist.track.policy import is_http
from akq_dist.track.sweeps import find_sweeps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akq_dist.track.sweeps import TrackedSweep

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 5000
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 5.0
_LOG_TAIL = 1_500

# The store's address may hold a password, so it travels in the environment, which only this user can read.
_WATCH = (
    "import os, signal, threading; "
    "threading.Thread(target=lambda: (os.read(0, 1), os.killpg(0, signal.SIGKILL)), daemon=True).start(); "
)
"""Standard input is a pipe that ends with the parent, however that dies; nothing of a server outlives it."""
_MLFLOW = _WATCH + "from mlflow.cli import cli; cli()"
_OPTUNA = _WATCH + "from akq_dist.track.dashboard import main; main()"
_OPTUNA_NAME = "optuna-dashboard"
_N_PORTS = 20
"""Ports that are tried after the wanted one."""


def serve_ui(
    tracking_uri: str | None,
    optuna_url: str | None,
    port: int = DEFAULT_PORT,
    *,
    host: str = "127.0.0.1",
    study: Study | None = None,
    announce: Callable[[str], None],
    stop: threading.Event | None = None,
) -> None:
    """Serve both views until Ctrl-C or until `stop` is set; `announce` is told addresses and what goes wrong.

    The pages of `study` are linked, or without one those of the newest sweeps. A tracking server elsewhere is
    linked, not served. Refuses hosts other than this machine.
    """
    with UiServers(tracking_uri, optuna_url, port, host=host, study=study) as servers:
        for line in servers.start(announce):
            announce(line)
        announce("Ctrl-C stops.")
        with contextlib.suppress(KeyboardInterrupt):
            servers.wait(stop)


@dataclass(frozen=True)
class Study:
    """A study whose pages are looked for."""

    id: str
    name: str


@dataclass
class _Server:
    """A child process, its page and what it has written."""

    name: str
    url: str
    health: str
    process: subprocess.Popen[bytes]
    output: IO[bytes] = field(repr=False)

    def tail(self) -> str:
        """Return the end of the output, without secrets."""
        self.output.flush()
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - _LOG_TAIL))
        return redact_url(self.output.read().decode("utf-8", "replace").strip())


class UiServers:
    """The servers as a context: whatever ends the block ends them."""

    def __init__(
        self,
        tracking_uri: str | None,
        optuna_url: str | None,
        port: int = DEFAULT_PORT,
        *,
        host: str = "127.0.0.1",
        study: Study | None = None,
    ) -> None:
        if host not in LOOPBACK:
            raise AkqUsageError(
                f"akq ui serves this machine only, not {host}: its pages have no password. Reach it through "
                "an SSH tunnel, or run `mlflow server` with --allowed-hosts behind a proxy with passwords"
            )
        if tracking_uri is None and optuna_url is None:
            raise AkqUsageError("there is nothing to show: neither track.mlflow nor storage.optuna is set")
        self._tracking_uri = store.absolute_uri(tracking_uri) if tracking_uri else None
        self._optuna_url = optuna_url
        self._port = port
        self._study = study
        self._servers: list[_Server] = []
        self._ports: set[int] = set()
        """Given to servers that may not listen yet."""

    def __enter__(self) -> UiServers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def urls(self) -> dict[str, str]:
        """Page of every server by name."""
        return {server.name: server.url for server in self._servers}

    def start(self, announce: Callable[[str], None]) -> list[str]:
        """Start what is wanted, wait until it answers, and return the lines to print."""
        missing = self._missing()
        for line in (*missing, "the pages start, which takes some seconds"):
            announce(line)
        if self._tracking_uri is not None and not is_http(self._tracking_uri):
            self._start_mlflow(self._tracking_uri)
        if self._optuna_url is not None:
            if importlib.util.find_spec("optuna_dashboard") is None:
                announce("optuna-dashboard is not installed: pip install 'akq-dist[dashboard]'")
            else:
                self._start_optuna(self._optuna_url)
        names = [] if self._study is None else [self._study.name]
        lines: list[str] = []
        if self._tracking_uri is not None:
            sweeps = self._find_sweeps(self._tracking_uri, announce)
            lines += self._sweep_lines(self._tracking_uri, sweeps)
            names = names or [sweep.study for sweep in sweeps]
        for server in list(self._servers):
            try:
                _await_answer(server)
            except TrackerError as error:
                # One page that cannot be had is no reason to refuse the other.
                if len(self._servers) == 1 and not lines:
                    raise
                announce(str(error))
                self._servers.remove(server)
                _end(server, time.monotonic())
                continue
            if server.name == _OPTUNA_NAME:
                lines += _study_lines(server, names)
            lines.append(f"{server.name}: {server.url}")
        return lines

    def _missing(self) -> list[str]:
        """Forget stores that are files and not there; return what to say. Raises AkqUsageError without any store."""
        said = []
        if self._tracking_uri is not None and _is_absent(self._tracking_uri):
            said.append(f"there is no MLflow store at {store.sqlite_path(self._tracking_uri)} yet")
            self._tracking_uri = None
        if self._optuna_url is not None and _is_absent(self._optuna_url):
            said.append(f"there is no Optuna database at {store.sqlite_path(self._optuna_url)} yet")
            self._optuna_url = None
        if self._tracking_uri is None and self._optuna_url is None:
            raise AkqUsageError(
                f"{'; '.join(said)}; run a sweep first, or name the ledger of one with --ledger"
            )
        return said

    def wait(self, stop: threading.Event | None = None) -> None:
        """Return when a server has ended or `stop` is set."""
        stop = stop or threading.Event()
        while self._servers and not stop.wait(0.5):
            for server in self._servers:
                if server.process.poll() is not None:
                    raise TrackerError(f"{server.name} has stopped: {server.tail()}")

    def stop(self) -> None:
        """End the servers and their children. Safe to call twice."""
        for server in self._servers:
            _signal(server.process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for server in self._servers:
            _end(server, deadline)
        self._servers = []

    def _start_mlflow(self, uri: str) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise MissingDependencyError("akq ui needs the package mlflow: pip install 'mlflow>=3.13,<4'")
        prepare_environment()
        port = self._take_port(self._port)
        uploads = store.artifact_location(uri, "uploads", None) or ""
        environment = {
            "MLFLOW_BACKEND_STORE_URI": uri,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": uploads,
            "MLFLOW_ARTIFACTS_DESTINATION": uploads,
            "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost,127.0.0.1,localhost:*,127.0.0.1:*",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        base = f"http://127.0.0.1:{port}"
        self._spawn(
            "MLflow", base, f"{base}/health", [sys.executable, "-c", _MLFLOW, *arguments], environment
        )

    def _start_optuna(self, url: str) -> None:
        port = self._take_port(self._port + 1)
        base = f"http://127.0.0.1:{port}"
        environment = {"AKQ_UI_STORAGE": url, "AKQ_UI_PORT": str(port)}
        page = f"{base}/dashboard"
        self._spawn(_OPTUNA_NAME, page, page, [sys.executable, "-c", _OPTUNA], environment)

    def _take_port(self, wanted: int) -> int:
        """Return the first port of this machine from the wanted one on that is free."""
        last = min(wanted + _N_PORTS, 65_535)
        for port in range(wanted, last + 1):
            if port not in self._ports and _is_free(port):
                self._ports.add(port)
                return port
        raise TrackerError(
            f"no port from {wanted} to {last} of this machine is free; name another with --port"
        )

    def _spawn(
        self, name: str, url: str, health: str, command: list[str], environment: dict[str, str]
    ) -> None:
        # The file has no name and goes away with the processes that have it open.
        output = tempfile.TemporaryFile(prefix="akq-ui-")  # noqa: SIM115 - closed by stop()
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this process, which then ends the servers in order.
            start_new_session=True,
        )
        self._servers.append(_Server(name, url, health, process, output))

    def _find_sweeps(self, uri: str, announce: Callable[[str], None]) -> list[TrackedSweep]:
        try:
            return find_sweeps(uri, study_id=None if self._study is None else self._study.id)
        except TrackerError as error:
            announce(str(error))
            return []

    def _sweep_lines(self, uri: str, sweeps: Sequence[TrackedSweep]) -> list[str]:
        base = without_user(uri) if is_http(uri) else self._servers[0].url
        lines = []
        for sweep in sweeps:
            about, trials = sweep.urls(base)
            lines += [f"{sweep.study}: {about}", f"{sweep.study}, all trials: {trials}"]
        return lines


def _is_absent(url: str) -> bool:
    """Tell whether a store is a file that does not exist."""
    if not url.startswith("sqlite:///") or ":memory:" in url:
        return False
    path = store.sqlite_path(url)
    return path is not None and not path.is_file()


def _study_lines(server: _Server, names: Sequence[str]) -> list[str]:
    """Return the pages of some studies in optuna-dashboard."""
    base = server.url.removesuffix("/dashboard")
    try:
        with _direct().open(f"{base}/api/studies", timeout=20.0) as response:
            listed = json.load(response)["study_summaries"]
    except (OSError, ValueError, KeyError):
        return []
    ids = {study["study_name"]: study["study_id"] for study in listed}
    return [f"{name}, optuna-dashboard: {server.url}/studies/{ids[name]}" for name in names if name in ids]


def _direct() -> Any:
    """Return what opens pages of this machine, whatever proxy the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _await_answer(server: _Server) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    opener = _direct()
    pause = threading.Event()
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise TrackerError(f"{server.name} did not start: {server.tail()}")
        try:
            with opener.open(server.health, timeout=2.0) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        pause.wait(0.2)
    raise TrackerError(f"{server.name} does not answer after {_START_TIMEOUT_S:.0f} s: {server.tail()}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end(server: _Server, deadline: float) -> None:
    """Wait until the deadline for a server that was told to stop; make sure that nothing of it is left."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(max(0.1, deadline - time.monotonic()))
    # Also when the parent has gone: its workers share its group.
    _signal(server.process, signal.SIGKILL)
    server.process.wait()
    if server.process.stdin is not None:
        server.process.stdin.close()
    server.output.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
