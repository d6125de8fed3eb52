"""The market that orders meet: costs, lots, cash and when orders fill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from akq_dist.specs.base import Float, InvalidError, Spec, refuse_bool, shown
from akq_dist.specs.suggest import nearest

PROFILES = (
    "simple",
    "cn_stock",
    "cn_fund",
    "cn_future",
    "cn_option",
    "us_stock",
    "hk_stock",
    "crypto",
    "fx",
)
"""The market profiles of the engine."""

_PROFILE_FILE = (".yaml", ".yml")
_ITEMS = (
    "commission",
    "sell_tax",
    "lot",
    "multiplier",
    "shorts",
    "buying_power",
    "on_insufficient_cash",
    "periods_per_year",
)
"""Items that a specification always states; a profile gives their values where the file does not."""

ENGINE_ITEMS = (
    "tick",
    "min_qty",
    "lot_binds",
    "sell_after_days",
    "stamp_duty",
    "duty_on_buys",
    "transfer_fee",
    "close_today",
    "price_limit",
    "refuse_beyond_limits",
    "listed",
    "margin",
    "maintenance",
    "daily_settlement",
    "borrow_rate",
    "boards",
    "board",
    "corporate_actions",
    "execution",
)
"""Items that go to the engine as they are written, and are those of the profile where they are not."""


class SlippageSpec(Spec):
    """How far a market or stop fill is from its price, against the order."""

    bps: Float = Field(default=0.0, ge=0.0, lt=10_000.0)
    """Basis points of the price."""


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
    """A profile of the engine, or a YAML file with a profile of one's own: overrides on another profile."""
    cash: Float = Field(default=1_000_000.0, gt=0.0, le=1e15)
    """Initial cash, of each asset in mode per_asset."""
    fill: Literal["next_open", "close"] = "next_open"
    slippage: SlippageSpec = SlippageSpec()
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
    buying_power: Literal["unlimited", "cash", "margin"] = "unlimited"
    on_insufficient_cash: Literal["reject", "reduce"] = "reject"
    periods_per_year: Float = Field(default=252.0, gt=0.0, le=1e9)
    """Trading days a year, for annual figures."""
    tick: Float | None = Field(default=None, ge=0.0)
    """Grid of order prices and price limits."""
    min_qty: Float | None = Field(default=None, ge=0.0)
    """Least quantity of an order."""
    lot_binds: bool | None = None
    """Whether lots bind the quantities that a strategy gives, too."""
    sell_after_days: int | None = Field(default=None, ge=0, le=10)
    """Trading dates until a bought unit may be sold: 1 is T+1."""
    stamp_duty: float | list[dict[str, Any]] | None = None
    """Share of the value of a sale: a number, or entries with `from`, `rate`, `source`."""
    duty_on_buys: bool | None = None
    transfer_fee: float | list[dict[str, Any]] | None = None
    """Share of the value of every execution."""
    close_today: CommissionSpec | None = None
    """Commission of what is closed on the day it was opened."""
    price_limit: list[dict[str, Any]] | None = None
    """Entries with `from`, `rate`, `st_rate`, `free_days`, `source`; an empty list lifts the limits."""
    refuse_beyond_limits: bool | None = None
    listed: dict[str, str] | None = None
    """First trading date of instruments that were listed within the data, as 2021-07-01."""
    margin: Float | None = Field(default=None, gt=0.0)
    """Share of the value that a position ties up, with buying_power: margin."""
    maintenance: Float | None = Field(default=None, ge=0.0)
    """Share of that below which the equity at the end of a date has all positions closed."""
    daily_settlement: bool | None = None
    """Gains and losses move cash at the end of every date, as for futures."""
    borrow_rate: Float | None = Field(default=None, ge=0.0)
    """A year's fee on the value of short positions."""
    boards: list[dict[str, Any]] | None = None
    """Parts of the market with rules of their own, by symbol."""
    board: str | None = None
    """The board of every symbol, where the symbols do not tell."""
    corporate_actions: list[dict[str, Any]] | None = None
    """Entries with `symbol`, `ex_date` and any of `cash`, `bonus`, `rights`, `rights_price`."""
    execution: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _over_profile(cls, data: Any) -> Any:
        """Fill in the items of the profile, so that a specification states what it runs on."""
        if not isinstance(data, dict):
            return data
        given = _own_profile(data)
        name = given.get("profile", "simple")
        if name == "simple" or name not in PROFILES:
            return given
        base = profile_items(name)
        filled = {item: base[item] for item in _ITEMS if item not in given}
        commission = given.get("commission")
        if isinstance(commission, dict):
            filled["commission"] = {**base["commission"], **commission}
            return {**given, **filled}
        return {**filled, **given}

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, value: str) -> str:
        if value not in PROFILES:
            guess = nearest(value, PROFILES)
            hint = f", did you mean {guess!r}?" if guess else f", known: {', '.join(PROFILES)}"
            raise InvalidError(f"unknown profile {shown(value)}{hint}")
        return value

    @field_validator("slippage", "commission", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        return {} if value is None else value


def profile_items(name: str) -> dict[str, Any]:
    """Return every item of a profile of the engine."""
    from akq_dist import _core

    items: dict[str, Any] = json.loads(_core.market_profile(name))
    return items


def _own_profile(data: dict[Any, Any]) -> dict[Any, Any]:
    """Replace a profile file by the profile it builds on and its overrides."""
    seen: list[str] = []
    merged = data
    while isinstance(name := merged.get("profile"), str) and name.endswith(_PROFILE_FILE):
        if name in seen:
            raise InvalidError(f"the profile file {shown(name)} builds on itself")
        seen.append(name)
        merged = {"profile": "simple", **_read_profile(name), **_without_profile(merged)}
    return merged


def _without_profile(data: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in data.items() if key != "profile"}


def _read_profile(name: str) -> dict[Any, Any]:
    import yaml

    try:
        found = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"cannot read the profile file {shown(name)}: {error.strerror}") from None
    except yaml.YAMLError:
        raise InvalidError(f"the profile file {shown(name)} is not YAML") from None
    if not isinstance(found, dict):
        raise InvalidError(f"the profile file {shown(name)} must be a mapping of market items")
    return found
