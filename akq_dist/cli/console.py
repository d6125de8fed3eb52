"""What commands print: data on stdout, messages on stderr."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table


UNLIMITED: Final = 100_000
"""Columns of an output that no terminal limits; a table takes only what it needs of them."""


def out() -> Console:
    """Console of stdout; width and colour follow the terminal and NO_COLOR."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Console of stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """Print a message on stderr, as it is."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; numbers that are not finite become null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, default=str) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table on stdout; off a terminal it is as wide as it has to be."""
    console = out()
    if not sys.stdout.isatty():
        console.width = UNLIMITED
    console.print(make_table(columns, rows, title))


def make_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """Build a table; numbers are aligned right and shortened."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    held = [list(row) for row in rows]
    named = any(columns)
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, show_header=named)
    for ix, column in enumerate(columns):
        cells = [row[ix] for row in held if row[ix] is not None]
        numeric = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
        table.add_column(column, justify="right" if numeric and cells else "left", no_wrap=numeric)
    for row in held:
        table.add_row(*(Text(text(value)) for value in row))
    return table


def text(value: Any) -> str:
    """Short form of a value for people."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def params_text(params: Any) -> str:
    """`fast=10 slow=50`."""
    return " ".join(f"{name}={text(value)}" for name, value in dict(params).items())


def duration_text(seconds: float | None) -> str:
    """`1h 02m`, `3m 04s`, `5.1s`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"


def count_text(number: float) -> str:
    """`12.3k`, `4.56M`."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.3g}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
