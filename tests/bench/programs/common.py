"""What every engine's program does with its command line: load the work, time it, print what it came to.

    python -m tests.bench.programs.with_X WORK.json [SECONDS]

prints one line of JSON, the last one of its output: `seconds` and `cpu` of each counted repeat, `equity` and `trades`
as in `Outcome`, `peak_mb` of the process, `version` of the engine; or `cannot` with the reason.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.work import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.work import Outcome, Work

    Prepare = Callable[[Work, Any, Any], Callable[[], Outcome] | str]

N_REPEATS = 5


def main(version: str, prepare: Prepare) -> None:
    """Time what `prepare` returns for a work, its bars and its pairs; a text is why the engine cannot do it.

    One run does not count; then five, or as many as begin within the seconds of the command line.
    """
    path, limit_s = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    found: dict[str, Any] = {"version": version}
    run = prepare(*load(path))
    if isinstance(run, str):
        print(json.dumps({**found, "cannot": run}))
        return
    outcome = run()
    seconds: list[float] = []
    cpus: list[float] = []
    while not seconds or (len(seconds) < N_REPEATS and sum(seconds) < limit_s):
        wall, cpu = time.perf_counter(), time.process_time()
        again = run()
        seconds.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        assert again == outcome
    found |= {"seconds": seconds, "cpu": cpus, "equity": outcome.equity, "trades": outcome.trades}
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
