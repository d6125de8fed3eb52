"""Strategies made at random, each in the forms that can say it: rules, signals and callbacks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from akq_dist import _core
from akq_dist.runner import StrategyRunner
from akq_dist.strategy import Strategy
from akq_dist.strategy.signals import SignalStrategy
from tests.differential.worlds import DAY_NS, market_of, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from akq_dist.strategy import Trade
    from tests.differential.worlds import World

WARM_UP = 7
"""Bars of every asset whose columns are undefined."""


@dataclass(frozen=True)
class Slots:
    """A strategy over two random columns, `u` and `v`; numbers are thresholds, factors and distances."""

    enter: float
    exit: float | None = None
    enter_short: float | None = None
    exit_short: float | None = None
    on_opposite: str | None = None
    entry: tuple[str, float] | None = None
    entry_short: tuple[str, float] | None = None
    valid_bars: int | None = None
    size: tuple[str, float, str] = ("qty", 10.0, "decision")
    stop_loss: tuple[str, float, str] | None = None
    take_profit: tuple[str, float, str] | None = None
    trailing: tuple[str, float, str] | None = None
    max_bars: int | None = None


def random_slots(rng: np.random.Generator) -> Slots:
    def some(share: float, value: Any) -> Any:
        return value if rng.random() < share else None

    def level(*words: str) -> tuple[str, float, str]:
        unit, distance = [("pct", rng.uniform(0.005, 0.06)), ("abs", rng.uniform(0.2, 4.0))][
            int(rng.integers(2))
        ]
        return unit, float(distance), str(rng.choice(words))

    both = bool(rng.random() < 0.6)
    entry = some(0.5, (str(rng.choice(["limit", "stop"])), float(rng.uniform(0.97, 1.03))))
    entry_short = (
        some(0.5, (str(rng.choice(["limit", "stop"])), float(rng.uniform(0.97, 1.03)))) if both else None
    )
    sizes = [("qty", 30.0, "decision"), ("value", 9_000.0, "decision"), ("pct_equity", 0.3, "decision")]
    sizes.append(("pct_equity", 0.5, "fill"))
    return Slots(
        enter=float(rng.uniform(0.1, 0.5)),
        exit=some(0.8, float(rng.uniform(0.5, 0.9))),
        enter_short=float(rng.uniform(0.1, 0.5)) if both else None,
        exit_short=some(0.8, float(rng.uniform(0.5, 0.9))) if both else None,
        on_opposite=some(0.5, str(rng.choice(["close", "reverse"]))) if both else None,
        entry=entry,
        entry_short=entry_short,
        valid_bars=int(rng.integers(1, 5)) if entry or entry_short else None,
        size=sizes[int(rng.integers(4))],
        stop_loss=some(0.5, level("fill", "signal")),
        take_profit=some(0.5, level("fill", "signal")),
        trailing=some(0.4, level("high", "close")),
        max_bars=some(0.4, int(rng.integers(1, 12))),
    )


def bars_of(world: World, seed: int, changed_after: int | None = None) -> pa.Table:
    """The bars of a world with the columns `u` and `v`; other numbers after a step where it is given."""
    table = table_of(world.assets, world.steps_a_day, has_volume=world.has_volume)
    columns = {name: np.empty(table.num_rows) for name in ("u", "v")}
    row = 0
    for asset, bars in enumerate(world.assets):
        for n, step in enumerate(sorted(bars)):
            is_changed = changed_after is not None and step > changed_after
            draws = np.random.default_rng([seed, asset, step, is_changed]).random(2)
            for column, value in zip(columns.values(), draws, strict=True):
                column[row] = value if n >= WARM_UP else np.nan
            row += 1
    for name, column in columns.items():
        table = table.append_column(name, pa.array(column, pa.float64()))
    return table.replace_schema_metadata(table_of(world.assets, world.steps_a_day).schema.metadata)


# ---- rules


def rules_of(slots: Slots) -> dict[str, Any]:
    def entry(price: tuple[str, float] | None) -> dict[str, str] | None:
        return None if price is None else {price[0]: f"close * {price[1]!r}"}

    def level(given: tuple[str, float, str] | None, word: str) -> dict[str, str] | None:
        return None if given is None else {"kind": given[0], "value": repr(given[1]), word: given[2]}

    kind, amount, when = slots.size
    return {
        "enter": f"u < {slots.enter!r}",
        "exit": None if slots.exit is None else f"u > {slots.exit!r}",
        "enter_short": None if slots.enter_short is None else f"v < {slots.enter_short!r}",
        "exit_short": None if slots.exit_short is None else f"v > {slots.exit_short!r}",
        "on_opposite": slots.on_opposite,
        "entry": entry(slots.entry),
        "entry_short": entry(slots.entry_short),
        "valid_bars": None if slots.valid_bars is None else str(slots.valid_bars),
        "size": {"kind": kind, "value": repr(amount), "at": when},
        "stop_loss": level(slots.stop_loss, "from"),
        "take_profit": level(slots.take_profit, "from"),
        "trailing": level(slots.trailing, "on"),
        "max_bars": None if slots.max_bars is None else str(slots.max_bars),
    }


# ---- signals


def signals_of(slots: Slots) -> type[SignalStrategy]:
    def level(given: tuple[str, float, str], word: str) -> dict[str, Any]:
        return {given[0]: given[1], word: given[2]}

    class Columns(SignalStrategy):
        def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
            u, v = pl.col("u").fill_nan(None), pl.col("v").fill_nan(None)
            kind, amount, when = slots.size
            made: dict[str, Any] = {"enter": u < slots.enter, "size": {kind: amount}}
            if kind != "qty":
                made["size"]["size_at"] = when
            if slots.exit is not None:
                made["exit"] = u > slots.exit
            if slots.enter_short is not None:
                made["enter_short"] = v < slots.enter_short
            if slots.exit_short is not None:
                made["exit_short"] = v > slots.exit_short
            for name in ("entry", "entry_short"):
                price = getattr(slots, name)
                if price is not None:
                    made[name] = {price[0]: pl.col("close") * price[1]}
            for name in ("on_opposite", "valid_bars", "max_bars"):
                if getattr(slots, name) is not None:
                    made[name] = getattr(slots, name)
            for name, word in (("stop_loss", "from"), ("take_profit", "from"), ("trailing", "on")):
                if getattr(slots, name) is not None:
                    made[name] = level(getattr(slots, name), word)
            return made

    return Columns


# ---- callbacks


def callbacks_of(slots: Slots, log: list[tuple[Any, ...]] | None = None) -> type[Strategy]:
    """The same decisions by hand; everything heard goes to `log`."""
    heard = [] if log is None else log
    never = float("inf")

    class ByHand(Strategy):
        def on_start(self) -> None:
            self.entry: dict[int, int] = {}
            self.market: dict[int, list[int]] = {}
            self.lots: dict[str, list[list[float]]] = {}

        def on_bar(self, bar: _core.Bar) -> None:
            heard.append(("bar", bar.ts, bar.symbol, bar.close, self.equity, self.position()))
            u, v = bar.get("u"), bar.get("v")
            enter, leave = u < slots.enter, u > (never if slots.exit is None else slots.exit)
            enter_short = v < (-1.0 if slots.enter_short is None else slots.enter_short)
            leave_short = v > (never if slots.exit_short is None else slots.exit_short)
            held, working = self.position(), self.working()
            waits = any(order in working for order in self.market.get(bar.asset, []))
            if held == 0.0:
                long, short = enter and not leave, enter_short and not leave_short
                if long == short or waits or self.entry.get(bar.asset) in working:
                    return
                self.open(bar, 1 if long else -1)
                return
            ends, opposite = (leave, enter_short) if held > 0.0 else (leave_short, enter)
            opposite = opposite and slots.on_opposite is not None
            lots = self.lots[bar.symbol]
            is_old = slots.max_bars is not None and bar.index - lots[0][0] >= slots.max_bars
            if not (ends or opposite or is_old) or waits:
                return
            order = self.close(tag="exit" if ends or opposite else "max_bars")
            self.market[bar.asset] = [] if order is None else [order]
            blocked = leave_short if held > 0.0 else leave
            if opposite and slots.on_opposite == "reverse" and not blocked:
                self.open(bar, -1 if held > 0.0 else 1)

        def open(self, bar: _core.Bar, side: int) -> None:
            kind, amount, when = slots.size
            order: dict[str, Any] = {kind: amount, "tag": "entry"}
            if when == "fill":
                order["size_at"] = "fill"
            price = slots.entry if side > 0 else slots.entry_short
            if price is not None:
                order[price[0]] = bar.close * price[1]
                if slots.valid_bars is not None:
                    order["valid_bars"] = slots.valid_bars
            for name, word in (("stop_loss", "from"), ("take_profit", "from"), ("trailing", "on")):
                level = getattr(slots, name)
                if level is not None:
                    order[name] = {level[0]: level[1], word: level[2]}
            number = (self.buy if side > 0 else self.sell)(**order)
            self.entry[bar.asset] = number
            if price is None:
                self.market.setdefault(bar.asset, []).append(number)

        def on_trade(self, trade: Trade) -> None:
            heard.append(
                ("trade", self._context().ts, trade.symbol, trade.side, trade.qty, trade.price, trade.fees)
            )
            # First in, first out: the row of the oldest units held.
            lots, left = self.lots.setdefault(trade.symbol, []), trade.qty
            while left > 0.0 and lots and lots[0][1] * trade.side < 0.0:
                part = min(abs(lots[0][1]), left)
                lots[0][1] += trade.side * part
                left -= part
                if lots[0][1] == 0.0:
                    lots.pop(0)
            if left > 0.0:
                lots.append([float(self.bar_index()), trade.side * left])

        def on_order(self, order: Any) -> None:
            heard.append(("order", self._context().ts, order.id, order.status, order.reason, order.filled))

    return ByHand


# ---- a run


@dataclass(frozen=True)
class Trace:
    """What a run did: fills, orders and equity, with their times in nanoseconds."""

    fills: list[tuple[Any, ...]]
    orders: list[tuple[Any, ...]]
    equity: list[tuple[Any, ...]]

    def until(self, ts: int) -> Trace:
        """What had happened up to a time; what became of an order may be decided later."""
        early = [[row for row in rows if row[0] <= ts] for rows in (self.fills, self.orders, self.equity)]
        return Trace(early[0], [order[:6] for order in early[1]], early[2])


def trace(world: World, table: pa.Table, form: Any, mode: str) -> Trace:
    """Run a form of a strategy: the mapping of rules, or a class."""
    panel = _core.Panel.from_arrow(table)
    plan = {
        "strategy": {"callback": True} if isinstance(form, type) else {"rules": form},
        "params": [],
        "mode": mode,
        "market": market_of(world.settings),
        "outputs": [["final_equity", "sum" if mode == "per_asset" else None]],
    }
    if isinstance(form, type):
        result = StrategyRunner(form, table, panel, json.dumps(plan), []).run({}, 0, details=True)
    else:
        result = _core.Plan(json.dumps(plan)).run_one(panel, [])
    ts = pl.col("ts").cast(pl.Int64)
    fills = pl.DataFrame(result.fills()).select(ts, "symbol", "side", "qty", "price", "fees", "tag")
    orders = pl.DataFrame(result.orders()).select(
        pl.col("submitted").cast(pl.Int64),
        "symbol",
        "id",
        "side",
        "kind",
        "tag",
        "price",
        "qty",
        "status",
        "reason",
    )
    equity = pl.DataFrame(result.equity()).select(ts, "symbol", "equity", "cash", "exposure")
    return Trace(fills.rows(), orders.rows(), equity.rows())


def step_ns(world: World, step: int) -> int:
    return step * (DAY_NS // world.steps_a_day)
