"""Records to track."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from akq_dist.record.protocols import SweepInfo, TrialDetail, TrialRecord

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
name: demo
strategy: {rules: {enter: "cross_above(sma(close, fast), sma(close, slow))"}}
market: {profile: simple, cash: 1000000}
space:
  fast: {int: [2, 60]}
  slow: {int: [20, 250]}
search: {sampler: random, trials: 30, seed: 7}
"""


def sweep_info(study: str = "demo", study_id: str = "6b8c0f1e-demo", **changes: object) -> SweepInfo:
    values: dict[str, object] = {
        "study": study,
        "study_id": study_id,
        "spec_yaml": SPEC,
        "data_digest": "sha256:" + "ab12" * 16,
        "data_source": "parquet us_daily.parquet",
        "n_rows": 619_040,
        "symbols": [f"S{ix}" for ix in range(490)],
        "build": "0.1.0-release-abc",
        "seed": 7,
        "objectives": [("sharpe.median", "maximize")],
        "environment": {"python": "3.11", "ray": "2.60.0"},
        "git_commit": "0123abcd",
    }
    return SweepInfo(**(values | changes))  # type: ignore[arg-type]


def trial(number: int, **changes: object) -> TrialRecord:
    rng = np.random.default_rng(number)
    sharpe = float(rng.normal(0.4, 0.3))
    start_ms = 1_760_000_000_000 + number * 100
    values: dict[str, object] = {
        "number": number,
        "key": f"key-{number}",
        "params": {"fast": 5 + number % 20, "slow": 50 + number, "stop": 0.05},
        "state": "complete",
        "values": (sharpe,),
        "metrics": {
            "sharpe.median": sharpe,
            "total_return.median": sharpe / 3,
            "n_trades.sum": 100.0 + number,
        },
        "hash": f"hash-{number}",
        "started_ms": start_ms,
        "ended_ms": start_ms + 40,
        "n_bars": 619_040,
        "seed": 100 + number,
    }
    return TrialRecord(**(values | changes))  # type: ignore[arg-type]


def details(number: int) -> TrialDetail:
    table = pa.table({"ts": [1, 2, 3], "equity": [1.0, 1.1, 1.2]})
    trades = pa.table({"symbol": ["A"], "net": [1.0]})
    metrics = pa.table({"symbol": ["A", "B"], "sharpe": [0.1, 0.2]})
    tables = {"equity": table, "trades": trades, "metrics": metrics, "orders": table, "fills": table}
    return TrialDetail(number=number, hash=f"hash-{number}", tables=tables)


def all_trials(n_trials: int) -> pa.Table:
    return pa.table({"number": list(range(n_trials)), "value": [float(number) for number in range(n_trials)]})


def copy_store(source: Path, target: Path) -> None:
    """Copy a SQLite store that may be open; what was written last can still be in the log beside the file."""
    with closing(sqlite3.connect(source)) as held, closing(sqlite3.connect(target)) as copy:
        held.backup(copy)
