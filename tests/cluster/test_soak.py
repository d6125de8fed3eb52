"""A long sweep whose workers are killed and frozen at random: the study of a quiet one, each trial once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.cluster import RayExecutor
from akq_dist.cluster.warden import resident_bytes
from akq_dist.sweep import sweep, verify
from tests.seam.test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.record.protocols import Batch


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("n_trials", "n_workers", "most_hits"),
    [(600, 2, 4), pytest.param(20_000, 4, 60, marks=pytest.mark.slow)],
)
def test_killed_and_frozen_workers_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_trials: int, n_workers: int, most_hits: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=400)
    # A few trials a batch, so that workers are always in the middle of something.
    run: dict[str, Any] = {"executor": "ray", "workers": n_workers, "batch": 20, "lease": "2s", "retries": 50}
    spec = {
        **SPEC,
        "space": {"fast": {"int": [2, 60]}, "slow": {"int": [61, 300]}, "stop": {"float": [0.01, 0.3]}},
        "strategy": {"rules": {**SPEC["strategy"]["rules"], "stop_loss": {"pct": "stop"}}},
        "where": [],
        "search": {"sampler": "random", "trials": n_trials, "seed": 7},
        "run": run,
        "track": {"mlflow": f"sqlite:///{tmp_path}/mlflow.db", "runs": "top:100", "artifacts": "none"},
        "storage": {"optuna": f"sqlite:///{tmp_path}/optuna.db", "ledger": "ledger.db"},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    quiet = sweep(
        "sweep.yaml",
        overrides=["name=quiet", "run.executor=serial", "storage.ledger=quiet.db", "track.mlflow=null"],
    ).run()
    expected = quiet.summary()["result_hash"]
    quiet.close()

    seed = 20
    rng = random.Random(seed)
    submit = RayExecutor.submit
    n_batches = n_hits = 0
    held: list[int] = []
    """Memory of this process whenever a batch leaves."""

    def submit_and_harm(self: RayExecutor, batch: Batch) -> None:
        """Kill or freeze a worker every few batches, when it has something to do."""
        nonlocal n_batches, n_hits
        submit(self, batch)
        n_batches += 1
        held.append(resident_bytes(os.getpid()))
        pids = [worker.pid for worker in self.workers()]
        if n_hits < most_hits and n_batches % 6 == 0 and pids:
            # It may be gone already, and its seat not yet known to be empty.
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
                n_hits += 1

    monkeypatch.setattr(RayExecutor, "submit", submit_and_harm)
    handle = sweep("sweep.yaml").run()
    summary = handle.summary()
    handle.close()
    # The first half is left out: packages are imported and pools are filled there.
    grown = (max(held[-len(held) // 10 :]) - held[len(held) // 2]) / (n_trials / 2)
    tenths = [held[len(held) * ix // 10] >> 20 for ix in range(10)]
    print(
        f"seed {seed}: {n_hits} workers killed or frozen in {summary['wall_s']:.0f} s, "
        f"the driver grew by {grown:.0f} bytes a trial in the second half (MiB by tenths: {tenths})"
    )
    # A short sweep is still filling the caches of its connections and the room that blocks of trials take.
    assert grown < 1_000 or n_trials < 10_000, f"seed {seed}"
    assert n_hits >= 2, f"seed {seed}"
    assert summary["trials"]["complete"] + summary["trials"]["failed"] == n_trials, f"seed {seed}"
    assert summary["result_hash"] == expected, f"seed {seed}"
    checked = verify("sweep.yaml")
    assert checked.ok, checked.to_dict()
