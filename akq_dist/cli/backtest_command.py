"""`akq backtest`: one parameter set, its metrics on the screen, its tables in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import count_text, duration_text, params_text, print_json, print_table, say
from akq_dist.errors import AkqUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from akq_dist.result import BacktestResult


def run(
    file: Path, params: Sequence[str], overrides: Sequence[str], out: Path | None, *, as_json: bool
) -> int:
    """Run and report."""
    from akq_dist.backtest import backtest

    result = backtest(file, read_params(params), overrides=overrides)
    saved = None if out is None else result.save(out)
    if as_json:
        print_json({**result.summary(), "out": None if saved is None else str(saved)})
        return 0
    _report(result)
    if saved is not None:
        say(f"tables and metrics.json are in {saved}")
    return 0


def read_params(texts: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` texts; the value is read as in a sweep file."""
    from akq_dist.specs.yamltext import read_yaml

    params: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise AkqUsageError(f"--param {text!r}: expected name=value such as fast=10")
        if name.strip() in params:
            raise AkqUsageError(f"--param {name.strip()}: given twice")
        params[name.strip()] = read_yaml(value, f"--param {name.strip()}")[0]
    return params


def _report(result: BacktestResult) -> None:
    speed = f", {count_text(result.n_bars / result.wall_s)} bars/s" if result.wall_s > 0 else ""
    say(
        f"{result.name}: {params_text(result.params) or 'no parameters'} · {len(result.symbols)} symbols · "
        f"{result.n_bars:,} bars in {duration_text(result.wall_s)}{speed}"
    )
    print_table(["metric", "value"], list(result.metrics.items()))
