"""Results do not depend on names, the order of rows or the unit of prices and quantities; long sums stay exact."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import akq_dist as akq
from akq_dist import _core
from akq_dist.strategy import Strategy
from akq_dist.strategy.factory import make_factory
from tests.differential.worlds import (
    DAY_NS,
    Change,
    Ohlcv,
    Said,
    Take,
    World,
    play,
    random_world,
    table_of,
)
from tests.property.generated import bars_of, random_slots, rules_of, trace

SEEDS = st.integers(0, 2**32 - 1)

# ---- names and order


@settings(max_examples=30, deadline=None, print_blob=True)
@given(seed=SEEDS, order=st.permutations(range(3)))
def test_an_account_of_its_own_does_not_know_the_names_of_others(seed: int, order: list[int]) -> None:
    world, slots = random_world(seed), random_slots(np.random.default_rng([seed, 1]))
    order = [ix for ix in order if ix < len(world.assets)]
    plain = trace(world, bars_of(world, seed), rules_of(slots), "per_asset")
    # The same bars under other names, hence in another order; columns of random numbers go with their asset.
    table = bars_of(world, seed)
    offsets = np.cumsum([0, *(len(bars) for bars in world.assets)])
    parts = [table.slice(offsets[ix], len(world.assets[ix])) for ix in order]
    moved = pa.concat_tables(parts).combine_chunks()
    shuffled = replace(world, assets=tuple(world.assets[ix] for ix in order))
    metadata = table_of(shuffled.assets, shuffled.steps_a_day).schema.metadata
    other = trace(shuffled, moved.replace_schema_metadata(metadata), rules_of(slots), "per_asset")
    for new, old in enumerate(order):
        for ours, theirs in ((plain.fills, other.fills), (plain.equity, other.equity)):
            mine = [row[:1] + row[2:] for row in ours if row[1] == f"S{old}"]
            assert mine == [row[:1] + row[2:] for row in theirs if row[1] == f"S{new}"], (seed, order)


@settings(max_examples=20, deadline=None, print_blob=True)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_rows_and_names_that_sort_alike_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 80
    frames = []
    for symbol in ("AAA", "MMM", "ZZZ"):
        close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, n)))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": pl.date_range(pl.date(2024, 1, 1), pl.date(2025, 1, 1), eager=True).head(n),
                    "open": close * 1.001,
                    "high": close * 1.02,
                    "low": close * 0.98,
                    "close": close,
                }
            )
        )
    data = pl.concat(frames)
    rules = {
        "enter": "rank(close) > 1 and close > sma(close, 3)",
        "exit": "close < sma(close, 3)",
        "size": {"pct_equity": 0.4},
    }
    market = {"buying_power": "cash", "commission": {"rate": 0.001}}
    given_frames = (
        data,
        data.sample(fraction=1.0, shuffle=True, seed=seed),
        data.reverse(),
        data.with_columns(symbol="X" + pl.col("symbol").str.to_lowercase()),
    )
    runs = [
        akq.backtest(
            strategy={"rules": rules},
            data={"table": frame, "on_bad": "drop_rows"},
            mode="portfolio",
            market=market,
        )
        for frame in given_frames
    ]
    assert len({run.hash for run in runs}) == 1
    assert all(run.fills.drop("symbol").equals(runs[0].fills.drop("symbol")) for run in runs)


@pytest.mark.parametrize(("priority", "first"), [((), "A"), (("B",), "B")])
def test_scarce_cash_goes_to_the_first_in_panel_order(priority: tuple[str, ...], first: str) -> None:
    dates = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 5), eager=True)
    data = pl.concat(
        [
            pl.DataFrame(
                {"symbol": symbol, "date": dates, "open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0}
            )
            for symbol in ("B", "A")
        ]
    )

    class AllIn(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            if bar.index == 0:
                self.buy(pct_equity=1.0)

    run = akq.backtest(
        strategy=AllIn,
        data={"table": data, "priority": list(priority)},
        mode="portfolio",
        market={"buying_power": "cash", "cash": 1_000.0},
    )
    assert run.fills.select("symbol", "qty").rows() == [(first, 100.0)]


# ---- units: twice as much of everything is the same to the bit


def scaled(world: World, price: float, qty: float) -> World:
    """The same world in another unit of prices and of quantities."""

    def level(given: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return (given[0], given[1] * price, *given[2:]) if given is not None and given[0] == "abs" else given

    def ask(said: Said) -> Said:
        if isinstance(said, Take):
            return said
        if isinstance(said, Change):
            scale = {"limit": price, "stop": price, "qty": qty}
            given = {
                name: value * f for name, f in scale.items() if (value := getattr(said, name)) is not None
            }
            return replace(said, **given)
        levels: dict[str, Any] = {name: level(getattr(said, name)) for name in LEVELS}
        times = {"qty": qty, "value": price * qty, "limit": price, "stop": price}
        numbers = {name: value * f for name, f in times.items() if (value := getattr(said, name)) is not None}
        return replace(said, **levels, **numbers)

    s = world.settings
    model, amount = s.slippage
    settings_ = replace(
        s,
        cash=s.cash * price * qty,
        tick=s.tick * price,
        minimum=s.minimum * price * qty,
        per_share=s.per_share * price,
        lot=s.lot * qty,
        slippage=(model, amount),
    )
    return replace(
        world,
        assets=tuple({at: bar_scaled(bar, price, qty) for at, bar in bars.items()} for bars in world.assets),
        script={at: tuple(ask(said) for said in asks) for at, asks in world.script.items()},
        settings=settings_,
    )


LEVELS = ("trail", "stop_loss", "take_profit", "trailing")


def bar_scaled(bar: Ohlcv, price: float, qty: float) -> Ohlcv:
    return bar.scaled(price, qty)


@pytest.mark.parametrize(
    ("price", "qty"), [(2.0**24, 1.0), (2.0**-26, 1.0), (1.0, 2.0**27), (2.0**20, 2.0**-20)]
)
@settings(max_examples=25, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_prices_near_a_thousand_million_or_a_millionth_change_no_bit(
    price: float, qty: float, seed: int
) -> None:
    """Powers of two scale without rounding: what is left of a difference would be a constant with a unit."""
    # Lots are floored with a tolerance in lots, which has no unit.
    world = random_world(seed)
    ours, theirs = play(world), play(scaled(world, price, qty))
    assert [
        (s, a, d, q * qty, p * price, f * price * qty, t) for s, a, d, q, p, f, t in ours.fills
    ] == theirs.fills, seed
    assert [order[2:] for order in ours.orders] == [order[2:] for order in theirs.orders]
    assert [equity * price * qty for equity in ours.equity] == theirs.equity
    assert [cash * price * qty for cash in ours.cash] == theirs.cash


# ---- fractions and long sums


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=SEEDS, fill=st.sampled_from(["next_open", "close"]), participation=st.sampled_from([None, 0.3]))
def test_fractional_positions_close_to_exactly_nothing(
    seed: int, fill: str, participation: float | None
) -> None:
    rng = np.random.default_rng(seed)
    buys = rng.uniform(1e-8, 2.0, 40).round(8).tolist()
    ends: list[float] = []

    class Collects(Strategy):
        def on_bar(self, bar: _core.Bar) -> None:
            if bar.index < len(buys):
                self.buy(buys[bar.index], stop_loss={"pct": 0.9})
                if bar.index % 5 == 4:
                    # What was bought, in decimal: less or more than the sum of the fills by a rounding error.
                    self.sell(round(sum(buys[bar.index - 4 : bar.index]), 8))
            elif bar.index == 45:
                self.cancel_all()
                self.close()
            ends.append(self.position())

    bars = {
        ix: Ohlcv(p, p * 1.01, p * 0.99, p, 9.0) for ix, p in enumerate(rng.uniform(90.0, 110.0, 70).tolist())
    }
    table = table_of([bars])
    market = {"lot": 0.0, "fill": fill, "execution": {"max_participation": participation}}
    plan = {"strategy": {"callback": True}, "market": market, "outputs": [["final_equity", "sum"]]}
    result = _core.Plan(json.dumps(plan)).run_one(
        _core.Panel.from_arrow(table), [], strategy=make_factory(Collects, {}, table, 0)
    )
    fills = pl.DataFrame(result.fills())
    assert ends[-1] == 0.0
    sold = fills.filter(pl.col("side") == "sell")["qty"]
    assert math.fsum(fills.filter(pl.col("side") == "buy")["qty"]) == pytest.approx(
        math.fsum(sold), rel=1e-12
    )
    trades = pl.DataFrame(result.trades())
    assert math.fsum(trades["qty"]) == pytest.approx(math.fsum(sold), rel=1e-12)
    assert trades["qty"].to_numpy().min() > 1e-9


def test_a_million_bars_add_up() -> None:
    """Equity after a million bars is the cash at the start and the net of every round trip, to twelve digits."""
    n = 1_000_000
    rng = np.random.default_rng(2)
    close = 100.0 * np.exp(0.2 * np.sin(np.arange(n) / 50.0) + rng.normal(0.0, 0.001, n))
    columns: dict[str, Any] = {
        "ts": pa.array(np.arange(n) * (DAY_NS // 1440)).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array((np.arange(n) // 1440).astype("i4")).cast(pa.date32()),
        **{name: close * f for name, f in (("open", 1.0), ("high", 1.001), ("low", 0.999), ("close", 1.0))},
    }
    metadata = {"akq.symbols": '["A"]', "akq.offsets": json.dumps([0, n]), "akq.digest": "0"}
    panel = _core.Panel.from_arrow(pa.table(columns).replace_schema_metadata(metadata))
    rules = {
        "enter": "close > sma(close, 20)",
        "exit": "close < sma(close, 20)",
        "size": {"kind": "qty", "value": "7"},
    }
    plan = {
        "strategy": {"rules": rules},
        "market": {"commission": {"rate": 0.0003}, "slippage_bps": 1.0},
        "outputs": [[name, "sum"] for name in ("final_equity", "n_trades", "fees")],
    }
    run = _core.Plan(json.dumps(plan)).run_one(panel, [])
    trades, fills = pl.DataFrame(run.trades()), pl.DataFrame(run.fills())
    final, n_trades, fees = run.values
    assert n_trades > 5_000
    open_qty = 7.0 * (fills.height - 2 * trades.height)
    last = fills.tail(1).row(0, named=True)
    unclosed = open_qty * (close[-1] - last["price"]) - (last["fees"] if open_qty else 0.0)
    assert final == pytest.approx(1_000_000.0 + math.fsum(trades["net"]) + unclosed, rel=1e-12)
    assert fees == pytest.approx(math.fsum(fills["fees"]), rel=1e-12)
