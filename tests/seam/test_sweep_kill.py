"""A driver killed at any instant: resuming gives the study that nobody killed, also in Optuna."""

from __future__ import annotations

import gc
import random
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import yaml

from akq_dist.sweep import resume_study, sweep

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 20
TRIALS = 36
DEADLINE_S = 60.0
_DRIVER = "from akq_dist.sweep import sweep; sweep('sweep.yaml').run()"


def spec(sampler: str, optuna_url: str = "sqlite:///akq/optuna.db") -> dict[str, Any]:
    return {
        **SPEC,
        "search": {"sampler": sampler, "trials": TRIALS, "seed": 3, "group": 6},
        "run": {"executor": "serial", "threads": 1, "batch": 2},
        "storage": {"optuna": optuna_url},
    }


def rows(query: str) -> int:
    """Read a number from the ledger while somebody else writes it; 0 while there is none."""
    if not Path("akq/ledger.db").exists():
        return 0
    connection = sqlite3.connect("akq/ledger.db", timeout=5)
    try:
        return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def run_and_kill(after: int, query: str) -> None:
    """Start a driver and kill it as soon as the number that the query reads has reached `after`."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _DRIVER], stderr=subprocess.PIPE, text=True
    ) as driver:
        deadline = time.monotonic() + DEADLINE_S
        while driver.poll() is None and rows(query) < after:
            assert time.monotonic() < deadline, f"the driver has not come to {after}"
        driver.send_signal(signal.SIGKILL)
        error = driver.stderr.read() if driver.stderr is not None else ""
        assert driver.wait(10) in (0, -signal.SIGKILL), error


@pytest.mark.parametrize(
    ("sampler", "n_kills"),
    [
        ("tpe", 3),
        pytest.param("tpe", 20, marks=pytest.mark.slow),
        pytest.param("random", 20, marks=pytest.mark.slow),
    ],
)
def test_the_resumed_study_is_the_one_that_nobody_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, n_kills: int
) -> None:
    monkeypatch.chdir(tmp_path)
    kill_and_resume(tmp_path, spec(sampler), n_kills)


@pytest.mark.slow
def test_a_copy_in_postgresql_is_whole_after_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: Callable[[], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kill_and_resume(tmp_path, spec("random", postgresql()), 8)
    with warnings.catch_warnings():
        # Optuna leaves the pool of its connections to the collector, of which the driver complains.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def kill_and_resume(tmp_path: Path, settings: dict[str, Any], n_kills: int) -> None:
    write_bars(tmp_path / "bars.parquet")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(settings))
    whole = sweep("sweep.yaml", overrides=["storage={optuna: null, ledger: whole/ledger.db}"]).run()
    expected = whole.summary()["result_hash"]
    whole.close()
    rng = random.Random(SEED)
    # Most of them in the search, the others while Optuna is catching up.
    n_late = n_kills // 3
    instants = sorted(rng.sample(range(1, TRIALS), n_kills - n_late))
    instants += sorted(rng.sample(range(TRIALS + 1, 2 * TRIALS), n_late))
    print(f"seed {SEED}, instants {instants}")
    for instant in instants:
        if instant <= TRIALS:
            run_and_kill(instant, "SELECT count(*) FROM trial WHERE state != 'asked'")
        else:
            run_and_kill(instant - TRIALS, "SELECT coalesce(max(watermark), 0) FROM view")
    handle = resume_study(Path("sweep.yaml")).run()
    assert handle.summary()["result_hash"] == expected
    counts = handle.summary()["trials"]
    assert counts["complete"] + counts["failed"] == TRIALS
    trials = handle.optuna_study.get_trials(deepcopy=False)
    assert [t.number for t in trials] == list(range(TRIALS))
    assert not [
        t for t in trials if t.state in (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING)
    ]
    recorded = handle.results()
    assert [t.params for t in trials] == [
        {name: row[f"params_{name}"] for name in ("fast", "slow")} for row in recorded.rows(named=True)
    ]
    assert [t.value for t in trials] == recorded["value"].to_list()
    handle.close()
