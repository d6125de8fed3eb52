"""What wide spaces and large universes cost in time and memory: each case in a process of its own.

`python tests/bench/scale.py` prints the table; `--quick` runs smaller work. Memory is what the operating system counts
for
the process at its highest, mapped pages of the panel included, above what it has once everything is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parent))
from run import rules_plan, table_of

MB = 1 << 20
W3 = (500, 1_260, 100)
"""Assets, bars, parameter sets."""


def peak_bytes() -> int:
    """Return the highest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def pairs(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return n pairs of windows, fast below slow, the slow one changing faster."""
    ix = np.arange(n)
    fast = 2 + ix // 100 % 50
    return np.column_stack([fast, fast + 3 + ix % 100]).astype(np.float64)


def run_panel(path: str, n_sets: int, threads: int) -> dict[str, float]:
    """Run n_sets over a panel in a file, three times; return seconds of the fastest and memory."""
    from akq_dist import _core

    plan = rules_plan([["sharpe", "median"], ["max_drawdown", "median"], ["n_trades", "sum"]])
    before = peak_bytes()
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    panel = _core.Panel.from_arrow(table)
    with_panel = peak_bytes()
    rows = pairs(n_sets)
    wall_s = min(timed(lambda: plan.run_batch(panel, rows, threads=threads)) for _ in range(3))
    return {
        "wall_s": wall_s,
        "bars": float(table.num_rows * n_sets),
        "panel": float(table.nbytes),
        "with_panel": float(with_panel - before),
        "peak": float(peak_bytes() - before),
    }


def run_wide(path: str, n_sets: int, threads: int) -> dict[str, float]:
    """Run n_sets of a random space over one asset as `akq_dist.explore` hands them out; return seconds and memory."""
    import polars as pl

    import akq_dist

    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    bars = pl.from_arrow(table.drop_columns(["ts"])).with_columns(symbol=pl.lit("S"))
    spec: dict[str, Any] = {
        "strategy": {
            "rules": {
                "enter": "cross_above(sma(close, fast), sma(close, slow))",
                "exit": "cross_below(sma(close, fast), sma(close, slow))",
            }
        },
        "mode": "portfolio",
        "space": {"fast": {"int": [2, 1_000]}, "slow": {"int": [3, 1_200]}},
        "where": ["fast < slow"],
        "objective": "sharpe",
        "run": {"threads": threads},
    }
    arguments: dict[str, Any] = {"data": bars, "sampler": "random", "seed": 1}
    for _ in akq_dist.explore(spec, trials=2_000, **arguments):
        pass
    before, started_s, n_found = peak_bytes(), time.perf_counter(), 0
    for frame in akq_dist.explore(spec, trials=n_sets, **arguments):
        n_found += int((frame["state"] != "fail").sum())
    wall_s = time.perf_counter() - started_s
    return {"wall_s": wall_s, "bars": float(n_sets * bars.height), "found": float(n_found),
            "peak": float(peak_bytes() - before)}  # fmt: skip


def timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


CASES: dict[str, Callable[[str, int, int], dict[str, float]]] = {"panel": run_panel, "wide": run_wide}


def in_a_process(case: str, path: Path, n_sets: int, threads: int) -> dict[str, float]:
    """Return what a case measures, run alone in a fresh interpreter."""
    command = [sys.executable, __file__, "--case", case, str(path), str(n_sets), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_panel(path: Path, n_assets: int, n_bars: int) -> None:
    table = table_of(n_assets, n_bars, 1)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        case, path, n_sets, threads = args.case
        print(json.dumps(CASES[case](path, int(n_sets), int(threads))))
        return
    part = 10 if args.quick else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, (n_assets, n_bars, n_sets) in {
            "W3": W3,
            "large universe": (5_000 // part, 2_430, 200),
        }.items():
            path = folder / f"{label}.arrow"
            write_panel(path, n_assets, n_bars)
            found = in_a_process("panel", path, n_sets, args.threads)
            path.unlink()
            rate = found["bars"] / found["wall_s"]
            print(
                f"{label}: {n_assets} assets x {n_bars} bars x {n_sets} sets: {rate / 1e6:.1f} M bars/s; "
                f"the panel has {found['panel'] / MB:.0f} MB, {found['with_panel'] / MB:.0f} MB once it is open, "
                f"{found['peak'] / MB:.0f} MB at the peak"
            )
        path = folder / "one.arrow"
        write_panel(path, 1, 2_520)
        for n_sets in (100_000 // part, 1_000_000 // part):
            found = in_a_process("wide", path, n_sets, args.threads)
            print(
                f"wide space: {n_sets:,} sets over one asset of 2520 bars: {n_sets / found['wall_s']:,.0f} sets/s, "
                f"{found['bars'] / found['wall_s'] / 1e6:.1f} M bars/s; "
                f"{found['peak'] / MB:.0f} MB above a run of 2,000"
            )


if __name__ == "__main__":
    main()
