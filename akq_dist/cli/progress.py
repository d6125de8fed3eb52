"""Shows how far a sweep has come: one live line on a terminal, otherwise a plain line every ten seconds."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from akq_dist.cli.console import count_text, duration_text, params_text, say, text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Group
    from rich.live import Live

    from akq_dist.search.progress import Progress

PLAIN_EVERY_S: Final = 10.0


class ProgressView:
    """Takes Progress values from the search's thread and shows them on stderr; a context manager."""

    def __init__(self, *, live: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_live = sys.stderr.isatty() if live is None else live
        self._clock = clock
        self._next_s = 0.0
        self._phase = ""
        self._last: Progress | None = None
        self._shown: Progress | None = None
        self._live: Live | None = None

    def __enter__(self) -> ProgressView:
        if self._is_live:
            from rich.live import Live

            from akq_dist.cli.console import err

            self._live = Live(console=err(), refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __call__(self, progress: Progress) -> None:
        """Show a moment of the sweep; cheap, and at most as often as a person can read."""
        self._last = progress
        if self._live is not None:
            self._live.update(self._rendered(progress))
            return
        now = self._clock()
        if now >= self._next_s or progress.phase != self._phase:
            self._phase = progress.phase
            self._next_s = now + PLAIN_EVERY_S
            self._print(progress)

    def note(self, message: str) -> None:
        """Print a message above the live line."""
        if self._live is not None:
            self._live.console.print(message, markup=False)
        else:
            say(message)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._last is not None and self._last is not self._shown:
            self._print(self._last)

    def _print(self, progress: Progress) -> None:
        self._shown = progress
        say(line(progress))

    def _rendered(self, progress: Progress) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        bar = ProgressBar(
            total=progress.total, completed=progress.done, width=40, pulse=progress.total is None
        )
        return Group(Text(line(progress)), bar)


def line(progress: Progress) -> str:
    """One line that says everything: done/total, speed, time left, the best so far, what went wrong."""
    total = "?" if progress.total is None else f"{progress.total:,}"
    if progress.phase == "artifacts":
        return f"artifacts of {progress.done:,} trials"
    if progress.phase != "search":
        return f"{progress.phase} {progress.done:,}/{total}"
    parts = [f"{progress.done:,}/{total}"]
    if progress.trials_per_s > 0:
        parts.append(f"{count_text(progress.trials_per_s)} trials/s")
    if progress.bars_per_s > 0:
        parts.append(f"{count_text(progress.bars_per_s)} bars/s")
    if progress.eta_s is not None and progress.done != progress.total:
        parts.append(f"ETA {duration_text(progress.eta_s)}")
    if progress.best_number is not None:
        values = ", ".join(text(value) for value in progress.best_values)
        parts.append(f"best {values} (trial {progress.best_number}: {params_text(progress.best_params)})")
    errors = progress.failed - progress.undefined
    for number, word in (
        (errors, "failed"),
        (progress.undefined, "undefined"),
        (progress.pruned, "pruned"),
        (progress.cached, "cached"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    return " · ".join(parts)
