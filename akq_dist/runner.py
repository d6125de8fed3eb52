"""Runs one Python strategy over one panel, parameter set by parameter set: callbacks or signals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from akq_dist.backtest import signal_plan
from akq_dist.strategy.columns import PanelColumns
from akq_dist.strategy.factory import make_factory
from akq_dist.strategy.signals import SignalBars, SignalStrategy, read_signals, strategy_signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from akq_dist import _core
    from akq_dist.strategy import Strategy
    from akq_dist.strategy.signals import Signals


class StrategyRunner:
    """A strategy class with the panel it trades; every run makes fresh instances.

    `plan` is the JSON of a plan with a callback strategy; signals replace that part of it.
    """

    def __init__(
        self, cls: type[Strategy], table: pa.Table, panel: _core.Panel, plan: str, names: list[str]
    ) -> None:
        """`names` are the parameters in the plan; their values do not matter to a Python strategy."""
        from akq_dist import _core

        self._class = cls
        self._panel = panel
        self._text = plan
        self._plan = _core.Plan(plan)
        self._row = [0.0] * len(names)
        self._portfolio = json.loads(plan)["mode"] == "portfolio"
        self._is_signals = issubclass(cls, SignalStrategy)
        self._bars = SignalBars.of(table) if self._is_signals else None
        self._columns = None if self._is_signals else PanelColumns.of(table)

    def run(self, params: Mapping[str, Any], seed: int, *, details: bool) -> _core.RunResult:
        """Run one parameter set. What the strategy raises passes through."""
        if self._bars is not None:
            assert issubclass(self._class, SignalStrategy)
            signals = strategy_signals(self._class, params, self._bars, seed, portfolio=self._portfolio)
            return run_signals(self._text, self._panel, signals, details=details)
        assert self._columns is not None
        factory = make_factory(self._class, params, self._columns, seed)
        return self._plan.run_one(self._panel, self._row, strategy=factory, details=details)


def run_signals(plan: str, panel: _core.Panel, signals: Signals, *, details: bool) -> _core.RunResult:
    """Trade columns under the market of a plan."""
    from akq_dist import _core

    chosen = _core.Plan(signal_plan(plan, signals, []))
    return chosen.run_one(panel, [], signals=signals.columns, details=details)


def given_signals(given: Any, table: pa.Table) -> Signals:
    """Read the columns that a caller gave for the bars of a panel."""
    bars = SignalBars.of(table)
    return read_signals(given, bars.frame, bars.offsets)
