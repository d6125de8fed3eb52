"""The Nth write or call of a small sweep fails, for every N: what is recorded is right, and a repeat completes it.

Each loop runs until a sweep gets through without meeting its fault, so no write is left out. A fault comes once,
or from its first time on for good.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.errors import AkqError, ExecutorError
from akq_dist.record.serial import SerialExecutor
from akq_dist.search.storage import OptunaView
from akq_dist.sweep import sweep, verify
from akq_dist.track.bulk import BulkWriter

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_TRIALS = 5
MOST_CALLS = 200


class Fault:
    """Counts calls and fails one of them, or every one from there on."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error = error
        self.at = 0
        self.for_good = False
        self.n_calls = 0

    def arm(self, at: int, *, for_good: bool) -> None:
        self.at, self.for_good, self.n_calls = at, for_good, 0

    def disarm(self) -> None:
        self.at = 0

    def __call__(self) -> None:
        self.n_calls += 1
        if self.at and (self.n_calls == self.at or (self.for_good and self.n_calls > self.at)):
            raise self._error()

    @property
    def met(self) -> bool:
        return self.n_calls >= self.at


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    return tmp_path


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts at a view, and patience with it, that a test can wait for."""
    for name, pause_s in (
        ("FIRST_PAUSE_S", 0.01),
        ("LONGEST_PAUSE_S", 0.02),
        ("NEVER_REACHED_S", 0.3),
        ("AWAY_S", 0.3),
    ):
        monkeypatch.setattr(f"akq_dist.record.follower.{name}", pause_s)


def write_spec(folder: Path, ledger: str, optuna: str | None = None, mlflow: str | None = None) -> None:
    spec = {
        **SPEC,
        "search": {"sampler": "tpe", "trials": N_TRIALS, "seed": 3, "group": 2},
        "run": {"executor": "serial", "threads": 1, "batch": 2},
        "track": {"mlflow": mlflow, "artifacts": "best:2"},
        "storage": {"optuna": optuna, "ledger": ledger},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))


def run_once() -> str:
    handle = sweep("sweep.yaml").run()
    found = str(handle.summary()["result_hash"])
    handle.close()
    return found


def every_fault(
    folder: Path, fault: Fault, *, for_good: bool, name: str, fatal: bool, step: int = 1, **stores: str
) -> int:
    """Fail each call in turn, or every few; return how many there were.

    A `fatal` fault may end the sweep with a named error; any other leaves its result as it is.
    """
    write_spec(folder, f"{name}-0.db", **{key: url.format(n=0) for key, url in stores.items()})
    expected = run_once()
    for n in range(1, MOST_CALLS, step):
        write_spec(folder, f"{name}-{n}.db", **{key: url.format(n=n) for key, url in stores.items()})
        fault.arm(n, for_good=for_good)
        named = ""
        try:
            assert run_once() == expected, f"fault {n}"
        except AkqError as error:
            named = str(error)
        assert fatal or not named, f"fault {n}: {named}"
        met = fault.met
        fault.disarm()
        if not met:
            return n - step
        assert run_once() == expected, f"after fault {n}"
        checked = verify("sweep.yaml")
        assert checked.ok, (n, checked.to_dict())
    raise AssertionError("the loop did not end")


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_every_write_of_the_ledger(folder: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool) -> None:
    fault = Fault(lambda: sqlite3.OperationalError("disk I/O error"))

    class Faulty(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql.lstrip().split()[0].upper() in ("BEGIN", "COMMIT", "INSERT", "UPDATE", "CREATE"):
                fault()
            return super().execute(sql, *args)

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            fault()
            return super().executemany(sql, *args)

    connect = sqlite3.connect

    def connect_faulty(path: Any, **options: Any) -> sqlite3.Connection:
        return connect(path, **options, factory=Faulty)

    monkeypatch.setattr("akq_dist.record.ledger.sqlite3.connect", connect_faulty)
    n_calls = every_fault(folder, fault, for_good=for_good, name="ledger", fatal=True)
    assert n_calls > 3 * N_TRIALS


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_every_call_of_the_executor(folder: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool) -> None:
    fault = Fault(lambda: ExecutorError("the workers are gone"))
    for name in ("start", "submit", "collect"):
        own = getattr(SerialExecutor, name)

        def faulty(self: SerialExecutor, *args: Any, own: Any = own) -> Any:
            fault()
            return own(self, *args)

        monkeypatch.setattr(SerialExecutor, name, faulty)
    assert every_fault(folder, fault, for_good=for_good, name="executor", fatal=True) > 2


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_every_call_of_the_optuna_view(folder: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool) -> None:
    fault = Fault(lambda: ConnectionError("the database is away"))
    for name in ("open", "add"):
        own = getattr(OptunaView, name)

        def faulty(self: OptunaView, *args: Any, own: Any = own) -> Any:
            fault()
            return own(self, *args)

        monkeypatch.setattr(OptunaView, name, faulty)
    url = f"sqlite:///{folder}/optuna-{{n}}.db"
    assert every_fault(folder, fault, for_good=for_good, name="view", fatal=False, optuna=url) >= 2


CLIENT_CALLS = (
    "create_experiment",
    "create_run",
    "get_experiment",
    "get_experiment_by_name",
    "log_artifact",
    "log_artifacts",
    "log_batch",
    "log_inputs",
    "log_text",
    "search_runs",
    "set_tag",
    "set_terminated",
    "update_run",
)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("for_good", "bulk", "step"),
    [
        pytest.param(False, True, 5, id="once, some"),
        pytest.param(False, True, 1, id="once", marks=pytest.mark.slow),
        pytest.param(True, True, 1, id="for good", marks=pytest.mark.slow),
        pytest.param(False, False, 1, id="once, without bulk", marks=pytest.mark.slow),
        pytest.param(True, False, 1, id="for good, without bulk", marks=pytest.mark.slow),
    ],
)
def test_every_call_of_mlflow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool, bulk: bool, step: int
) -> None:
    """The calls of its client, files included, and the transactions of the writer that does without it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    fault = Fault(lambda: MlflowException("the server is away"))
    for owner, names in ((MlflowClient, CLIENT_CALLS), (BulkWriter, ("write",))):
        for name in names:
            own = getattr(owner, name)

            def faulty(self: Any, *args: Any, own: Any = own, **options: Any) -> Any:
                fault()
                return own(self, *args, **options)

            monkeypatch.setattr(owner, name, faulty)
    if not bulk:
        monkeypatch.setattr("akq_dist.track.bulk.is_possible", lambda _: False)
    url = f"sqlite:///{folder}/mlflow-{{n}}.db"
    n_calls = every_fault(folder, fault, for_good=for_good, name="mlflow", fatal=False, step=step, mlflow=url)
    print(f"{n_calls} calls")
    assert n_calls > 10
