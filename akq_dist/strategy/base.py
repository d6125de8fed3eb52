"""The base class of strategies written in Python."""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypedDict

from akq_dist.errors import AkqStrategyError
from akq_dist.specs.suggest import did_you_mean
from akq_dist.strategy import params as _params
from akq_dist.strategy.bars import Bars
from akq_dist.strategy.coarse import CoarseBar, CoarseFrames
from akq_dist.strategy.updates import Order, Position, Trade, order_of, trade_of
from akq_dist.strategy.when import Timer, When

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    import numpy as np
    from numpy.typing import NDArray

    from akq_dist._core import Bar, StrategyContext, Tick
    from akq_dist.strategy.columns import History
    from akq_dist.strategy.sizing import Sizer

_GIVEN_GROUPS = 2**32
"""First number of the groups that `new_group` makes; a strategy's own numbers are small."""
_EPOCH = 719_163
"""Ordinal of 1970-01-01."""

Hooks = tuple["Callable[..., None] | None", ...]
Distance = dict[str, Any]


class Bracket(NamedTuple):
    """Numbers of the three orders of a bracket."""

    entry: int
    stop: int
    target: int


class OrderOptions(TypedDict, total=False):
    """What an order may say beside its quantity and symbol.

    Its size is one of `qty` (units), `value` (money), `pct_equity` (share of equity) or `size` (a sizer, see
    `akq_dist.strategy.sizing`); with `size_at="fill"` a share is a budget that the fill has to fit. Without
    `limit` or `stop` it is a market order, with both a stop-limit; `trail` (`{"pct": 0.05}` or
    `{"abs": 2.0}`, with `"on": "high" | "close"`) is a stop that follows the market from this close on, and
    `on_close` fills at the close of the next trading date.
    It ends in one way: `valid_bars` after that many bars, `day` (or `tif="day"`) with its trading date,
    `good_till` with that trading date, `tif="ioc"` on its first bar, `"fok"` there too unless it fills whole.
    Orders with the same `oco` number cancel each other; one with a `parent` waits until that order fills.
    `stop_loss`, `take_profit` (`{"pct": 0.05}` or `{"abs": 2.0}`, with `"from": "fill" | "signal"`) and
    `trailing` (with `"on": "high" | "close"`) start when the order fills.
    """

    value: float
    pct_equity: float
    size: Sizer
    size_at: Literal["decision", "fill"]
    limit: float
    stop: float
    valid_bars: int
    day: bool
    tif: Literal["gtc", "day", "ioc", "fok"]
    good_till: dt.date
    trail: Distance
    on_close: bool
    oco: int
    parent: int
    stop_loss: Distance
    take_profit: Distance
    trailing: Distance
    tag: str


class Strategy:
    """What to do at every bar, in Python.

    A subclass declares its parameters as class attributes and overrides the hooks it needs::

        class SmaCross(Strategy):
            fast: int = Param(10, low=2, high=60)
            slow: int = Param(50, low=20, high=250)

            def on_bar(self, bar: Bar) -> None:
                close = self.history("close", self.slow)
                if len(close) == self.slow and close[-self.fast:].mean() > close.mean():
                    self.target_pct(1.0)

    Every account gets its own instance. Hooks run at the close of a bar and see nothing later than it. Where
    a helper takes a `symbol`, leaving it out means the asset being handled.
    """

    frequencies: ClassVar[tuple[str, ...]] = ()
    """Coarser frequencies that the strategy reads, such as ("1h", "1d"); see `on_coarse_bar` and `history`."""

    _params: Mapping[str, Any]
    _ctx: StrategyContext
    _panel: History | None = None
    _reserved: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **params: Any) -> None:
        self._params = _params.bind(type(self), params)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in Strategy._reserved.intersection(vars(cls)):
            raise AkqStrategyError(f"{cls.__name__}.{name}: the name belongs to Strategy; choose another one")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{type(self).__name__}({shown})"

    # ---- hooks, each optional
    # -------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Before the first step."""

    def on_day(self, date: dt.date) -> None:
        """At the first step of a trading date, after its fills, before timers and bars."""

    def on_timer(self, timer: Timer) -> None:
        """Hear that a timer set with `schedule` is due; before the bars of the step."""

    def on_coarse_bar(self, bar: CoarseBar) -> None:
        """Once for every bar of the declared `frequencies` that is complete now, before `on_bar`."""

    def on_bar(self, bar: Bar) -> None:
        """Once for every asset that has a bar, in panel order."""

    def on_tick(self, tick: Tick) -> None:
        """Once for every asset that has a trade, where the data are ticks; without it `on_bar` gets them as bars."""

    def on_bars(self, bars: Bars) -> None:
        """Once a step, after every `on_bar`, with all bars of the step."""

    def on_order(self, order: Order) -> None:
        """Once for every change of an order of this strategy: accepted, refused, filled in part or whole, ended."""

    def on_trade(self, trade: Trade) -> None:
        """Once for every fill of an order of this strategy, after `on_order` of the same fill."""

    def on_stop(self) -> None:
        """After the last step; orders placed here are not worked any more."""

    # ---- what is known now
    # ----------------------------------------------------------------------------------------

    @property
    def params(self) -> Mapping[str, Any]:
        """Value of every declared parameter."""
        return dict(self._params)

    @property
    def cash(self) -> float:
        """Cash of the account."""
        return self._context().cash

    @property
    def equity(self) -> float:
        """Cash and positions at the last close."""
        return self._context().equity

    @property
    def symbols(self) -> list[str]:
        """Symbols of the account, in panel order."""
        names = self._context().symbols
        return [names[asset] for asset in self._universe]

    @property
    def now(self) -> dt.datetime:
        """When the bars of this step are over, as far as is known, on the clock of the market (else UTC).

        That is the time of the bars, later by their length where the time is that of their start and `data.bar`
        states it. Raises AkqStrategyError in `on_start`, where no step has begun.
        """
        now = self._context().now
        if now is None:
            raise AkqStrategyError("there is no time before the first step")
        return self._local(now)

    @property
    def date(self) -> dt.date:
        """Trading date of this step."""
        if self._context().now is None:
            raise AkqStrategyError("there is no date before the first step")
        return dt.date.fromordinal(self._context().date + _EPOCH)

    @property
    def is_session_open(self) -> bool:
        """Whether `now` lies in a session of the market; holidays are not known to its sessions.

        Raises AkqStrategyError where the market has no sessions.
        """
        is_open = self._context().is_session_open
        if is_open is None:
            raise AkqStrategyError(
                "the market has no sessions: set data.sessions or a market profile with them"
            )
        return is_open

    @property
    def timers(self) -> list[str]:
        """Names of the timers that are set, in the order of setting."""
        return self._context().timers

    @property
    def bars(self) -> Bars:
        """All bars of the current step."""
        self._context()
        return self._bars

    @property
    def seed(self) -> int:
        """Seed from that of the sweep and the parameters: the same trial sees the same one everywhere."""
        return self._seed

    @property
    def rng(self) -> np.random.Generator:
        """A generator of this instance, started from `seed`."""
        if self._rng is None:
            import numpy as np

            self._rng = np.random.default_rng(self._seed)
        return self._rng

    @property
    def context(self) -> StrategyContext:
        """What the engine shows and takes, by asset number; everything here is built on it."""
        return self._context()

    @property
    def positions(self) -> dict[str, Position]:
        """What is held, by symbol in panel order; assets without a position are left out."""
        ctx = self._context()
        names = ctx.symbols
        held = ((names[asset], asset, ctx.position(asset)) for asset in self._universe)
        return {
            symbol: Position(symbol, qty, ctx.avg_price(asset), ctx.last_close(asset))
            for symbol, asset, qty in held
            if qty != 0.0
        }

    def position(self, symbol: str | None = None) -> float:
        """Units held, negative when short."""
        return self._context().position(self._asset(symbol))

    def avg_price(self, symbol: str | None = None) -> float:
        """Average cost of the position, NaN when flat."""
        return self._context().avg_price(self._asset(symbol))

    def working(self, symbol: str | None = None) -> list[int]:
        """Numbers of the orders of an asset that still work, in order of submission."""
        return self._context().working(self._asset(symbol))

    def bar_index(self, symbol: str | None = None) -> int:
        """Index of the newest bar of an asset in its own series, -1 before its first."""
        return self._context().last_index(self._asset(symbol))

    def history(
        self, column: str, n: int, symbol: str | None = None, *, freq: str | None = None
    ) -> NDArray[np.float64]:
        """Return the last n values of a column up to this bar, fewer at the start; a view, read-only.

        With `freq`, one of the declared `frequencies`, those of the bars of that frequency that are complete.
        """
        ctx = self._context()
        if freq is not None:
            return self._coarse_history(column, n, symbol, freq)
        if self._panel is None:
            raise AkqStrategyError("history is not available: the run was started without the panel's table")
        if n < 1:
            raise AkqStrategyError(f"history: n is {n!r}, it has to be at least 1")
        # The common case without a further call: hooks ask for history more than for anything else.
        is_plain = symbol is None and self._default is None and not self._cross_section
        asset = ctx.asset if is_plain else self._asset(symbol)
        return self._panel.tail(column, asset, ctx.last_index(asset), n)

    # ---- what can be done
    # -----------------------------------------------------------------------------------------

    def buy(self, qty: float | None = None, symbol: str | None = None, **order: Unpack[OrderOptions]) -> int:
        """Submit a buy and return its number; `OrderOptions` lists what else can be said."""
        return self._submit(1, qty, symbol, **order)

    def sell(self, qty: float | None = None, symbol: str | None = None, **order: Unpack[OrderOptions]) -> int:
        """Submit a sell and return its number; more than is held goes short where the market allows it."""
        return self._submit(-1, qty, symbol, **order)

    def bracket(
        self,
        qty: float | None = None,
        symbol: str | None = None,
        *,
        stop_price: float,
        target_price: float,
        side: Literal["buy", "sell"] = "buy",
        **entry: Unpack[OrderOptions],
    ) -> Bracket:
        """Submit an entry with a stop and a target at given prices that cancel each other.

        They wait for the entry to end with a fill, can fill from the bar after it, and cover the whole of it
        when its size is a quantity. For distances from the fill, live on the bar of the entry already, give
        `stop_loss` and `take_profit` to `buy` or `sell` instead.
        """
        if qty is None:
            raise AkqStrategyError(
                "a bracket has a quantity: its stop and target are orders for as many units"
            )
        sign = {"buy": 1, "sell": -1}.get(side, 0)
        if sign == 0:
            raise AkqStrategyError(f"side is {side!r}, it is 'buy' or 'sell'")
        if not sign * _finite("target_price", target_price) > sign * _finite("stop_price", stop_price):
            raise AkqStrategyError(
                f"a bracket to {side} has its target {'above' if sign > 0 else 'below'} its stop, "
                f"got target_price={target_price!r} and stop_price={stop_price!r}"
            )
        first = self._submit(sign, qty, symbol, **entry)
        group = self.new_group()
        legs: dict[str, Any] = {"parent": first, "oco": group}
        stop = self._submit(-sign, qty, symbol, stop=stop_price, tag="stop_loss", **legs)
        target = self._submit(-sign, qty, symbol, limit=target_price, tag="take_profit", **legs)
        return Bracket(first, stop, target)

    def new_group(self) -> int:
        """Return a fresh number for `oco=`: of the orders with one number, the first that fills cancels the others."""
        self._n_groups += 1
        return _GIVEN_GROUPS + self._n_groups

    def close(self, symbol: str | None = None, tag: str = "exit") -> int | None:
        """Submit a market order for the whole position; None when there is none."""
        asset = self._asset(symbol)
        held = self._context().position(asset)
        if held == 0.0:
            return None
        return self._context().submit(asset, -1 if held > 0 else 1, abs(held), tag=tag)

    def cancel(self, order: int) -> None:
        """Take back a working order; a number that does not work any more is reported through `on_order`."""
        self._context().cancel(order)

    def amend(
        self,
        order: int,
        *,
        limit: float | None = None,
        stop: float | None = None,
        qty: float | None = None,
    ) -> None:
        """Change prices or the whole quantity of a working order from the next bar on.

        A change that is refused leaves the order as it is and is reported through `on_order` with the reason.
        """
        changes = {"limit": limit, "stop": stop, "qty": qty}
        given = {name: _finite(name, value) for name, value in changes.items() if value is not None}
        if not given:
            raise AkqStrategyError("amend changes nothing: give limit, stop or qty")
        self._context().amend(order, **given)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Take back every working order of an asset."""
        for order in self.working(symbol):
            self.cancel(order)

    def target_qty(self, qty: float, symbol: str | None = None, tag: str = "rebalance") -> None:
        """Move the position to a number of units."""
        self._target(qty, symbol, "qty", tag)

    def target_value(self, value: float, symbol: str | None = None, tag: str = "rebalance") -> None:
        """Move the position to a market value at this close."""
        self._target(value, symbol, "value", tag)

    def target_pct(self, share: float, symbol: str | None = None, tag: str = "rebalance") -> None:
        """Move the position to a share of equity at this close: 0.5 is half of it."""
        self._target(share, symbol, "pct", tag)

    def schedule(self, name: str, when: When, *, priority: int = 0) -> None:
        """Set a timer: `on_timer` is called once for every due time, `self.schedule("out", When.before_close(5))`.

        Timers that are due at one instant fire in the order of `priority`, lowest first, then of setting. Raises
        AkqStrategyError for a name that is set already, and where the market does not tell what `when` needs.
        """
        if not isinstance(when, When):
            raise AkqStrategyError(
                f"schedule: {when!r} is no due time; make one with When, as When.every_day_at"
            )
        try:
            self._context().schedule(name, when.spec, priority)
        except ValueError as error:
            raise AkqStrategyError(str(error)) from None

    def cancel_timer(self, name: str) -> None:
        """Take a timer back; AkqStrategyError for a name that is not set."""
        try:
            self._context().cancel_timer(name)
        except ValueError as error:
            raise AkqStrategyError(str(error)) from None

    # ---- the engine's side
    # ----------------------------------------------------------------------------------------

    _seed: int = 0
    _n_groups: int = 0
    _rng: np.random.Generator | None = None
    _frames: CoarseFrames | None = None
    _bars: Bars
    _assets: dict[str, int]
    _universe: list[int]
    """Assets of the account, in panel order."""
    _default: int | None = None
    """Asset meant by a missing symbol where the engine's current asset is not it."""
    _cross_section: bool = False

    def _prepare(self, panel: History, seed: int) -> None:
        self._panel = panel
        self._seed = seed

    def _bind(self, ctx: StrategyContext) -> None:
        self._ctx = ctx
        self._assets = {symbol: asset for asset, symbol in enumerate(ctx.symbols)}
        self._universe = ctx.universe
        self._bars = Bars(ctx, self._universe, self._asset)

    def _set_frames(self, tables: list[Any]) -> None:
        self._frames = CoarseFrames(self.frequencies, tables, len(self._universe))

    def _coarse_history(self, column: str, n: int, symbol: str | None, freq: str) -> NDArray[np.float64]:
        if n < 1:
            raise AkqStrategyError(f"history: n is {n!r}, it has to be at least 1")
        if self._frames is None:
            self._frames = CoarseFrames(self.frequencies, [], 0)
        place, asset = self._frames.place(freq), self._asset(symbol)
        n_complete = self._context().n_coarse(place, asset)
        return self._frames.tail(place, column, self._universe.index(asset), n_complete, n)

    def _call_on_coarse_bar(self, place: int, local: int, index: int) -> None:
        assert self._frames is not None
        symbol = self._context().symbols[self._universe[local]]
        self.on_coarse_bar(self._frames.bar(place, local, index, symbol))

    def _hooks(self) -> Hooks:
        """Return on_start, on_day, on_timer, on_coarse_bar, on_bar, on_bars, on_order, on_trade, on_stop.

        None stands for one that is not overridden.
        """
        base, own = Strategy, type(self)
        return (
            self.on_start if own.on_start is not base.on_start else None,
            self._call_on_day if own.on_day is not base.on_day else None,
            self._call_on_timer if own.on_timer is not base.on_timer else None,
            self._call_on_coarse_bar if own.on_coarse_bar is not base.on_coarse_bar else None,
            self.on_bar if own.on_bar is not base.on_bar else None,
            self._call_on_bars if own.on_bars is not base.on_bars else None,
            self._call_on_order if own.on_order is not base.on_order else None,
            self._call_on_trade if own.on_trade is not base.on_trade else None,
            self.on_stop if own.on_stop is not base.on_stop else None,
        )

    def _tick_hook(self) -> Callable[..., None] | None:
        """Return on_tick, None where not overridden."""
        return self.on_tick if type(self).on_tick is not Strategy.on_tick else None

    def _call_on_day(self, days: int) -> None:
        self._across(lambda: self.on_day(dt.date.fromordinal(days + _EPOCH)))

    def _call_on_timer(self, name: str, due: int, days: int) -> None:
        timer = Timer(name, self._local(due), dt.date.fromordinal(days + _EPOCH))
        self._across(lambda: self.on_timer(timer))

    def _local(self, ts: int) -> dt.datetime:
        zone = self._context().time_zone
        utc = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=ts // 1000)
        return utc if zone is None else utc.astimezone(zoneinfo.ZoneInfo(zone))

    def _across(self, hook: Callable[[], None]) -> None:
        """Call a hook that is about no asset: with several of them each helper needs its symbol."""
        self._cross_section = len(self._universe) > 1
        try:
            hook()
        finally:
            self._cross_section = False

    def _call_on_bars(self, *_: Any) -> None:
        self._across(lambda: self.on_bars(self._bars))

    def _call_on_order(self, raw: Mapping[str, Any]) -> None:
        update = order_of(raw)
        self._default = self._assets.get(update.symbol)
        try:
            self.on_order(update)
        finally:
            self._default = None

    def _call_on_trade(self, raw: Mapping[str, Any]) -> None:
        update = trade_of(raw)
        self._default = self._assets.get(update.symbol)
        try:
            self.on_trade(update)
        finally:
            self._default = None

    def _context(self) -> StrategyContext:
        try:
            return self._ctx
        except AttributeError:
            raise AkqStrategyError(
                f"{type(self).__name__} is not running: "
                "positions and orders exist from on_start on, not in __init__"
            ) from None

    def _asset(self, symbol: str | None) -> int:
        if symbol is not None:
            try:
                return self._assets[symbol]
            except KeyError:
                hint = did_you_mean(symbol, self._assets)
                raise AkqStrategyError(f"unknown symbol {symbol!r}{hint}") from None
        if self._default is not None:
            return self._default
        if self._cross_section:
            raise AkqStrategyError("this hook is about many assets: say which one is meant with symbol=...")
        return self._context().asset

    def _target(
        self, value: float, symbol: str | None, kind: Literal["qty", "value", "pct"], tag: str
    ) -> None:
        self._context().target(self._asset(symbol), _finite("the target", value), kind, tag)

    def _submit(
        self,
        side: int,
        qty: float | None,
        symbol: str | None,
        *,
        value: float | None = None,
        pct_equity: float | None = None,
        size: Sizer | None = None,
        size_at: Literal["decision", "fill"] = "decision",
        limit: float | None = None,
        stop: float | None = None,
        valid_bars: int | None = None,
        day: bool = False,
        tif: Literal["gtc", "day", "ioc", "fok"] | None = None,
        good_till: dt.date | None = None,
        trail: Distance | None = None,
        on_close: bool = False,
        oco: int | None = None,
        parent: int | None = None,
        stop_loss: Distance | None = None,
        take_profit: Distance | None = None,
        trailing: Distance | None = None,
        tag: str = "",
    ) -> int:
        ctx = self._context()
        asset = self._asset(symbol)
        kind, amount = self._sized(size, asset) if size is not None else _size(qty, value, pct_equity)
        if size is not None and not (qty is None and value is None and pct_equity is None):
            raise AkqStrategyError("an order has exactly one size: qty, value, pct_equity or size")
        if size_at == "fill":
            if kind != "pct_equity":
                raise AkqStrategyError("size_at='fill' needs pct_equity")
            kind, amount = "budget_at_fill", amount * ctx.equity
        elif size_at != "decision":
            raise AkqStrategyError(f"size_at is {size_at!r}, it is 'decision' or 'fill'")
        protection = {
            name: level
            for name, level in (
                ("stop_loss", stop_loss),
                ("take_profit", take_profit),
                ("trailing", trailing),
            )
            if level is not None
        }
        return ctx.submit(
            asset, side, amount, size=kind, limit=limit, stop=stop, valid_bars=valid_bars, day=day, oco=oco,
            tag=tag,
            protection=protection or None, trail=trail, on_close=on_close, tif=tif,
            good_till=None if good_till is None else good_till.toordinal() - _EPOCH, parent=parent,
        )  # fmt: skip

    def _sized(self, sizer: Sizer, asset: int) -> tuple[Literal["qty", "value", "pct_equity"], float]:
        kind, amount = sizer.size(self, self._context().symbols[asset])
        if kind not in ("qty", "value", "pct_equity"):
            raise AkqStrategyError(f"{sizer!r} answered {kind!r}, expected qty, value or pct_equity")
        return kind, _finite(f"the size of {sizer!r}", amount)


Strategy._reserved = frozenset(
    name
    for name in vars(Strategy)
    if not name.startswith("__") and not name.startswith("on_") and name != "frequencies"
)


def _size(
    qty: float | None, value: float | None, pct_equity: float | None
) -> tuple[Literal["qty", "value", "pct_equity", "budget_at_fill"], float]:
    if value is None and pct_equity is None and qty is not None:
        return "qty", _finite("qty", qty)
    if qty is None and pct_equity is None and value is not None:
        return "value", _finite("value", value)
    if qty is None and value is None and pct_equity is not None:
        return "pct_equity", _finite("pct_equity", pct_equity)
    raise AkqStrategyError("an order has exactly one size: qty, value, pct_equity or size")


def _finite(name: str, value: Any) -> float:
    """Refuse what is not a number: an order of NaN units is a fault of the strategy, not of the market."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise AkqStrategyError(f"{name} is {value!r}, which is not a number") from None
    if not math.isfinite(number):
        raise AkqStrategyError(f"{name} is {number!r}, which is not a finite number")
    return number
