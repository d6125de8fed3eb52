"""The plain compiled loop of `core/examples/plain_loop.rs`, built and run on the files of a work."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.work import Outcome, bars_file, pairs_file

if TYPE_CHECKING:
    from tests.bench.work import Work

SOURCE = Path(__file__).parents[2] / "core" / "examples" / "plain_loop.rs"


@dataclass(frozen=True)
class PlainLoop:
    """A compiled reference."""

    binary: Path

    @classmethod
    def build(cls, folder: Path) -> PlainLoop | None:
        """Compile it into a folder as the engine is compiled for release; None where there is no compiler."""
        if shutil.which("rustc") is None:
            return None
        binary = folder / "plain_loop"
        subprocess.run(
            ["rustc", "--edition", "2024", "-C", "opt-level=3", str(SOURCE), "-o", str(binary)], check=True
        )
        return cls(binary)

    def run(self, work: Work, path: Path, form: str, threads: int) -> tuple[float, Outcome]:
        """Seconds of one run after one that does not count, and what it came to."""
        numbers = (work.n_assets, work.n_rows, work.cash, form, threads)
        command = [str(self.binary), str(bars_file(path)), str(pairs_file(path)), *map(str, numbers)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found["seconds"], Outcome(found["equity"], found["trades"])


def forms(work: Work) -> dict[str, str]:
    """Forms of the loop that do a work, by what tables call them."""
    if work.shared_cash:
        return {"inlined loop": "shared"}
    return {"event loop": "events", "inlined loop": "inlined"}
