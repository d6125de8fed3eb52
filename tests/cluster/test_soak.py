"""A long sweep whose workers are killed and frozen at random: the study of a quiet one, each trial once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.cluster import RayExecutor
from akq_dist.sweep import sweep, verify
from tests.seam.test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from akq_dist.cluster.session import RaySession
    from akq_dist.record.protocols import Job


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("n_trials", "most_hits"), [(600, 4), pytest.param(20_000, 60, marks=pytest.mark.slow)]
)
def test_killed_and_frozen_workers_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: RaySession, n_trials: int, most_hits: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=400)
    # A few trials a batch, so that workers are always in the middle of something.
    run: dict[str, Any] = {"executor": "ray", "workers": 2, "batch": 20, "lease": "2s", "retries": 50}
    spec = {
        **SPEC,
        "space": {"fast": {"int": [2, 60]}, "slow": {"int": [61, 300]}, "stop": {"float": [0.01, 0.3]}},
        "strategy": {"rules": {**SPEC["strategy"]["rules"], "stop_loss": {"pct": "stop"}}},
        "where": [],
        "search": {"sampler": "random", "trials": n_trials, "seed": 7},
        "run": run,
        "storage": {"optuna": f"sqlite:///{tmp_path}/optuna.db", "ledger": "ledger.db"},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    quiet = sweep(
        "sweep.yaml", overrides=["name=quiet", "run.executor=serial", "storage.ledger=quiet.db"]
    ).run()
    expected = quiet.summary()["result_hash"]
    quiet.close()

    executors: list[RayExecutor] = []
    start = RayExecutor.start

    def noted(self: RayExecutor, job: Job, panel: pa.Table) -> None:
        start(self, job, panel)
        executors.append(self)

    monkeypatch.setattr(RayExecutor, "start", noted)
    seed = 20
    rng = random.Random(seed)
    done = threading.Event()
    n_hits = 0

    def harm() -> None:
        nonlocal n_hits
        while n_hits < most_hits and not done.wait(rng.random()):
            pids = [worker.pid for worker in executors[-1].workers()] if executors else []
            if pids:
                # It may be gone already, and its seat not yet known to be empty.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
                    n_hits += 1

    thread = threading.Thread(target=harm)
    thread.start()
    try:
        handle = sweep("sweep.yaml").run()
    finally:
        done.set()
        thread.join()
    summary = handle.summary()
    handle.close()
    print(f"seed {seed}: {n_hits} workers killed or frozen in {summary['wall_s']:.0f} s")
    assert n_hits >= 2, f"seed {seed}"
    assert summary["trials"]["complete"] + summary["trials"]["failed"] == n_trials, f"seed {seed}"
    assert summary["result_hash"] == expected, f"seed {seed}"
    checked = verify("sweep.yaml")
    assert checked.ok, checked.to_dict()
