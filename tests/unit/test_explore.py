"""What a batch gives beside its values: by account, by date, and a prompt end."""

from __future__ import annotations

import json
import signal
import threading
import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from akq_dist import _core

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = {"enter": "close > sma(close, n)", "exit": "close < sma(close, n)"}
OUTPUTS = [["sharpe", "median"], ["final_equity", "mean"], ["final_equity", "max"]]


@cache
def panel_of(n_assets: int, n_rows: int, *, shifted: bool = False) -> _core.Panel:
    """Random walks on consecutive dates, long ones by the minute; shifted ones do not all begin on the same."""
    rng = np.random.default_rng(5)
    scale = 0.02 / max(1.0, n_rows / 2_000) ** 0.5
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, scale, (n_assets, n_rows)), axis=1)).ravel()
    minutes = np.tile(np.arange(n_rows), n_assets) * (1 if n_rows > 100_000 else 1_440)
    if shifted:
        minutes += np.arange(n_assets).repeat(n_rows) % 7 * 1_440
    columns = {
        "ts": pa.array(minutes * 60_000_000_000).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array((minutes // 1_440).astype("i4")).cast(pa.date32()),
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


def plan_of(mode: str = "per_asset", rules: dict[str, str] = RULES) -> _core.Plan:
    outputs = OUTPUTS if mode == "per_asset" else [["sharpe", None], ["final_equity", None]]
    spec = {"strategy": {"rules": rules}, "params": ["n"], "mode": mode, "outputs": outputs}
    return _core.Plan(json.dumps(spec))


def named_plan() -> _core.Plan:
    return _core.Plan(json.dumps({"strategy": {"rust": "donchian"}, "params": ["entry"], "outputs": OUTPUTS}))


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


LONG_RULES = {
    "enter": "cross_above(hma(close, n), wma(close, 3 * n)) and stddev(close, n) < stddev(close, 2 * n)",
    "exit": "tema(close, n) > close or rsi(close, n) > 70",
}
RANKS = {"enter": "rank(mom(close, n)) <= 5", "exit": "rank(mom(close, n)) > 5"}
MANY = np.arange(2.0, 1_000.0).repeat(1_000).reshape(-1, 1)


def run(plan: _core.Plan, panel: _core.Panel) -> object:
    return plan.run_batch(panel, MANY, threads=1)


def run_one_by_one(plan: _core.Plan, panel: _core.Panel) -> object:
    return [plan.run_one(panel, [float(n)], details=False) for n in range(20, 100)]


def explore(plan: _core.Plan, panel: _core.Panel) -> object:
    return plan.explore(panel, MANY, threads=1, accounts=True, returns=True)


# By what a call spends its time on. Each of them takes many seconds.
LONG_CALLS: dict[str, tuple[Callable[[], tuple[_core.Plan, _core.Panel]], Callable[..., object]]] = {
    "short backtests": (lambda: (plan_of(), panel_of(20, 2_000)), run),
    "a long asset": (lambda: (plan_of(rules=LONG_RULES), panel_of(1, 1_000_000)), run),
    "runs of a long asset": (lambda: (plan_of(rules=LONG_RULES), panel_of(1, 1_000_000)), run_one_by_one),
    "shared cash": (lambda: (plan_of("portfolio"), panel_of(400, 1_500)), run),
    "ranking": (lambda: (plan_of("portfolio", RANKS), panel_of(400, 1_500)), run),
    "ranking, each asset at times of its own": (
        lambda: (plan_of("portfolio", RANKS), panel_of(400, 1_500, shifted=True)),
        run,
    ),
    "a strategy of the engine": (lambda: (named_plan(), panel_of(20, 2_000)), run),
    "binding": (lambda: (plan_of(), panel_of(1, 3)), run),
    "aggregates and returns": (lambda: (plan_of(), panel_of(2_000, 30)), explore),
}


@pytest.mark.parametrize("after_cpu_s", [0.02, 0.4])
@pytest.mark.parametrize("name", list(LONG_CALLS))
def test_ctrl_c_ends_a_long_call_within_a_fifth_of_a_second(name: str, after_cpu_s: float) -> None:
    make, call = LONG_CALLS[name]
    plan, panel = make()
    sent: list[tuple[float, float]] = []
    pause = threading.Event()  # never set

    def interrupt() -> None:
        goal = time.process_time() + after_cpu_s
        while time.process_time() < goal:
            pause.wait(0.002)
        sent.append((time.process_time(), time.perf_counter()))
        signal.raise_signal(signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        call(plan, panel)
    cpu_s, wall_s = time.process_time() - sent[0][0], time.perf_counter() - sent[0][1]
    interrupter.join()
    print(f"{name}: {wall_s:.3f} s, {cpu_s:.3f} s of the processor")
    # One thread of the engine works, so where the machine is idle the two are the same; what others take of a busy
    # machine counts for the second only.
    assert cpu_s < 0.2
    assert wall_s < 2.0
