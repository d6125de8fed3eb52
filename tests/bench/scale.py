"""What wide spaces and large universes cost in time and memory: each case in a process of its own.

    python -m tests.bench.scale [--quick] [--write]

Memory is what the operating system counts for the process at its highest, mapped pages of the panel included, above
what it has once everything is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tests.bench import engine, machine, tables
from tests.bench.environments import run_module
from tests.bench.work import WORKS, Work, pairs, prices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MB = 1 << 20
UNIVERSES = (WORKS["W3"], Work("large universe", 5_000, 2_430, 1, 200))
ONE = Work("wide space", 1, 2_520, 1, 1)
N_SETS = (100_000, 1_000_000)
LIMIT_S = 1_800.0


def peak_bytes() -> int:
    """Return the highest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def run_panel(path: str, n_sets: int, threads: int) -> dict[str, float]:
    """Run n_sets over a panel in a file, three times; return seconds of the fastest and memory."""
    from akq_dist import _core

    plan = engine.rules_plan(UNIVERSES[0])
    before = peak_bytes()
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    panel = _core.Panel.from_arrow(table)
    with_panel = peak_bytes()
    rows = pairs(replace(UNIVERSES[0], n_pairs=n_sets))
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
    bars = pl.DataFrame(table.drop_columns(["ts"])).with_columns(symbol=pl.lit("S"))
    spec: dict[str, Any] = {
        "name": "wide",
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
    arguments = ("--case", case, str(path), str(n_sets), str(threads))
    printed = run_module(Path(sys.executable), "tests.bench.scale", *arguments, limit_s=LIMIT_S)
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def write_panel(path: Path, work: Work) -> None:
    table = engine.table(work, prices(work))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def measure(threads: int, part: int) -> dict[str, Any]:
    """Rows of all cases; `part` is what the work is divided by."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "panel.arrow"
        for universe in UNIVERSES:
            work = universe.cut(n_assets=universe.n_assets // part)
            write_panel(path, work)
            rows.append(row(work, work.n_pairs, in_a_process("panel", path, work.n_pairs, threads)))
        write_panel(path, ONE)
        for n_sets in (n // part for n in N_SETS):
            rows.append(row(ONE, n_sets, in_a_process("wide", path, n_sets, threads)))  # noqa: PERF401 - minutes each
    return {"machine": machine.describe(), "threads": threads, "rows": rows}


def row(work: Work, n_sets: int, found: dict[str, float]) -> dict[str, Any]:
    return {
        "work": work.name,
        "n_assets": work.n_assets,
        "n_rows": work.n_rows,
        "n_pairs": n_sets,
        "bars_s": found["bars"] / found["wall_s"],
        "backtests_s": n_sets * work.n_assets / found["wall_s"],
        "panel_mb": found["panel"] / MB if "panel" in found else None,
        "opened_mb": found["with_panel"] / MB if "with_panel" in found else None,
        "peak_mb": found["peak"] / MB,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help="keep the figures and write the tables")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.case:
        case, path, n_sets, threads = given.case
        print(json.dumps(CASES[case](path, int(n_sets), int(threads))))
        return
    if given.quick and given.write:
        parser.error("tables are not made of quick runs")
    found = measure(given.threads, 10 if given.quick else 1)
    print(tables.scale(found))
    if given.write:
        tables.write({"scale": found})


if __name__ == "__main__":
    main()
