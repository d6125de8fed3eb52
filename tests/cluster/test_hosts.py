"""Nodes as hosts of their own, with a network between them: killed, cut off, frozen and added in one sweep."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from akq_dist.sweep import verify

from .hosts import Hosts, NoNetworkError
from .test_local_nodes import DRIVER, SPEC, STRATEGY, finished_hash, folder, n_done, serial_hash, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["folder"]

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    try:
        made = Hosts()
    except NoNetworkError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def start(hosts: Hosts, head: str, folder: Path) -> subprocess.Popen[str]:
    """Run the driver on the head."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        hosts.command(head, ["-c", DRIVER, "sweep", "run", "sweep.yaml", "--address", hosts.address]),
        cwd=folder,
        env={**hosts.environment, "PYTHONPATH": paths, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_hosts_die_are_cut_off_freeze_and_come_in_the_middle_of_a_sweep(folder: Path, hosts: Hosts) -> None:
    # Long enough for everything that is going to happen.
    (folder / "slow.py").write_text(STRATEGY.replace("sleep(0.02)", "sleep(0.1)"))
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SPEC, "run": {"batch": 2, "lease": "3s"}}))
    head, dies, cut = hosts.add(), hosts.add(), hosts.add()
    driver = start(hosts, head, folder)
    wait_until(lambda: n_done(folder) >= 8, driver)
    assert hosts.signal(dies, signal.SIGKILL) > 0
    freezes = hosts.add()
    wait_until(lambda: n_done(folder) >= 60, driver)
    hosts.cable(cut, plugged=False)
    wait_until(lambda: n_done(folder) >= 110, driver)
    # What it finished while nobody heard it comes too late.
    hosts.cable(cut, plugged=True)
    hosts.signal(freezes, signal.SIGSTOP)
    wait_until(lambda: n_done(folder) >= 160, driver)
    hosts.signal(freezes, signal.SIGCONT)
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert n_done(folder) == 240
    assert verify("sweep.yaml").ok
    found = finished_hash(folder)
    (folder / "slow.py").write_text(STRATEGY.replace("sleep(0.02)", "sleep(0)"))
    assert found == serial_hash(folder)
