"""How much an order buys or sells: sizers that a strategy gives in place of a quantity.

    self.buy(size=RiskPerTrade(0.01, {"abs": 2.5}), stop_loss={"abs": 2.5})

A sizer answers in the engine's own terms, so lots, contract multipliers and costs are the engine's matter. Any
object with the method `size` will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from akq_dist.errors import AkqStrategyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from akq_dist.strategy.base import Strategy

Amount = tuple[Literal["qty", "value", "pct_equity"], float]
"""Units, money, or a share of equity; floored to the lot, and refused as `zero_quantity` when nothing is left."""


class Sizer(Protocol):
    """Decides the size of an order when it is placed."""

    def size(self, strategy: Strategy, symbol: str, /) -> Amount:
        """Return what to trade of a symbol, not below zero, from what the strategy knows now."""


@dataclass(frozen=True)
class FixedQty:
    """The same number of units every time."""

    qty: float

    def __post_init__(self) -> None:
        _need_above_zero(self, qty=self.qty)

    def size(self, _strategy: Strategy, _symbol: str, /) -> Amount:
        """Return the quantity."""
        return "qty", self.qty


@dataclass(frozen=True)
class FixedValue:
    """The same amount of money every time, fees included."""

    value: float

    def __post_init__(self) -> None:
        _need_above_zero(self, value=self.value)

    def size(self, _strategy: Strategy, _symbol: str, /) -> Amount:
        """Return the value."""
        return "value", self.value


@dataclass(frozen=True)
class PctEquity:
    """A share of equity at the decision: 0.1 is a tenth."""

    share: float

    def __post_init__(self) -> None:
        _need_above_zero(self, share=self.share)

    def size(self, _strategy: Strategy, _symbol: str, /) -> Amount:
        """Return the share."""
        return "pct_equity", self.share


@dataclass(frozen=True)
class RiskPerTrade:
    """As much as loses a share of equity when the price moves from the last close by the distance of the stop.

    `stop` is `{"pct": 0.05}` of the price or `{"abs": 2.0}` in points; gaps and costs come on top. At most
    `max_share` of equity is put into the position (fixed fractional risk: Vince, Portfolio Management Formulas,
    1990).
    """

    share: float
    stop: Mapping[str, float]
    max_share: float = math.inf

    def __post_init__(self) -> None:
        _need_above_zero(self, share=self.share, max_share=self.max_share)
        if len(self.stop) != 1 or next(iter(self.stop)) not in ("pct", "abs"):
            raise AkqStrategyError(f"RiskPerTrade: stop is {dict(self.stop)!r}, expected pct or abs")
        _need_above_zero(self, stop=next(iter(self.stop.values())))

    def size(self, strategy: Strategy, symbol: str, /) -> Amount:
        """Return the share of equity whose loss at the stop is the risk."""
        kind, distance = next(iter(self.stop.items()))
        if kind == "abs":
            distance /= float(strategy.history("close", 1, symbol)[-1])
        # 1 % of equity over 2.5 % of the price is 40 %: a rounding error below it must not cost a lot.
        return "pct_equity", min(self.share / distance * (1.0 + 1e-12), self.max_share)


@dataclass(frozen=True)
class VolatilityTarget:
    """A share of equity whose annual volatility would be `target`, were it that of the last `n` returns.

    Log returns from close to close with ddof 1, times the square root of `periods_per_year`. At most
    `max_share` of equity; nothing before there are `n` returns, or where the price has not moved (volatility
    scaling: Moreira and Muir, Volatility-Managed Portfolios, Journal of Finance 72, 2017).
    """

    target: float
    n: int = 20
    periods_per_year: float = 252.0
    max_share: float = 1.0

    def __post_init__(self) -> None:
        _need_above_zero(
            self, target=self.target, periods_per_year=self.periods_per_year, max_share=self.max_share
        )
        if self.n < 2:
            raise AkqStrategyError(f"VolatilityTarget: n is {self.n!r}, expected at least 2 returns")

    def size(self, strategy: Strategy, symbol: str, /) -> Amount:
        """Return the share of equity that has the wanted volatility."""
        import numpy as np

        closes = strategy.history("close", self.n + 1, symbol)
        if len(closes) <= self.n:
            return "pct_equity", 0.0
        deviation = float(np.diff(np.log(closes)).std(ddof=1)) * math.sqrt(self.periods_per_year)
        # What is left of rounding is no volatility.
        return "pct_equity", min(self.target / deviation, self.max_share) if deviation > 1e-12 else 0.0


def _need_above_zero(sizer: object, **values: float) -> None:
    for name, value in values.items():
        if not value > 0.0:
            raise AkqStrategyError(
                f"{type(sizer).__name__}: {name} is {value!r}, expected a number above zero"
            )
