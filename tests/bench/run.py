"""Times the engine and the record, beside a plain NumPy reference in the same process."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from akq_dist import _core
from akq_dist.strategy import Strategy
from akq_dist.strategy.factory import make_factory

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = {
    "enter": "cross_above(sma(close, fast), sma(close, slow))",
    "exit": "cross_below(sma(close, fast), sma(close, slow))",
    "size": {"kind": "qty", "value": "100"},
}
COMMISSION = 0.0003


def table_of(n_assets: int, n_rows: int, bars_a_day: int) -> pa.Table:
    """Random walks in the layout of a panel."""
    rng = np.random.default_rng(7)
    shape = (n_assets, n_rows)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, shape), axis=1))
    opening = np.concatenate([np.full((n_assets, 1), 100.0), close[:, :-1]], axis=1)
    steps = np.tile(np.arange(n_rows), n_assets)
    columns: dict[str, Any] = {
        "ts": pa.array(steps.astype("i8") * 60_000_000_000).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array((steps // bars_a_day).astype("i4")).cast(pa.date32()),
        "open": opening.ravel(),
        "high": (np.maximum(opening, close) * 1.001).ravel(),
        "low": (np.minimum(opening, close) * 0.999).ravel(),
        "close": close.ravel(),
    }
    metadata = {
        "akq.symbols": json.dumps([f"S{ix:04}" for ix in range(n_assets)]),
        "akq.offsets": json.dumps([ix * n_rows for ix in range(n_assets + 1)]),
        "akq.digest": "bench",
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def median_s(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median wall and CPU seconds of some repeats, after one that is not counted."""
    work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def numpy_cross(opening: Any, close: Any, fast: int, slow: int) -> tuple[float, int]:
    """Final equity and closed trades of the same strategy, as a vectorised NumPy script would do it."""

    def sma(n: int) -> Any:
        total = np.cumsum(close)
        out = np.full(len(close), np.nan)
        out[n - 1 :] = (total[n - 1 :] - np.concatenate([[0.0], total[:-n]])) / n
        return out

    above = sma(fast) > sma(slow)
    defined = np.arange(len(close)) >= slow
    up = np.flatnonzero(above[1:] & ~above[:-1] & defined[1:]) + 1
    down = np.flatnonzero(~above[1:] & above[:-1] & defined[1:]) + 1
    if len(up) and len(down):
        down = down[down > up[0]]
    up, down = up[up < len(close) - 1], down[down < len(close) - 1]
    bought = opening[up + 1] * 100 * (1 + COMMISSION)
    sold = opening[down + 1] * 100 * (1 - COMMISSION)
    held = 100 * close[-1] if len(up) > len(down) else 0.0
    return float(1e6 - bought.sum() + sold.sum() + held), len(down)


def rules_plan(outputs: list[list[str | None]], mode: str = "per_asset") -> _core.Plan:
    spec = {
        "mode": mode,
        "strategy": {"rules": RULES},
        "params": ["fast", "slow"],
        "market": {"commission": {"rate": COMMISSION}},
        "outputs": outputs,
    }
    return _core.Plan(json.dumps(spec))


def bench_rules(name: str, table: pa.Table, n_pairs: int, threads: int, repeats: int) -> tuple[str, ...]:
    panel = _core.Panel.from_arrow(table)
    plan = rules_plan([["final_equity", "mean"], ["n_trades", "sum"], ["sharpe", "median"]])
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.integers(2, 50, n_pairs), rng.integers(51, 200, n_pairs)]).astype(float)
    wall, cpu = median_s(lambda: plan.run_batch(panel, rows, threads=threads), repeats)
    first, end = panel.rows(0)
    opening = table["open"].to_numpy()[first:end]
    close = table["close"].to_numpy()[first:end]
    fast, slow = int(rows[0, 0]), int(rows[0, 1])
    reference, _ = median_s(lambda: numpy_cross(opening, close, fast, slow), repeats)
    single = plan.run_one(panel, rows[0].tolist(), assets=[0], details=False)
    expected, n_trades = numpy_cross(opening, close, fast, slow)
    assert abs(single.values[0] - expected) < 1e-6 * expected, (single.values, expected)
    assert single.values[1] == n_trades, (single.values, n_trades)
    n_backtests = n_pairs * panel.n_assets
    ratio = reference / (end - first) / (wall / (n_pairs * panel.n_rows))
    return (
        name,
        str(threads),
        f"{n_pairs * panel.n_rows / wall / 1e6:,.1f} M bars/s",
        f"{n_backtests / wall:,.0f} backtests/s",
        f"{cpu:.2f} s",
        f"{ratio:.2f} x NumPy (which computes no metric)",
    )


def bench_shared_cash(
    name: str, table: pa.Table, n_pairs: int, threads: int, repeats: int
) -> tuple[str, ...]:
    """All assets in one account; the sum of what single accounts gain checks it, since cash is not short."""
    panel = _core.Panel.from_arrow(table)
    plan = rules_plan([["final_equity", None], ["n_trades", None]], mode="portfolio")
    alone = rules_plan([["final_equity", "sum"], ["n_trades", "sum"]])
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.integers(2, 50, n_pairs), rng.integers(51, 200, n_pairs)]).astype(float)
    wall, cpu = median_s(lambda: plan.run_batch(panel, rows, threads=threads), repeats)
    single = median_s(lambda: alone.run_batch(panel, rows, threads=threads), repeats)[0]
    (equity, n_trades), (apart, n_apart) = (
        made.run_one(panel, rows[0].tolist(), details=False).values for made in (plan, alone)
    )
    assert abs(equity - 1e6 - (apart - panel.n_assets * 1e6)) < 1e-6 * equity, (equity, apart)
    assert n_trades == n_apart, (n_trades, n_apart)
    return (
        name,
        str(threads),
        f"{n_pairs * panel.n_rows / wall / 1e6:,.1f} M bars/s",
        f"{n_pairs} runs in {wall:.2f} s",
        f"{cpu:.2f} s",
        f"{single / wall:.2f} x accounts of their own",
    )


class Idle(Strategy):
    """Does nothing at every bar."""

    def on_bar(self, bar: _core.Bar) -> None:
        pass


class Reader(Strategy):
    """Reads a window and trades on it."""

    def on_bar(self, bar: _core.Bar) -> None:
        close = self.history("close", 20)
        if len(close) < 20:
            return
        held = self.position()
        if held == 0.0 and close[-1] > close[0] * 1.01:
            self.buy(100)
        elif held > 0.0 and close[-1] < close[0]:
            self.close()


def bench_callbacks(name: str, strategy: type[Strategy], table: pa.Table, repeats: int) -> tuple[str, ...]:
    panel = _core.Panel.from_arrow(table)
    plan = _core.Plan(json.dumps({"strategy": {"callback": True}, "outputs": [["n_fills", None]]}))
    factory = make_factory(strategy, {}, table, 0)
    wall, cpu = median_s(lambda: plan.run_one(panel, [], strategy=factory, details=False), repeats)

    def plain() -> None:
        """The cost of calling Python at all."""
        call = Idle().on_bar
        for _ in range(panel.n_rows):
            call(None)  # type: ignore[arg-type]

    reference, _ = median_s(plain, repeats)
    return (
        name,
        "1",
        f"{panel.n_rows / wall / 1e6:,.2f} M bars/s",
        f"{1 / wall:,.1f} backtests/s",
        f"{cpu:.2f} s",
        f"{reference / wall:.2f} x a plain Python loop of calls",
    )


def bench_record(n_trials: int) -> tuple[str, ...]:
    """One sweep on the embedded data with everything recorded, then read back."""
    import akq_dist as akq
    from akq_dist.search.storage import load_optuna_study

    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)
        try:
            started, cpu = time.perf_counter(), time.process_time()
            study = akq.sweep(
                {
                    "name": "bench",
                    "strategy": {
                        "rules": {"enter": "close > sma(close, n)", "exit": "close < sma(close, n)"}
                    },
                    "data": {"source": "embedded", "name": "sp500"},
                    "space": {"n": {"int": [2, 5_000]}},
                    "objective": {"metric": "sharpe", "direction": "maximize"},
                    "search": {"sampler": "random", "trials": n_trials, "seed": 1},
                    "run": {"executor": "serial"},
                    "track": {"artifacts": "none"},
                }
            )
            study.run()
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
            recorded = len(load_optuna_study(str(study.spec.storage.optuna), "bench").trials)
            assert recorded == n_trials, recorded
        finally:
            os.chdir(here)
    stores = "ledger + Optuna SQLite + MLflow SQLite"
    return ("record, end to end", "2", f"{n_trials / wall:,.1f} trials/s", "", f"{cpu:.2f} s", stores)


def bench_optuna(n_trials: int) -> tuple[str, ...]:
    """Trials of 10 parameters and 20 metrics copied to a new database, in bulk and through Optuna's interface."""
    import optuna

    from akq_dist.record.ledger import StudyRecord
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.search import optuna_bulk
    from akq_dist.search.judge import Judge, Objective
    from akq_dist.search.storage import OptunaView, load_optuna_study
    from akq_dist.specs import Space

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    outputs = tuple(f"metric_{k}" for k in range(20))
    objective = ("metric_0", "maximize")
    space = Space.from_mapping({f"param_{k}": {"float": [0.0, 1.0]} for k in range(10)})
    drawn = np.random.default_rng(3).random((n_trials, 30))
    records = [
        TrialRecord(
            number=number,
            key=f"{number:032x}",
            params=dict(zip(space.names, row[:10], strict=True)),
            state="complete",
            values=(row[10],),
            metrics=dict(zip(outputs, row[10:], strict=True)),
            hash=f"{number:032x}",
        )
        for number, row in enumerate(drawn.tolist())
    ]
    study = StudyRecord(
        1, "id", "s", "s", 0, "", {}, {}, space.names, outputs, (objective,), 1, "random", None
    )

    def copy_s(url: str, n: int) -> tuple[float, float]:
        view = OptunaView(url, study, space, Judge(outputs, [Objective("metric_0", "maximize")], []))
        view.open()
        started, cpu = time.perf_counter(), time.process_time()
        for first in range(0, n, view.piece):
            view.add(records[first : min(first + view.piece, n)])
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        view.close()
        held = load_optuna_study(url, "s").get_trials(deepcopy=False)
        assert [trial.user_attrs["akq.key"] for trial in held] == [record.key for record in records[:n]]
        return wall / n, cpu

    n_public = 20
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = copy_s(f"sqlite:///{folder}/bulk.db", n_trials)
        known, optuna_bulk.KNOWN = optuna_bulk.KNOWN, frozenset()
        public, _ = copy_s(f"sqlite:///{folder}/public.db", n_public)
        optuna_bulk.KNOWN = known
    ratio = f"{public / wall:,.0f} x Study.add_trials"
    return ("copy to Optuna SQLite", "1", f"{1 / wall:,.1f} trials/s", "", f"{cpu:.2f} s", ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller work, fewer repeats")
    quick = parser.parse_args().quick
    repeats = 3 if quick else 5
    scale = 10 if quick else 1
    long_table = table_of(1, 1_000_000 // scale, 390)
    daily_table = table_of(1, 2_520, 1)
    wide_table = table_of(500 // scale, 1_260, 1)
    rows = [
        bench_rules("W1 rules, one long asset", long_table, 1, 1, repeats),
        bench_rules("W2 rules, 1,000 pairs", daily_table, 1_000 // scale, 1, repeats),
        bench_rules("W2 rules, 1,000 pairs", daily_table, 1_000 // scale, 2, repeats),
        bench_rules("W3 rules, 500 assets x 100 pairs", wide_table, 100 // scale, 1, repeats),
        bench_rules("W3 rules, 500 assets x 100 pairs", wide_table, 100 // scale, 2, repeats),
        bench_shared_cash("W3p rules, 500 assets, one cash", wide_table, 20 // scale, 1, repeats),
        bench_shared_cash("W3p rules, 500 assets, one cash", wide_table, 20 // scale, 2, repeats),
        bench_callbacks("W4 Python on_bar, idle", Idle, long_table, repeats),
        bench_callbacks("W4 Python on_bar, reads and trades", Reader, long_table, repeats),
        bench_record(100 if quick else 400),
        bench_optuna(2_000 if quick else 10_000),
    ]
    head = ("work", "threads", "rate", "", "CPU", "beside it")
    widths = [max(len(row[ix]) for row in [head, *rows]) for ix in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
