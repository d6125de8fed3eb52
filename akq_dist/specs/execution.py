"""How orders meet the volume and the prices of a bar, and what the market takes for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from akq_dist.specs.base import Float, InvalidError, Spec


def _is_none(value: Any) -> bool:
    return value is None


class ImpactSpec(Spec):
    """A share of the price that grows with the order's share `s` of the bar's volume, at most 1."""

    formula: Literal["square_root", "linear"] = "square_root"
    """`coefficient * sqrt(s)` (Torre, BARRA Market Impact Model Handbook, 1997) or `coefficient * s` (Kyle,
    Econometrica 53, 1985)."""
    coefficient: Float = Field(ge=0.0, lt=1.0)
    """Share of the price that an order as large as the bar's volume moves it by."""


class SlippageSpec(Spec):
    """How far a market or stop fill is from its price, against the order: at most one of the three."""

    bps: Float = Field(default=0.0, ge=0.0, lt=10_000.0)
    """Basis points of the price."""
    ticks: Annotated[Float, Field(ge=0.0)] | None = Field(default=None, exclude_if=_is_none)
    """Steps of the tick."""
    volume_impact: ImpactSpec | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        given = [name for name in ("ticks", "volume_impact") if getattr(self, name) is not None]
        given = ["bps", *given] if self.bps != 0.0 else given
        if len(given) > 1:
            raise InvalidError(f"has {' and '.join(given)}, expected one of bps, ticks, volume_impact")
        return self

    @property
    def model(self) -> dict[str, Any] | None:
        """The model as the engine reads it; None for basis points."""
        if self.ticks is not None:
            return {"ticks": self.ticks}
        return None if self.volume_impact is None else {"volume_impact": self.volume_impact.to_dict()}


class ExecutionSpec(Spec):
    """What a bar gives to orders; the defaults fill every order whole, whatever the volume."""

    max_participation: Annotated[Float, Field(gt=0.0, le=1.0)] | None = None
    """Largest share of a bar's volume that the account trades on it; null: no cap."""
    halt_on_zero_volume: bool = False
    """A bar whose volume is zero trades nothing. Absent volume is not zero volume."""
    cap_to_bar: bool = False
    """Slippage stays inside the bar."""
    tick: Float = Field(default=0.0, ge=0.0)
    """Smallest step of a price; 0 allows any price."""
    intrabar: Literal["pessimistic", "optimistic", "ohlc"] = "pessimistic"
    """Which leg of a group fills when one bar reaches both its stop and its limit: the stop, the limit, or the
    first on the way open, nearer extreme, other extreme, close."""


def execution_plan(execution: ExecutionSpec, slippage: SlippageSpec) -> dict[str, Any] | None:
    """Return both as the engine reads them; None where they say nothing beyond basis points."""
    model = slippage.model
    if model is None and execution == ExecutionSpec():
        return None
    return {**execution.to_dict(), "slippage": model}
