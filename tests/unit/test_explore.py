"""What a batch gives beside its values: by account, by date, and a prompt end."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from akq_dist import _core

RULES = {"enter": "close > sma(close, n)", "exit": "close < sma(close, n)"}
OUTPUTS = [["sharpe", "median"], ["final_equity", "mean"], ["final_equity", "max"]]


def panel_of(n_assets: int, n_rows: int) -> _core.Panel:
    """Random walks on consecutive dates."""
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (n_assets, n_rows)), axis=1)).ravel()
    days = np.tile(np.arange(n_rows), n_assets)
    columns = {
        "ts": pa.array(days * 86_400_000_000_000).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array(days.astype("i4")).cast(pa.date32()),
        "open": close,
        "high": close * 1.01,
        "low": close * 0.99,
        "close": close,
    }
    metadata = {
        "akq.symbols": json.dumps([f"S{ix}" for ix in range(n_assets)]),
        "akq.offsets": json.dumps([ix * n_rows for ix in range(n_assets + 1)]),
        "akq.digest": "test",
    }
    return _core.Panel.from_arrow(pa.table(columns).replace_schema_metadata(metadata))


def plan_of(mode: str = "per_asset") -> _core.Plan:
    outputs = OUTPUTS if mode == "per_asset" else [["sharpe", None], ["final_equity", None]]
    spec = {"strategy": {"rules": RULES}, "params": ["n"], "mode": mode, "outputs": outputs}
    return _core.Plan(json.dumps(spec))


@pytest.mark.parametrize("mode", ["per_asset", "portfolio"])
def test_tables_are_those_of_the_runs(mode: str) -> None:
    panel, plan = panel_of(3, 80), plan_of(mode)
    params = np.array([[5.0], [0.0], [9.0]])
    found = plan.explore(panel, params, threads=2, assets=[2, 0], accounts=True, returns=True)
    assert len(found) == 3
    trials, accounts, returns = (pl.DataFrame(t()) for t in (found.trials, found.accounts, found.returns))
    assert returns.columns == ["date", "0", "1", "2"]
    assert returns.height == 79
    assert accounts.columns == ["trial", "symbol", "sharpe", "final_equity"]
    for trial in (0, 2):
        alone = plan.run_one(panel, params[trial].tolist(), assets=[0, 2])
        metrics = pl.DataFrame(alone.metrics()).select("symbol", "sharpe", "final_equity")
        assert accounts.filter(trial=trial).drop("trial").equals(metrics)
        assert trials["hash"][trial] == alone.hash
        equity = (
            pl.DataFrame(alone.equity()).group_by("date").agg(pl.col("equity").sum()).sort("date")["equity"]
        )
        assert returns[str(trial)].to_list() == pytest.approx(
            (equity / equity.shift(1) - 1)[1:].to_list(), abs=1e-15
        )
    assert trials["error"][1] is not None
    assert returns["1"].is_nan().all()
    assert accounts.filter(trial=1)["final_equity"].is_nan().all()


def test_what_was_not_asked_for_is_empty() -> None:
    found = plan_of().explore(panel_of(2, 30), np.array([[3.0]]), threads=1)
    assert pl.DataFrame(found.accounts()).height == 0
    assert pl.DataFrame(found.returns()).shape == (0, 1)
    with pytest.raises(_core.SpecError, match="assets must be some"):
        plan_of().explore(panel_of(2, 30), np.array([[3.0]]), threads=1, assets=[2])


def test_ctrl_c_ends_a_batch_at_once() -> None:
    panel, plan = panel_of(20, 2_000), plan_of()
    params = np.arange(2.0, 1_000.0).repeat(200).reshape(-1, 1)  # minutes of work
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        plan.run_batch(panel, params, threads=1)
    # 0.1 s where the machine is idle: the flag is looked at every 50 ms and before every backtest.
    assert time.perf_counter() - sent[0] < 1.0
