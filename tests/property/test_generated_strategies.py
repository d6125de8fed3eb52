"""Generated strategies under generated markets: their forms agree to the bit, and the future reaches none of them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from akq_dist import _core
from akq_dist.strategy import Strategy
from akq_dist.strategy.signals import SignalStrategy
from tests.differential.worlds import World, market_of, play, random_world, table_of
from tests.property.generated import (
    bars_of,
    callbacks_of,
    random_slots,
    rules_of,
    signals_of,
    step_ns,
    trace,
)

SEEDS = st.integers(0, 2**32 - 1)
MODES = st.sampled_from(["per_asset", "portfolio"])


def agree(seed: int, mode: str) -> int:
    world, slots = random_world(seed), random_slots(np.random.default_rng([seed, 1]))
    table = bars_of(world, seed)
    rules = trace(world, table, rules_of(slots), mode)
    for name, form in (("signals", signals_of(slots)), ("callbacks", callbacks_of(slots))):
        other = trace(world, table, form, mode)
        what = f"seed {seed}, {mode}, {name}: {slots}, {world.settings}"
        assert rules.fills == other.fills, what
        assert rules.equity == other.equity, what
    return len(rules.fills)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=SEEDS, mode=MODES)
def test_rules_signals_and_callbacks_agree_to_the_bit(seed: int, mode: str) -> None:
    agree(seed, mode)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, print_blob=True)
@given(seed=SEEDS, mode=MODES)
def test_many_more_strategies_agree_to_the_bit(seed: int, mode: str) -> None:
    agree(seed, mode)


def test_generated_strategies_trade() -> None:
    assert sum(agree(seed, "portfolio") > 5 for seed in range(30)) > 20


@settings(max_examples=40, deadline=None, print_blob=True)
@given(seed=SEEDS, every=st.integers(1, 4), top=st.sampled_from([None, 1, 2]))
def test_weights_agree_in_every_form(seed: int, every: int, top: int | None) -> None:
    world = random_world(seed)
    table = bars_of(world, seed)

    class Columns(SignalStrategy):
        def signals(self, bars: Any) -> Any:
            rebalance = {"every": every} | ({} if top is None else {"top": top})
            return {"weights": bars["u"] * 0.5, "rebalance": rebalance}

    class ByHand(Strategy):
        step = -1

        def on_bars(self, bars: Any) -> None:
            self.step += 1
            if self.step % every:
                return
            weights = {}
            for symbol in self.symbols:
                if symbol in bars:
                    u = bars[symbol].get("u")
                    weights[symbol] = 0.0 if np.isnan(u) else u * 0.5
            kept = sorted(weights, key=lambda symbol: -weights[symbol])[:top]
            for symbol, weight in weights.items():
                self.target_pct(weight if symbol in kept else 0.0, symbol=symbol)

    rebalance = {"every": str(every), "top": None if top is None else str(top)}
    rules = trace(world, table, {"weights": "u * 0.5", "rebalance": rebalance}, "portfolio")
    for form in (Columns, ByHand):
        other = trace(world, table, form, "portfolio")
        assert rules.fills == other.fills, (seed, form, world.settings)
        assert rules.equity == other.equity


# ---- nothing up to t depends on what comes after it

HOW = st.sampled_from(["changed", "cut", "longer"])


def last_of_its_date(world: World, share: float) -> int | None:
    """A step with later ones; the last of its trading date, which is known from the times of the bars alone."""
    steps = world.steps
    ends = [
        step
        for step, later in pairwise(steps)
        if world.date(step) != world.date(later) and step % world.steps_a_day == world.steps_a_day - 1
    ]
    return ends[int(share * (len(ends) - 1))] if ends else None


def future_changes_nothing(seed: int, share: float, how: str) -> None:
    world = random_world(seed)
    at = last_of_its_date(world, share)
    if at is None:
        return
    other = world.changed_after(at, how)
    ours, theirs = play(world), play(other)
    n = sum(step <= at for step in world.steps)
    assert [f for f in ours.fills if f[0] <= at] == [f for f in theirs.fills if f[0] <= at], seed
    # Steps are counted in the timeline: callbacks, orders and trades are compared by what was heard in turn.
    heard = [[h for h in run.heard if is_early(h, at, n)] for run in (ours, theirs)]
    assert heard[0] == heard[1], seed
    assert ours.equity[:n] == theirs.equity[:n]
    assert ours.cash[:n] == theirs.cash[:n]


def is_early(heard: tuple[Any, ...], at: int, n: int) -> bool:
    # A bar is known by its own step, orders and trades by the number of the step.
    return bool(heard[1] <= at if heard[0] == "bar" else heard[1] < n)


@settings(max_examples=120, deadline=None, print_blob=True)
@given(seed=SEEDS, share=st.floats(0.0, 1.0), how=HOW)
# An order good till a date without a bar expires with the next date, and is heard of at its first step.
@example(seed=6506, share=0.109375, how="longer")
def test_no_order_of_any_kind_sees_the_future(seed: int, share: float, how: str) -> None:
    future_changes_nothing(seed, share, how)


@pytest.mark.slow
@pytest.mark.timeout(1_500)
@settings(max_examples=4_000, deadline=None, print_blob=True)
@given(seed=SEEDS, share=st.floats(0.0, 1.0), how=HOW)
def test_no_order_of_any_kind_sees_the_future_in_depth(seed: int, share: float, how: str) -> None:
    future_changes_nothing(seed, share, how)


@pytest.mark.parametrize("form", ["rules", "signals", "callbacks"])
@settings(max_examples=40, deadline=None, print_blob=True)
@given(seed=SEEDS, share=st.floats(0.0, 1.0), how=HOW, mode=MODES)
def test_no_generated_strategy_sees_the_future(
    form: str, seed: int, share: float, how: str, mode: str
) -> None:
    world = random_world(seed)
    at = last_of_its_date(world, share)
    if at is None:
        return
    slots = random_slots(np.random.default_rng([seed, 1]))
    traces, logs = [], []
    for one, changed_after in ((world, None), (world.changed_after(at, how), at)):
        log: list[tuple[Any, ...]] = []
        made = {
            "rules": rules_of(slots),
            "signals": signals_of(slots),
            "callbacks": callbacks_of(slots, log),
        }[form]
        traces.append(trace(one, bars_of(one, seed, changed_after), made, mode).until(step_ns(world, at)))
        logs.append([heard for heard in log if heard[1] <= step_ns(world, at)])
    assert traces[0] == traces[1], (seed, slots, world.settings)
    # Where an account of one asset ends is another step then, at which its orders end with the data.
    if mode == "portfolio" or how == "changed":
        assert logs[0] == logs[1], seed


@pytest.mark.parametrize("name", ["donchian", "sma_cross"])
@settings(max_examples=30, deadline=None, print_blob=True)
@given(seed=SEEDS, share=st.floats(0.0, 1.0), how=HOW)
def test_no_strategy_of_the_engine_sees_the_future(name: str, seed: int, share: float, how: str) -> None:
    world = random_world(seed)
    at = last_of_its_date(world, share)
    if at is None:
        return
    params = {"donchian": {"entry": 5.0, "leave": 3.0}, "sma_cross": {"fast": 2.0, "slow": 5.0}}[name]
    plan = {
        "strategy": {"rust": name},
        "constants": params,
        "market": market_of(world.settings),
        "outputs": [["final_equity", None]],
        "mode": "portfolio",
    }
    found = []
    for one in (world, world.changed_after(at, how)):
        panel = _core.Panel.from_arrow(table_of(one.assets, one.steps_a_day, has_volume=one.has_volume))
        result = _core.Plan(json.dumps(plan)).run_one(panel, [])
        early = pl.col("ts").cast(pl.Int64) <= step_ns(world, at)
        found.append([pl.DataFrame(t).filter(early).rows() for t in (result.fills(), result.equity())])
    assert found[0] == found[1]
