"""Prices for signals that go on across ex-dates. Fills always use raw prices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from akq_dist.errors import AkqDataError
from akq_dist.specs.base import Spec
from akq_dist.specs.market_rules import ActionSpec
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PRICES = ("open", "high", "low", "close")


class _Actions(Spec):
    corporate_actions: tuple[ActionSpec, ...]


def with_adjusted_prices(
    frame: pl.DataFrame, actions: Iterable[ActionSpec | Mapping[str, Any]]
) -> pl.DataFrame:
    """Add `adj_open, adj_high, adj_low, adj_close`, float64 in the units of the prices, to raw bars.

    `frame` has `symbol`, `date` and the four prices; `actions` are those of `market.corporate_actions`. The
    factor of a bar multiplies, over the ex-dates up to it, the last close before over the reference price
    (SEMANTICS section 6): prices go on from the first bar of a symbol, and no factor depends on a later bar.
    Rows keep their order. Raises AkqDataError for a missing column, AkqUsageError for a bad action.
    """
    from akq_dist import _core

    for name in ("symbol", "date", *_PRICES):
        if name not in frame.columns:
            raise AkqDataError(f"bars have no column {name!r}{did_you_mean(name, frame.columns)}")
    given = [action.to_dict() if isinstance(action, ActionSpec) else dict(action) for action in actions]
    parsed = _Actions.parse({"corporate_actions": given}).corporate_actions
    text = json.dumps([action.to_dict() for action in parsed])
    row = pl.int_range(pl.len()).alias("_row")
    parts = []
    for (symbol,), bars in frame.with_columns(row).partition_by("symbol", as_dict=True).items():
        ordered = bars.sort("date", maintain_order=True)
        days = ordered["date"].cast(pl.Date).cast(pl.Int32).to_list()
        factors = _core.adjustment_factors(
            days, ordered["close"].cast(pl.Float64).to_list(), text, str(symbol)
        )
        factor = pl.Series("_factor", factors, dtype=pl.Float64)
        parts.append(ordered.with_columns((pl.col(name) * factor).alias(f"adj_{name}") for name in _PRICES))
    if not parts:
        return frame.with_columns(pl.lit(None, pl.Float64).alias(f"adj_{name}") for name in _PRICES)
    return pl.concat(parts).sort("_row").drop("_row")
