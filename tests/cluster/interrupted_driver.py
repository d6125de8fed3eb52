"""A driver that keeps two batches running while Ctrl-C comes, and then reads their results.

Run as a script, in a process group of its own; argument: a folder. It writes `ready` when both batches run.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from akq_dist.cluster import RayExecutor, RayOptions
from akq_dist.record.protocols import BatchLost, BatchResult
from tests.cluster.fake_worker import GATE, make_batch, make_job, make_panel


def main(folder: Path) -> None:
    executor = RayExecutor(
        workers=2,
        options=RayOptions(
            worker="tests.cluster.fake_worker:FakeWorker", build="tests.cluster.fake_worker:BUILD"
        ),
    )
    executor.prepare()
    began_s = time.monotonic()
    executor.start(make_job(folder), make_panel())
    print(f"workers up after {time.monotonic() - began_s:.1f} s", file=sys.stderr)
    pids = sorted(info.pid for info in executor.workers())
    for batch_id in range(2):
        executor.submit(make_batch(batch_id, [GATE], batch_id))
    while not (folder / "begun.log").exists() or len((folder / "begun.log").read_text().split()) < 2:
        time.sleep(0.01)
    try:
        (folder / "ready").touch()
        executor.collect(60.0)
    except KeyboardInterrupt:
        (folder / "gate").touch()
        reports: list[BatchResult | BatchLost] = []
        while len(reports) < 2:
            reports += executor.collect(10.0)
        drained = all(isinstance(report, BatchResult) for report in reports)
        same = pids == sorted(info.pid for info in executor.workers())
        executor.close()
        print(f"drained={drained} same_workers={same}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
