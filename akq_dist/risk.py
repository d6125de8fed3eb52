"""Limits of an account as an object that can be asked about an order before it is placed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from akq_dist.errors import AkqUsageError
from akq_dist.specs.market import MarketSpec
from akq_dist.specs.risk import RiskSpec
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class AccountState:
    """An account as the checks see it: no order works in it, and nothing was ordered on its date."""

    cash: float
    prices: Mapping[str, float]
    """Last close by symbol; these are the symbols that exist."""
    positions: Mapping[str, float] = field(default_factory=dict)
    """Units held by symbol, negative when short."""
    peak_equity: float | None = None
    """Highest equity so far; that of now when absent."""
    date_equity: float | None = None
    """Equity before the date began; that of now when absent."""


@dataclass(frozen=True)
class Decision:
    """The answer to an order."""

    qty: float
    """Units it comes to, floored to the lot where they are computed; 0 where there is no answer to that."""
    reason: str | None
    """Why it is refused, in the words of `BacktestResult.rejects`; None when it passes."""

    @property
    def accepted(self) -> bool:
        """Whether the order passes."""
        return self.reason is None


class RiskManager:
    """Declared limits: `RiskManager(max_drawdown=0.2, restricted=["TSLA"])`.

    The keywords are those of `risk:` in a sweep file (`akq_dist.specs.RiskSpec` lists them); unknown ones and
    limits that no order could keep raise AkqUsageError. `Engine` and `backtest` take it as `risk`.
    """

    def __init__(self, **limits: Any) -> None:
        self._limits = RiskSpec.parse(limits, lambda place: f"risk.{'.'.join(map(str, place))}")

    @property
    def limits(self) -> RiskSpec:
        """Every limit with its value, None where it is not checked."""
        return self._limits

    def to_dict(self) -> dict[str, Any]:
        """Return the limits as the section `risk` of a sweep file."""
        return self._limits.to_dict()

    def check(
        self,
        account: AccountState,
        symbol: str,
        side: Literal["buy", "sell"],
        *,
        qty: float | None = None,
        value: float | None = None,
        pct_equity: float | None = None,
        limit: float | None = None,
        stop: float | None = None,
        market: Mapping[str, Any] | MarketSpec | None = None,
    ) -> Decision:
        """Say whether an order would be accepted, by the very checks of the engine.

        The size is one of `qty`, `value` and `pct_equity`; without `limit` and `stop` it is a market order.
        `market` is that section of a sweep file. A refusal is an answer; AkqUsageError is raised for a
        question without sense, such as an unknown symbol.
        """
        from akq_dist import _core
        from akq_dist.backtest import market_plan

        if symbol not in account.prices:
            raise AkqUsageError(f"no price of {symbol!r}{did_you_mean(symbol, account.prices)}")
        for held in account.positions:
            if held not in account.prices:
                raise AkqUsageError(f"a position in {held!r} without a price")
        sizes = {"qty": qty, "value": value, "pct_equity": pct_equity}
        given = {name: float(size) for name, size in sizes.items() if size is not None}
        if len(given) != 1:
            raise AkqUsageError("an order has exactly one size: qty, value or pct_equity")
        if side not in ("buy", "sell"):
            raise AkqUsageError(f"side is {side!r}, it is 'buy' or 'sell'")
        question = {
            "market": market_plan(
                market if isinstance(market, MarketSpec) else MarketSpec.parse(market or {})
            ),
            "risk": self.to_dict(),
            "account": {
                "cash": account.cash,
                "holdings": [
                    {"symbol": name, "qty": account.positions.get(name, 0.0), "price": price}
                    for name, price in account.prices.items()
                ],
                "peak_equity": account.peak_equity,
                "date_equity": account.date_equity,
            },
            "order": {"symbol": symbol, "side": side, "size": given, "limit": limit, "stop": stop},
        }
        return Decision(*_core.check_order(json.dumps(question)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RiskManager) and self._limits == other._limits

    def __hash__(self) -> int:
        return hash(self._limits)

    def __repr__(self) -> str:
        set_ = {name: value for name, value in self._limits if value != getattr(RiskSpec(), name)}
        return f"RiskManager({', '.join(f'{name}={value!r}' for name, value in set_.items())})"
