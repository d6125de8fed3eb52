"""How orders meet the volume and the prices of a bar, and what the market takes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, model_validator

from akq_dist.specs.base import Float, InvalidError, Spec
from akq_dist.specs.market_rules import SparseSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


class ImpactSpec(Spec):
    """A share of the price that grows with the order's share `s` of the bar's volume, at most 1."""

    formula: Literal["square_root", "linear"] = "square_root"
    """`coefficient * sqrt(s)` (Torre, BARRA Market Impact Model Handbook, 1997) or `coefficient * s` (Kyle,
    Econometrica 53, 1985)."""
    coefficient: Float = Field(ge=0.0, lt=1.0)
    """Share of the price that an order as large as the bar's volume moves it by."""


class SlippageSpec(SparseSpec):
    """How far a market or stop fill is from its price, against the order: at most one of the three."""

    bps: Float = Field(default=0.0, ge=0.0, lt=10_000.0)
    """Basis points of the price."""
    ticks: Float | None = Field(default=None, ge=0.0)
    """Steps of the tick."""
    volume_impact: ImpactSpec | None = None

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


class ExecutionSpec(SparseSpec):
    """What a bar gives to orders. An item that is not given is as the profile has it.

    In the profile `simple` every order fills whole, whatever the volume.
    """

    max_participation: Float | None = Field(default=None, gt=0.0, le=1.0)
    """Largest share of a bar's volume that the account trades on it; without it there is no cap."""
    halt_on_zero_volume: bool | None = None
    """A bar whose volume is zero trades nothing (simple: false). Absent volume is not zero volume."""
    cap_to_bar: bool | None = None
    """Slippage stays inside the bar (simple: false)."""
    tick: Float | None = Field(default=None, ge=0.0)
    """Smallest step of a price; 0 allows any price (simple: 0)."""
    intrabar: Literal["pessimistic", "optimistic", "ohlc"] | None = None
    """Which leg of a group fills when one bar reaches both its stop and its limit: the stop, the limit, or the
    first on the way open, nearer extreme, other extreme, close (simple: pessimistic)."""


_SIMPLE: Final[Mapping[str, Any]] = {
    "halt_on_zero_volume": False,
    "cap_to_bar": False,
    "tick": 0.0,
    "intrabar": "pessimistic",
}
"""Items of the profile `simple`."""


def execution_plan(execution: ExecutionSpec, slippage: SlippageSpec, *, over_profile: bool) -> dict[str, Any]:
    """Return what both say to the engine beyond basis points; what `simple` has anyway only over a profile."""
    given = execution.to_dict()
    if not over_profile:
        given = {name: value for name, value in given.items() if value != _SIMPLE.get(name)}
    return given if slippage.model is None else {**given, "slippage": slippage.model}
