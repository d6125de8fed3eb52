"""`akq backtest`: one parameter set, its metrics on the screen, its tables in a folder."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from akq_dist.cli.console import count_text, duration_text, params_text, print_json, print_table, say
from akq_dist.errors import AkqUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from akq_dist.result import BacktestResult

_N_SHOWN: Final = 5
"""Rows of a table whose whole is in the folder of `--out`."""


def run(
    file: Path, params: Sequence[str], overrides: Sequence[str], out: Path | None, *, as_json: bool
) -> int:
    """Run and report."""
    from akq_dist.backtest import backtest

    result = backtest(file, read_params(params), overrides=overrides)
    saved = None if out is None else result.save(out)
    if as_json:
        rows = {name: result.frame(name).height for name in result.names}
        print_json({**result.summary(), "tables": rows, "out": None if saved is None else str(saved)})
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
    rows = [(name, value, result.metrics.unit(name)) for name, value in result.metrics.items()]
    print_table(["metric", "value", "unit"], rows)
    _report_rejects(result)
    _report_drawdowns(result)
    _report_positions(result)


def _report_rejects(result: BacktestResult) -> None:
    refused = result.rejects_by_reason()
    if refused:
        print_table(["refused because", "orders"], list(refused.items()), "Refused orders")


def _report_drawdowns(result: BacktestResult) -> None:
    falls = result.drawdowns.sort("depth", maintain_order=True)
    shown = [
        (row["symbol"] or "all", _day(row["start"]), _day(row["trough"]), _day(row["recovery"]), row["depth"])
        for row in falls.head(_N_SHOWN).iter_rows(named=True)
    ]
    if shown:
        title = f"Deepest of {falls.height} drawdowns"
        print_table(["account", "from", "trough", "regained", "depth"], shown, title)


def _report_positions(result: BacktestResult) -> None:
    last = result.equity["date"].max()
    held = result.positions.filter(date=last).sort("value", descending=True)
    shown = held.head(_N_SHOWN).select("symbol", "qty", "price", "value", "weight").rows()
    if shown:
        print_table(
            ["symbol", "quantity", "price", "value", "weight"], shown, f"{held.height} positions on {last!s}"
        )


def _day(time: dt.datetime | None) -> str:
    if time is None:
        return "not yet"
    return f"{time:%Y-%m-%d}" if time.time() == dt.time() else f"{time:%Y-%m-%d %H:%M}"
