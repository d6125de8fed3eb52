"""A strategy on paper: the engine of a backtest, driven by bars as they come in."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist._core import StrategyContext
    from akq_dist.result import BacktestResult
    from akq_dist.strategy import Strategy

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_BAR = ("open", "high", "low", "close", "volume")
_TICK = ("price", "size", "bid", "ask")


class PaperSession:
    """A Python strategy that trades bars, or ticks, as they are handed in; orders are simulated.

    The engine runs in a thread of its own with the loop of a backtest: the same bars give the same callbacks,
    orders, fills and equity, to the bit. Methods may be called from any thread::

        with PaperSession(SmaCross(fast=5), ["AAPL", "MSFT"], market={"cash": 100_000}) as session:
            session.step(close_time, {"AAPL": {"open": ..., "high": ..., "low": ..., "close": ...}})
            ...
        result = session.result()

    Control does not queue behind bars: `halt`, `cancel_all` and `stop` act before bars that wait. A bar that is
    wrong raises AkqDataError where it is handed in; a time that does not increase ends the session, and `result`
    raises. Once the session has ended everything but `result` raises EngineError.
    """

    def __init__(
        self,
        strategy: Any,
        symbols: Sequence[str],
        *,
        params: Mapping[str, Any] | None = None,
        columns: Sequence[str] = (),
        ticks: bool = False,
        **settings: Any,
    ) -> None:
        """`columns` are further series of a bar; `settings` are sections of a sweep file such as `market`.

        The account is shared by all symbols, which stand in alphabetical order unless `data={"priority": [...]}`.
        Raises AkqUsageError for a strategy that does not decide in callbacks.
        """
        from akq_dist import _core
        from akq_dist.backtest import build_plan
        from akq_dist.data.sessions import bar_times
        from akq_dist.request import read_request
        from akq_dist.specs.data import IN_MEMORY
        from akq_dist.strategy.params import bind
        from akq_dist.strategy.signals import SignalStrategy

        section = {"source": IN_MEMORY, "symbols": list(symbols), **settings.pop("data", {})}
        request = read_request(
            {"name": "paper"}, strategy=strategy, data=section, settings={"mode": "portfolio", **settings}
        )
        self._spec = request.spec
        cls = request.strategy_class()
        if cls is None or issubclass(cls, SignalStrategy):
            raise AkqUsageError("a paper session takes a Python strategy that decides in callbacks")
        if cls.frequencies:
            raise AkqUsageError(f"{cls.__name__}: a paper session has no coarse bars (frequencies)")
        values = {**self._spec.params, **request.params, **(params or {})}
        bind(cls, values)
        first = [symbol for symbol in self._spec.data.priority if symbol in symbols]
        self._symbols = [*first, *sorted(set(symbols) - set(first))]
        self._extra = [name for name in columns if name not in (_TICK if ticks else _BAR)]
        self._extra += ["bid", "ask"] if ticks else []
        self._ticks = ticks
        self._values = values
        self._began_s = time.perf_counter()
        self._plan = _core.Plan(build_plan(self._spec, self._spec.space, n_assets=1))
        self._core = _core.PaperSession(
            self._plan,
            self._symbols,
            _live(cls, values, self._spec.search.seed),
            columns=self._extra,
            ticks=ticks,
            bar_times=bar_times(self._spec.data),
        )

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the session, in panel order."""
        return tuple(self._symbols)

    def step(
        self,
        ts: dt.datetime | int,
        bars: Mapping[str, Mapping[str, float]],
        *,
        date: dt.date | None = None,
        ends_date: bool | Sequence[str] = False,
        ends_run: bool = False,
    ) -> None:
        """Hand in the bars, or ticks, that are complete at a time; waits while too many wait already.

        `ts` is an aware datetime or nanoseconds UTC, `date` the trading date (that of `ts` in UTC when absent).
        A bar has `open`, `high`, `low`, `close` and `volume` (may be missing), a tick `price` and, where known,
        `size`, `bid` and `ask`, and both the further columns. What a backtest reads from the bars that follow is
        said here: `ends_date` that the trading date ends with this step (or with these symbols' bars), `ends_run`
        that nothing comes after it: orders decided here expire as at the end of data.
        """
        nanoseconds = _nanoseconds(ts)
        day = date if date is not None else (_EPOCH + dt.timedelta(microseconds=nanoseconds // 1000)).date()
        last = set(self._symbols) if ends_date is True else set(ends_date or ())
        rows = sorted((self._place(symbol), bar) for symbol, bar in bars.items())
        given = [self._row(asset, bar, self._symbols[asset] in last) for asset, bar in rows]
        self._core.step(
            nanoseconds, (day - _EPOCH.date()).days, given, ends_date=ends_date is True, ends_run=ends_run
        )

    def submit(
        self, symbol: str, side: int, qty: float, *, limit: float | None = None, stop: float | None = None
    ) -> None:
        """Hand in an order from outside the strategy; `side` is +1 or -1. Risk looks at it as at any other."""
        self._core.submit(self._place(symbol), side, qty, limit=limit, stop=stop)

    def cancel(self, order: int) -> None:
        """Take back an order by its number."""
        self._core.cancel(order)

    def cancel_all(self) -> None:
        """Take back every order that works."""
        self._core.cancel_all()

    def halt(self) -> None:
        """Let only orders pass that reduce a position, until `resume`."""
        self._core.halt()

    def resume(self) -> None:
        """Take a halt back."""
        self._core.resume()

    def finish(self) -> None:
        """End the session after the steps that were handed in."""
        self._core.finish()

    def stop(self) -> None:
        """End the session at once; steps that wait are not handled."""
        self._core.stop()

    def result(self) -> BacktestResult:
        """Wait for the end of the session and return what it did, once; what the strategy raised passes through."""
        from akq_dist import _core
        from akq_dist.result import BacktestResult

        run = self._core.result()
        return BacktestResult.of(
            run,
            self._plan.outputs,
            name=self._spec.name,
            params=self._values,
            symbols=self.symbols,
            data_digest="",
            build=_core.BUILD,
            wall_s=time.perf_counter() - self._began_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from akq_dist import _core

        try:
            if kind is None:
                self.finish()
            else:
                self.stop()
        except _core.EngineError:
            pass  # it has ended by itself: `result` says how

    def _place(self, symbol: str) -> int:
        try:
            return self._symbols.index(symbol)
        except ValueError:
            hint = did_you_mean(symbol, self._symbols)
            raise AkqUsageError(f"unknown symbol {symbol!r}{hint}") from None

    def _row(
        self, asset: int, bar: Mapping[str, float], ends_date: bool
    ) -> tuple[int, tuple[float, float, float, float], float, list[float], bool]:
        known = (*(_TICK if self._ticks else _BAR), *self._extra)
        for name in bar:
            if name not in known:
                raise AkqUsageError(
                    f"{self._symbols[asset]}: unknown column {name!r}{did_you_mean(name, known)}"
                )

        def value(name: str) -> float:
            found = bar.get(name)
            return float("nan") if found is None else float(found)

        names = ("price",) * 4 if self._ticks else ("open", "high", "low", "close")
        opened, high, low, close = (value(name) for name in names)
        volume = value("size" if self._ticks else "volume")
        return asset, (opened, high, low, close), volume, [value(name) for name in self._extra], ends_date


class _LiveColumns:
    """History of a session: what has come in, asked of the engine."""

    def __init__(self, instance: Strategy) -> None:
        self._instance = instance

    def tail(self, column: str, asset: int, last_index: int, n: int) -> NDArray[np.float64]:
        """Return the last n values of an asset; fewer at its start."""
        ctx: StrategyContext = self._instance._ctx
        try:
            values = np.array(ctx.tail(column, asset, min(n, last_index + 1)), dtype=np.float64)
        except KeyError:
            raise AkqUsageError(f"history: unknown column {column!r}") from None
        values.flags.writeable = False
        return values


def _live(cls: type[Strategy], values: Mapping[str, Any], seed: int) -> Any:
    def make() -> Strategy:
        instance = cls(**values)
        instance._prepare(_LiveColumns(instance), seed)
        return instance

    return make


def _nanoseconds(ts: dt.datetime | int) -> int:
    if not isinstance(ts, dt.datetime):
        return int(ts)
    if ts.tzinfo is None:
        raise AkqUsageError(
            f"the time {ts} has no time zone: a session takes aware times, or nanoseconds UTC"
        )
    span = ts - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1_000
