"""Ten thousand runs in one process: memory stays where it is, and no run changes the next."""

from __future__ import annotations

import gc
import json
import multiprocessing
import resource
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from akq_dist import _core
from akq_dist.runner import StrategyRunner
from akq_dist.strategy import Strategy
from akq_dist.strategy.signals import SignalStrategy
from tests.differential.worlds import Ohlcv, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

MIB = 2**20
N_BARS = 60


class FailureError(Exception):
    """Raised by a strategy that fails."""


class Trades(Strategy):
    """Rests a limit, holds a protected position, hears of everything."""

    def on_bar(self, bar: _core.Bar) -> None:
        if self.position() == 0.0 and not self.working():
            self.buy(5, limit=bar.close * 0.999, valid_bars=3, stop_loss={"pct": 0.02}, tag=f"at {bar.index}")
        elif bar.index % 9 == 0:
            self.close()

    def on_order(self, order: Any) -> None:
        self.last = order


class Fails(Trades):
    """As above, until it fails in the middle of a run with orders that work."""

    def on_bar(self, bar: _core.Bar) -> None:
        super().on_bar(bar)
        if bar.index == N_BARS // 2:
            raise FailureError


class Columns(SignalStrategy):
    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
        return {"enter": pl.col("close") > pl.col("open"), "exit": pl.col("close") < pl.col("open")}


def panel_table(n_assets: int = 2) -> pa.Table:
    rng = np.random.default_rng(3)
    assets = []
    for _ in range(n_assets):
        close = (50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, N_BARS)))).tolist()
        assets.append({ix: Ohlcv(p, p * 1.01, p * 0.99, p * 1.002, 500.0) for ix, p in enumerate(close)})
    return table_of(assets)


def forms(kept: list[Any] | None = None) -> list[Callable[[], str | None]]:
    """One run of every form; each returns the hash of its result, which goes to `kept` where there is one."""
    table = panel_table()
    panel = _core.Panel.from_arrow(table)
    common = {"outputs": [["sharpe", "median"]], "params": []}
    market = {"commission": {"rate": 0.001}, "execution": {"max_participation": 0.01}}
    callback = json.dumps({**common, "strategy": {"callback": True}, "mode": "per_asset", "market": market})
    rules = {
        "enter": "close > sma(close, n)",
        "exit": "close < sma(close, n)",
        "trailing": {"kind": "pct", "value": "0.02"},
    }
    plan = _core.Plan(json.dumps({**common, "params": ["n"], "strategy": {"rules": rules}}))
    engine = _core.Plan(
        json.dumps({**common, "strategy": {"rust": "donchian"}, "constants": {"entry": 9, "leave": 4}})
    )
    grid = np.arange(2.0, 10.0).reshape(-1, 1)
    classes: dict[type[Strategy], StrategyRunner] = {
        cls: StrategyRunner(cls, table, panel, callback, []) for cls in (Trades, Fails, Columns)
    }

    def run(cls: type[Strategy]) -> str:
        result = classes[cls].run({}, 0, details=True)
        table = pl.DataFrame(result.fills())
        if kept is not None:
            kept.extend((result, table))
        return result.hash

    def failing() -> None:
        with pytest.raises(FailureError):
            run(Fails)

    def batch() -> str:
        return "".join(pl.DataFrame(plan.run_batch(panel, grid, threads=2))["hash"])

    def fresh_panel() -> str:
        return plan.run_one(_core.Panel.from_arrow(panel_table()), [5.0]).hash

    return [
        lambda: run(Trades),
        failing,
        lambda: run(Columns),
        lambda: plan.run_one(panel, [5.0]).hash,
        lambda: engine.run_one(panel, []).hash,
        batch,
        fresh_panel,
    ]


def resident_mib() -> float:
    """Memory of this process, as the kernel counts it."""
    file = Path("/proc/self/statm")
    if not file.exists():
        pytest.skip("the system does not tell the memory of a process in /proc")
    return int(file.read_text(encoding="ascii").split()[1]) * resource.getpagesize() / MIB


def run_many(n_runs: int, most_mib: float, *, keep: bool = False) -> None:
    """Run in a process of its own: the freed memory of other tests would take in what a leak adds."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(run_many_here, n_runs, most_mib, keep=keep).result()


def run_many_here(n_runs: int, most_mib: float, *, keep: bool) -> None:
    kept: list[Any] | None = [] if keep else None
    made = forms(kept)
    first = [form() for form in made]
    for _ in range(n_runs // 5 // len(made)):
        assert [form() for form in made] == first
    gc.collect()
    before = resident_mib()
    for _ in range(n_runs // len(made)):
        assert [form() for form in made] == first
    gc.collect()
    grown = resident_mib() - before
    assert bool(kept) == keep
    assert grown < most_mib, f"{grown:.1f} MiB more after {n_runs} runs"


def test_a_thousand_runs_leave_memory_and_results_as_they_were() -> None:
    # A run that kept its orders and fills alone would leave some 20 KiB: 20 MiB over these runs.
    run_many(1_000, most_mib=4.0)


@pytest.mark.slow
def test_ten_thousand_runs_leave_memory_and_results_as_they_were() -> None:
    run_many(10_000, most_mib=6.0)


def test_a_leak_would_be_seen() -> None:
    """The measure is fine enough: where the results of one form are kept, memory grows by more than is allowed."""
    with pytest.raises(AssertionError, match="MiB more"):
        run_many(1_000, most_mib=4.0, keep=True)


@pytest.mark.parametrize("cls", [Trades, Fails])
def test_nothing_of_a_run_outlives_it(cls: type[Strategy]) -> None:
    alive: list[weakref.ref[Any]] = []

    class Watched(cls):  # type: ignore[misc, valid-type]
        def on_start(self) -> None:
            alive.append(weakref.ref(self))
            assert self._panel is not None
            alive.append(weakref.ref(self._panel))

    def once() -> None:
        table = panel_table()
        alive.append(weakref.ref(table))
        plan = json.dumps(
            {"strategy": {"callback": True}, "mode": "per_asset", "outputs": [["sharpe", "median"]]}
        )
        runner = StrategyRunner(Watched, table, _core.Panel.from_arrow(table), plan, [])
        try:
            runner.run({}, 0, details=True)
        except FailureError as error:
            error.__traceback__ = None

    gc.collect()
    once()
    gc.collect()
    assert len(alive) == (5 if cls is Trades else 3)
    assert [ref() for ref in alive] == [None] * len(alive)
