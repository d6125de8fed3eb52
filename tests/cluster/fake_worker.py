"""A worker without an engine: its trials are one sum each, and a parameter tells it to misbehave.

It is imported by name inside actors, so it lives in a module of its own that imports no test framework.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from akq_dist.errors import AkqDataError
from akq_dist.record.protocols import Batch, BatchResult, Job, TrialDetail

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUILD = "fake-1"

GOOD, POISON, FATAL_ONCE, RAISE, GATE, HANG, HOARD, STOP_ONCE = (float(order) for order in range(8))
"""First parameter: run, die each time, die the first time, raise outside any trial, wait for a file, never
return, take memory without end, stop like a process that got SIGSTOP the first time.
"""


class FakeWorker:
    """Logs every trial that it begins to a file: a test can count executions after the process is gone."""

    def __init__(self, job: Job, panel: pa.Table) -> None:
        settings = json.loads(job.plan)
        if settings.get("refuse"):
            raise AkqDataError(settings["refuse"])
        if settings.get("die_at_load"):
            os.kill(os.getpid(), signal.SIGKILL)
        self._folder = Path(settings["folder"])
        self._threads = job.threads
        self._close = panel.column("close")
        self._first = float(panel.column("close")[0].as_py())
        self.on_trial: Any = None

    def run(self, batch: Batch) -> BatchResult:
        for number, row in zip(batch.numbers, batch.params, strict=True):
            if self.on_trial is not None:
                self.on_trial(int(number), 1)
            self._obey(int(number), row)
        scores = np.array([self._score(row) for row in batch.params])
        n_rows = len(batch.numbers)
        table = pa.table(
            {
                "number": pa.array(batch.numbers, pa.int64()),
                "error": pa.nulls(n_rows, pa.string()),
                "hash": pa.array([f"{score.hex()}" for score in scores.tolist()]),
                "n_bars": pa.array([len(self._close)] * n_rows, pa.int64()),
                "n_defined": pa.array([1] * n_rows, pa.int64()),
                "score": pa.array(scores),
            }
        )
        return BatchResult(id=batch.id, table=table, wall_s=0.0, worker=f"fake:{os.getpid()}:{self._threads}")

    def detail(self, batch: Batch) -> list[TrialDetail]:
        details = []
        for number, row in zip(batch.numbers, batch.params, strict=True):
            self._obey(int(number), row)
            score = self._score(row)
            table = pa.table({"equity": pa.array([score, score])})
            details.append(TrialDetail(number=int(number), hash=score.hex(), tables={"equity": table}))
        return details

    def _score(self, row: NDArray[np.float64]) -> float:
        return float(row[1]) * 2.0 + self._first

    def _obey(self, number: int, row: NDArray[np.float64]) -> None:
        with (self._folder / "begun.log").open("a", encoding="ascii") as log:
            log.write(f"{number}\n")
        order = float(row[0])
        if order == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        if order == FATAL_ONCE:
            mark = self._folder / f"died-{number}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if order == HANG:
            while True:
                time.sleep(0.01)
        if order == HOARD:
            held = []
            while True:
                held.append(os.urandom(2**22))
                time.sleep(0.001)
        if order == STOP_ONCE:
            mark = self._folder / f"stopped-{number}"
            if not mark.exists():
                mark.write_text(str(os.getpid()), encoding="ascii")
                os.kill(os.getpid(), signal.SIGSTOP)
        if order == RAISE:
            raise ValueError("outside any trial")
        if order == GATE:
            wait_for_file(self._folder / "gate")


class WeighWorker(FakeWorker):
    """Reports what an actor has imported, to show that heavy packages stay out."""

    def run(self, batch: Batch) -> BatchResult:
        import sys

        heavy = sorted({"mlflow", "optuna", "pandas", "scipy", "torch"} & set(sys.modules))
        (self._folder / "imported.json").write_text(json.dumps(heavy), encoding="ascii")
        return super().run(batch)


def wait_for_file(path: Path, timeout_s: float = 60.0) -> None:
    """Return when a file is there."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} did not appear")
        time.sleep(0.01)


def make_batch(batch_id: int, orders: list[float], first_number: int) -> Batch:
    """A batch of consecutive trials that obey the given orders."""
    numbers = np.arange(first_number, first_number + len(orders), dtype=np.int64)
    params = np.column_stack([np.array(orders), numbers.astype(np.float64)])
    return Batch(id=batch_id, numbers=numbers, params=np.ascontiguousarray(params))


def make_job(folder: Path, **settings: Any) -> Job:
    """A job that the fake worker understands."""
    from akq_dist.specs.space import Space

    return Job(
        plan=json.dumps({"folder": str(folder), **settings}),
        space=Space(()),
        strategy=None,
        panel_digest="none",
        seed=0,
        threads=1,
        build=BUILD,
    )


def make_panel(n_rows: int = 1_000) -> pa.Table:
    """Something with the shape of a panel."""
    return pa.table({"close": np.linspace(1.0, 2.0, n_rows), "volume": np.ones(n_rows)})
