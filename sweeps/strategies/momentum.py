"""Cross-sectional momentum: every few bars, hold the assets that rose most, in equal shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranking import strongest

from akq_dist.strategy import Param, Strategy

if TYPE_CHECKING:
    from akq_dist.strategy import Bars


class Momentum(Strategy):
    """Rebalances every `every` bars of the panel once an asset has `lookback` bars behind it."""

    lookback: int = Param(126, low=2)
    every: int = Param(21, low=1)
    top: int = Param(3, low=1)
    share: float = Param(0.98, low=0.0, high=1.0, doc="part of equity that is invested")

    def on_start(self) -> None:
        self.steps = 0

    def on_bars(self, bars: Bars) -> None:
        self.steps += 1
        if self.steps <= self.lookback or (self.steps - 1 - self.lookback) % self.every:
            return
        scores: dict[str, float] = {}
        for bar in bars:
            closes = self.history("close", self.lookback + 1, bar.symbol)
            if len(closes) == self.lookback + 1:
                scores[bar.symbol] = closes[-1] / closes[0] - 1.0
        chosen = strongest(scores, self.top)
        for symbol in scores:
            self.target_pct(self.share / self.top if symbol in chosen else 0.0, symbol)
