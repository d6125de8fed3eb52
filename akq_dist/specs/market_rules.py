"""The tables of a market: rates and price limits with their days, boards, corporate actions."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from akq_dist.specs.base import Float, Int, InvalidError, Spec, refuse_bool


class SparseSpec(Spec):
    """A specification of which items that are not given are not written either."""

    @model_serializer(mode="wrap")
    def _given_only(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class CommissionSpec(Spec):
    """Commission of a fill: `max(rate * notional + per_share * quantity, minimum)`."""

    rate: Float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the traded value."""
    per_share: Float = Field(default=0.0, ge=0.0)
    minimum: Float = Field(default=0.0, ge=0.0)


class RateSpec(Spec):
    """A share of the traded value from a day on, until the next entry."""

    from_: dt.date = Field(alias="from")
    rate: Float = Field(ge=0.0, lt=1.0)
    source: str = ""
    """Who says so."""


class LimitSpec(SparseSpec):
    """How far prices may move in a day, from a day on, until the next entry."""

    from_: dt.date = Field(alias="from")
    rate: Float = Field(gt=0.0, lt=1.0)
    """Share of the reference price."""
    st_rate: Float | None = Field(default=None, gt=0.0, lt=1.0)
    """The same where the column `is_st` is not zero."""
    free_days: Int = Field(default=0, ge=0)
    """First trading dates of a listing without a limit."""
    source: str = ""


def _to_rates(value: Any) -> Any:
    if isinstance(value, int | float):
        return [{"from": "0001-01-01", "rate": refuse_bool(value)}]
    return value


_RATE_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "array", "items": RateSpec.model_json_schema()}]
}
Rates = Annotated[tuple[RateSpec, ...], BeforeValidator(_to_rates), WithJsonSchema(_RATE_SCHEMA)]
"""Entries by day; a number stands for a rate that always held."""


class BoardSpec(SparseSpec):
    """A part of the market with rules of its own; what it leaves out is as in the market."""

    name: str
    symbols: tuple[str, ...]
    """Digits: beginnings of a six-digit code. Letters: the product before the digits of a contract."""
    lot: Float | None = Field(default=None, ge=0.0)
    min_qty: Float | None = Field(default=None, ge=0.0)
    tick: Float | None = Field(default=None, ge=0.0)
    multiplier: Float | None = Field(default=None, gt=0.0)
    margin: Float | None = Field(default=None, gt=0.0)
    sell_after_days: Int | None = Field(default=None, ge=0, le=10)
    commission: CommissionSpec | None = None
    close_today: CommissionSpec | None = None
    stamp_duty: Rates | None = None
    transfer_fee: Rates | None = None
    price_limit: tuple[LimitSpec, ...] | None = None
    source: str = ""


class DividendTaxSpec(Spec):
    """A rate of tax on the dividends of units that were held at most so many months."""

    months: Int = Field(ge=1, le=1200)
    """Calendar months from the trading date of the purchase to that of the sale."""
    rate: Float = Field(ge=0.0, lt=1.0)
    """Share of the cash dividend."""


class ActionSpec(Spec):
    """A corporate action, each amount per unit held before the ex-date."""

    symbol: str
    ex_date: dt.date
    cash: Float = Field(default=0.0, ge=0.0)
    """Dividend before tax, in the currency of the prices."""
    bonus: Float = Field(default=0.0, gt=-1.0)
    """New units: 0.3 is three for ten, 1 a split of two for one, -0.9 a reverse split of one for ten."""
    rights: Float = Field(default=0.0, ge=0.0)
    """Units that may be subscribed at `rights_price`."""
    rights_price: Float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _says_something(self) -> ActionSpec:
        if not (self.cash or self.bonus or self.rights):
            raise InvalidError("changes nothing: give cash, bonus or rights")
        return self


class OptionSpec(Spec):
    """The terms of an option contract; its bars carry the column `underlying_close`."""

    symbol: str
    right: Literal["call", "put"]
    strike: Float = Field(gt=0.0)
    expiry: dt.date
    """The last trading date: what is held then is closed at its intrinsic value, in cash and without fees."""
