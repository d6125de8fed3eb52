"""What risk allows before an order is accepted; SEMANTICS section 5 has the rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from akq_dist.specs.base import Float, Int, Spec
from akq_dist.specs.data import SYMBOL_LIST, to_distinct_symbols

_Symbols = Annotated[
    tuple[str, ...], BeforeValidator(to_distinct_symbols), WithJsonSchema({**SYMBOL_LIST, "minItems": 0})
]
_Above0 = Annotated[Float, Field(gt=0.0)]
_Share = Annotated[Float, Field(gt=0.0, lt=1.0)]
_Count = Annotated[Int, Field(ge=1, lt=2**32)]


class RiskSpec(Spec):
    """Checks of an account, each with a switch or a limit of its own; a limit of null is not checked.

    An order that a check refuses ends as Rejected with a reason, and the run goes on.
    """

    sellable: bool = True
    """Sells within what is held, where the market allows no shorts (`short_not_allowed`)."""
    cash: bool = True
    """Buys within cash, where the market limits buying power to it (`insufficient_cash`)."""
    lot: bool = False
    """Given quantities in whole lots; a whole position may always be closed (`off_lot`)."""
    tick: bool = False
    """Given prices in whole ticks (`off_tick`)."""
    tradable: _Symbols | None = None
    """The only symbols that orders may name; null: all (`not_tradable`)."""
    restricted: _Symbols = ()
    """Symbols whose positions may only be reduced (`restricted`)."""
    max_order_qty: _Above0 | None = None
    """Units of one order (`order_quantity`)."""
    max_order_value: _Above0 | None = None
    """Value of one order at its price, or at the last close (`order_value`)."""
    max_position_qty: _Above0 | None = None
    """Units of one position, working orders of the same side included (`position_limit`)."""
    max_position_value: _Above0 | None = None
    """Value of one position at the last close, counted in the same way (`position_limit`)."""
    max_concentration: _Above0 | None = None
    """Value of one position as a share of equity (`concentration`)."""
    max_gross_exposure: _Above0 | None = None
    """Sum of the absolute values of all positions as a multiple of equity (`gross_exposure`)."""
    max_net_exposure: _Above0 | None = None
    """Absolute sum of the values of all positions as a multiple of equity (`net_exposure`)."""
    max_drawdown: _Share | None = None
    """Share of the peak of equity whose loss halts new risk for the rest of the run (`max_drawdown`)."""
    max_daily_loss: _Share | None = None
    """Share of the equity before the date whose loss halts new risk until the next date (`daily_loss`)."""
    max_orders_per_step: _Count | None = None
    """Orders of one step (`order_rate`)."""
    max_orders_per_day: _Count | None = None
    """Orders of one trading date (`order_rate`)."""
