"""A node that dies or freezes with everything on it, at the times that Ray and the lease have by default."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from akq_dist.cluster import local_nodes

from .test_local_nodes import NAME, SPEC, STRATEGY, cluster, folder, n_done, start, wait_until

if TYPE_CHECKING:
    import subprocess

__all__ = ["cluster", "folder"]

BAR_S = 60.0
"""No trial stays open for longer after its worker has died."""
pytestmark = pytest.mark.slow


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (
                    (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                )
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def open_trials(folder: Path) -> set[int]:
    with closing(sqlite3.connect(folder / "ledger.db", timeout=30.0)) as connection:
        return {row[0] for row in connection.execute("SELECT number FROM trial WHERE state = 'asked'")}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_trials_of_a_node_that_is_lost_end_elsewhere_within_a_minute(
    folder: Path, cluster: local_nodes.LocalCluster, number: signal.Signals
) -> None:
    (folder / "slow.py").write_text(STRATEGY.replace("sleep(0.02)", "sleep(0.1)"))
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SPEC, "run": {"batch": 1}}))
    driver = start(folder, cluster.address)
    wait_until(lambda: n_done(folder) >= 8, driver)
    victim = local_nodes.nodes(NAME)[-1]
    assert not victim.head
    pids = family(victim.pid)
    for pid in pids:
        os.kill(pid, number)
    began_s = time.monotonic()
    held = open_trials(folder)
    wait_until(lambda: not held & open_trials(folder), driver)
    took_s = time.monotonic() - began_s
    print(f"{number.name} for the {len(pids)} processes of a node: its trials ended after {took_s:.1f} s")
    stop(driver, pids)
    assert took_s < BAR_S


def stop(driver: subprocess.Popen[str], pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
