"""Several Ray nodes on this machine, stood up and taken down together, apart from every other Ray.

A cluster is a folder: its name is in the command line of every process that Ray starts for it, so what belongs
to the cluster is found without a list that could be out of date, and nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from akq_dist.errors import AkqUsageError, ExecutorError

HOST = "127.0.0.1"
_START_S = 120.0
_GRACE_S = 8.0
_STORE_BYTES = 256 * 2**20
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_CLIENT_SERVER = "ray.util.client.server"
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@dataclass(frozen=True)
class LocalCluster:
    """A cluster as it was started."""

    name: str
    address: str
    folder: str
    node_cpus: tuple[int, ...]
    """CPUs of each node, the head first."""
    dashboard: str | None = None
    """Address of Ray's dashboard and job API, where it is served."""

    @property
    def token_file(self) -> Path:
        return Path(self.folder) / "token"

    @property
    def environment(self) -> dict[str, str]:
        """What a driver needs to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}


@dataclass(frozen=True)
class NodeProcess:
    """A node of a cluster that runs: its raylet."""

    pid: int
    head: bool


def up(
    name: str = "local",
    *,
    node_cpus: tuple[int, ...] = (1, 1),
    port: int = 0,
    dashboard_port: int | None = None,
) -> LocalCluster:
    """Start a head node and the others, each with so many CPUs; returns when all have joined.

    A port of 0 takes a free one. Raises AkqUsageError for a name that is taken, ExecutorError when Ray does not
    start; nothing is left running then.
    """
    folder = cluster_folder(name)
    if processes(name):
        raise AkqUsageError(f"the cluster '{name}' is up already; akq cluster down {name} ends it")
    if not node_cpus or min(node_cpus) < 1:
        raise AkqUsageError("a node needs at least one CPU")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    port = port or _free_port()
    dashboard = None if dashboard_port is None else f"http://{HOST}:{dashboard_port}"
    cluster = LocalCluster(name, f"{HOST}:{port}", str(folder), node_cpus, dashboard)
    cluster.token_file.touch(mode=0o600)
    cluster.token_file.write_text(secrets.token_hex(32), encoding="ascii")
    (folder / "cluster.json").write_text(json.dumps(asdict(cluster)), encoding="utf-8")
    head = ["--head", f"--port={port}", f"--temp-dir={folder}", f"--ray-client-server-port={_free_port()}"]
    if dashboard_port is None:
        head.append("--include-dashboard=false")
    else:
        head += ["--include-dashboard=true", f"--dashboard-host={HOST}", f"--dashboard-port={dashboard_port}"]
    try:
        _start(cluster, [*head, f"--num-cpus={node_cpus[0]}"])
        for n_cpus in node_cpus[1:]:
            add_node(cluster, n_cpus)
    except BaseException:
        down(name)
        raise
    return cluster


def add_node(cluster: LocalCluster, n_cpus: int) -> None:
    """Let another node join a cluster that is up."""
    _start(cluster, [f"--address={cluster.address}", f"--num-cpus={n_cpus}"])


def down(name: str) -> int:
    """End every process of a cluster and remove its folder; return how many there were."""
    found = processes(name)
    for signal_number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        left = processes(name)
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal_number)
        deadline_s = time.monotonic() + wait_s
        while processes(name) and time.monotonic() < deadline_s:
            time.sleep(0.05)
    if processes(name):
        raise ExecutorError(f"the cluster '{name}' has processes that do not end: {sorted(processes(name))}")
    shutil.rmtree(cluster_folder(name), ignore_errors=True)
    return len(found)


def clusters() -> list[LocalCluster]:
    """Return the clusters of this user that have processes, by name."""
    found = [
        _read(path)
        for path in sorted(Path(tempfile.gettempdir()).glob(f"akq-ray-{os.getuid()}-*/cluster.json"))
    ]
    return [cluster for cluster in found if cluster is not None and processes(cluster.name)]


def find(address: str) -> LocalCluster | None:
    """Return the cluster of this user that listens at an address."""
    return next((cluster for cluster in clusters() if cluster.address == address), None)


def nodes(name: str) -> list[NodeProcess]:
    """Return the nodes of a cluster that run, the head first."""
    mark = "/raylet/raylet"
    found = [
        NodeProcess(pid, "--head" in arguments)
        for pid, arguments in _arguments(name).items()
        if mark in arguments[0]
    ]
    return sorted(found, key=lambda node: (not node.head, node.pid))


def processes(name: str) -> list[int]:
    """Return every process of a cluster."""
    return sorted(_arguments(name))


def cluster_folder(name: str) -> Path:
    """Return the folder of a cluster. Raises AkqUsageError for a name that is no plain word."""
    if not _NAME.fullmatch(name):
        raise AkqUsageError(f"{name!r} is no name of a cluster: small letters, digits and '-', at most 24")
    # Short: Ray puts Unix sockets below it, whose paths end at 107 bytes.
    return Path(tempfile.gettempdir()) / f"akq-ray-{os.getuid()}-{name}"


def _arguments(name: str) -> dict[int, list[str]]:
    """Return the processes that have the folder of a cluster in their command line, with its words.

    The server for Ray's clients has it in its environment only, where programs of the user may have it as well.
    """
    inside = f"{cluster_folder(name)}/"
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if entry.stat().st_uid != os.getuid():
                continue
            is_of_it = any(inside in f"{word}/" for word in words)
            if not is_of_it and _CLIENT_SERVER in words:
                is_of_it = inside.encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if is_of_it:
            found[int(entry.name)] = words
    return found


def _start(cluster: LocalCluster, arguments: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        *arguments,
        f"--node-ip-address={HOST}",
        f"--object-store-memory={_STORE_BYTES}",
        # Ray gives every agent the same port, and a second cluster of a machine could take no job.
        f"--dashboard-agent-listen-port={_free_port()}",
        "--disable-usage-stats",
    ]
    environment = {**os.environ, **_ENVIRONMENT, **cluster.environment}
    # Another Ray that this shell points at is not the one that is meant.
    environment.pop("RAY_ADDRESS", None)
    environment.pop("RAY_AUTH_TOKEN", None)
    log = Path(cluster.folder) / "start.log"
    with log.open("ab") as out:
        try:
            code = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=_START_S,
                start_new_session=True,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise ExecutorError(
            f"a Ray node of the cluster '{cluster.name}' did not start: {' '.join(tail)[:500]}"
        )


def _read(path: Path) -> LocalCluster | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return LocalCluster(
            data["name"], data["address"], data["folder"], tuple(data["node_cpus"]), data["dashboard"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
