"""AKQuant Dist: parameter sweeps and multi-asset backtests, on a laptop or a Ray cluster.

    import akq_dist as akq

    result = akq.backtest("sweeps/quickstart.yaml", params={"fast": 10, "slow": 50})
    study = akq.sweep("sweeps/quickstart.yaml").run()

Names are imported when they are first used, so `import akq_dist` costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from akq_dist import indicator
    from akq_dist._core import Bar, StrategyContext, Tick, __version__
    from akq_dist.backtest import backtest
    from akq_dist.data import DataFeed
    from akq_dist.engine import Engine
    from akq_dist.errors import (
        AkqDataError,
        AkqError,
        AkqStrategyError,
        AkqStudyError,
        AkqUsageError,
        ExecutorError,
        MissingDependencyError,
        TrackerError,
    )
    from akq_dist.explore import explore
    from akq_dist.lookahead import lookahead
    from akq_dist.optimize import optimize
    from akq_dist.paper import PaperSession
    from akq_dist.result import BacktestResult
    from akq_dist.risk import AccountState, RiskManager
    from akq_dist.search.tpe_sampler import BatchTPESampler
    from akq_dist.specs import SweepSpec, load_sweep
    from akq_dist.strategy import Bars, CoarseBar, Order, Param, Position, Strategy, Timer, Trade, When
    from akq_dist.strategy.rules import Rules
    from akq_dist.strategy.signals import SignalStrategy
    from akq_dist.sweep import sweep

__all__ = [
    "AccountState",
    "AkqDataError",
    "AkqError",
    "AkqStrategyError",
    "AkqStudyError",
    "AkqUsageError",
    "BacktestResult",
    "Bar",
    "Bars",
    "BatchTPESampler",
    "CoarseBar",
    "DataFeed",
    "Engine",
    "ExecutorError",
    "MissingDependencyError",
    "Order",
    "PaperSession",
    "Param",
    "Position",
    "RiskManager",
    "Rules",
    "SignalStrategy",
    "Strategy",
    "StrategyContext",
    "SweepSpec",
    "Tick",
    "Timer",
    "TrackerError",
    "Trade",
    "When",
    "__version__",
    "backtest",
    "explore",
    "indicator",
    "load_sweep",
    "lookahead",
    "optimize",
    "sweep",
]

_CALLABLE: Final = ("backtest", "explore", "lookahead", "optimize", "sweep")
_HOMES: Final = {
    "__version__": "akq_dist._core",
    "AccountState": "akq_dist.risk",
    "BacktestResult": "akq_dist.result",
    "RiskManager": "akq_dist.risk",
    "BatchTPESampler": "akq_dist.search.tpe_sampler",
    "SweepSpec": "akq_dist.specs",
    "load_sweep": "akq_dist.specs",
    "Bar": "akq_dist._core",
    "DataFeed": "akq_dist.data",
    "Engine": "akq_dist.engine",
    "StrategyContext": "akq_dist._core",
    "Tick": "akq_dist._core",
    "PaperSession": "akq_dist.paper",
    "Rules": "akq_dist.strategy.rules",
    "SignalStrategy": "akq_dist.strategy.signals",
    **dict.fromkeys(
        ("Bars", "CoarseBar", "Order", "Param", "Position", "Strategy", "Timer", "Trade", "When"),
        "akq_dist.strategy",
    ),
    **{name: "akq_dist.errors" for name in __all__ if name.endswith("Error")},
}


class _CallableModule(ModuleType):
    """A module that is also its function of the same name: `akq.sweep(...)`, `akq_dist.sweep.Sweep`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    @property
    def __wrapped__(self) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a submodule binds it here under its name, in whatever order modules are imported.
        if name in _CALLABLE and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _CALLABLE or name == "indicator":
        return importlib.import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        if name.startswith("__"):
            raise AttributeError(name)
        from akq_dist.specs.suggest import did_you_mean

        raise AttributeError(f"akq_dist has no attribute {name!r}{did_you_mean(name, __all__)}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
