"""Makes fresh strategy instances for the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.strategy.columns import PanelColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from akq_dist.strategy.base import Strategy


def make_factory(
    cls: type[Strategy], params: Mapping[str, Any], table: pa.Table | PanelColumns, seed: int
) -> Callable[[], Strategy]:
    """Return what `_core.Plan.run_one` takes as `strategy`: a call makes one instance for one account.

    The parameters are checked at once, before any account runs; a caller of many runs passes the same
    PanelColumns. Raises AkqUsageError for a parameter that the class does not declare or accept.
    """
    columns = table if isinstance(table, PanelColumns) else PanelColumns.of(table)
    given = dict(params)
    # Parameters are a fault of the request, found before the first account; __init__ runs once an account.
    from akq_dist.strategy.params import bind

    bind(cls, given)

    def make() -> Strategy:
        instance = cls(**given)
        instance._prepare(columns, seed)
        return instance

    return make
