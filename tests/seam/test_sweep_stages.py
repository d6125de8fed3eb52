"""A driver killed in a stage of the sweep that is known: a resume runs what is missing and nothing else.

Optuna and MLflow are on. The stages are those between a question to the sampler and the last write of a view.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
import yaml
from mlflow.entities import ViewType

from akq_dist.record.serial import SerialExecutor
from akq_dist.sweep import resume_study, sweep, verify

from .doomed_driver import STAGES, drive
from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable

    from akq_dist.record.protocols import Batch

    Drive = Callable[[Path, str, int, bool], int | None]

SEED = 20
TRIALS = 36
NAMED = (*STAGES[:4], "mid-MLflow")
"""The stages of the bar."""
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def driver() -> Drive:
    """Runs a driver in a process of its own and returns how that ended; packages are imported once for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "optuna", drive.__module__])

    def run(folder: Path, stage: str, at: int, public: bool) -> int | None:
        process = context.Process(target=drive, args=(str(folder), stage, at, public))
        process.start()
        process.join(120.0)
        code = process.exitcode
        process.kill()
        return code

    return run


def make_folder(folder: Path, sampler: str) -> None:
    folder.mkdir()
    write_bars(folder / "bars.parquet", n=60)
    spec: dict[str, Any] = {
        **SPEC,
        "search": {"sampler": sampler, "trials": TRIALS, "seed": 3, "group": 6},
        "run": {"executor": "serial", "threads": 1, "batch": 2},
        "track": {"mlflow": "sqlite:///mlflow.db", "artifacts": "best:2"},
        "storage": {"optuna": "sqlite:///optuna.db", "ledger": "ledger.db"},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))


def done_in_ledger() -> set[int]:
    """Numbers of the trials that have ended."""
    with closing(sqlite3.connect("ledger.db")) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'trial'").fetchone()[0]
        if not tables:
            return set()
        return {row[0] for row in connection.execute("SELECT number FROM trial WHERE state != 'asked'")}


def assert_whole(summary: dict[str, Any]) -> None:
    """Every view has every trial once, and none of them is still running there."""
    with closing(sqlite3.connect("optuna.db")) as connection:
        rows = connection.execute("SELECT number, state FROM trials ORDER BY number").fetchall()
    assert [number for number, _ in rows] == list(range(TRIALS))
    assert {state for _, state in rows} <= {"COMPLETE", "FAIL"}
    client = mlflow.MlflowClient(summary["mlflow"]["tracking_uri"])
    runs = client.search_runs([summary["mlflow"]["experiment_id"]], "", ViewType.ALL, max_results=1_000)
    assert len(runs) == TRIALS + 1, "one parent and a run a trial"
    assert not [run for run in runs if run.info.status in ("RUNNING", "SCHEDULED")]
    numbers = [int(run.data.tags["akq.number"]) for run in runs if "akq.number" in run.data.tags]
    assert sorted(numbers) == list(range(TRIALS))
    checked = verify("sweep.yaml")
    assert checked.ok, checked.to_dict()


@pytest.mark.parametrize(
    ("sampler", "public", "stages"),
    [
        ("tpe", False, NAMED),
        pytest.param("tpe", False, [STAGES[ix % len(STAGES)] for ix in range(20)], marks=pytest.mark.slow),
        pytest.param("random", False, [STAGES[ix % len(STAGES)] for ix in range(20)], marks=pytest.mark.slow),
        pytest.param("tpe", True, ["mid-MLflow"] * 6, marks=pytest.mark.slow),
    ],
)
def test_a_resume_after_a_kill_in_a_known_stage_runs_exactly_what_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: Drive,
    sampler: str,
    public: bool,
    stages: list[str],
) -> None:
    make_folder(tmp_path / "whole", sampler)
    assert driver(tmp_path / "whole", "", 0, public) == 0
    times = json.loads((tmp_path / "whole" / "seen.json").read_text())
    assert set(times) == set(STAGES)
    monkeypatch.chdir(tmp_path / "whole")
    whole = sweep("sweep.yaml").run()
    expected = whole.summary()["result_hash"]
    whole.close()

    ran: list[int] = []
    queue = SerialExecutor.submit

    def submit(self: SerialExecutor, batch: Batch) -> None:
        ran.extend(batch.numbers.tolist())
        queue(self, batch)

    monkeypatch.setattr(SerialExecutor, "submit", submit)
    rng = random.Random(SEED)
    for case, stage in enumerate(stages):
        # Views write when they come to it: of what they did once, half comes for sure.
        at = rng.randint(1, max(1, times[stage] // 2 if stage in STAGES[3:] else times[stage]))
        said = f"seed {SEED}, case {case}: killed {stage}, the {at}. of {times[stage]} times"
        print(said)
        folder = tmp_path / str(case)
        make_folder(folder, sampler)
        assert driver(folder, stage, at, public) == -signal.SIGKILL, said
        monkeypatch.chdir(folder)
        done = done_in_ledger()
        ran.clear()
        handle = resume_study(Path("sweep.yaml")).run() if done else sweep("sweep.yaml").run()
        # A point that the sampler proposes again is answered from the ledger.
        answered = {row["number"] for row in handle.results().to_dicts() if row["cached"]}
        assert sorted(ran) == sorted(set(range(TRIALS)) - done - answered), said
        assert handle.summary()["result_hash"] == expected, said
        assert_whole(handle.summary())
        handle.close()
