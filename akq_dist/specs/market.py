"""The market that orders meet: costs, lots, cash and when orders fill."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from akq_dist.specs.base import Float, InvalidError, Spec, refuse_bool, shown
from akq_dist.specs.execution import ExecutionSpec, SlippageSpec
from akq_dist.specs.suggest import nearest

PROFILES = ("simple",)


class CommissionSpec(Spec):
    """Fee of a fill: `max(rate * notional + per_share * quantity, minimum)`."""

    rate: Float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the traded value."""
    per_share: Float = Field(default=0.0, ge=0.0)
    minimum: Float = Field(default=0.0, ge=0.0)


def _to_lot(value: Any) -> Any:
    return 0.0 if value is None else refuse_bool(value)


class MarketSpec(Spec):
    """A market profile and what overrides it."""

    profile: str = "simple"
    cash: Float = Field(default=1_000_000.0, gt=0.0, le=1e15)
    """Initial cash, of each asset in mode per_asset."""
    fill: Literal["next_open", "close"] = "next_open"
    slippage: SlippageSpec = SlippageSpec()
    execution: ExecutionSpec = Field(
        default=ExecutionSpec(), exclude_if=lambda value: value == ExecutionSpec()
    )
    commission: CommissionSpec = CommissionSpec()
    sell_tax: Float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the value of a sale."""
    lot: Annotated[
        float, BeforeValidator(_to_lot), WithJsonSchema({"type": ["number", "null"], "minimum": 0})
    ] = Field(default=1.0, ge=0.0)
    """Computed quantities are floored to a multiple of it; 0 or null allows any fraction."""
    multiplier: Float = Field(default=1.0, gt=0.0)
    """Value of one unit for a price of one."""
    shorts: bool = True
    buying_power: Literal["unlimited", "cash"] = "unlimited"
    on_insufficient_cash: Literal["reject", "reduce"] = "reject"
    periods_per_year: Float = Field(default=252.0, gt=0.0, le=1e9)
    """Trading days a year, for annual figures."""

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, value: str) -> str:
        if value not in PROFILES:
            guess = nearest(value, PROFILES)
            hint = f", did you mean {guess!r}?" if guess else f", known: {', '.join(PROFILES)}"
            raise InvalidError(f"unknown profile {shown(value)}{hint}")
        return value

    @field_validator("slippage", "commission", "execution", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        return {} if value is None else value
