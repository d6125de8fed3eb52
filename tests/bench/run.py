"""Times the engine beside references that are measured in the same run, and writes the tables.

    python -m tests.bench.run [--quick] [--peers FOLDER] [--write]

References are a plain compiled loop (`core/examples/plain_loop.rs`: with events and records, and everything inlined),
NumPy, and with `--peers` other engines, installed below FOLDER in environments of their own. Each is timed in turn
with the engine, five times after one that does not count, and has to come to the same final equities and trades.
`--write` keeps the figures in `results.json` and writes every table that is made of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.bench import engine, machine, peers, tables
from tests.bench.loop import PlainLoop, forms
from tests.bench.work import COMMISSION, QTY, WORKS, Work, load, pairs, prices, quick, save

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THREADS = (1, 2)
N_REPEATS = 5


@dataclass
class Timed:
    """Wall and CPU seconds of some repeats."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def once(self, run: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        found = run()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return found

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


def row(work: Work, timed: Timed, threads: int, beside: dict[str, float]) -> dict[str, Any]:
    """A row of the table; `beside` are seconds of references for the same work."""
    return {
        "work": work.name,
        "n_assets": work.n_assets,
        "n_rows": work.n_rows,
        "n_pairs": work.n_pairs,
        "threads": threads,
        "n_backtests": work.n_backtests,
        "n_bars": work.n_bars,
        "seconds": timed.median,
        "spread": [min(timed.wall), max(timed.wall)],
        "cpu": statistics.median(timed.cpu),
        "beside": beside,
    }


def by_numpy(bars: Any, asset: int, windows: Any, cash: float) -> tuple[float, int]:
    """Final equity and closed trades of an asset, as a vectorised NumPy script would find them; no other metric."""
    opening, close = bars[0, asset], bars[3, asset]
    fast, slow = windows.astype(int)

    def sma(n: int) -> Any:
        total = np.cumsum(close)
        out = np.full(len(close), np.nan)
        out[n - 1 :] = (total[n - 1 :] - np.concatenate([[0.0], total[:-n]])) / n
        return out

    above = sma(fast) > sma(slow)
    defined = np.arange(len(close)) >= slow
    up = np.flatnonzero(above[1:] & ~above[:-1] & defined[1:]) + 1
    down = np.flatnonzero(~above[1:] & above[:-1] & defined[1:]) + 1
    if len(up) and len(down):
        down = down[down > up[0]]
    up, down = up[up < len(close) - 1], down[down < len(close) - 1]
    bought = opening[up + 1] * QTY * (1 + COMMISSION)
    sold = opening[down + 1] * QTY * (1 - COMMISSION)
    held = QTY * close[-1] if len(up) > len(down) else 0.0
    return float(cash - bought.sum() + sold.sum() + held), len(down)


def bench_rules(work: Work, loop: PlainLoop | None, folder: Path, n_repeats: int) -> list[dict[str, Any]]:
    """The work on one thread and, where it is more than one backtest, on two; the references in turn with it."""
    path = save(work, folder)
    _, bars, windows = load(path)
    ours = {threads: Timed() for threads in THREADS if threads == 1 or work.n_backtests > 1}
    runs = {threads: engine.rules(work, bars, windows, threads) for threads in ours}
    outcomes = [run() for run in runs.values()]
    found = outcomes[0]
    assert all(outcome == found for outcome in outcomes)
    loops: dict[tuple[int, str], list[float]] = {}
    arrays = Timed()
    for _ in range(n_repeats):
        for threads, run in runs.items():
            ours[threads].once(run)
            for name, form in forms(work).items() if loop else ():
                seconds, reference = loop.run(work, path, form, threads)  # type: ignore[union-attr]
                assert not found.differs(reference, 1e-9), (name, found.differs(reference, 1e-9))
                loops.setdefault((threads, name), []).append(seconds)
        for asset in range(min(work.n_assets, 10)):
            equity, trades = arrays.once(partial(by_numpy, bars, asset, windows[0], work.cash))
    if work.n_assets == 1:
        assert abs(equity / found.equity[0] - 1.0) < 1e-9
        assert trades == found.trades[0]
    beside: dict[int, dict[str, float]] = {
        threads: {name: statistics.median(loops[threads, name]) for n, name in loops if n == threads}
        for threads in ours
    }
    beside[1]["NumPy"] = arrays.median * work.n_bars / work.n_rows
    return [row(work, ours[threads], threads, beside[threads]) for threads in ours]


def bench_callbacks(work: Work, n_repeats: int) -> list[dict[str, Any]]:
    """A callback that does nothing, beside as many calls of the same method by Python, and one that trades."""
    bars = prices(work)
    idle, reader = (engine.callbacks(strategy, work, bars) for strategy in (engine.Idle, engine.Reader))
    call = engine.Idle().on_bar

    def plain() -> None:
        for _ in range(work.n_rows):
            call(None)  # type: ignore[arg-type]

    assert idle().equity == [work.cash]
    assert reader().trades[0] > 0
    plain()
    timed = {run: Timed() for run in (idle, reader, plain)}
    for _ in range(n_repeats):
        for run, times in timed.items():
            times.once(run)
    trading = replace(work, name="W4, reads and trades")
    return [
        row(work, timed[idle], 1, {"Python calls": timed[plain].median}),
        row(trading, timed[reader], 1, {}),
    ]


def memory(work: Work) -> dict[str, Any]:
    """MB that a batch takes above its panel, measured in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (work,))


def _memory(work: Work) -> dict[str, Any]:
    run = engine.rules(work, prices(work), pairs(work), threads=2)
    panel_mb = work.n_assets * work.n_rows * (4 * 8 + 8 + 4) / 2**20  # four prices, time and date
    return {"panel_mb": panel_mb, "above_mb": machine.megabytes_above(run)}


def measure(n_repeats: int, *, small: bool) -> dict[str, Any]:
    """Every row and the memory of W3."""
    works = {name: quick(work) if small else work for name, work in WORKS.items()}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        loop = PlainLoop.build(Path(folder))
        for work in works.values():
            if work.n_pairs:
                rows += bench_rules(work, loop, Path(folder), n_repeats)
            else:
                rows += bench_callbacks(work, n_repeats)
    return {
        "machine": machine.describe(),
        "repeats": n_repeats,
        "rows": rows,
        "memory": memory(works["W3"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, three repeats")
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="other engines, in environments below it"
    )
    parser.add_argument("--write", action="store_true", help="keep the figures and write the tables")
    given = parser.parse_args(arguments)
    if given.quick and given.write:
        parser.error("tables are not made of quick runs")
    sections = {"engine": measure(3 if given.quick else N_REPEATS, small=given.quick)}
    print(tables.engine(sections["engine"]), flush=True)
    if given.peers:
        sections["peers"] = peers.measure(given.peers.expanduser(), small=given.quick)
        print(tables.peers(sections["peers"]))
    if given.write:
        tables.write(sections)


if __name__ == "__main__":
    main()
