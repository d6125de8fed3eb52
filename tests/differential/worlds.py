"""Random markets, random orders and the plan that lets the engine trade them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from akq_dist import _core
from akq_dist.strategy import Order, Strategy, Trade
from akq_dist.strategy.factory import make_factory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DAY_NS = 86_400_000_000_000


class Ohlcv(NamedTuple):
    """One bar; a volume of NaN is none."""

    open: float
    high: float
    low: float
    close: float
    volume: float

    def scaled(self, price: float, volume: float) -> Ohlcv:
        return Ohlcv(
            self.open * price, self.high * price, self.low * price, self.close * price, self.volume * volume
        )


@dataclass(frozen=True)
class Ask:
    """An order as a strategy asks for it, all of it known beforehand."""

    side: int
    kind: str = "market"
    """market, limit, stop, stop_limit, trailing or close."""
    qty: float | None = None
    value: float | None = None
    pct_equity: float | None = None
    budget: float | None = None
    """Share of equity to spend at the fill."""
    limit: float | None = None
    stop: float | None = None
    trail: tuple[str, float, str] | None = None
    """Unit of the distance (pct or abs), distance, what moves it (high or close)."""
    tif: str = "gtc"
    """gtc, day, ioc, fok, bars or gtd."""
    until: int = 0
    """Number of bars, or the last trading date."""
    oco: int | None = None
    parent: int | None = None
    """Position of the parent among the asks of the script."""
    stop_loss: tuple[str, float] | None = None
    take_profit: tuple[str, float] | None = None
    trailing: tuple[str, float, str] | None = None


@dataclass(frozen=True)
class Take:
    """Takes an order of the script back, named by its position."""

    ask: int


@dataclass(frozen=True)
class Change:
    """Changes prices or the whole quantity of an order of the script."""

    ask: int
    limit: float | None = None
    stop: float | None = None
    qty: float | None = None


Said = Ask | Take | Change


@dataclass(frozen=True)
class Settings:
    """The market of a world; names as in SEMANTICS."""

    cash: float = 100_000.0
    fill: str = "next_open"
    slippage: tuple[str, float] = ("bps", 0.0)
    """bps, ticks, square_root or linear, and how much."""
    cap_to_bar: bool = False
    tick: float = 0.25
    rate: float = 0.0
    per_share: float = 0.0
    minimum: float = 0.0
    sell_tax: float = 0.0
    lot: float = 1.0
    multiplier: float = 1.0
    shorts: bool = True
    buying_power: str = "unlimited"
    on_insufficient_cash: str = "reject"
    risk_cash: bool = True
    max_participation: float | None = None
    halt_on_zero_volume: bool = False
    intrabar: str = "pessimistic"


@dataclass(frozen=True)
class World:
    """Bars by asset and step, what is asked for at which bar, and the market."""

    seed: int
    assets: tuple[dict[int, Ohlcv], ...]
    steps_a_day: int
    script: dict[tuple[int, int], tuple[Said, ...]]
    """What is asked for at a step on an asset."""
    settings: Settings
    has_volume: bool = True

    @property
    def steps(self) -> list[int]:
        """Steps at which any asset has a bar."""
        return sorted(set().union(*self.assets))

    @cached_property
    def positions(self) -> dict[tuple[int, int], int]:
        """Position of the first ask of a step and asset among all asks of the script."""
        first, n = {}, 0
        for at in sorted(self.script):
            first[at] = n
            n += sum(isinstance(said, Ask) for said in self.script[at])
        return first

    def date(self, step: int) -> int:
        return step // self.steps_a_day

    def changed_after(self, step: int, how: str) -> World:
        """The world with other bars after a step: changed, cut or added to."""
        rng = np.random.default_rng([self.seed, step])
        assets = []
        for bars in self.assets:
            kept = {at: bar for at, bar in bars.items() if at <= step}
            later = {at: bar for at, bar in bars.items() if at > step}
            if how == "changed":
                factor = float(np.exp(rng.uniform(-0.5, 0.5)))
                kept |= {at: bar.scaled(factor, 3.0) for at, bar in later.items()}
            elif how == "cut":
                # The last step is the one exception of SEMANTICS section 2, and an asset may have an account and a
                # last step of its own: one bar more of each stays.
                kept |= {at: later[at] for at in sorted(later)[:1]}
            elif later:  # the account of an asset that has ended has had its last step
                for at in range(step + 1, max(self.steps) + 6):
                    kept[at] = Ohlcv(40.0, 44.0, 36.0, 42.0, 500.0)
            assets.append(kept)
        return replace(self, assets=tuple(assets))


def random_world(seed: int, *, n_steps: int = 60, **fixed: Any) -> World:
    """A market of one to three assets with gaps and late listings, and orders of every kind."""
    rng = np.random.default_rng(seed)
    settings = replace(random_settings(rng), **fixed)
    on_grid = bool(rng.random() < 0.5)
    steps_a_day = int(rng.choice([1, 1, 3]))
    assets = tuple(random_bars(rng, n_steps, on_grid=on_grid) for _ in range(int(rng.integers(1, 4))))
    script = random_script(rng, assets, steps_a_day, settings)
    return World(seed, assets, steps_a_day, script, settings, has_volume=bool(rng.random() < 0.8))


def random_settings(rng: np.random.Generator) -> Settings:
    def some(share: float, value: Any, otherwise: Any) -> Any:
        return value if rng.random() < share else otherwise

    limits_cash = bool(rng.random() < 0.35)
    model = str(rng.choice(["bps", "bps", "ticks", "square_root", "linear"]))
    amount = {"bps": rng.uniform(0.0, 50.0), "ticks": float(rng.integers(0, 3))}.get(
        model, rng.uniform(0.0, 0.1)
    )
    return Settings(
        cash=float(rng.choice([20_000.0, 1_000_000.0])),
        fill=str(rng.choice(["next_open", "close"])),
        # What a budget buys under an impact that depends on the quantity is checked on its own.
        slippage=("bps", float(rng.uniform(0.0, 50.0))) if limits_cash else (model, float(amount)),
        cap_to_bar=bool(rng.random() < 0.2),
        rate=some(0.6, float(rng.uniform(0.0, 0.003)), 0.0),
        per_share=some(0.3, 0.01, 0.0),
        minimum=some(0.4, 5.0, 0.0),
        sell_tax=some(0.2, 0.001, 0.0),
        lot=float(rng.choice([1.0, 1.0, 10.0, 100.0])),
        multiplier=some(0.2, 10.0, 1.0),
        shorts=bool(rng.random() < 0.75),
        buying_power="cash" if limits_cash else "unlimited",
        on_insufficient_cash=str(rng.choice(["reject", "reduce"])),
        risk_cash=bool(rng.random() < 0.7),
        max_participation=some(0.4, float(rng.choice([0.05, 0.25, 1.0])), None),
        halt_on_zero_volume=bool(rng.random() < 0.5),
        intrabar=str(rng.choice(["pessimistic", "pessimistic", "optimistic", "ohlc"])),
    )


def random_bars(rng: np.random.Generator, n_steps: int, *, on_grid: bool) -> dict[int, Ohlcv]:
    """A random walk with gaps between and inside bars; on a grid of 0.25 prices meet exactly."""
    first = int(rng.integers(0, n_steps // 3)) if rng.random() < 0.3 else 0
    last = n_steps - int(rng.integers(0, n_steps // 3)) if rng.random() < 0.2 else n_steps
    bars: dict[int, Ohlcv] = {}
    close = float(rng.uniform(20.0, 200.0))
    for step in range(first, last):
        opening = close * math.exp(rng.normal(0.0, 0.012))
        close = opening * math.exp(rng.normal(0.0, 0.02))
        high = max(opening, close) * math.exp(abs(rng.normal(0.0, 0.008)))
        low = min(opening, close) * math.exp(-abs(rng.normal(0.0, 0.008)))
        if on_grid:
            prices = (opening, high, low, close)
            opening, high, low, close = (max(0.25, round(price * 4.0) / 4.0) for price in prices)
        volume = float(rng.choice([0.0, math.nan, *rng.integers(50, 3_000, 6)]))
        if rng.random() < 0.93:
            bars[step] = Ohlcv(opening, high, low, close, volume)
    return bars or {first: Ohlcv(100.0, 100.0, 100.0, 100.0, 1.0)}


def random_script(
    rng: np.random.Generator, assets: Sequence[dict[int, Ohlcv]], steps_a_day: int, settings: Settings
) -> dict[tuple[int, int], tuple[Said, ...]]:
    script: dict[tuple[int, int], tuple[Said, ...]] = {}
    owner: list[int] = []
    for step in sorted(set().union(*assets)):
        for asset, bars in enumerate(assets):
            if step not in bars or rng.random() > 0.4:
                continue
            close = bars[step].close
            made: list[Said] = []
            if owner and rng.random() < 0.15:
                made.append(Take(int(rng.integers(0, len(owner)))))
            if owner and rng.random() < 0.2:
                made.append(random_change(rng, int(rng.integers(max(0, len(owner) - 8), len(owner))), close))
            group = len(owner) + 1
            pair = bool(rng.random() < 0.25)
            for _ in range(2 if pair else 1):
                ask = random_ask(rng, close, step // steps_a_day, settings, in_group=pair)
                ask = replace(ask, oco=group) if pair else ask
                candidates = [ix for ix in range(max(0, len(owner) - 6), len(owner)) if owner[ix] == asset]
                if candidates and rng.random() < 0.1:
                    ask = replace(ask, parent=int(rng.choice(candidates)))
                made.append(ask)
                owner.append(asset)
            script[step, asset] = tuple(made)
    return script


def random_change(rng: np.random.Generator, ask: int, close: float) -> Change:
    def near() -> float | None:
        price = max(0.25, round(close * float(rng.uniform(0.97, 1.03)) * 4.0) / 4.0)
        return price if rng.random() < 0.5 else None

    qty = float(rng.integers(1, 12)) * 10.0 if rng.random() < 0.5 else None
    change = Change(ask, near(), near(), qty)
    return change if change != Change(ask) else Change(ask, qty=20.0)


def random_ask(
    rng: np.random.Generator, close: float, date: int, settings: Settings, *, in_group: bool
) -> Ask:
    def near() -> float:
        return max(0.25, round(close * float(rng.uniform(0.96, 1.04)) * 4.0) / 4.0)

    # A market order ends its group at once where it fills at this close: groups have resting legs there.
    kinds = ["limit", "limit", "stop", "stop_limit", "trailing", "close"]
    kinds += [] if in_group and settings.fill == "close" else ["market"] * 4
    kind = str(rng.choice(kinds))
    ask = Ask(side=int(rng.choice([1, -1])), kind=kind)
    if kind in ("limit", "stop_limit"):
        ask = replace(ask, limit=near())
    if kind in ("stop", "stop_limit"):
        ask = replace(ask, stop=near())
    if kind == "trailing":
        unit, most = ("pct", 0.04) if rng.random() < 0.5 else ("abs", close * 0.04)
        ask = replace(
            ask, trail=(unit, float(rng.uniform(0.2, 1.0)) * most, str(rng.choice(["high", "close"])))
        )
    size = rng.random()
    if size < 0.7:
        ask = replace(ask, qty=float(rng.integers(1, 9)) * 10.0)
    elif size < 0.8:
        ask = replace(ask, value=float(rng.uniform(100.0, 20_000.0)))
    elif size < 0.9 or settings.slippage[0] not in ("bps", "ticks") or settings.buying_power == "cash":
        ask = replace(ask, pct_equity=float(rng.uniform(0.0, 0.3)))
    else:
        ask = replace(ask, budget=float(rng.uniform(0.0, 0.3)))
    tif = str(rng.choice(["gtc", "gtc", "gtc", "day", "ioc", "fok", "bars", "gtd"]))
    until = {"bars": int(rng.integers(1, 5)), "gtd": date + int(rng.integers(-1, 4))}.get(tif, 0)
    ask = replace(ask, tif=tif, until=until)
    if rng.random() < 0.35:
        levels = [("pct", float(rng.uniform(0.005, 0.05))), ("abs", round(close * 0.02 * 4.0) / 4.0 + 0.25)]
        pick = [levels[int(rng.integers(0, 2))] if rng.random() < 0.6 else None for _ in range(3)]
        trailing = None if pick[2] is None else (*pick[2], str(rng.choice(["high", "close"])))
        ask = replace(ask, stop_loss=pick[0], take_profit=pick[1], trailing=trailing)
    return ask


# ---- the engine's side


def table_of(
    assets: Sequence[dict[int, Ohlcv]],
    steps_a_day: int = 1,
    *,
    has_volume: bool = True,
    symbols: Sequence[str] | None = None,
) -> pa.Table:
    """The panel's table of bars by asset and step."""
    names = list(symbols) if symbols is not None else [f"S{ix}" for ix in range(len(assets))]
    rows = [(step, bar) for bars in assets for step, bar in sorted(bars.items())]
    step = np.array([at for at, _ in rows], dtype="i8")
    columns: dict[str, Any] = {
        "ts": pa.array(step * (DAY_NS // steps_a_day)).cast(pa.timestamp("ns", "UTC")),
        "date": pa.array((step // steps_a_day).astype("i4")).cast(pa.date32()),
    }
    for ix, name in enumerate(Ohlcv._fields[: 5 if has_volume else 4]):
        columns[name] = pa.array([bar[ix] for _, bar in rows], pa.float64())
    offsets = np.cumsum([0, *(len(bars) for bars in assets)]).tolist()
    metadata = {"akq.symbols": json.dumps(names), "akq.offsets": json.dumps(offsets), "akq.digest": "0"}
    return pa.table(columns).replace_schema_metadata(metadata)


def market_of(settings: Settings) -> dict[str, Any]:
    """The `market` of a plan."""
    model, amount = settings.slippage
    slippage: Any = {model: amount}
    if model in ("square_root", "linear"):
        slippage = {"volume_impact": {"formula": model, "coefficient": amount}}
    execution: dict[str, Any] = {
        "slippage": slippage,
        "cap_to_bar": settings.cap_to_bar,
        "tick": settings.tick,
        "halt_on_zero_volume": settings.halt_on_zero_volume,
        "intrabar": settings.intrabar,
        "max_participation": settings.max_participation,
    }
    names = (
        "cash",
        "fill",
        "sell_tax",
        "lot",
        "multiplier",
        "shorts",
        "buying_power",
        "on_insufficient_cash",
    )
    return {
        **{name: getattr(settings, name) for name in names},
        "commission": {name: getattr(settings, name) for name in ("rate", "per_share", "minimum")},
        "execution": execution,
    }


def order_options(ask: Ask, ids: Mapping[int, int]) -> dict[str, Any]:
    """How a strategy says an ask."""
    options: dict[str, Any] = {
        name: value
        for name in ("qty", "value", "pct_equity", "limit", "stop", "oco")
        if (value := getattr(ask, name)) is not None
    }
    if ask.budget is not None:
        options |= {"pct_equity": ask.budget, "size_at": "fill"}
    if ask.kind == "close":
        options["on_close"] = True
    if ask.trail is not None:
        options["trail"] = {ask.trail[0]: ask.trail[1], "on": ask.trail[2]}
    if ask.tif == "bars":
        options["valid_bars"] = ask.until
    elif ask.tif == "gtd":
        import datetime as dt

        options["good_till"] = dt.date(1970, 1, 1) + dt.timedelta(days=ask.until)
    elif ask.tif != "gtc":
        options["tif"] = ask.tif
    if ask.parent is not None:
        options["parent"] = ids[ask.parent]
    for name in ("stop_loss", "take_profit"):
        level = getattr(ask, name)
        if level is not None:
            options[name] = {level[0]: level[1]}
    if ask.trailing is not None:
        options["trailing"] = {ask.trailing[0]: ask.trailing[1], "on": ask.trailing[2]}
    return options


class Script(Strategy):
    """Says what the script of a world says, and writes down all it hears."""

    world: World
    ids: dict[int, int]
    heard: list[tuple[Any, ...]]

    def on_start(self) -> None:
        self.ids = {}
        self.heard = []
        self.log.append(self.heard)

    log: list[list[tuple[Any, ...]]]

    def on_bar(self, bar: _core.Bar) -> None:
        world = self.world
        step = bar.ts // (DAY_NS // world.steps_a_day)
        seen = (bar.open, bar.high, bar.low, bar.close, repr(bar.volume))
        self.heard.append(("bar", step, bar.asset, seen, self.cash, self.equity, self.position()))
        position = world.positions.get((step, bar.asset), 0)
        for said in world.script.get((step, bar.asset), ()):
            # Where bars were taken away some orders of the script were never asked for.
            if not isinstance(said, Ask):
                if said.ask not in self.ids:
                    continue
                if isinstance(said, Take):
                    self.cancel(self.ids[said.ask])
                else:
                    self.amend(self.ids[said.ask], limit=said.limit, stop=said.stop, qty=said.qty)
                continue
            if said.parent is None or said.parent in self.ids:
                submit = self.buy if said.side > 0 else self.sell
                self.ids[position] = submit(**order_options(said, self.ids))
            position += 1

    def on_order(self, order: Order) -> None:
        # A price that is not known yet is NaN, which equals nothing.
        facts = (order.id, order.status, order.reason, order.qty, repr(order.price), order.filled)
        self.heard.append(("order", self._context().step, *facts))

    def on_trade(self, trade: Trade) -> None:
        self.heard.append(("trade", self._context().step, trade.order, trade.qty, trade.price, trade.fees))


@dataclass(frozen=True)
class Run:
    """What the engine made of a world."""

    fills: list[tuple[Any, ...]]
    """step, asset, side, qty, price, fees, tag."""
    orders: list[tuple[Any, ...]]
    """id, kind, status, reason, tag."""
    equity: list[float]
    cash: list[float]
    trades: pl.DataFrame
    heard: list[tuple[Any, ...]]
    result: _core.RunResult = field(repr=False)


def play(world: World, strategy: type[Strategy] | None = None) -> Run:
    """Let the engine trade a world."""
    log: list[list[tuple[Any, ...]]] = []
    cls = strategy or type("Scripted", (Script,), {"world": world, "log": log})
    table = table_of(world.assets, world.steps_a_day, has_volume=world.has_volume)
    plan = {
        "strategy": {"callback": True},
        "mode": "portfolio",
        "market": market_of(world.settings),
        "risk": {"cash": world.settings.risk_cash},
        "outputs": [["final_equity", None]],
    }
    factory = make_factory(cls, {}, table, 0)
    result = _core.Plan(json.dumps(plan)).run_one(_core.Panel.from_arrow(table), [], strategy=factory)
    fills = pl.DataFrame(result.fills()).with_columns(
        pl.col("ts").cast(pl.Int64) // (DAY_NS // world.steps_a_day),
        pl.col("symbol").cast(pl.String).str.slice(1).cast(pl.Int64),
        pl.when(pl.col("side") == "buy").then(1).otherwise(-1).alias("side"),
    )
    orders = pl.DataFrame(result.orders())
    equity = pl.DataFrame(result.equity())
    return Run(
        fills.select("ts", "symbol", "side", "qty", "price", "fees", "tag").rows(),
        orders.select("id", "kind", "status", "reason", "tag").rows(),
        equity["equity"].to_list(),
        equity["cash"].to_list(),
        pl.DataFrame(result.trades()),
        log[0] if log else [],
        result,
    )
