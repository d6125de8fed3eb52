"""The worker on the real engine: rules in batches, Python strategies trial by trial, errors as results."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from akq_dist import _core
from akq_dist.backtest import build_plan
from akq_dist.data import panel_from_frame
from akq_dist.errors import ExecutorError
from akq_dist.record.plan_runner import ERROR_BYTES
from akq_dist.record.protocols import NO_TRIAL, Batch, Job
from akq_dist.record.serial import SerialExecutor
from akq_dist.record.worker import Worker
from akq_dist.specs import parse_sweep
from akq_dist.strategy import PythonSource

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

RULES = {
    "rules": {
        "enter": "cross_above(sma(close, fast), sma(close, slow))",
        "exit": "cross_below(sma(close, fast), sma(close, slow))",
        "size": {"pct_equity": 1.0},
    }
}
SPACE = {"fast": {"int": [2, 10]}, "slow": {"choice": [15, 20, 30]}}
STRATEGY = """
import sys
import akq_dist as akq

class Odd(akq.Strategy):
    fast: int = akq.Param(5)
    slow: int = akq.Param(20)

    def on_bar(self, bar):
        if self.fast == 3:
            raise ValueError("three is " + "x" * 50_000)
        if self.fast == 4:
            sys.exit(3)
        if self.fast == 6:
            self.on_bar(bar)
        if bar.index == 5:
            self.buy(10)
        if bar.index == self.slow:
            self.close()
"""


def bars(n: int = 120) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    frames = []
    for symbol in ("AAA", "BBB"):
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(n)],
                    "open": close,
                    "high": close * 1.01,
                    "low": close * 0.99,
                    "close": close,
                    "volume": 1000.0,
                }
            )
        )
    return pl.concat(frames)


def make_job(
    strategy: dict[str, Any], source: PythonSource | None = None, **changes: Any
) -> tuple[Job, pa.Table]:
    panel = panel_from_frame(bars())
    data = {
        "name": "t",
        "strategy": strategy,
        "data": {"source": "frame"},
        "space": SPACE,
        "objective": "sharpe",
    }
    spec = parse_sweep(data).spec
    facts: dict[str, Any] = {
        "plan": build_plan(spec, spec.space, n_assets=2),
        "space": spec.space,
        "strategy": source,
        "panel_digest": panel.digest,
        "seed": 7,
        "threads": 2,
        "build": _core.BUILD,
    }
    return Job(**{**facts, **changes}), panel.table


def batch(*params: dict[str, Any], first: int = 40) -> Batch:
    space = parse_sweep(
        {"name": "t", "strategy": RULES, "data": {"source": "frame"}, "space": SPACE}
    ).spec.space
    points = np.array([space.encode(p) for p in params])
    return Batch(9, np.arange(first, first + len(params), dtype=np.int64), points)


def test_rules_run_as_one_batch_in_the_order_of_the_batch() -> None:
    job, table = make_job(RULES)
    worker = Worker(pickle.loads(pickle.dumps(job)), table)
    params = [{"fast": 3, "slow": 20}, {"fast": 8, "slow": 30}, {"fast": 5, "slow": 15}]
    result = worker.run(batch(*params))
    assert (result.id, result.table.column("number").to_pylist()) == (9, [40, 41, 42])
    assert result.table.column_names[:5] == ["number", "error", "hash", "n_bars", "n_defined"]
    assert result.table.column_names[5:] == worker.outputs
    assert result.table.column("error").null_count == 3
    for ix, one in enumerate(params):
        alone = worker.run(batch(one)).table
        for name in alone.column_names[1:]:
            np.testing.assert_equal(alone.column(name)[0].as_py(), result.table.column(name)[ix].as_py())
    assert len(set(result.table.column("hash").to_pylist())) == 3, "a choice reaches the rules as its value"


def test_detail_gives_the_recorded_hash_and_every_table() -> None:
    job, table = make_job(RULES)
    worker = Worker(job, table)
    asked = batch({"fast": 3, "slow": 20}, {"fast": 8, "slow": 30})
    details = worker.detail(asked)
    assert [d.hash for d in details] == worker.run(asked).table.column("hash").to_pylist()
    assert [d.number for d in details] == [40, 41]
    assert set(details[0].tables) == {"metrics", "equity", "orders", "fills", "trades"}
    assert details[0].tables["equity"].num_rows == 240


def test_another_build_is_refused() -> None:
    job, table = make_job(RULES, build="0.0.1-other")
    with pytest.raises(ExecutorError, match=r"the driver's is 0\.0\.1-other"):
        Worker(job, table)


def test_a_bad_trial_of_a_python_strategy_fails_alone_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(STRATEGY)
    source = PythonSource.from_reference("odd.py:Odd", tmp_path)
    job, table = make_job({"python": "odd.py:Odd"}, source)
    worker = Worker(pickle.loads(pickle.dumps(job)), table)
    numbers = [2, 3, 4, 5, 6, 7]
    result = worker.run(batch(*({"fast": fast, "slow": 20} for fast in numbers)))
    errors = dict(zip(numbers, result.table.column("error").to_pylist(), strict=True))
    assert [fast for fast in numbers if errors[fast] is None] == [2, 5, 7]
    assert 'raise ValueError("three is "' in errors[3]
    assert "on_bar" in errors[3]
    assert len(errors[3]) <= ERROR_BYTES + 100
    assert "characters left out" in errors[3]
    assert errors[4].endswith("SystemExit: 3")
    assert "RecursionError" in errors[6]
    hashes = result.table.column("hash").to_pylist()
    assert hashes[0] != ""
    assert hashes[1] == ""
    told: list[tuple[int, int]] = []
    worker.on_trial = lambda number, n_trials: told.append((number, n_trials))
    again = worker.run(batch({"fast": 2, "slow": 20}, {"fast": 3, "slow": 20}))
    assert told == [(40, 1), (41, 1), (NO_TRIAL, 0)], "the end of the last trial is told"
    assert again.table.column("hash")[0].as_py() == hashes[0], "a bad trial leaves nothing behind"


def test_ctrl_c_is_not_a_result(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        STRATEGY.replace('raise ValueError("three is " + "x" * 50_000)', "raise KeyboardInterrupt")
    )
    source = PythonSource.from_reference("odd.py:Odd", tmp_path)
    job, table = make_job({"python": "odd.py:Odd"}, source)
    with pytest.raises(KeyboardInterrupt):
        Worker(job, table).run(batch({"fast": 3, "slow": 20}))


def test_the_serial_executor_runs_what_was_submitted_and_forgets_on_cancel() -> None:
    job, table = make_job(RULES)
    executor = SerialExecutor(threads=1)
    with pytest.raises(ExecutorError, match="not been started"):
        executor.submit(batch({"fast": 3, "slow": 20}))
    executor.start(job, table)
    assert executor.collect(0.0) == []
    executor.submit(batch({"fast": 3, "slow": 20}))
    executor.submit(batch({"fast": 4, "slow": 20}, first=50))
    first = executor.collect(0.0)
    assert [item.id for item in first] == [9]
    executor.cancel()
    assert executor.collect(0.0) == []
    executor.close()
    executor.close()
