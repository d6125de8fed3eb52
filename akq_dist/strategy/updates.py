"""What a strategy is told about its orders and fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """A change of one order: accepted, partially_filled, filled, rejected, cancelled or expired.

    An amendment is heard as the state of the order as it is now, with the reason if it was refused.
    """

    id: int
    symbol: str
    side: int
    """+1 buys, -1 sells."""
    qty: float
    price: float | None
    """Limit or stop price; None for a market order."""
    status: str
    reason: str | None
    tag: str
    filled: float = 0.0
    """Units that have filled so far."""


@dataclass(frozen=True, slots=True)
class TradeUpdate:
    """A fill of one of the strategy's orders."""

    order: int
    symbol: str
    side: int
    """+1 bought, -1 sold."""
    qty: float
    price: float
    """After slippage."""
    fees: float
    tag: str


def order_update(raw: Mapping[str, Any]) -> OrderUpdate:
    """Wrap what the engine hands over."""
    return OrderUpdate(
        raw["id"], raw["symbol"], raw["side"], raw["qty"], raw.get("price"), raw["status"], raw.get("reason"),
        raw.get("tag", ""), raw.get("filled", 0.0),
    )  # fmt: skip


def trade_update(raw: Mapping[str, Any]) -> TradeUpdate:
    """Wrap what the engine hands over."""
    return TradeUpdate(
        raw["order"], raw["symbol"], raw["side"], raw["qty"], raw["price"], raw["fees"], raw.get("tag", "")
    )
