"""The market that orders meet: costs, lots, cash and when orders fill."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - pydantic reads the annotations
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import Float, Int, InvalidError, Place, dotted, refuse_bool, shown
from akq_dist.specs.execution import ExecutionSpec, SlippageSpec
from akq_dist.specs.market_rules import (
    ActionSpec,
    BoardSpec,
    CommissionSpec,
    DividendTaxSpec,
    LimitSpec,
    OptionSpec,
    Rates,
    SparseSpec,
)
from akq_dist.specs.suggest import nearest
from akq_dist.specs.yamltext import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

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
"""Items that a specification states; a profile gives their values where the file does not."""

_BY_BOARD = frozenset({"commission", "multiplier"})
"""Those of them that boards give: none is stated where they do."""

ENGINE_ITEMS = (
    "fee_rounding",
    "tick",
    "min_qty",
    "lot_binds",
    "sell_after_days",
    "stamp_duty",
    "duty_on_buys",
    "transfer_fee",
    "close_today",
    "price_limit",
    "limit_columns",
    "refuse_beyond_limits",
    "listed",
    "margin",
    "maintenance",
    "daily_settlement",
    "borrow_rate",
    "dividend_tax",
    "interest_rate",
    "funding_column",
    "fx_column",
    "options",
    "boards",
    "board",
    "corporate_actions",
)
"""Items that go to the engine as they are written, and are those of the profile where they are not."""


def _to_lot(value: Any) -> Any:
    return 0.0 if value is None else refuse_bool(value)


class MarketSpec(SparseSpec):
    """A market profile and what overrides it."""

    profile: str = "simple"
    """A profile of the engine, or a YAML file with a profile of one's own: overrides on another profile."""
    cash: Float = Field(default=1_000_000.0, gt=0.0, le=1e15)
    """Initial cash, of each asset in mode per_asset."""
    fill: Literal["next_open", "close"] = "next_open"
    slippage: SlippageSpec = SlippageSpec()
    execution: ExecutionSpec = Field(
        default=ExecutionSpec(), exclude_if=lambda value: value == ExecutionSpec()
    )
    commission: CommissionSpec | None = CommissionSpec()
    """None where the boards of a profile have their own."""
    fee_rounding: Literal["none", "cent"] | None = None
    """Whether the fees of an order and date are whole cents (half up); none unless the profile says otherwise."""
    sell_tax: Float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the value of a sale."""
    lot: Annotated[
        float, BeforeValidator(_to_lot), WithJsonSchema({"type": ["number", "null"], "minimum": 0})
    ] = Field(default=1.0, ge=0.0)
    """Computed quantities are floored to a multiple of it; 0 or null allows any fraction."""
    multiplier: Float | None = Field(default=1.0, gt=0.0)
    """Value of one unit for a price of one; None where the boards of a profile have their own."""
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
    sell_after_days: Int | None = Field(default=None, ge=0, le=10)
    """Trading dates until a bought unit may be sold: 1 is T+1."""
    stamp_duty: Rates | None = None
    """Share of the value of a sale: a number, or entries with `from`, `rate`, `source`."""
    duty_on_buys: bool | None = None
    transfer_fee: Rates | None = None
    """Share of the value of every execution."""
    close_today: CommissionSpec | None = None
    """Commission of what is closed on the day it was opened."""
    price_limit: tuple[LimitSpec, ...] | None = None
    """By day; an empty list lifts the limits."""
    limit_columns: bool | None = None
    """Whether the columns `limit_up` and `limit_down` limit prices where no rate does."""
    refuse_beyond_limits: bool | None = None
    listed: dict[str, dt.date] | None = None
    """First trading date of instruments that were listed within the data, as 2021-07-01."""
    margin: Float | None = Field(default=None, gt=0.0)
    """Share of the value that a position ties up, with buying_power: margin."""
    maintenance: Float | None = Field(default=None, ge=0.0)
    """Share of that below which the equity at the end of a date has all positions closed."""
    daily_settlement: bool | None = None
    """Gains and losses move cash at the end of every date, as for futures."""
    borrow_rate: Float | None = Field(default=None, ge=0.0)
    """A year's fee on the value of short positions."""
    dividend_tax: tuple[DividendTaxSpec, ...] | None = None
    """Tax on cash dividends by how long units were held, months ascending; taken when they are sold."""
    interest_rate: Float | None = Field(default=None, ge=0.0)
    """A year's interest on cash below zero, by calendar days."""
    funding_column: str | None = None
    """Column with funding rates: who holds a position when such a bar begins pays the share of its value."""
    fx_column: str | None = None
    """Column with the value of one unit of the instrument's currency in the currency of the account."""
    options: tuple[OptionSpec, ...] | None = None
    boards: tuple[BoardSpec, ...] | None = None
    """Parts of the market with rules of their own, by symbol."""
    board: str | None = None
    """The board of every symbol, where the symbols do not tell."""
    corporate_actions: tuple[ActionSpec, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _over_profile(cls, data: Any) -> Any:
        """Fill in the items of the profile, so that a specification states what it runs on."""
        if not isinstance(data, dict):
            return data
        name = data.get("profile", "simple")
        if name not in PROFILES:
            return data
        if name == "simple":
            return {item: value for item, value in data.items() if value is not None or item not in _BY_BOARD}
        base = profile_items(name)
        own = _board_items(base) if data.get("boards") is None else frozenset()
        filled = {item: None if item in own else base[item] for item in _ITEMS}
        given = {item: value for item, value in data.items() if value is not None or item == "lot"}
        if isinstance(commission := given.get("commission"), dict):
            given["commission"] = {**base["commission"], **commission}
        return {**filled, **given}

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, value: str) -> str:
        if value not in PROFILES:
            guess = nearest(value, PROFILES)
            hint = f", did you mean {guess!r}?" if guess else f", known: {', '.join(PROFILES)}"
            raise InvalidError(f"unknown profile {shown(value)}{hint}")
        return value

    @field_validator("slippage", "execution", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        return {} if value is None else value


def profile_items(name: str) -> dict[str, Any]:
    """Return every item of a profile of the engine."""
    from akq_dist import _core

    items: dict[str, Any] = json.loads(_core.market_profile(name))
    return items


def overrides(market: MarketSpec) -> dict[str, Any]:
    """Return what a market lays over its profile, for the engine.

    An item as the profile has it is no override: its boards may have another one.
    """
    base = profile_items(market.profile)
    own = _board_items(base)
    data = market.to_dict()
    changed: dict[str, Any] = {}
    for item in (*_ITEMS[:-1], *ENGINE_ITEMS):
        value = data.get(item)
        if value is not None and (value != base[item] or item in own):
            changed[item] = value
    return changed


def _board_items(base: dict[str, Any]) -> frozenset[str]:
    """Items that some board of a profile has its own value of."""
    return frozenset(item for board in base["boards"] for item in board) & _BY_BOARD


def read_profile(market: Any, folder: Path) -> Any:
    """Replace a profile that names a YAML file by the profile it builds on and its items.

    A relative path starts at `folder`, one in a profile file at the folder of that file. Raises AkqUsageError
    that names the file and the line.
    """
    seen: list[Path] = []
    while isinstance(market, dict) and isinstance(name := market.get("profile"), str):
        if not name.endswith(_PROFILE_FILE):
            break
        file = (folder / name).resolve()
        if file in seen:
            raise AkqUsageError(f"market.profile: {file.name} builds on itself")
        seen.append(file)
        folder = file.parent
        market = {**_items_of(file), **{key: value for key, value in market.items() if key != "profile"}}
    return market


def _items_of(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AkqUsageError(f"market.profile: {file} cannot be read: {reason}") from None
    found, lines = read_yaml(text, file.name)
    if not isinstance(found, dict):
        raise AkqUsageError(f"{file.name}: found {shown(found)}, expected a mapping of market items")
    on_file = str(found.get("profile", "")).endswith(_PROFILE_FILE)
    own = {key: value for key, value in found.items() if not (on_file and key == "profile")}

    def describe(place: Place) -> str:
        line = lines.get(place)
        return f"{file.name}:{line}: {dotted(place)}" if line is not None else f"{file.name}: {dotted(place)}"

    MarketSpec.parse(own, describe)
    return found
