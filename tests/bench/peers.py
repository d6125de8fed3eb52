"""Other engines at the same work, each in an environment of its own: speed, memory, and what they came to.

    python -m tests.bench.peers FOLDER [--quick] [--only vectorbt ...] [--write]

The environments are made below FOLDER (a minute or two each, 0.3 to 0.9 GB) and kept. An engine runs in a process a
work, on one thread, on a file that this engine is given too; slow ones are given less of it, and the row says how
much. Every engine here fills at the next open and takes 3 bps of the value, so that final equities have to agree to a
billionth and trades exactly. An engine that cannot be installed, or cannot do a work, is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import machine, tables
from tests.bench.environments import CannotInstallError, Environment, ProgramError, run_module
from tests.bench.work import WORKS, Outcome, Work, quick, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CACHE = Path("~/.cache/akq-dist-bench").expanduser()
TOLERANCE = 1e-9
REPEAT_S = 30.0
"""No repeat begins after so many seconds of them."""
LIMIT_S = 1_800.0


@dataclass(frozen=True)
class Peer:
    """An engine, its environment, and how much of a work it is given where all of it takes too long."""

    name: str
    environment: Environment
    program: str
    cuts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    """Why it comes to something else at a work, seen in its records of orders and trades."""

    def part(self, work: Work) -> Work:
        return work.cut(**self.cuts.get(work.name, {}))


PEERS = (
    Peer(
        "vectorbt 1.2.0, Rust engine",
        Environment("vectorbt", ("vectorbt[rust]==1.2.0",)),
        "tests.bench.programs.with_vectorbt",
    ),
    Peer(
        "backtesting.py 0.6.6",
        Environment("backtesting", ("backtesting==0.6.6",)),
        "tests.bench.programs.with_backtesting",
        {
            "W1": {"n_rows": 100_000},
            "W2": {"n_pairs": 50},
            "W3": {"n_assets": 20, "n_pairs": 5},
            "W4": {"n_rows": 200_000},
        },
    ),
    Peer(
        "akquant 0.3.71",
        Environment("akquant", ("akquant==0.3.71",)),
        "tests.bench.programs.with_akquant",
        {
            "W1": {"n_rows": 50_000},
            "W2": {"n_pairs": 20},
            "W3": {"n_assets": 10, "n_pairs": 2},
            "W3p": {"n_assets": 25, "n_pairs": 1},
            "W4": {"n_rows": 50_000},
        },
        known={
            "W3p": "a buy that waits for a sell of another symbol is not yet a position at the callback of its bar, "
            "so a cross back on that very bar sells nothing"
        },
    ),
)
OURS = "tests.bench.programs.with_akq_dist"


def timed(python: Path, program: str, work: Work, folder: Path) -> dict[str, Any]:
    """What a program printed for a work. Raises ProgramError."""
    printed = run_module(python, program, str(save(work, folder)), str(REPEAT_S), limit_s=LIMIT_S)
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def rate(work: Work, found: Mapping[str, Any]) -> dict[str, Any]:
    """What a row keeps of a result: medians, memory, and bars and backtests a second."""
    seconds = statistics.median(found["seconds"])
    return {
        "version": found["version"],
        "n_assets": work.n_assets,
        "n_rows": work.n_rows,
        "n_pairs": work.n_pairs,
        "seconds": seconds,
        "repeats": len(found["seconds"]),
        "bars_s": work.n_bars / seconds,
        "backtests_s": work.n_backtests / seconds,
        "peak_mb": found["peak_mb"],
    }


def compare(peer: Peer, python: Path, work: Work, folder: Path) -> dict[str, Any]:
    """A row: the peer at its part of the work, held against what this engine makes of the same part."""
    part = peer.part(work)
    found = timed(python, peer.program, part, folder)
    if "cannot" in found:
        return {"reason": found["cannot"]}
    ours = timed(Path(sys.executable), OURS, part, folder)
    outcome, expected = (Outcome(run["equity"], run["trades"]) for run in (found, ours))
    differs = outcome.differs(expected, TOLERANCE)
    if differs and work.name in peer.known:
        differs += f": {peer.known[work.name]}"
    return {"measured": rate(part, found), "differs": differs}


def measure(folder: Path, *, small: bool = False, only: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of all works and peers; `only` names environments."""
    works = [quick(work) if small else work for work in WORKS.values()]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for work in works:
            found = timed(Path(sys.executable), OURS, work, Path(scratch))
            rows.append({"work": work.name, "engine": tables.OURS, "measured": rate(work, found)})
        for peer in PEERS:
            if only and peer.environment.name not in only:
                continue
            try:
                python = peer.environment.make(folder)
            except CannotInstallError as error:
                rows += [{"work": work.name, "engine": peer.name, "reason": str(error)} for work in works]
                continue
            for work in works:
                try:
                    found = compare(peer, python, work, Path(scratch))
                except ProgramError as error:
                    found = {"reason": str(error)}
                rows.append({"work": work.name, "engine": peer.name, **found})
                print(f"{peer.name}, {work.name}: {found}", file=sys.stderr, flush=True)
    return {"machine": machine.describe(), "tolerance": TOLERANCE, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=CACHE, help=f"default: {CACHE}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--only", nargs="+", default=[], choices=[peer.environment.name for peer in PEERS])
    parser.add_argument("--write", action="store_true", help="keep the figures and write the tables")
    given = parser.parse_args(arguments)
    if given.write and (given.quick or given.only):
        parser.error("tables are made of whole runs")
    found = measure(given.folder.expanduser(), small=given.quick, only=given.only)
    print(tables.peers(found))
    if given.write:
        tables.write({"peers": found})


if __name__ == "__main__":
    main()
