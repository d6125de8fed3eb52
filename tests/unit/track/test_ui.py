"""The pages: on this machine only, with host checks, and gone when they are told to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.track import MlflowTracker
from akq_dist.track.ui import UiServers, serve_ui

from .tracked import all_trials, sweep_info, trial

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(AkqUsageError, match="serves this machine only"):
        serve_ui("sqlite:///x.db", None, host=host, announce=print)


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(AkqUsageError, match="nothing to show"):
        UiServers(None, None)


def test_store_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AkqUsageError, match="no MLflow store"):
        serve_ui(f"sqlite:///{tmp_path}/none.db", None, announce=print)
    assert not (tmp_path / "none.db").exists()


def test_ports_that_are_taken_are_passed_over() -> None:
    with socket.socket() as held, UiServers("sqlite:///x.db", None) as servers:
        held.bind(("127.0.0.1", 0))
        held.listen()
        taken = held.getsockname()[1]
        first = servers._take_port(taken)
        assert taken < first <= taken + 20
        assert servers._take_port(taken) > first, "a server that is about to listen has its port already"


def test_a_store_that_is_not_there_yet_does_not_stop_the_other(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").touch()
    servers = UiServers(f"sqlite:///{tmp_path}/none.db", f"sqlite:///{tmp_path}/optuna.db")
    assert servers._missing() == [f"there is no MLflow store at {tmp_path}/none.db yet"]
    with pytest.raises(AkqUsageError, match=r"no MLflow store .* no Optuna database .*--ledger"):
        UiServers(f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")._missing()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["optuna.db"], "nothing is made"


def answer(url: str, host: str | None = None) -> int:
    request = urllib.request.Request(url, headers={} if host is None else {"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def is_up(url: str) -> bool:
    try:
        return answer(url) == 200
    except (urllib.error.URLError, OSError):
        return False


def listeners(pid: int) -> set[str]:
    """Local addresses, as the kernel writes them, on which a process and its descendants listen."""
    family = {pid}
    for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name)):
        try:
            parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent in family:
            family.add(int(entry.name))
    sockets = set()
    for member in family:
        for link in Path(f"/proc/{member}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_pages_answer_on_this_machine_only(store_uri: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    optuna = pytest.importorskip("optuna")
    optuna_url = f"sqlite:///{tmp_path}/optuna.db"
    optuna.create_study(storage=optuna_url, study_name="demo")
    tracker = MlflowTracker(store_uri, "demo")
    links = tracker.open(sweep_info())
    tracker.record([trial(number) for number in range(3)])
    tracker.finish("finished", all_trials(3), {})
    tracker.close()
    said: list[str] = []
    with UiServers(store_uri, optuna_url, port=5000) as servers:
        lines = servers.start(said.append)
        assert any(links.run_id in line for line in lines), "the sweep is linked"
        page = f"demo, optuna-dashboard: {servers.urls['optuna-dashboard']}/studies/1"
        assert page in lines, "and its study"
        base = servers.urls["MLflow"]
        listing = f"{base}/ajax-api/2.0/mlflow/artifacts/list?run_id={links.run_id}"
        assert answer(f"{base}/") == 200
        assert answer(listing) == 200
        assert answer(listing, "evil.example.com") == 403
        assert answer(listing, "10.1.2.3:5000") == 403
        studies = servers.urls["optuna-dashboard"].replace("/dashboard", "/api/studies")
        assert answer(servers.urls["optuna-dashboard"]) == 200
        assert answer(studies) == 200
        assert answer(studies, "evil.example.com") == 403
        pids = [server.process.pid for server in servers._servers]
        for pid in pids:
            assert listeners(pid) == {"0100007F"}, "127.0.0.1 and nothing else"
            command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
            assert str(tmp_path) not in command, "addresses of stores do not show in the process list"
    assert said == ["the pages start, which takes some seconds"]
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_page_that_cannot_be_had_does_not_stop_the_other(store_uri: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    (tmp_path / "optuna.db").write_bytes(b"this is no database" * 1_000)
    said: list[str] = []
    with UiServers(store_uri, f"sqlite:///{tmp_path}/optuna.db", port=5000) as servers:
        servers.start(said.append)
        assert set(servers.urls) == {"MLflow"}
    assert "optuna-dashboard did not start" in said[-1]


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_servers_end_with_their_parent(store_uri: str, death: signal.Signals) -> None:
    script = (
        "import sys\n"
        "from akq_dist.track.ui import serve_ui\n"
        "serve_ui(sys.argv[1], None, 5000, announce=lambda line: print(line, flush=True))\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script, store_uri],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    watchdog = threading.Timer(120, driver.kill)
    watchdog.start()
    try:
        assert driver.stdout is not None
        url = ""
        for line in driver.stdout:
            if line.startswith("MLflow: "):
                url = line.split(" ", 1)[1].strip()
            if line.startswith("Ctrl-C"):
                break
        assert answer(f"{url}/health") == 200
        os.killpg(driver.pid, death)
        assert driver.wait(15) == (0 if death == signal.SIGINT else -death)
        deadline = time.monotonic() + 15
        while is_up(f"{url}/health"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        watchdog.cancel()
        driver.kill()
        driver.communicate()
