"""A driver inside the cluster: `ray job submit` with a token, a dashboard on loopback, stopped and sent again."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from akq_dist.cluster import local_nodes

from .test_local_nodes import finished_hash, folder, n_done, serial_hash, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["folder"]

NAME = f"job-{os.getpid()}"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[local_nodes.LocalCluster]:
    missing = [name for name in ("aiohttp", "opencensus", "grpc") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"Ray serves no job API here: {', '.join(missing)} of ray[default] is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    yield local_nodes.up(NAME, node_cpus=(1, 1), dashboard_port=port)
    local_nodes.down(NAME)


def job(cluster: local_nodes.LocalCluster, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `ray job ...` as a user would who has the token of the cluster."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    verb, *rest = words
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "job",
            verb,
            "--address",
            cluster.dashboard or "",
            *rest,
        ],
        env={**environment, **cluster.environment, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def submit(
    cluster: local_nodes.LocalCluster, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    sweep = ["sweep", "run", "sweep.yaml", "--address", "auto", "--set", f"storage.ledger={folder}/ledger.db"]
    program = [sys.executable, "-m", "akq_dist", *sweep]
    return job(cluster, "submit", "--working-dir", str(folder), *options, "--", *program)


def test_a_submitted_sweep_is_stopped_sent_again_and_is_the_serial_one(
    folder: Path, cluster: local_nodes.LocalCluster
) -> None:
    address = cluster.dashboard or ""
    assert address.startswith("http://127.0.0.1:")
    assert listening_addresses(int(address.rpartition(":")[2])) == {"0100007F"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/jobs/", timeout=30)
    assert refused.value.code in (401, 403)

    first = submit(cluster, folder, "--no-wait")
    assert first.returncode == 0, first.stdout + first.stderr
    found = re.search(r"raysubmit_\w+", first.stdout)
    assert found is not None, first.stdout
    wait_for(lambda: n_done(folder) >= 8)
    stopped = job(cluster, "stop", found.group())
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    n_before = n_done(folder)
    assert 8 <= n_before < 240

    second = submit(cluster, folder)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"resuming 'nodes': {n_before} trials are done" in second.stdout
    assert n_done(folder) == 240
    assert finished_hash(folder) == serial_hash(folder)


def listening_addresses(port: int) -> set[str]:
    """Local addresses, in hex as the kernel lists them, at which something listens on a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, held = local.rpartition(":")
            if state == "0A" and int(held, 16) == port:
                found.add(address)
    return found
