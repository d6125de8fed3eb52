"""Several nodes on one machine: stood up, joined, extended, broken, taken down, and nothing else touched."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.cluster import local_nodes
from akq_dist.errors import AkqUsageError
from akq_dist.sweep import sweep
from tests.seam.test_sweep_end_to_end import write_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
NAME = f"test-{os.getpid()}"
DRIVER = "import sys; sys.argv[0] = 'akq'; from akq_dist.cli import main; main()"
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
SPEC: dict[str, Any] = {
    "name": "nodes",
    "strategy": {"python": "slow.py:Slow"},
    "data": {"path": "bars.parquet"},
    "space": {"n": {"int": [1, 240]}},
    "objective": {"metric": "total_return", "aggregate": "mean"},
    "search": {"sampler": "grid"},
    "run": {"batch": 4},
    "track": {"mlflow": None},
    "storage": {"optuna": None, "ledger": "ledger.db"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "slow.py").write_text(STRATEGY)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path


@pytest.fixture
def cluster() -> Iterator[local_nodes.LocalCluster]:
    """Two nodes, one with one CPU and one with two."""
    yield local_nodes.up(NAME, node_cpus=(1, 2))
    local_nodes.down(NAME)
    assert local_nodes.processes(NAME) == []
    assert not local_nodes.cluster_folder(NAME).exists()


def start(folder: Path, address: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, "sweep", "run", "sweep.yaml", "--address", address],
        cwd=folder,
        env={**environment, "PYTHONPATH": paths, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def n_done(folder: Path) -> int:
    if not (folder / "ledger.db").exists():
        return 0
    with closing(sqlite3.connect(folder / "ledger.db", timeout=30.0)) as connection:
        try:
            row = connection.execute("SELECT count(*) FROM trial WHERE state != 'asked'").fetchone()
        except sqlite3.OperationalError:
            return 0  # the driver has not made its tables yet
    return int(row[0])


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    def met() -> bool:
        assert driver.poll() is None, driver.communicate()
        return condition()

    wait_for(met)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 240.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def serial_hash(folder: Path) -> str:
    handle = sweep("sweep.yaml", overrides=["run.executor=serial", "storage.ledger=serial.db"]).run()
    found = str(handle.summary()["result_hash"])
    handle.close()
    return found


def finished_hash(folder: Path) -> str:
    """The hash of the study as it stands; anything that is open runs here first."""
    handle = sweep("sweep.yaml", overrides=["run.executor=serial"]).run()
    found = str(handle.summary()["result_hash"])
    assert handle.summary()["trials"]["complete"] == 240
    handle.close()
    return found


def test_a_cluster_is_joined_without_a_word_about_its_token_and_goes_without_a_trace(
    folder: Path, cluster: local_nodes.LocalCluster
) -> None:
    assert [node.head for node in local_nodes.nodes(NAME)] == [True, False]
    assert NAME in [held.name for held in local_nodes.clusters()]
    assert cluster.token_file.stat().st_mode & 0o077 == 0
    with pytest.raises(AkqUsageError, match="is up already"):
        local_nodes.up(NAME)
    driver = start(folder, cluster.address)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert "with 3 workers" in err, "one worker a CPU of nodes that differ"
    assert n_done(folder) == 240
    assert finished_hash(folder) == serial_hash(folder)
    started = started_for(cluster)
    words = " ".join(started.values())
    assert "ray.util.client.server" in words
    assert "=52365" not in words, "the port that every Ray takes by itself"
    local_nodes.down(NAME)
    assert not [pid for pid, line in started.items() if command_line(pid) == line]


def started_for(cluster: local_nodes.LocalCluster) -> dict[int, str]:
    """Command lines of every process that has the token of a cluster in its environment."""
    found = {}
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            if str(cluster.token_file).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found[pid] = command_line(pid)
    return {pid: line for pid, line in found.items() if line}


def command_line(pid: int) -> str:
    """The words of a process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.mark.slow
def test_nodes_come_and_go_in_the_middle_of_a_sweep(folder: Path, cluster: local_nodes.LocalCluster) -> None:
    driver = start(folder, cluster.address)
    wait_until(lambda: n_done(folder) >= 8, driver)
    victim = local_nodes.nodes(NAME)[-1]
    local_nodes.add_node(cluster, 1)
    os.kill(victim.pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert finished_hash(folder) == serial_hash(folder)


@pytest.mark.slow
def test_the_end_of_the_head_leaves_a_study_that_resumes(
    folder: Path, cluster: local_nodes.LocalCluster
) -> None:
    driver = start(folder, cluster.address)
    wait_until(lambda: n_done(folder) >= 8, driver)
    for pid in local_nodes.processes(NAME):
        if Path(f"/proc/{pid}/comm").read_text(encoding="ascii").startswith(("gcs_server", "raylet")):
            os.kill(pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode not in (0, None), err
    assert 8 <= n_done(folder) < 240
    assert finished_hash(folder) == serial_hash(folder)
