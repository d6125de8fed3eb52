"""Strategies: the Python base classes, rules as expressions, and strategy source that travels to workers.

`SignalStrategy` is in `akq_dist.strategy.signals`, which needs Polars; nothing here imports it.
"""

from akq_dist.strategy.bars import Bars
from akq_dist.strategy.base import Strategy
from akq_dist.strategy.coarse import CoarseBar
from akq_dist.strategy.factory import make_factory
from akq_dist.strategy.params import Param
from akq_dist.strategy.source import PythonSource
from akq_dist.strategy.updates import Order, Position, Trade
from akq_dist.strategy.when import Timer, When

__all__ = [
    "Bars",
    "CoarseBar",
    "Order",
    "Param",
    "Position",
    "PythonSource",
    "Strategy",
    "Timer",
    "Trade",
    "When",
    "make_factory",
]
