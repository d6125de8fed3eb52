"""The process that runs trials: one Ray actor, one worker of the record layer inside it.

Only the standard library and the worker are imported here: an actor is up quickly and stays small.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from akq_dist.cluster.beacon import Beacon
from akq_dist.cluster.handshake import Versions, load_name, versions_here
from akq_dist.cluster.output import cap_output

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from akq_dist.record.protocols import Batch, BatchResult, Job, TrialDetail


class TrialWorker(Protocol):
    """What an actor needs of the worker class that it is told to load."""

    on_trial: Callable[[int, int], None] | None
    """Hears the first number and the count of the trials that begin together."""

    def run(self, batch: Batch) -> BatchResult: ...

    def detail(self, batch: Batch) -> list[TrialDetail]: ...


@dataclass(frozen=True)
class WorkerInfo:
    """An actor as the driver knows it."""

    pid: int
    node_id: str
    n_threads: int
    versions: Versions


class TrialActor:
    """Runs batches one after another; a fault of one trial is a value in the result, not an exception."""

    def __init__(
        self,
        worker_name: str,
        build_name: str,
        node_id: str,
        n_threads: int,
        folder: str,
        beat_every_s: float,
    ) -> None:
        # Ctrl-C reaches the whole process group of a terminal; the driver decides about work in flight.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cap_output()
        self._worker_name = worker_name
        self._build_name = build_name
        self._node_id = node_id
        self._n_threads = n_threads
        self._worker: TrialWorker | None = None
        self._panel: pa.Table | None = None
        self._beacon = Beacon(Path(folder), beat_every_s)

    def hello(self) -> WorkerInfo:
        """Say who this is, before any data is touched."""
        return WorkerInfo(os.getpid(), self._node_id, self._n_threads, versions_here(self._build_name))

    def load(self, job: Job, panel: pa.Table) -> None:
        """Make the worker ready; `panel` borrows the node's shared memory."""
        self._panel = panel
        self._worker = cast("TrialWorker", load_name(self._worker_name)(job, panel))
        self._worker.on_trial = self._beacon.begin

    def run(self, batch: Batch) -> BatchResult:
        """Run one batch."""
        try:
            return self._ready().run(batch)
        finally:
            self._beacon.idle()

    def detail(self, batch: Batch) -> list[TrialDetail]:
        """Run trials again with every table kept."""
        return self._ready().detail(batch)

    def panel_is_shared(self) -> bool:
        """Tell whether every buffer of the panel lies in memory that the node's processes share."""
        if self._panel is None:
            return False
        ranges = _shared_ranges()
        for column in self._panel.columns:
            for chunk in column.chunks:
                for buffer in chunk.buffers():
                    if buffer is None or buffer.size == 0:
                        continue
                    if not any(start <= buffer.address < end for start, end in ranges):
                        return False
        return True

    def _ready(self) -> TrialWorker:
        if self._worker is None:
            raise RuntimeError("internal: a batch reached a worker that has loaded no job")
        return self._worker


def shipped_actor(package_folder: str) -> type:
    """Return an actor class that imports the driver's own akq_dist where its folder exists on the node.

    Ray puts the driver's current folder first on the path of every worker. In a checkout that would be the sources
    without the engine, in place of the installed package. A class made inside a function travels by value, so it
    can set the path before anything of this package is imported.
    """

    class TrialActorShell:
        def __init__(self, *args: Any) -> None:
            import sys
            from pathlib import Path

            if (Path(package_folder) / "akq_dist").is_dir():
                sys.path.insert(0, package_folder)
            from akq_dist.cluster.actor import TrialActor

            self._actor = TrialActor(*args)

        def hello(self) -> Any:
            return self._actor.hello()

        def load(self, job: Any, panel: Any) -> None:
            self._actor.load(job, panel)

        def run(self, batch: Any) -> Any:
            return self._actor.run(batch)

        def detail(self, batch: Any) -> Any:
            return self._actor.detail(batch)

        def panel_is_shared(self) -> bool:
            return self._actor.panel_is_shared()

    return TrialActorShell


def _shared_ranges() -> list[tuple[int, int]]:
    """Address ranges of this process that are mapped shared; empty where the system does not tell."""
    ranges = []
    try:
        with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
            for line in maps:
                fields = line.split()
                if len(fields) >= 2 and fields[1].endswith("s"):
                    start, _, end = fields[0].partition("-")
                    ranges.append((int(start, 16), int(end, 16)))
    except OSError:
        return []
    return ranges
