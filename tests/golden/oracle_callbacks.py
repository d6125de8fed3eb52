"""The strategies of the oracle's cases as Python classes, made from the parameters of a case only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from akq_dist.strategy import Param, Strategy

if TYPE_CHECKING:
    from akq_dist._core import Bar
    from akq_dist.strategy import Bars


class OracleStrategy(Strategy):
    """Quantity and simple averages, as the cases word them."""

    shares: float | None = Param(None)
    fraction: float | None = Param(None)
    same_close: bool = Param(False)

    def qty(self, close: float) -> float:
        if self.shares is not None:
            return self.shares
        return float(math.floor((self.fraction or 0.0) * self.equity / close))

    def sma(self, n: int, ago: int = 0) -> float | None:
        values = self.history("close", n + ago)
        return None if len(values) < n + ago else float(values[:n].mean())

    def cross(self, fast: int, slow: int) -> int:
        """+1 when the fast average crosses above the slow one at this bar, -1 below, 0 otherwise."""
        a, b, a1, b1 = self.sma(fast), self.sma(slow), self.sma(fast, 1), self.sma(slow, 1)
        return crossed(a, b, a1, b1)


def crossed(a: float | None, b: float | None, a1: float | None, b1: float | None) -> int:
    if a is None or b is None or a1 is None or b1 is None:
        return 0
    return int(a > b and a1 <= b1) - int(a < b and a1 >= b1)


class BuyHold(OracleStrategy):
    bar: int = Param()

    def on_bar(self, bar: Bar) -> None:
        if bar.index == self.bar:
            self.buy(self.qty(bar.close))


class SmaCross(OracleStrategy):
    fast: int = Param()
    slow: int = Param()

    def on_bar(self, bar: Bar) -> None:
        cross = self.cross(self.fast, self.slow)
        if self.position() == 0 and cross > 0:
            self.buy(self.qty(bar.close))
        elif self.position() > 0 and cross < 0:
            self.close()


class ShortSma(OracleStrategy):
    fast: int = Param()
    slow: int = Param()

    def on_bar(self, bar: Bar) -> None:
        cross = self.cross(self.fast, self.slow)
        if self.position() == 0 and cross < 0:
            self.sell(self.qty(bar.close))
        elif self.position() < 0 and cross > 0:
            self.close()


class Ema:
    """Seeded with the mean of the first n values."""

    def __init__(self, n: int) -> None:
        self.n, self.seen, self.total = n, 0, 0.0
        self.value: float | None = None

    def update(self, x: float) -> None:
        self.seen += 1
        if self.value is not None:
            self.value += 2.0 / (self.n + 1) * (x - self.value)
        else:
            self.total += x
            self.value = self.total / self.n if self.seen == self.n else None


class EmaReverse(OracleStrategy):
    fast: int = Param()
    slow: int = Param()

    def on_start(self) -> None:
        self.a, self.b = Ema(self.fast), Ema(self.slow)

    def on_bar(self, bar: Bar) -> None:
        a1, b1 = self.a.value, self.b.value
        self.a.update(bar.close)
        self.b.update(bar.close)
        cross = crossed(self.a.value, self.b.value, a1, b1)
        held = self.position()
        if cross and held * cross <= 0:
            self.close()
            (self.buy if cross > 0 else self.sell)(self.qty(bar.close))


class BollBreakout(OracleStrategy):
    period: int = Param()
    k: float = Param()

    def on_bar(self, bar: Bar) -> None:
        closes = self.history("close", self.period)
        if len(closes) < self.period:
            return
        mean, std = float(closes.mean()), float(closes.std())
        if self.position() == 0 and bar.close > mean + self.k * std:
            self.buy(self.qty(bar.close))
        elif self.position() > 0 and bar.close < mean:
            self.close()


class Donchian(OracleStrategy):
    entry: int = Param()
    exit: int = Param()

    def on_bar(self, bar: Bar) -> None:
        highs = self.history("high", self.entry + 1)[:-1]
        lows = self.history("low", self.exit + 1)[:-1]
        if self.position() == 0:
            if len(highs) == self.entry and bar.close > highs.max():
                self.buy(self.qty(bar.close))
        elif len(lows) == self.exit and bar.close < lows.min():
            self.close()


class RsiRevert(OracleStrategy):
    period: int = Param()
    low: float = Param()
    high: float = Param()

    def on_start(self) -> None:
        self.last = math.nan
        self.n = 0
        self.gain = self.loss = 0.0

    def rsi(self, close: float) -> float:
        change, self.last = close - self.last, close
        if math.isnan(change):
            return math.nan
        gain, loss, n = max(change, 0.0), max(-change, 0.0), self.period
        self.n += 1
        if self.n <= n:
            self.gain += gain / n
            self.loss += loss / n
        else:
            self.gain = (self.gain * (n - 1) + gain) / n
            self.loss = (self.loss * (n - 1) + loss) / n
        return 100.0 * self.gain / (self.gain + self.loss) if self.n >= n else math.nan

    def on_bar(self, bar: Bar) -> None:
        value = self.rsi(bar.close)
        if self.position() == 0 and value < self.low:
            self.buy(self.qty(bar.close))
        elif self.position() > 0 and value > self.high:
            self.close()


class Momentum(Strategy):
    """Targets given as numbers of shares, on timestamps common to all symbols."""

    lookback: int = Param()
    every: int = Param()
    top: int = Param()
    weight: float = Param()
    same_close: bool = Param(False)

    def on_start(self) -> None:
        self.t = -1

    def on_bars(self, bars: Bars) -> None:
        self.t += 1
        if self.t < self.lookback or (self.t - self.lookback) % self.every:
            return
        closes = {bar.symbol: self.history("close", self.lookback + 1, bar.symbol) for bar in bars}
        ranked = sorted(closes, key=lambda symbol: -(closes[symbol][-1] / closes[symbol][0] - 1.0))
        for symbol, values in closes.items():
            qty = math.floor(self.weight * self.equity / values[-1]) if symbol in ranked[: self.top] else 0
            self.target_qty(qty, symbol)


class Trailing(OracleStrategy):
    trend: int = Param()
    trail: float = Param()

    def on_start(self) -> None:
        self.level = 0.0
        self.order: int | None = None

    def place(self, close: float, qty: float) -> None:
        if self.order is not None:
            self.cancel(self.order)
        self.level = max(self.level, close * (1.0 - self.trail))
        self.order = self.sell(qty, stop=self.level, tag="trailing_stop")

    def on_bar(self, bar: Bar) -> None:
        held = self.position()
        if held > 0:
            self.place(bar.close, held)
            return
        self.level, self.order = 0.0, None
        a, a1 = self.sma(self.trend), self.sma(self.trend, 1)
        if a is None or a1 is None:
            return
        if bar.close > a and self.history("close", 2)[0] <= a1:
            qty = self.qty(bar.close)
            self.buy(qty)
            if self.same_close:
                self.place(bar.close, qty)


class StopEntryShort(OracleStrategy):
    entry: int = Param()
    trend: int = Param()

    def on_bar(self, bar: Bar) -> None:
        average = self.sma(self.trend)
        if self.position() == 0:
            self.cancel_all()
            if average is not None and bar.close < average and bar.index >= self.entry:
                level = float(self.history("low", self.entry).min())
                self.sell(self.qty(bar.close), stop=level, valid_bars=1)
        elif average is not None and bar.close > average:
            self.close()


class LimitBracket(OracleStrategy):
    trend: int = Param()
    dip: float = Param()
    valid: int = Param()
    sl: float = Param()
    tp: float = Param()

    def on_start(self) -> None:
        self.group = 0
        self.paid = math.nan

    def on_trade(self, trade: Any) -> None:
        if trade.tag == "entry":
            self.paid = trade.price

    def on_bar(self, bar: Bar) -> None:
        held = self.position()
        if held > 0:
            if not self.working():
                self.group += 1
                self.sell(held, stop=self.paid * (1.0 - self.sl), oco=self.group, tag="stop_loss")
                self.sell(held, limit=self.paid * (1.0 + self.tp), oco=self.group, tag="take_profit")
            return
        average = self.sma(self.trend)
        if average is not None and bar.close > average and not self.working():
            limit = bar.close * (1.0 - self.dip)
            self.buy(self.qty(bar.close), limit=limit, valid_bars=self.valid, tag="entry")


class MarketBracket(OracleStrategy):
    trend: int = Param()
    sl: float = Param()
    tp: float = Param()

    def on_start(self) -> None:
        self.group = 0

    def on_bar(self, bar: Bar) -> None:
        a, a1 = self.sma(self.trend), self.sma(self.trend, 1)
        if self.position() != 0 or self.working() or a is None or a1 is None:
            return
        if bar.close > a and self.history("close", 2)[0] <= a1:
            qty = self.qty(bar.close)
            self.group += 1
            self.buy(qty)
            self.sell(qty, stop=bar.close * (1.0 - self.sl), oco=self.group, tag="stop_loss")
            self.sell(qty, limit=bar.close * (1.0 + self.tp), oco=self.group, tag="take_profit")


CALLBACKS: dict[str, type[Strategy]] = {
    "buy_hold": BuyHold,
    "sma_cross": SmaCross,
    "short_sma": ShortSma,
    "ema_reverse": EmaReverse,
    "boll_breakout": BollBreakout,
    "donchian": Donchian,
    "rsi_revert": RsiRevert,
    "momentum": Momentum,
    "trailing": Trailing,
    "stop_entry_short": StopEntryShort,
    "limit_bracket": LimitBracket,
    "market_bracket": MarketBracket,
}
