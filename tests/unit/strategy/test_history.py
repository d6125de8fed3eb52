"""What `history` hands out on the real engine: the panel's own memory, up to the current bar, read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

import akq_dist as akq
from akq_dist.data import panel_from_frame
from akq_dist.runner import StrategyRunner
from akq_dist.strategy.columns import PanelColumns
from tests.unit.strategy.test_signals import bars

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Keeps(akq.Strategy):
    views: ClassVar[dict[tuple[str, int], NDArray[np.float64]]] = {}

    def on_bar(self, bar: akq.Bar) -> None:
        view = self.history("close", 5)
        assert view[-1] == bar.close
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1.0
        self.views[bar.symbol, bar.index] = view


def test_history_is_a_view_of_the_panel() -> None:
    import json

    from akq_dist import _core

    Keeps.views.clear()
    found = panel_from_frame(bars())
    plan = json.dumps(
        {"strategy": {"callback": True}, "mode": "per_asset", "outputs": [["final_equity", "sum"]]}
    )
    panel = _core.Panel.from_arrow(found.table)
    StrategyRunner(Keeps, found.table, panel, plan, []).run({}, 0, details=False)
    columns = PanelColumns.of(found.table)
    close = columns.columns["close"]
    assert len(Keeps.views) == found.table.num_rows
    for (symbol, index), view in Keeps.views.items():
        first = columns.offsets[columns.symbols.index(symbol)]
        assert np.shares_memory(view, close)
        np.testing.assert_array_equal(view, close[max(first, first + index - 4) : first + index + 1])
