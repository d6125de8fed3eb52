"""Hosts of their own on one machine: network namespaces behind one switch, with Ray nodes inside.

What happens to a host happens to a real one: its processes die or freeze together, its cable is pulled. The machine's
own network is not touched. All of them see the same files and the same list of processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PORT = 6379
# Ray finds a node that does not answer within seconds instead of half a minute.
_HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


class NoNetworkError(Exception):
    """Why there are no namespaces here."""


class Hosts:
    """A switch and the hosts that are plugged into it; the first one is the head."""

    def __init__(self) -> None:
        """Raise NoNetworkError where the system does not permit it."""
        self._tag = f"akq{os.getpid()}"
        self._names: list[str] = []
        self._switch = f"{self._tag}s"
        # Short: Ray puts sockets below it.
        self._folder = Path(tempfile.mkdtemp(prefix="akqh-", dir="/tmp"))
        if shutil.which("ip") is None:
            raise NoNetworkError("the program ip (package iproute2) is not installed")
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "br0", "up")
        except subprocess.CalledProcessError as error:
            self.close()
            raise NoNetworkError(f"network namespaces are not permitted: {error.stderr.strip()}") from error
        (self._folder / "token").write_text(secrets.token_hex(32), encoding="ascii")

    @property
    def address(self) -> str:
        """Address of the head, as the hosts see it."""
        return f"{self._ip_of(self._names[0])}:{_PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """What every process on a host gets."""
        held = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        held = {key: value for key, value in held.items() if not key.lower().endswith("_proxy")}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._folder / "token")}
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        return {**held, **_HEALTH, **token, **quiet}

    def add(self, n_cpus: int = 1) -> str:
        """Plug in another host and start a Ray node on it; return its name."""
        name = f"{self._tag}h{len(self._names)}"
        self._names.append(name)
        inner, outer = "eth0", f"p{len(self._names)}"
        _ip("netns", "add", name)
        _ip("-n", self._switch, "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("-n", self._switch, "link", "set", outer, "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{self._ip_of(name)}/24", "dev", inner)
        for device in ("lo", inner):
            _ip("-n", name, "link", "set", device, "up")
        head = len(self._names) == 1
        place = (
            ["--head", f"--port={_PORT}", f"--temp-dir={self._folder}", "--include-dashboard=false"]
            if head
            else [f"--address={self.address}"]
        )
        words = [*place, f"--node-ip-address={self._ip_of(name)}", f"--num-cpus={n_cpus}"]
        log = self._folder / f"{name}.log"
        with log.open("wb") as out:
            done = subprocess.run(
                self.command(
                    name,
                    ["-m", "ray.scripts.scripts", "start", *words, f"--object-store-memory={128 * 2**20}"],
                ),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
        return name

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """Return the command that runs Python with some words on a host."""
        return ["ip", "netns", "exec", name, sys.executable, *words]

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to every process of a host; return how many there were."""
        pids = [int(pid) for pid in _ip("netns", "pids", name).split()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(pids)

    def cable(self, name: str, *, plugged: bool) -> None:
        """Pull the cable of a host, or plug it in again."""
        port = f"p{self._names.index(name) + 1}"
        _ip("-n", self._switch, "link", "set", port, "up" if plugged else "down")

    def close(self) -> None:
        """End every process of every host and remove them."""
        for name in self._names:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.signal(name, signal.SIGKILL)
        for name in (*self._names, self._switch):
            with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
                _ip("netns", "delete", name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ip_of(self, name: str) -> str:
        return f"10.77.0.{self._names.index(name) + 1}"


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout
