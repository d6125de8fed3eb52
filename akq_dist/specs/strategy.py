"""What a strategy does, as written in a sweep file: rules, or a reference to a Python class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from akq_dist.specs.base import Expression, InvalidError, InvalidPartsError, Scalar, Spec, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"[^\0\n]+:[A-Za-z_][A-Za-z0-9_]*")


def _exactly_one(spec: Spec, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(spec, name) is not None]
    if len(given) != 1:
        what = f"has {' and '.join(given)}" if given else "is incomplete"
        raise InvalidError(f"{what}, expected exactly one of {', '.join(names)}")


class SizeSpec(Spec):
    """How much an entry buys or sells: exactly one of `qty`, `value`, `pct_equity`."""

    qty: Expression | None = None
    value: Expression | None = None
    pct_equity: Expression | None = None
    size_at: Literal["decision", "fill"] = "decision"
    """When a value or share becomes a quantity; `fill` makes an all-in order fit whatever the gap."""

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        _exactly_one(self, ("qty", "value", "pct_equity"))
        if self.qty is not None and self.size_at == "fill":
            raise InvalidPartsError(
                [
                    (
                        ("size_at",),
                        "has no meaning with qty: a quantity is the same at the decision and at the fill",
                    )
                ]
            )
        return self

    @property
    def kind(self) -> Literal["qty", "value", "pct_equity"]:
        """Which of the three is given."""
        return "qty" if self.qty is not None else "value" if self.value is not None else "pct_equity"

    @property
    def amount(self) -> str:
        """The expression that is given."""
        return self.qty or self.value or self.pct_equity or "1.0"


class EntrySpec(Spec):
    """Price of an entry order: a limit, a stop, or neither for a market order."""

    limit: Expression | None = None
    stop: Expression | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, data: Any) -> Any:
        if data == "market":
            return {}
        if isinstance(data, str):
            raise InvalidError(
                f"found {shown(data)}, expected market, {{limit: expression}} or {{stop: expression}}"
            )
        return data

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.limit is not None and self.stop is not None:
            raise InvalidError("has both limit and stop, expected one of them")
        return self

    @property
    def kind(self) -> Literal["market", "limit", "stop"]:
        """Kind of the entry order."""
        return "limit" if self.limit is not None else "stop" if self.stop is not None else "market"


class DistanceSpec(Spec):
    """How far a level is away: a share of the price (`pct`, 0.05 is five percent) or a distance (`abs`)."""

    pct: Expression | None = None
    abs: Expression | None = None

    @model_validator(mode="after")
    def _one_distance(self) -> Self:
        _exactly_one(self, ("pct", "abs"))
        return self

    @property
    def kind(self) -> Literal["pct", "abs"]:
        """Which of the two is given."""
        return "pct" if self.pct is not None else "abs"

    @property
    def distance(self) -> str:
        """The expression that is given."""
        return self.pct or self.abs or ""


class ProtectionSpec(DistanceSpec):
    """A protective level: a share of the price (`pct`, 0.05 is five percent) or a distance (`abs`)."""

    from_: Literal["fill", "signal"] = Field(default="fill", alias="from")
    """Price that the level is measured from: the fill after slippage, or the close of the decision."""


class TrailingSpec(DistanceSpec):
    """A stop that follows the price: a share of it (`pct`) or a distance (`abs`)."""

    on: Literal["high", "close"] = "high"
    """What moves the level: the high (low of a short position) or the close of completed bars."""


class RebalanceSpec(Spec):
    """When a portfolio moves to its weights, and how many assets it holds."""

    every: Expression = "1"
    """Steps between two rebalances."""
    top: Expression | None = None
    """Number of assets with the largest weights to keep; all when absent."""
    offset: Expression | None = None
    """First step of a rebalance, counted from the start."""


class RulesSpec(Spec):
    """Slots of a rule strategy; SEMANTICS section 9 has the language.

    Without `size` an entry invests all equity: `{pct_equity: 1.0, size_at: fill}`.
    """

    enter: Expression | None = None
    exit: Expression | None = None
    enter_short: Expression | None = None
    exit_short: Expression | None = None
    on_opposite: Literal["close", "reverse"] | None = None
    """What an opposite entry signal does to an open position; nothing when absent."""
    entry: EntrySpec = EntrySpec()
    entry_short: EntrySpec = EntrySpec()
    valid_bars: Expression | None = None
    """Bars that a limit or stop entry rests; until filled or cancelled when absent."""
    size: SizeSpec = SizeSpec(pct_equity="1.0", size_at="fill")
    stop_loss: ProtectionSpec | None = None
    take_profit: ProtectionSpec | None = None
    trailing: TrailingSpec | None = None
    max_bars: Expression | None = None
    """Bars after which a position is closed."""
    weights: Expression | None = None
    """Share of equity an asset should have, for portfolios; takes the place of the slots above."""
    rebalance: RebalanceSpec | None = None

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        if self.weights is not None:
            extra = [name for name in _TRADING_SLOTS if self._acts(name)]
            if extra:
                raise InvalidPartsError([((name,), "cannot be combined with weights") for name in extra])
            return self
        if self.enter is None and self.enter_short is None:
            raise InvalidError("has no entry: give enter, enter_short or weights")
        found: list[tuple[tuple[str, ...], str]] = []
        for name, needed in (
            ("exit", "enter"),
            ("entry", "enter"),
            ("exit_short", "enter_short"),
            ("entry_short", "enter_short"),
        ):
            if self._acts(name) and getattr(self, needed) is None:
                found.append(((name,), f"has no effect without {needed}"))
        if self.on_opposite is not None and (self.enter is None or self.enter_short is None):
            found.append((("on_opposite",), "has no effect unless both enter and enter_short are given"))
        if self.valid_bars is not None and self.entry.kind == "market" and self.entry_short.kind == "market":
            found.append(
                (("valid_bars",), "has no effect on market orders: give entry: {limit: ...} or {stop: ...}")
            )
        if self.rebalance is not None:
            found.append((("rebalance",), "has no effect without weights"))
        if found:
            raise InvalidPartsError(found)
        return self

    def _acts(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)


_TRADING_SLOTS = [name for name in RulesSpec.model_fields if name not in ("weights", "rebalance")]


class _OneStrategy(Spec):
    """What a strategy may be."""

    rules: RulesSpec | None = None
    python: str | None = None
    """A class in a Python file, relative to the sweep file: `strategies/sma.py:SmaCross`."""
    rust: str | None = None
    """Name of a strategy of the engine: `sma_cross`. Its parameters are searched or fixed as those of rules."""

    @field_validator("python")
    @classmethod
    def _reference(cls, value: str | None) -> str | None:
        if value is not None and not _REFERENCE.fullmatch(value):
            raise InvalidError(
                f"found {shown(value)}, expected a file and a class such as strategies/sma.py:SmaCross"
            )
        return value

    @field_validator("rust")
    @classmethod
    def _rust_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise InvalidError(f"found {shown(value)}, expected the name of a strategy such as sma_cross")
        return value


class MemberSpec(_OneStrategy):
    """One of several strategies that share an account: exactly one of `rules`, `python` and `rust`."""

    name: str = ""
    """Stands in the tables of the result; the class, the strategy of the engine or `rules` when absent."""
    params: dict[str, Scalar] = Field(default_factory=dict)
    """Values of its parameters."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not value.strip():
            raise InvalidError("is empty")
        return value

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        _exactly_one(self, ("rules", "python", "rust"))
        return self


class StrategySpec(_OneStrategy):
    """A strategy: exactly one of `rules`, `python` (`file.py:Class`) and `rust`, or a list of them for one account."""

    members: tuple[MemberSpec, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Strategies that share every account, in the order in which they are called; a file writes the list itself."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        made = handler(schema)
        one = handler.resolve_ref_schema(made)
        listed = next(form for form in one["properties"].pop("members")["anyOf"] if "items" in form)
        alone = dict(one)
        one.clear()
        one["anyOf"] = [alone, {**listed, "minItems": 1}]
        return made

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            return {"members": _with_names(data)}
        return data

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        _exactly_one(self, ("rules", "python", "rust", "members"))
        names = [member.name for member in self.members or ()]
        if self.members is not None and not names:
            raise InvalidPartsError([(("members",), "is an empty list, expected strategies")])
        for index, name in enumerate(names):
            if name in names[:index]:
                raise InvalidPartsError([(("members", index, "name"), f"{name!r} is already used")])
        return self


def _with_names(items: Sequence[Any]) -> list[Any]:
    """Names the items that have no name after what they are; a repeated one gets a number."""
    used = {item.get("name") for item in items if isinstance(item, dict)}
    named: list[Any] = []
    for item in items:
        if isinstance(item, dict) and item.get("name") is None:
            base = str(item.get("python") or item.get("rust") or "rules").rpartition(":")[2]
            name, number = base, 2
            while name in used:
                name, number = f"{base}_{number}", number + 1
            used.add(name)
            item = {**item, "name": name}
        named.append(item)
    return named
