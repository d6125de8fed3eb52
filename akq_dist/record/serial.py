"""The reference executor: batches run one after another in the calling thread."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from akq_dist.errors import AkqUsageError, ExecutorError
from akq_dist.record.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    import pyarrow as pa

    from akq_dist.record.protocols import Batch, BatchLost, BatchResult, Job, TrialDetail


class SerialExecutor:
    """Runs a batch when it is collected.

    Strategies cannot be stopped from outside: they share the caller's thread.
    """

    name = "serial"

    def __init__(
        self,
        threads: int | Literal["auto"] = "auto",
        *,
        worker: Callable[[Job, pa.Table], Worker] = Worker,
    ) -> None:
        """`threads` are the engine's; "auto" takes every core of this machine."""
        if threads != "auto" and threads < 1:
            raise AkqUsageError(
                f"run.threads: {threads} is not a number of threads; write at least 1, or auto."
            )
        self.n_threads = available_cores() if threads == "auto" else threads
        self.n_workers = 1
        self._make_worker = worker
        self._worker: Worker | None = None
        self._queue: deque[Batch] = deque()

    def start(self, job: Job, panel: pa.Table) -> None:
        self._worker = self._make_worker(job, panel)

    def submit(self, batch: Batch) -> None:
        self._ready()
        self._queue.append(batch)

    # A batch in this thread has no time limit.
    def collect(self, timeout_s: float) -> list[BatchResult | BatchLost]:  # noqa: ARG002
        if not self._queue:
            return []
        return [self._ready().run(self._queue.popleft())]

    def detail(self, batch: Batch) -> list[TrialDetail]:
        return self._ready().detail(batch)

    def cancel(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        self._queue.clear()
        self._worker = None

    def _ready(self) -> Worker:
        if self._worker is None:
            raise ExecutorError("the executor has not been started.")
        return self._worker


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
