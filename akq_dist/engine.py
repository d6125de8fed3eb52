"""One backtest as an object: bars, a market, limits and a strategy, put together step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError

if TYPE_CHECKING:
    from akq_dist.result import BacktestResult


class Engine:
    """Runs one or several strategies over bars.

    Bars, settings and strategies are given one after the other::

        feed = akq_dist.DataFeed.from_parquet("us.parquet", symbols=["AAPL"])
        engine = akq_dist.Engine(feed, market={"cash": 100_000}, risk=akq_dist.RiskManager(max_drawdown=0.2))
        engine.add_strategy(SmaCross, fast=10, slow=50)
        result = engine.run()

    The preparation is that of `akq_dist.backtest`, and so are the numbers. Running it again gives the same result:
    it holds no state of a run.
    """

    def __init__(self, data: Any, **settings: Any) -> None:
        """Take bars and settings.

        `data` is a `DataFeed`, a path, a Polars, pandas or Arrow table, or the mapping of a sweep file. `settings`
        are sections of a sweep file: `market`, `risk` (a mapping or a `RiskManager`), `mode`, `metrics`, `name`.
        What makes no sense is refused when the engine runs.
        """
        if "strategy" in settings or "params" in settings:
            raise AkqUsageError("a strategy and its parameters come with add_strategy(strategy, name=value)")
        self._data = data
        self._settings = settings
        self._members: list[dict[str, Any]] = []

    def add_strategy(self, strategy: Any, /, *, name: str | None = None, **params: Any) -> Engine:
        """Take a strategy and values of its parameters; returns the engine, for chaining.

        A strategy is a Strategy class or instance, `Rules(...)`, `"file.py:Class"`, the name of a strategy of the
        engine such as `"sma_cross"`, or the mapping of a sweep file. Several share every account, in the order
        they were added; `name` tells them apart in the result.
        """
        member = {"strategy": strategy, "params": params}
        self._members.append(member if name is None else {"name": name, **member})
        return self

    def run(self, *, details: bool = True) -> BacktestResult:
        """Run from the first bar to the last; raises as `akq_dist.backtest` does.

        Without `details` the result has metrics, equity and round trips only.
        """
        from akq_dist.backtest import backtest

        if not self._members:
            raise AkqUsageError("the engine has no strategy: call add_strategy first")
        first = self._members[0]
        alone = len(self._members) == 1 and "name" not in first
        strategy, params = (first["strategy"], first["params"]) if alone else (self._members, {})
        return backtest(strategy=strategy, data=self._data, params=params, details=details, **self._settings)

    def __repr__(self) -> str:
        strategies = ", ".join(repr(member["strategy"]) for member in self._members) or "no strategy"
        settings = "".join(f", {name}={value!r}" for name, value in self._settings.items())
        return f"Engine({self._data!r}, {strategies}{settings})"
