"""`akq backtest`: what it prints and what it leaves in a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl

from akq_dist.result import FRAMES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Akq

RUN = (
    "backtest",
    "small.yaml",
    "--param",
    "fast=3",
    "--param",
    "slow=12",
    "--set",
    "risk.max_order_value=300000",
)


def test_the_screen_shows_metrics_refusals_drawdowns_and_what_is_held(akq: Akq) -> None:
    shown = akq(*RUN, "--set", "strategy.rules.size={pct_equity: 1.0, size_at: decision}")
    assert shown.returncode == 0
    for words in ("sharpe.mean", "fraction", "Refused orders", "order_value"):
        assert words in shown.stdout, words
    held = akq(*RUN[:6], "--set", "strategy.rules.exit=close < 0")
    assert "Deepest of" in held.stdout
    assert "positions on 2020-09-16" in held.stdout


def test_json_and_the_folder_hold_all_of_it(akq: Akq, folder: Path) -> None:
    shown = akq(*RUN[:6], "--out", "one", "--json")
    said = json.loads(shown.stdout)
    assert set(said["tables"]) == set(FRAMES) - {"strategies"}
    assert said["rejects"] == {}
    for name, height in said["tables"].items():
        assert pl.read_parquet(folder / "one" / f"{name}.parquet").height == height
        assert (height > 0) == (name != "rejects"), name
    kept = json.loads((folder / "one" / "metrics.json").read_text())
    assert kept["result_hash"] == said["result_hash"]
