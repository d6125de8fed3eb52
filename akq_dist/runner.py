"""Runs one Python strategy over one panel, parameter set by parameter set: callbacks or signals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from akq_dist.backtest import signal_plan
from akq_dist.strategy.columns import PanelColumns
from akq_dist.strategy.factory import make_factory
from akq_dist.strategy.params import bind
from akq_dist.strategy.signals import (
    SignalBars,
    SignalStrategy,
    batch_signals,
    makes_batches,
    read_signals,
    strategy_signals,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from akq_dist import _core
    from akq_dist.strategy import Strategy
    from akq_dist.strategy.signals import Signals


BATCH_BYTES: Final = 256 << 20
"""Memory that the signals of the sets of one batch may take, about."""
_BYTES_A_SIGNAL: Final = 24
"""Of a bar and a set: two conditions and a price, with what computing them leaves behind."""


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

    @property
    def batch_size(self) -> int:
        """Number of parameter sets that are worth a call of `run_batch`; 0 for a strategy that has none."""
        if self._bars is None or not (issubclass(self._class, SignalStrategy) and makes_batches(self._class)):
            return 0
        return max(1, BATCH_BYTES // (_BYTES_A_SIGNAL * self._panel.n_rows))

    def run_batch(self, sets: Sequence[Mapping[str, Any]], *, threads: int) -> _core.ArrowTable:
        """Run parameter sets whose signals the strategy gives at once; returns what `Plan.run_batch` does.

        What the strategy raises passes through; it is nobody's in particular.
        """
        from akq_dist import _core

        assert self._bars is not None
        assert issubclass(self._class, SignalStrategy)
        bound = [bind(self._class, given) for given in sets]
        params = {name: np.array([values[name] for values in bound]) for name in bound[0]}
        block = batch_signals(self._class, params, self._bars, portfolio=self._portfolio)
        names = list(block.numbers)
        rows = np.empty((len(sets), len(names)))
        for ix, values in enumerate(block.numbers.values()):
            rows[:, ix] = values
        plan = _core.Plan(signal_plan(self._text, block, names))
        return plan.run_signals(self._panel, rows, block.table(), threads=threads)

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
