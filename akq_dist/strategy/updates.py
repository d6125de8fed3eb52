"""What a strategy is told about its orders, fills and positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

OrderKind = Literal["market", "limit", "stop", "stop_limit", "trailing_stop", "market_on_close"]
OrderStatus = Literal["accepted", "partially_filled", "filled", "rejected", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands now; `Strategy.on_order` hears it at every change.

    An amendment is heard as the state of the order as it is now, with the reason if it was refused.
    """

    id: int
    symbol: str
    side: int
    """+1 buys, -1 sells."""
    qty: float
    """Units of the whole order; 0 until the fill resolves a budget."""
    price: float | None
    """The limit, or the stop where there is no limit; None for a market order."""
    status: OrderStatus
    reason: str | None
    """Why it was refused, cancelled or expired."""
    tag: str
    filled: float = 0.0
    """Units that have filled so far."""
    kind: OrderKind = "market"
    limit: float | None = None
    stop: float | None = None
    """Stop price; the level of a trailing stop, NaN before the engine has set it."""
    ts: int = 0
    """When it was submitted, nanoseconds since 1970 in UTC."""
    parent: int | None = None
    """Number of the order that it waits for, or that it protects a fill of."""
    is_final: bool = False
    """Whether it is filled, rejected, cancelled or expired: nothing happens to it any more."""

    @property
    def remaining(self) -> float:
        """Units that have not filled."""
        return self.qty - self.filled

    @property
    def is_buy(self) -> bool:
        """Whether it buys."""
        return self.side > 0


@dataclass(frozen=True, slots=True)
class Trade:
    """A fill of one of the strategy's orders, in whole or in part."""

    order: int
    """Number of the order."""
    symbol: str
    side: int
    """+1 bought, -1 sold."""
    qty: float
    price: float
    """After slippage."""
    fees: float
    """Commission and taxes in account currency, not negative."""
    tag: str
    slippage_cost: float = 0.0
    """What slippage cost in account currency, not negative."""
    ts: int = 0
    """Time of the bar, nanoseconds since 1970 in UTC."""
    index: int = 0
    """Index of the bar in the asset's own series."""

    @property
    def is_buy(self) -> bool:
        """Whether units were bought."""
        return self.side > 0


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one asset; see `Strategy.positions`."""

    symbol: str
    qty: float
    """Units, negative when short."""
    avg_price: float
    """Average cost of a unit, without fees."""
    price: float
    """Last close."""

    @property
    def is_long(self) -> bool:
        """Whether units are held; a short position is not long."""
        return self.qty > 0

    @property
    def gain(self) -> float:
        """Move of the price in favour of the position since its average cost, as a share of that cost."""
        return (self.price / self.avg_price - 1.0) * (1.0 if self.qty > 0 else -1.0)


def order_of(raw: Mapping[str, Any]) -> Order:
    """Wrap what the engine hands over."""
    return Order(**raw)


def trade_of(raw: Mapping[str, Any]) -> Trade:
    """Wrap what the engine hands over."""
    return Trade(**raw)
