"""Passwords and tokens that a sweep is given are found nowhere afterwards, also where each of its stages has failed."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import yaml

from tests.mlflow_server import MlflowServer

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[2]
STRATEGY = """
import os
import akq_dist as akq

class Odd(akq.Strategy):
    n: int = akq.Param(1)

    def on_bar(self, bar):
        if self.n == 2:
            raise ValueError("two")
        if self.n == 3 and "AKQ_TEST_EXIT" in os.environ:
            os._exit(3)
        if bar.index % 20 == 2:
            self.buy(self.n)
        if bar.index % 20 == 9:
            self.close()
"""


class Planted:
    """Secrets of one test, each another, and where they are put."""

    def __init__(self) -> None:
        # Also one with characters that have to be written in another way within an address.
        self.database = f"db-{secrets.token_hex(8)}"
        self.server = f"srv-{secrets.token_hex(8)}/@:%"
        self.by_name = {
            name: f"env-{secrets.token_hex(8)}"
            for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "TUSHARE_TOKEN", "PGPASSWORD")
        }

    def words(self) -> list[bytes]:
        """Every secret as it may be found: as it is and as it stands in an address."""
        values = [self.database, self.server, quote(self.server, safe=""), *self.by_name.values()]
        return [value.encode() for value in values]


@pytest.fixture
def planted() -> Planted:
    return Planted()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "odd.py").write_text(STRATEGY)
    return tmp_path


def write_spec(name: str, **sections: Any) -> str:
    spec = {
        **SPEC,
        "name": name,
        "strategy": {"python": "odd.py:Odd"},
        "space": {"n": {"int": [1, 6]}},
        "where": [],
        "search": {"sampler": "grid"},
        "run": {"executor": "serial", "max_failures": "90%"},
        "storage": {"optuna": None, "ledger": f"{name}.db"},
        **sections,
    }
    Path(f"{name}.yaml").write_text(yaml.safe_dump(spec))
    return f"{name}.yaml"


def run(planted: Planted, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command with debug logs; return its exit code and all that it said."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        **planted.by_name,
        **variables,
        "PYTHONPATH": paths,
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "akq_dist", *arguments, "--debug"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def hits(planted: Planted, places: Iterable[Path], *texts: str) -> list[str]:
    """Name every file and text that holds a secret; the sweep files, which the user wrote, may."""
    found = [f"said: {word.decode()}" for word in planted.words() for text in texts if word.decode() in text]
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file() and path.suffix != ".yaml":
                held = path.read_bytes()
                found += [f"{path}: {word.decode()}" for word in planted.words() if word in held]
    # An artifact of the name of the sweep file is no file of the user.
    for path in [path for place in places if place.is_dir() for path in place.rglob("*/artifacts/**/*.yaml")]:
        found += [f"{path}: {word.decode()}" for word in planted.words() if word in path.read_bytes()]
    return found


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_planted_secret_would_be_found(folder: Path, planted: Planted) -> None:
    (folder / "some.log").write_text(f"connecting as akq:{planted.database}")
    assert len(hits(planted, [folder], planted.by_name["TUSHARE_TOKEN"])) == 2


def test_no_stage_that_fails_tells_a_secret(folder: Path, planted: Planted) -> None:
    port = closed_port()
    optuna = f"postgresql+psycopg://akq:{planted.database}@127.0.0.1:{port}/akq"
    mlflow = f"http://akq:{quote(planted.server, safe='')}@127.0.0.1:{port}"
    off: dict[str, Any] = {"mlflow": None}
    stages = {
        "settings": {"storage": {"optuna": optuna, "ledger": "s.db", "optnua": optuna}},
        "url": {
            "storage": {"optuna": optuna.replace("postgresql", "postgresqll"), "ledger": "u.db"},
            "track": off,
        },
        "uri": {"track": {"mlflow": mlflow.replace("http", "htp")}},
        "data": {"data": {"path": "none.parquet"}, "track": {"mlflow": mlflow}},
        "optuna": {"storage": {"optuna": optuna, "ledger": "o.db"}, "track": off},
        "mlflow": {"track": {"mlflow": mlflow}},
    }
    said: dict[str, tuple[int, str]] = {}
    for stage, sections in stages.items():
        said[stage] = run(planted, "sweep", "run", write_spec(stage, **sections))
    said["resume"] = run(planted, "sweep", "resume", "mlflow", "--ledger", "mlflow.db")
    said["sync"] = run(planted, "sweep", "sync", "mlflow.yaml")
    said["verify"] = run(planted, "sweep", "verify", "mlflow.yaml")
    said["report"] = run(planted, "sweep", "report", "mlflow.yaml", "--out", "page.html")
    assert {stage: code for stage, (code, _) in said.items() if code == 0} == {
        "mlflow": 0,
        "report": 0,
    }, said
    assert "two" in said["mlflow"][1] or Path("page.html").is_file()
    assert hits(planted, [folder], *(text for _, text in said.values())) == []


def test_a_whole_record_holds_no_secret_of_the_environment(folder: Path, planted: Planted) -> None:
    spec = write_spec(
        "whole",
        track={"mlflow": "sqlite:///mlflow.db"},
        storage={"optuna": "sqlite:///optuna.db", "ledger": "whole.db"},
    )
    code, text = run(planted, "sweep", "run", spec)
    assert code == 0, text
    with closing(sqlite3.connect("mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (7,)
    assert list(folder.rglob("report.html"))
    assert hits(planted, [folder], text) == []


@pytest.mark.slow
@pytest.mark.timeout(590)
def test_a_sweep_on_ray_with_a_server_and_a_database_leaves_no_secret(
    folder: Path, planted: Planted, postgresql: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import sqlalchemy as sa

    url = sa.make_url(postgresql())
    planted.database = str(url.password)
    sessions = Path("/tmp/ray")
    before = set(sessions.glob("session_*"))
    place = tmp_path_factory.mktemp("server")
    server = MlflowServer(place)
    server.start()
    try:
        address = server.url.replace("://", f"://akq:{quote(planted.server, safe='')}@")
        spec = write_spec(
            "ray",
            track={"mlflow": address},
            storage={"optuna": url.render_as_string(hide_password=False), "ledger": "ray.db"},
            run={"executor": "ray", "workers": 2, "retries": 1, "max_failures": "90%"},
        )
        # Real credentials of the address, not those of the environment, which the database would refuse.
        del planted.by_name["PGPASSWORD"]
        code, text = run(planted, "sweep", "run", spec, AKQ_TEST_EXIT="1")
        assert code == 0, text
        checked, told = run(planted, "sweep", "verify", spec)
        assert checked == 0, told
    finally:
        server.stop()
    engine = sa.create_engine(url)
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        rows = [str(row) for table in tables.tables.values() for row in connection.execute(table.select())]
    engine.dispose()
    assert len(rows) > 12
    new = set(sessions.glob("session_*")) - before
    assert new
    assert hits(planted, [folder, place, *new], text, told, *rows) == []
