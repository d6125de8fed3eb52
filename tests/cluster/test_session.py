"""Starting, joining and leaving Ray, each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from akq_dist.cluster import RayExecutor
from akq_dist.cluster.session import RaySession
from akq_dist.errors import ExecutorError

from .fake_worker import wait_for_file

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ctrl_c_reaches_the_driver_alone(tmp_path: Path) -> None:
    """Ctrl-C of a terminal goes to the whole process group; workers must live until it has drained."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.interrupted_driver", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        wait_for_file(tmp_path / "ready", 120.0)
        os.killpg(driver.pid, signal.SIGINT)
        out, err = driver.communicate(timeout=60)
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.communicate()
    assert out.strip() == "drained=True same_workers=True", err


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"Ray at 127.0.0.1:1 cannot be reached .*Is the head node up"),
        ("head-node", "'head-node' is not host:port"),
        ("127.0.0.1:99999", "cannot be reached"),
    ],
)
def test_unreachable_address_is_one_clear_error(address: str, message: str) -> None:
    """Ray itself would end the process; so a process of its own has to survive this."""
    script = (
        "from akq_dist.cluster.session import RaySession\n"
        "from akq_dist.errors import ExecutorError\n"
        f"try:\n    RaySession({address!r}).ray(60)\n"
        "except ExecutorError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert re.search(message, done.stdout), done.stderr


def test_client_addresses_are_refused() -> None:
    with pytest.raises(ExecutorError, match="host:port of the head node"):
        RaySession("ray://head:10001")


def test_counts_before_the_start_are_those_of_this_machine() -> None:
    executor = RayExecutor(workers=2, threads=1)
    assert (executor.n_workers, executor.n_threads) == (2, 2)
    executor.close()


def test_importing_the_package_does_not_import_ray() -> None:
    heavy = {"ray", "pyarrow", "numpy", "pandas"}
    script = f"import sys, akq_dist.cluster; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
