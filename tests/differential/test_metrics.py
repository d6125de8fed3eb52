"""Every metric of an account against a plain formula over its equity, round trips and fills (METRICS.md)."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist import _core
from tests.differential.worlds import play, random_world, table_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.differential.worlds import Run, World

A = 252.0
NAN = math.nan
OF_RETURNS = (
    *("cagr", "volatility", "sharpe", "sortino", "var_95", "cvar_95", "omega", "tail_ratio"),
    *("skew", "kurtosis", "k_ratio", "stability"),
)


def divided(a: float, b: float) -> float:
    return a / b if b != 0.0 else NAN


def drawdowns(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    return equity / np.maximum.accumulate(equity) - 1.0


def longest(equity: NDArray[np.float64]) -> float:
    """Steps from the last one at a peak to the one that regains it, or to the end."""
    at, best = 0, 0
    for ix, value in enumerate(equity):
        if value >= equity[at]:
            best = max(best, ix - at if (equity[at : ix + 1] < equity[at]).any() else 0)
            at = ix
    return float(max(best, len(equity) - 1 - at))


def of_returns(r: NDArray[np.float64], wealth: NDArray[np.float64]) -> dict[str, float]:
    """Metrics of a series of returns; `wealth` is its start and what it becomes, `E_0 .. E_n`."""
    n = len(r)
    if n == 0 or (wealth <= 0.0).any():
        return dict.fromkeys(OF_RETURNS, NAN)
    mean, low = r.mean(), np.minimum(r, 0.0)
    std = r.std(ddof=1) if n > 1 else NAN
    # Rounding of equity is no deviation (METRICS.md section 2).
    is_flat = not std > max(1e-12 * np.abs(r).max(), 4 * 2.0**-52)
    std = 0.0 if is_flat and n > 1 else std
    q05, q95 = np.quantile(r, [0.05, 0.95])
    short = math.sqrt(np.mean(low**2))
    made = {
        "cagr": (wealth[-1] / wealth[0]) ** (A / n) - 1.0,
        "volatility": std * math.sqrt(A),
        "sharpe": NAN if is_flat else mean / std * math.sqrt(A),
        "sortino": divided(mean, short) * math.sqrt(A),
        "var_95": q05,
        "cvar_95": r[r <= q05].mean(),
        "omega": divided(np.maximum(r, 0.0).sum(), -low.sum()),
        "tail_ratio": divided(abs(q95), abs(q05)),
        "skew": NAN if is_flat else ((r - mean) ** 3).mean() / r.var() ** 1.5,
        "kurtosis": NAN if is_flat else ((r - mean) ** 4).mean() / r.var() ** 2,
    }
    y, i = np.log(wealth[1:] / wealth[0]), np.arange(1, n + 1, dtype=float)
    residual = NAN
    if n > 1 and np.ptp(y) > 1e-13 * np.abs(y).max():
        slope, constant = np.polyfit(i, y, 1)
        residual = float(np.square(y - slope * i - constant).sum())
        made["stability"] = 1.0 - residual / np.square(y - y.mean()).sum()
    else:
        made["stability"] = NAN
    if n > 2 and 1.0 - made["stability"] > 1e-12:
        error = math.sqrt(residual / (n - 2) / np.square(i - i.mean()).sum())
        made["k_ratio"] = slope / error * math.sqrt(A) / n
    else:
        made["k_ratio"] = NAN
    return {name: float(value) for name, value in made.items()}


def of_trips(trips: pl.DataFrame) -> dict[str, float]:
    net = trips["net"].to_numpy()
    win, loss = net[net > 0.0], net[net < 0.0]
    streak = {1: 0, -1: 0}
    run_of, length = 0, 0
    for sign in np.sign(net).astype(int):
        length = length + 1 if sign == run_of else 1
        run_of = int(sign)
        if run_of:
            streak[run_of] = max(streak[run_of], length)
    n = len(net)
    std = net.std(ddof=1) if n > 1 else 0.0
    is_flat = not std > 1e-12 * np.abs(net).max(initial=0.0)
    avg_win = win.mean() if len(win) else NAN
    avg_loss = loss.mean() if len(loss) else NAN
    rate = len(win) / n if n else NAN
    bars = (trips["exit_row"] - trips["entry_row"]).to_numpy()
    return {
        "n_trades": float(n),
        "win_rate": rate,
        "profit_factor": divided(win.sum(), -loss.sum()) if n else NAN,
        "expectancy": net.mean() if n else NAN,
        "payoff": avg_win / abs(avg_loss),
        "sqn": NAN if is_flat else net.mean() / std * math.sqrt(n),
        "kelly": rate - (1.0 - rate) / (avg_win / abs(avg_loss)),
        "avg_win": avg_win,
        "avg_loss": avg_loss,
        "max_win": win.max() if len(win) else NAN,
        "max_loss": loss.min() if len(loss) else NAN,
        "avg_holding_bars": bars.mean() if n else NAN,
        "avg_mae": trips["mae"].to_numpy().mean() if n else NAN,
        "avg_mfe": trips["mfe"].to_numpy().mean() if n else NAN,
        "max_win_streak": float(streak[1]) if n else NAN,
        "max_loss_streak": float(streak[-1]) if n else NAN,
    }


def expected(world: World, run: Run) -> dict[str, float]:
    equity = np.array(run.equity)
    dates = [world.date(step) for step in world.steps]
    ends = [ix for ix in range(len(dates)) if ix + 1 == len(dates) or dates[ix + 1] != dates[ix]]
    wealth = equity[ends]
    r = wealth[1:] / wealth[:-1] - 1.0
    made = of_returns(r, wealth) | of_trips(run.trades)
    exposed = pl.DataFrame(run.result.equity())["exposure"].to_numpy() != 0.0
    notional = sum(qty * price * world.settings.multiplier for _, _, _, qty, price, _, _ in run.fills)
    is_defined = len(r) > 0 and (wealth > 0.0).all()
    made |= {
        "total_return": equity[-1] / world.settings.cash - 1.0,
        "final_equity": equity[-1],
        "max_drawdown": drawdowns(equity).min(),
        "max_drawdown_bars": longest(equity),
        "ulcer_index": math.sqrt(np.mean(drawdowns(equity) ** 2)),
        "exposure": exposed.mean(),
        "n_fills": float(len(run.fills)),
        "n_rejects": float(sum(status == "rejected" for _, _, status, _, _ in run.orders)),
        "fees": float(sum(fees for *_, fees, _ in run.fills)),
        "turnover": notional / wealth.mean() * A / len(r) if is_defined else NAN,
    }
    made["calmar"] = divided(made["cagr"], abs(made["max_drawdown"]))
    return made


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.sampled_from([2, 4, 60, 90]))
def test_metrics_of_an_account_are_the_plain_formulas(seed: int, n_steps: int) -> None:
    world = random_world(seed, n_steps=max(n_steps, 4))
    run = play(world)
    got = pl.DataFrame(run.result.metrics()).row(0, named=True)
    for name, value in expected(world, run).items():
        # k_ratio and stability look at what a fit leaves, which cancels digits.
        rel = 1e-7 if name in ("k_ratio", "stability", "skew", "kurtosis", "sqn") else 1e-9
        same = (
            math.isnan(got[name])
            if math.isnan(value)
            else got[name] == pytest.approx(value, rel=rel, abs=1e-12)
        )
        assert same, f"seed {seed}: {name} is {got[name]}, expected {value}"


@settings(max_examples=100, deadline=None, print_blob=True)
@given(
    returns=st.lists(st.floats(-0.5, 0.5).map(lambda x: round(x, 6)), min_size=1, max_size=80),
    seed=st.integers(0, 1000),
)
def test_metrics_of_plain_returns_and_a_benchmark_are_the_plain_formulas(
    returns: list[float], seed: int
) -> None:
    r = np.array(returns)
    b = np.round(np.random.default_rng(seed).normal(0.0, 0.01, len(r)), 6)
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + r)])
    wanted: dict[str, Any] = of_returns(r, wealth)
    n, excess = len(r), r - b
    if n > 1:
        beta = np.cov(r, b, ddof=1)[0, 1] / b.var(ddof=1)
        wanted |= {
            "beta": beta,
            "alpha": A * (r.mean() - beta * b.mean()),
            "tracking_error": excess.std(ddof=1) * math.sqrt(A),
            "information_ratio": excess.mean() / excess.std(ddof=1) * math.sqrt(A),
        }
    for name, side in (("up_capture", b > 0.0), ("down_capture", b < 0.0)):
        growth = [np.prod(1.0 + x[side]) ** (1.0 / side.sum()) - 1.0 for x in (r, b)] if side.any() else None
        wanted[name] = growth[0] / growth[1] if growth else NAN
    got = _core.summarize_returns(r, A, benchmark=b)
    for name, value in wanted.items():
        rel = 1e-6 if name in ("k_ratio", "stability", "skew", "kurtosis") else 1e-8
        same = (
            math.isnan(got[name])
            if math.isnan(value)
            else got[name] == pytest.approx(value, rel=rel, abs=1e-10)
        )
        assert same, f"{name} is {got[name]}, expected {value} for {returns}"


def test_every_metric_has_its_plain_formula() -> None:
    world = random_world(5)
    known = set(expected(world, play(world))) | {
        # From a benchmark, above; by construction of a run, in the reference simulator's fills and the oracle.
        *("alpha", "beta", "information_ratio", "tracking_error", "up_capture", "down_capture"),
        *("n_orders", "slippage_cost"),
    }
    assert set(_core.metric_names()) == known


def test_one_good_day_annualises_and_constant_returns_have_no_sharpe() -> None:
    """A constant return has no deviation: its Sharpe ratio is undefined and not infinite."""
    got = _core.summarize_returns(np.full(50, 0.001), A)
    assert math.isnan(got["sharpe"])
    assert got["volatility"] == 0.0
    assert got["cagr"] == pytest.approx(1.001**252 - 1.0)


def test_minute_bars_have_the_sharpe_ratio_of_their_days() -> None:
    """Returns are those of trading dates, whatever the frequency of the bars."""
    world = random_world(11, n_steps=60)
    bars = {step: world.assets[0][at] for step, at in enumerate(sorted(world.assets[0]))}
    rules = {"enter": "close > 0", "size": {"kind": "pct_equity", "value": "1", "at": "fill"}}
    found = []
    for steps_a_day in (1, 3):
        panel = _core.Panel.from_arrow(table_of([bars], steps_a_day))
        plan = {"strategy": {"rules": rules}, "outputs": [["sharpe", None]], "mode": "portfolio"}
        run = _core.Plan(json.dumps(plan)).run_one(panel, [])
        equity = pl.DataFrame(run.equity()).group_by("date", maintain_order=True).last()["equity"].to_numpy()
        r = equity[1:] / equity[:-1] - 1.0
        found.append(run.values[0])
        assert run.values[0] == pytest.approx(r.mean() / r.std(ddof=1) * math.sqrt(252.0))
    assert found[0] != found[1]
