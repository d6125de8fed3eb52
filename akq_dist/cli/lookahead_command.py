"""`akq lookahead`: whether a strategy uses bars that it cannot know yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from akq_dist.cli.backtest_command import read_params
from akq_dist.cli.console import params_text, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOUND: Final = 5
"""Exit code when look-ahead was found."""
SHOWN: Final = 5


def run(
    file: Path, params: Sequence[str], overrides: Sequence[str], samples: int, seed: int, *, as_json: bool
) -> int:
    """Run the proof and report."""
    from akq_dist.lookahead import lookahead

    report = lookahead(file, read_params(params), overrides=overrides, samples=samples, seed=seed)
    if as_json:
        print_json(report.summary())
        return 0 if report.clean else FOUND
    say(
        f"{report.name}: {params_text(report.params) or 'no parameters'} · {report.n_runs} runs, bars changed "
        f"and cut after {len(report.times)} times · {report.n_orders} orders"
    )
    for note in report.notes:
        say(f"note: {note}")
    if report.clean:
        say("no look-ahead was found")
        return 0
    say(f"look-ahead: {report.differences[0]}")
    if len(report.differences) > 1:
        rows = [
            [found.kind, str(found.time or "-"), found.symbol or "-", found.what, found.was, found.became]
            for found in report.differences[:SHOWN]
        ]
        print_table(["done", "first difference", "symbol", "what", "was", "became"], rows)
    return FOUND
