"""A slow, plain simulator of SEMANTICS sections 2 to 5 and 7, written from that page and not from the engine.

It knows one account, one list of orders and one bar at a time; nothing is stored that could be looked up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.differential.worlds import Ask, Change, Ohlcv, Settings, Take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.worlds import World


@dataclass(eq=False)
class Order:
    """An order and all that happened to it."""

    id: int
    asset: int
    side: int
    ask: Ask
    tag: str = ""
    status: str = "submitted"
    reason: str = ""
    qty: float = 0.0
    """Whole quantity, zero while a budget decides it."""
    filled: float = 0.0
    live_from: int = 0
    """First step on which it may match."""
    bars_seen: int = 0
    offers: int = 0
    """Bars that it was offered to at a price it takes."""
    was_matched: bool = False
    """A bar that trades was held against it."""
    matched_at: int = -1
    reached: bool = False
    """A stop that was reached, and did not fill whole."""
    best: float = math.nan
    """Best price of a trailing stop."""
    first_level: float = math.nan
    """Where a trailing stop began."""
    budget: float | None = None
    accepted_at: int = 0
    is_protective: bool = False
    born: tuple[int, float] | None = None
    """Step and unslipped price of that entry's fill."""
    group: object = None
    fee_day: int = -1
    day: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Quantity, notional and fees of the executions of `fee_day`."""

    @property
    def left(self) -> float:
        return self.qty - self.filled

    @property
    def is_over(self) -> bool:
        return self.status in ("filled", "cancelled", "expired", "rejected")

    @property
    def works(self) -> bool:
        return self.status in ("accepted", "partially_filled")

    @property
    def kind(self) -> str:
        return self.ask.kind


@dataclass(frozen=True)
class RefusedError(Exception):
    reason: str


@dataclass
class Lot:
    qty: float
    price: float
    fees: float
    step: int


class Reference:
    """One run of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.s: Settings = world.settings
        n = len(world.assets)
        self.cash = self.s.cash
        self.held = [0.0] * n
        self.close = [math.nan] * n
        self.lots: list[list[Lot]] = [[] for _ in range(n)]
        self.orders: list[Order] = []
        self.accepted: list[Order] = []
        """Orders in the order in which they began to work."""
        self.asked: list[Order] = []
        self.used: dict[tuple[int, int], float] = {}
        self.fills: list[tuple[int, int, int, float, float, float, str]] = []
        self.trips: list[tuple[int, float, float, float, float, float]] = []
        """Asset, quantity, entry and exit price, gross, fees."""
        self.equity: list[float] = []
        self.cashes: list[float] = []
        self.steps = world.steps
        for step in self.steps:
            self.step = step
            self.one_step()

    # ---- the bar

    @property
    def date(self) -> int:
        return self.world.date(self.step)

    @property
    def is_last(self) -> bool:
        return self.step == self.steps[-1]

    def bar(self, asset: int) -> Ohlcv | None:
        return self.world.assets[asset].get(self.step)

    def volume(self, asset: int) -> float | None:
        bar = self.bar(asset)
        if bar is None or not self.world.has_volume or math.isnan(bar.volume):
            return None
        return bar.volume

    def trades(self, asset: int) -> bool:
        """Whether the asset has a bar that is not halted."""
        if self.bar(asset) is None:
            return False
        return not (self.s.halt_on_zero_volume and self.volume(asset) == 0.0)

    def value(self) -> float:
        return self.cash + sum(
            held * close * self.s.multiplier
            for held, close in zip(self.held, self.close, strict=True)
            if held != 0.0
        )

    # ---- the step

    def one_step(self) -> None:
        self.market_opens()
        self.match()
        for asset, close in enumerate(self.close):
            bar = self.bar(asset)
            self.close[asset] = close if bar is None else bar.close
        self.decided = self.value()
        commands = list(self.decide())
        if self.s.fill == "close" and not self.is_last:
            for order in self.waiting("market"):
                if order.works and self.trades(order.asset):
                    self.offer(order, self.bar_of(order).close, "close")
        for command in commands:
            if isinstance(command, Order):
                self.hand_in(command)
            elif isinstance(command, Change):
                self.change(self.asked[command.ask], command)
            elif not self.asked[command.ask].is_over:
                self.end(self.asked[command.ask], "cancelled", "request")
        if self.is_last:
            for order in self.orders:
                if not order.is_over:
                    self.end(order, "expired", "end_of_data")
        else:
            # Those that wait for an order handed in just now are looked at after the next step.
            for order in [o for o in self.orders if o.status == "submitted" and self.parent_of(o).is_over]:
                self.hand_in(order)
            self.date_ends()
        self.equity.append(self.value())
        self.cashes.append(self.cash)

    def market_opens(self) -> None:
        begins_date = not self.cashes or self.world.date(self.steps[len(self.cashes) - 1]) != self.date
        for order in self.orders if begins_date else ():
            if not order.is_over and order.ask.tif == "gtd" and order.ask.until < self.date:
                self.end(order, "expired", "time_in_force")
        if self.s.fill == "next_open":
            for order in self.waiting("market"):
                if order.works and self.trades(order.asset):
                    self.offer(order, self.bar_of(order).open, "open")

    def decide(self) -> Iterator[Order | Take | Change]:
        for asset in range(len(self.world.assets)):
            for said in self.world.script.get((self.step, asset), ()):
                if not isinstance(said, Ask):
                    yield said
                    continue
                order = self.enter(asset, said.side, said)
                self.asked.append(order)
                if said.budget is not None:
                    order.budget = said.budget * self.decided
                yield order

    def enter(self, asset: int, side: int, ask: Ask, tag: str = "") -> Order:
        group = None if ask.oco is None else ("strategy", ask.oco)
        order = Order(len(self.orders) + 1, asset, side, ask, tag, group=group)
        self.orders.append(order)
        return order

    def waiting(self, kind: str) -> list[Order]:
        return [o for o in self.accepted if o.works and o.kind == kind]

    def bar_of(self, order: Order) -> Ohlcv:
        bar = self.bar(order.asset)
        assert bar is not None
        return bar

    def parent_of(self, order: Order) -> Order:
        assert order.ask.parent is not None
        return self.asked[order.ask.parent]

    def end(self, order: Order, status: str, reason: str) -> None:
        order.status, order.reason = status, reason

    def date_ends(self) -> None:
        later = self.steps[self.steps.index(self.step) + 1]
        if self.world.date(later) == self.date:
            return
        for order in self.orders:
            was_offered = order.offers > 0 if order.kind in ("market", "close") else order.was_matched
            if order.works and (
                (order.ask.tif == "day" and was_offered)
                or (order.ask.tif == "gtd" and order.ask.until <= self.date)
            ):
                self.end(order, "expired", "time_in_force")

    # ---- from a request to a working order

    def hand_in(self, order: Order) -> None:
        if order.is_over:
            return
        if self.is_last:
            self.end(order, "expired", "end_of_data")
            return
        share = 1.0
        if order.ask.parent is not None:
            parent = self.parent_of(order)
            if not parent.is_over:
                return
            if parent.filled == 0.0:
                self.end(order, "cancelled", "parent")
                return
            share = 1.0 if parent.status == "filled" else parent.filled / parent.qty
        if order.ask.trail is not None and not order.is_protective:
            order.best = self.close[order.asset]
        if order.ask.tif == "gtd" and order.ask.until < self.date:
            self.end(order, "expired", "time_in_force")
            return
        if order.ask.trail is not None:
            order.first_level = self.trail_level(order)
        try:
            order.qty = self.resolved(order, share)
            self.check(order)
        except RefusedError as refused:
            self.end(order, "rejected", refused.reason)
            return
        order.status, order.accepted_at = "accepted", self.step
        self.accepted.append(order)
        if not order.is_protective:
            order.live_from = self.step + 1
        fills_now = order.kind == "market" and self.s.fill == "close" and order.ask.parent is None
        if fills_now and self.trades(order.asset):
            self.offer(order, self.bar_of(order).close, "close")

    def resolved(self, order: Order, share: float) -> float:
        prices = [p for p in (order.ask.limit, order.ask.stop) if p is not None]
        if order.ask.trail is not None:
            distance = order.ask.trail[1]
            if distance <= 0.0:
                raise RefusedError("bad_price")
            prices.append(self.trail_level(order))
        if any(price <= 0.0 for price in prices):
            raise RefusedError("bad_price")
        if order.budget is not None:
            if order.budget <= 0.0:
                raise RefusedError("bad_quantity")
            return 0.0
        ask, close = order.ask, self.close[order.asset]
        if ask.qty is not None:
            qty = ask.qty if share == 1.0 else self.lots_in(ask.qty * share + 1e-9)
        elif ask.value is not None:
            qty = self.fits(order.side, ask.value, close)
        else:
            assert ask.pct_equity is not None
            qty = self.lots_in(ask.pct_equity * self.decided / (close * self.s.multiplier))
        if qty <= 0.0:
            raise RefusedError("bad_quantity" if qty < 0.0 else "zero_quantity")
        return qty

    def change(self, order: Order, change: Change) -> None:
        """Amend an order, or leave it as it is where that is refused."""
        has = {"limit": order.kind in ("limit", "stop_limit"), "stop": order.kind in ("stop", "stop_limit")}
        asked = {name: getattr(change, name) for name in has if getattr(change, name) is not None}
        if order.is_over or not all(has[name] for name in asked):
            return
        if change.qty is not None and change.qty <= order.filled:
            return
        ask = replace(order.ask, **asked)
        if change.qty is not None:
            ask = replace(ask, qty=change.qty, value=None, pct_equity=None, budget=None)
        if order.status != "submitted":
            # Risk looks at what is left to fill.
            whole = order.qty if change.qty is None else change.qty
            try:
                self.check(
                    replace(order, ask=ask, qty=whole - order.filled if whole else 0.0, filled=0.0), order
                )
            except RefusedError:
                return
            order.qty = whole
        order.ask = ask
        if change.qty is not None:
            order.budget = None

    def check(self, order: Order, itself: Order | None = None) -> None:
        if order.is_protective:
            return
        others = [o for o in self.orders if o.works and not o.is_protective and o is not (itself or order)]
        if order.side < 0 and not self.s.shorts:
            reserved = sum(o.left for o in others if o.asset == order.asset and o.side < 0)
            if order.qty > max(self.held[order.asset], 0.0) - reserved:
                raise RefusedError("short_not_allowed")
        checks_cash = self.s.buying_power == "cash" and self.s.risk_cash
        if order.side > 0 and checks_cash and self.s.on_insufficient_cash == "reject" and order.qty > 0.0:
            balance = sum(-o.side * self.estimate(o, o.left) for o in others)
            if self.estimate(order, order.qty) > self.cash + balance:
                raise RefusedError("insufficient_cash")

    def estimate(self, order: Order, qty: float) -> float:
        """Cost of a buy, proceeds of a sell, at the order's price or the last close."""
        price = order.ask.limit or order.ask.stop or self.close[order.asset]
        if order.ask.trail is not None:
            price = order.first_level
        notional = qty * price * self.s.multiplier
        return notional + order.side * self.fee(order.side, qty, notional)

    # ---- quantities and costs

    def lots_in(self, qty: float) -> float:
        return math.floor(qty / self.s.lot) * self.s.lot

    def fee(self, side: int, qty: float, notional: float) -> float:
        fee = max(self.s.rate * notional + self.s.per_share * qty, self.s.minimum)
        return fee + self.s.sell_tax * notional if side < 0 else fee

    def fits(self, side: int, money: float, price: float, most: float = math.inf) -> float:
        """The largest lot whose value and fees are within some money, looked for from above."""
        if money <= 0.0:
            return 0.0
        n = math.floor(min(most, money / (price * self.s.multiplier)) / self.s.lot)
        while n > 0:
            notional = n * self.s.lot * price * self.s.multiplier
            if notional + self.fee(side, n * self.s.lot, notional) <= money:
                break
            n -= 1
        return n * self.s.lot

    def slipped(self, order: Order, raw: float, qty: float) -> float:
        if order.kind in ("limit", "stop_limit"):
            return raw
        model, amount = self.s.slippage
        volume = self.volume(order.asset)
        share = 0.0
        if volume is not None and qty > 0.0:
            share = 1.0 if volume == 0.0 else min(1.0, qty / volume)
        if model == "bps":
            price = raw * (1.0 + order.side * amount / 10_000.0)
        elif model == "ticks":
            price = max(raw + order.side * amount * self.s.tick, min(self.s.tick, raw))
        else:
            impact = amount * (math.sqrt(share) if model == "square_root" else share)
            price = raw * (1.0 + order.side * impact)
        if not self.s.cap_to_bar:
            return price
        bar = self.bar_of(order)
        return max(min(price, bar.high), raw) if order.side > 0 else min(max(price, bar.low), raw)

    # ---- matching

    def match(self) -> None:
        passes: list[Callable[[Order], bool]] = [
            lambda o: o.kind == "stop",
            lambda o: o.kind == "limit",
            lambda o: o.kind == "stop_limit",
            lambda o: o.kind == "trailing",
            # Stops of entries that filled in this very pass.
            lambda o: o.kind in ("stop", "trailing"),
        ]
        for belongs in passes:
            for order in list(self.accepted):
                if belongs(order) and self.can_match(order):
                    self.match_one(order)
        self.age()
        for order in self.waiting("close"):
            if order.works and self.trades(order.asset) and self.closes_a_later_date(order):
                self.offer(order, self.bar_of(order).close, "close")

    def age(self) -> None:
        """Completed bars move trailing stops and use up times in force."""
        for order in self.orders:
            bar = self.bar(order.asset)
            if not order.works or bar is None or order.kind in ("market", "close"):
                continue
            if order.ask.trail is not None:
                price = (
                    bar.close if order.ask.trail[2] == "close" else bar.high if order.side < 0 else bar.low
                )
                order.best = max(order.best, price) if order.side < 0 else min(order.best, price)
            if order.live_from <= self.step:
                order.bars_seen += 1
                if order.ask.tif == "bars" and order.bars_seen >= order.ask.until:
                    self.end(order, "expired", "time_in_force")
                elif order.ask.tif in ("ioc", "fok") and order.was_matched:
                    self.end(order, "cancelled", "time_in_force")

    def can_match(self, order: Order) -> bool:
        is_live = order.works and order.live_from <= self.step and order.matched_at != self.step
        return is_live and self.trades(order.asset)

    def match_one(self, order: Order) -> None:
        order.matched_at, order.was_matched = self.step, True
        raw = None if self.yields(order) else self.price_on(order)
        if raw is None:
            return
        is_born_now = order.born is not None and order.born[0] == self.step
        when = "open" if raw == self.seen_open(order) and not is_born_now else "inside"
        self.offer(order, raw, when)

    def seen_open(self, order: Order) -> float:
        if order.born is not None and order.born[0] == self.step:
            return order.born[1]
        return self.bar_of(order).open

    def reach(self, side: int, level: float, order: Order, *, stop: bool) -> float | None:
        """The price at which a level trades on this bar, or none."""
        bar, opening = self.bar_of(order), self.seen_open(order)
        waits_above = (side > 0) == stop
        if waits_above:
            return max(opening, level) if bar.high >= level else None
        return min(opening, level) if bar.low <= level else None

    def stop_of(self, order: Order) -> float:
        if order.kind == "trailing":
            return self.trail_level(order)
        assert order.ask.stop is not None
        return order.ask.stop

    def trail_level(self, order: Order) -> float:
        assert order.ask.trail is not None
        unit, distance, _ = order.ask.trail
        return order.best + order.side * (distance * order.best if unit == "pct" else distance)

    def price_on(self, order: Order) -> float | None:
        """The unslipped price at which an order trades on this bar; notes that a stop-limit was reached."""
        limit = order.ask.limit
        if order.kind == "limit" or (order.kind == "stop_limit" and order.reached):
            assert limit is not None
            return self.reach(order.side, limit, order, stop=False)
        if order.kind in ("stop", "trailing") and order.reached:
            return self.bar_of(order).open
        price = self.reach(order.side, self.stop_of(order), order, stop=True)
        if order.kind == "stop_limit" and price is not None:
            assert limit is not None
            order.reached = True
            return price if (limit - price) * order.side >= 0.0 else None
        return price

    def level_of(self, order: Order) -> tuple[bool, float] | None:
        """Whether a resting order is a stop or a limit by now, and its level."""
        if order.kind in ("market", "close") or (order.kind in ("stop", "trailing") and order.reached):
            return None
        if order.kind == "limit" or (order.kind == "stop_limit" and order.reached):
            assert order.ask.limit is not None
            return False, order.ask.limit
        return True, self.stop_of(order)

    def yields(self, order: Order) -> bool:
        """Whether the bar belongs to another leg of the group: a stop beside a limit or a limit beside a stop."""
        own = self.level_of(order)
        if order.group is None or own is None:
            return False
        prefers_stop = self.s.intrabar == "pessimistic"
        if self.s.intrabar != "ohlc" and own[0] == prefers_stop:
            return False
        for other in self.orders:
            if other is order or other.group != order.group or not self.can_match(other):
                continue
            leg = self.level_of(other)
            if leg is None or leg[0] == own[0]:
                continue
            if self.reach(other.side, leg[1], other, stop=leg[0]) is None:
                continue
            if self.s.intrabar != "ohlc":
                return True
            mine, theirs = self.when_on_path(order, own), self.when_on_path(other, leg)
            if theirs < mine or (theirs == mine and leg[0]):
                return True
        return False

    def when_on_path(self, order: Order, leg: tuple[bool, float]) -> float:
        """How far the path open, nearer extreme, other extreme, close has gone when it comes by a level."""
        bar, opening = self.bar_of(order), self.seen_open(order)
        is_stop, level = leg
        waits_above = (order.side > 0) == is_stop
        if (opening >= level) if waits_above else (opening <= level):
            return 0.0
        up_first = bar.high - opening < opening - bar.low
        if waits_above:
            return level - opening if up_first else (opening - bar.low) + (level - bar.low)
        return opening - level if not up_first else (bar.high - opening) + (bar.high - level)

    def closes_a_later_date(self, order: Order) -> bool:
        bars = self.world.assets[order.asset]
        later = [at for at in bars if at > self.step]
        ends = not later or self.world.date(min(later)) != self.date
        return ends and self.date > self.world.date(order.accepted_at)

    # ---- execution

    def offer(self, order: Order, raw: float, when: str) -> None:
        """Fill what can be filled of an order at a price."""
        try:
            whole, qty = self.share(order, raw)
        except RefusedError as refused:
            self.end(order, "rejected", refused.reason)
            return
        if whole <= 0.0:
            self.end(order, "cancelled", "position_closed")
            return
        if qty > 0.0:
            order.qty = order.filled + whole
            self.execute(order, raw, qty, when)
        if not order.is_over:
            order.offers += 1
            order.reached = True
            ends_at_once = order.ask.tif in ("ioc", "fok")
            is_used_up = order.ask.tif == "bars" and order.offers >= order.ask.until
            if ends_at_once or (is_used_up and order.kind in ("market", "close")):
                self.end(order, "cancelled" if ends_at_once else "expired", "time_in_force")

    def share(self, order: Order, raw: float) -> tuple[float, float]:
        """What an order wants now, and what it gets."""
        held = self.held[order.asset]
        whole = order.left
        if order.budget is not None and order.filled == 0.0:
            money = min(order.budget, self.cash)
            whole = self.fits(order.side, money, self.slipped(order, raw, 0.0))
            if whole == 0.0:
                raise RefusedError("zero_quantity" if order.budget <= self.cash else "insufficient_cash")
        if order.is_protective:
            whole = max(0.0, min(order.left, -order.side * held))
        if order.side < 0 and not self.s.shorts and whole > held:
            raise RefusedError("short_not_allowed")
        qty = min(whole, self.room(order.asset))
        if qty < whole and order.ask.tif == "fok":
            return whole, 0.0
        if order.side > 0 and self.s.buying_power == "cash" and qty > 0.0:
            price = self.slipped(order, raw, qty)
            if self.cost(order, qty, price) > self.cash:
                less = qty
                if self.s.on_insufficient_cash == "reject" or order.ask.tif == "fok":
                    raise RefusedError("insufficient_cash")
                less = self.fits(order.side, self.cash, price, qty)
                if less == 0.0:
                    raise RefusedError("insufficient_cash")
                return less, less
        return whole, qty

    def room(self, asset: int) -> float:
        volume = self.volume(asset)
        if self.s.max_participation is None or volume is None:
            return math.inf
        free = self.s.max_participation * volume - self.used.get((self.step, asset), 0.0)
        return self.lots_in(max(0.0, free) + 1e-9)

    def extra_fee(self, order: Order, qty: float, notional: float) -> float:
        """What the fees of an order and date grow by."""
        done = order.day if order.fee_day == self.date else (0.0, 0.0, 0.0)
        return max(0.0, self.fee(order.side, done[0] + qty, done[1] + notional) - done[2])

    def cost(self, order: Order, qty: float, price: float) -> float:
        notional = qty * price * self.s.multiplier
        return notional + self.extra_fee(order, qty, notional)

    def execute(self, order: Order, raw: float, qty: float, when: str) -> None:
        price = self.slipped(order, raw, qty)
        notional = qty * price * self.s.multiplier
        fee = self.extra_fee(order, qty, notional)
        done = order.day if order.fee_day == self.date else (0.0, 0.0, 0.0)
        order.fee_day, order.day = self.date, (done[0] + qty, done[1] + notional, done[2] + fee)
        self.used[self.step, order.asset] = self.used.get((self.step, order.asset), 0.0) + qty
        self.cash -= order.side * notional + fee
        opened = self.book(order, qty, price, fee)
        order.filled += qty
        order.status = "filled" if order.filled >= order.qty else "partially_filled"
        self.fills.append((self.step, order.asset, order.side, qty, price, fee, order.tag))
        if order.is_protective and order.status != "filled":
            # The legs of an entry protect the same units.
            for other in self.orders:
                if other is not order and other.group == order.group:
                    other.qty = max(other.qty - qty, other.filled)
        elif order.group is not None:
            for other in self.orders:
                waits = other.status == "submitted" and other.ask.parent is not None
                if other is not order and other.group == order.group and (other.works or waits):
                    self.end(other, "cancelled", "oco")
        if self.held[order.asset] == 0.0:
            for other in self.orders:
                if other.works and other.is_protective and other.asset == order.asset:
                    self.end(other, "cancelled", "position_closed")
        if opened > 0.0:
            self.protect(order, opened, price, raw, when)

    def book(self, order: Order, qty: float, price: float, fee: float) -> float:
        """Pair a fill with the oldest lots of the other side; return what opens a position."""
        lots = self.lots[order.asset]
        left = qty
        while left > 0.0 and lots and self.held[order.asset] * order.side < 0.0:
            lot = lots[0]
            part = min(lot.qty, left)
            gross = -order.side * (price - lot.price) * part * self.s.multiplier
            fees = part * (lot.fees + fee / qty)
            self.trips.append((order.asset, part, lot.price, price, gross, fees))
            lot.qty -= part
            left -= part
            if lot.qty == 0.0:
                lots.pop(0)
        if left > 0.0:
            lots.append(Lot(left, price, fee / qty, self.step))
        self.held[order.asset] += order.side * qty
        return left

    def protect(self, order: Order, qty: float, price: float, raw: float, when: str) -> None:
        """Place the orders that protect what a fill opened."""
        ask, side = order.ask, order.side
        stop_from = self.step + 1 if when == "close" else self.step
        target_from = self.step if when == "open" else self.step + 1

        def leg(tag: str, made: Ask, live_from: int) -> None:
            protection = self.enter(order.asset, -side, made, tag)
            protection.is_protective = True
            protection.group = ("entry", order.id, len(self.fills))
            protection.born = (self.step, raw)
            protection.live_from = live_from
            protection.best = price
            self.hand_in(protection)

        def level(given: tuple[str, float]) -> float:
            return price * given[1] if given[0] == "pct" else given[1]

        if ask.stop_loss is not None:
            stop = price - side * level(ask.stop_loss)
            leg("stop_loss", Ask(-side, "stop", qty=qty, stop=stop), stop_from)
        if ask.take_profit is not None:
            limit = price + side * level(ask.take_profit)
            leg("take_profit", Ask(-side, "limit", qty=qty, limit=limit), target_from)
        if ask.trailing is not None:
            leg("trailing_stop", Ask(-side, "trailing", qty=qty, trail=ask.trailing), stop_from)
