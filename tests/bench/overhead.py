"""What Ray costs beside one process: the same sweep in calls of a given length, serial and Ray in turn.

    python -m tests.bench.overhead [--call-s 0.2] [--calls 24] [--repeats 5] [--threads 1] [--json FILE] [--write]

Tracking is off, threads are equal, the batch is one that takes about `--call-s` in one process. Measured is the search
alone, from the first ask to the last commit; starting Ray is not part of it. Medians of interleaved repeats, which all
have to have the same results. Exit code 1 when Ray takes more than 5 % longer. The time outside of calls is the better
figure on a machine that does something else besides: calls get longer there, what is between them hardly does.
Ray runs its workers at niceness 15; here they have that of this process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from akq_dist.cluster.session import RaySession
from akq_dist.sweep import sweep
from tests.bench import machine, tables

ALLOWED = 0.05
N_ASSETS, N_BARS = 40, 2_500


@dataclass(frozen=True)
class Overhead:
    """Wall time of the search in seconds, one entry a repeat."""

    batch: int
    trials: int
    threads: int
    call_s: float
    """Length of a call in one process, as measured."""
    serial_s: list[float]
    ray_s: list[float]
    serial_outside_s: list[float]
    """The same without the calls themselves: asking, sending, waiting, recording."""
    ray_outside_s: list[float]

    @property
    def ratio(self) -> float:
        """Median time on Ray over median time in one process."""
        return statistics.median(self.ray_s) / statistics.median(self.serial_s)


def bars() -> pl.DataFrame:
    """Random walks of `N_ASSETS` assets over `N_BARS` days."""
    rng = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, (N_ASSETS, N_BARS)), axis=1)).ravel()
    days = np.datetime64("2010-01-01") + np.arange(N_BARS)
    return pl.DataFrame(
        {
            "symbol": np.repeat([f"S{ix:03d}" for ix in range(N_ASSETS)], N_BARS),
            "date": np.tile(days, N_ASSETS),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": np.full(len(close), 1e6),
        }
    )


def spec(n_trials: int, batch: int, threads: int) -> dict[str, Any]:
    """A sweep over points that never repeat, so that every trial is run."""
    return {
        "name": "overhead",
        "strategy": {
            "rules": {
                "enter": "cross_above(sma(close, 10), sma(close, 50))",
                "exit": "cross_below(sma(close, 10), sma(close, 50))",
                "stop_loss": {"pct": "stop"},
            }
        },
        "space": {"stop": {"float": [0.01, 0.5]}},
        "objective": {"metric": "sharpe", "aggregate": "median"},
        "search": {"sampler": "random", "trials": n_trials, "seed": 1},
        "run": {"batch": batch, "workers": 1, "threads": threads},
        "track": {"mlflow": None},
        "storage": {"optuna": None},
    }


def run(frame: pl.DataFrame, settings: dict[str, Any], executor: str) -> tuple[float, float, str]:
    """Return wall time of the search, its part outside of calls, and the hash of results; the ledger is new."""
    with tempfile.TemporaryDirectory(prefix="akq-bench-") as folder:
        storage = {"optuna": None, "ledger": f"{folder}/ledger.db"}
        made = {**settings, "run": {**settings["run"], "executor": executor}, "storage": storage}
        handle = sweep(made, data=frame).run()
        facts = handle.summary()
        # The trials of a call have its begin and its end.
        calls = handle.results().gather_every(settings["run"]["batch"])
        handle.close()
    inside_s = float((calls["ended_ms"] - calls["started_ms"]).sum()) / 1000.0
    wall_s = float(facts["wall_s"])
    return wall_s, wall_s - inside_s, str(facts["result_hash"])


def batch_for(frame: pl.DataFrame, call_s: float, threads: int) -> int:
    """Return the number of trials that take about so long in one process."""
    n = 64
    while True:
        wall_s, _, _ = run(frame, spec(n, n, threads), "serial")
        if wall_s >= call_s / 2 or n >= 1_000_000:
            return max(1, round(n * call_s / wall_s))
        n *= 4


def measure(*, call_s: float, n_calls: int, repeats: int, threads: int) -> Overhead:
    """Run the same sweep in one process and on Ray, in turn. Raises RuntimeError when results differ."""
    frame = bars()
    os.environ.setdefault("RAY_worker_niceness", "0")
    session = RaySession(None, n_cpus=max(threads, len(os.sched_getaffinity(0))))
    session.ray()
    try:
        batch = batch_for(frame, call_s, threads)
        settings = spec(batch * n_calls, batch, threads)
        times: dict[str, list[float]] = {"serial": [], "ray": []}
        outside: dict[str, list[float]] = {"serial": [], "ray": []}
        hashes = set()
        for repeat in range(repeats):
            # The one that begins takes turns, too.
            for executor in ("serial", "ray") if repeat % 2 == 0 else ("ray", "serial"):
                wall_s, outside_s, found = run(frame, settings, executor)
                times[executor].append(wall_s)
                outside[executor].append(outside_s)
                hashes.add(found)
    finally:
        session.close()
    if len(hashes) != 1:
        raise RuntimeError(f"results differ: {hashes}")
    call = statistics.median(times["serial"]) / n_calls
    return Overhead(
        batch,
        batch * n_calls,
        threads,
        call,
        times["serial"],
        times["ray"],
        outside["serial"],
        outside["ray"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Ray beside one process, in calls of the same length.")
    parser.add_argument("--call-s", type=float, default=0.2)
    parser.add_argument("--calls", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--write", action="store_true", help="keep the figures and write the tables")
    given = parser.parse_args()
    found = measure(call_s=given.call_s, n_calls=given.calls, repeats=given.repeats, threads=given.threads)
    rows = (("serial", found.serial_s, found.serial_outside_s), ("ray", found.ray_s, found.ray_outside_s))
    for name, times, outside in rows:
        shown = "  ".join(f"{value:.3f}" for value in times)
        median_s, outside_s = statistics.median(times), statistics.median(outside)
        print(f"{name:7} median {median_s:.3f} s, {outside_s:.3f} s of it outside of calls   ({shown})")
    print(
        f"{found.trials:,} trials in {given.calls} calls of {found.call_s:.2f} s ({found.batch} trials, "
        f"{found.threads} threads): Ray takes {100 * (found.ratio - 1):+.1f} %"
    )
    if given.json is not None:
        given.json.write_text(json.dumps({**asdict(found), "ratio": found.ratio}, indent=2), encoding="utf-8")
    if given.write:
        tables.write({"ray": {"machine": machine.describe(Ray=version("ray")), **asdict(found)}})
    return 0 if found.ratio <= 1.0 + ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
