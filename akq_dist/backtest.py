"""One backtest, and the plan that every run of a sweep shares."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError
from akq_dist.specs.execution import execution_plan
from akq_dist.specs.market import ENGINE_ITEMS
from akq_dist.specs.market import overrides as market_overrides
from akq_dist.specs.market_rules import CommissionSpec
from akq_dist.specs.risk import RiskSpec
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from akq_dist import _core
    from akq_dist.data import PanelData
    from akq_dist.request import Request
    from akq_dist.result import BacktestResult
    from akq_dist.several import Members
    from akq_dist.specs import (
        MarketSpec,
        ProtectionSpec,
        RulesSpec,
        SizeSpec,
        Space,
        SweepFile,
        SweepSpec,
        TrailingSpec,
    )
    from akq_dist.specs.strategy import MemberSpec, StrategySpec
    from akq_dist.strategy import Strategy
    from akq_dist.strategy.signals import SignalBlock, Signals

Output = tuple[str, "str | None"]
"""A metric and how it is aggregated over assets; None where there is one account."""


def backtest(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    strategy: Any = None,
    signals: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    details: bool = True,
    **settings: Any,
) -> BacktestResult:
    """Run one parameter set and return all that it did.

    `spec` is a sweep file, its content as a mapping, or nothing; every other argument replaces a part of it:

    - `params`: values of the strategy's parameters;
    - `strategy`: a Strategy class or instance, `Rules(...)`, or the mapping of a sweep file; a list of them shares
      every account (see `akq_dist.several`);
    - `signals`: in place of a strategy, its columns by slot: arrays with a value a bar of the panel (by symbol
      and time, as `data` has them after loading) or Polars expressions over one asset's bars, with settings such
      as `size` beside them; see `akq_dist.strategy.signals`;
    - `data`: a path, the mapping of a sweep file, or a Polars, pandas or Arrow table of bars (`{"table":
    frame,
      "align": "common"}` where settings go with it);
    - `market`, `mode`, `metrics`: as in a sweep file;
    - `details`: False keeps what metrics need and leaves fills, orders, cash and exposure out.

    Raises AkqUsageError for a request that makes no sense and AkqDataError for bad data; what a Python
    strategy raises passes through.
    """
    from akq_dist import _core
    from akq_dist.request import read_request
    from akq_dist.result import BacktestResult

    if signals is not None:
        if strategy is not None:
            raise AkqUsageError("give strategy or signals, not both: signals take the place of a strategy")
        strategy = _GIVEN_SIGNALS
    request = read_request(spec, strategy=strategy, data=data, overrides=overrides, settings=settings)
    prepared = prepare_run(request, params or {}, signals)
    found, values, plan = prepared.data, prepared.values, prepared.plan
    panel = _core.Panel.from_arrow(found.table)
    plan.check(panel)
    started_s = time.perf_counter()
    run = prepared.run(found.table, panel, details=details)
    wall_s = time.perf_counter() - started_s
    return BacktestResult.of(
        run,
        plan.outputs,
        name=request.spec.name,
        params=values,
        symbols=tuple(found.symbols),
        data_digest=found.digest,
        build=_core.BUILD,
        wall_s=wall_s,
    )


def build_plan(
    spec: SweepSpec, space: Space, outputs: Sequence[Output] | None = None, *, n_assets: int | None = None
) -> str:
    """Return the JSON of `_core.Plan` for a sweep: the space in column order, fixed parameters as constants.

    Without `outputs` they are `default_outputs(spec, n_assets)`; many assets are assumed where their number
    is not known yet.
    """
    chosen = default_outputs(spec, 2 if n_assets is None else n_assets) if outputs is None else list(outputs)
    return _plan_text(spec, list(space.names), spec.params, chosen)


def default_outputs(spec: SweepSpec, n_assets: int) -> list[Output]:
    """Return every metric with its natural aggregate, after those that objective and constraints name.

    One account, be it of one asset or of a portfolio, has nothing to aggregate. Raises AkqUsageError for an
    objective or constraint on an unknown metric.
    """
    natural = _natural_aggregates()
    spec.check_metrics(list(natural))
    named = [(part.metric, part.aggregate) for part in spec.objective]
    named += [(part.metric, part.aggregate) for part in spec.constraints]
    outputs = [output_of(spec, n_assets, metric, aggregate) for metric, aggregate in named]
    outputs += [output_of(spec, n_assets, metric, None) for metric in natural]
    return list(dict.fromkeys(outputs))


def output_of(spec: SweepSpec, n_assets: int, metric: str, aggregate: str | None) -> Output:
    """Return the output that a metric of an objective or constraint means."""
    if spec.mode == "portfolio" or n_assets == 1:
        return metric, None
    return metric, aggregate or _natural_aggregates()[metric]


def output_name(output: Output) -> str:
    """Return the column that holds an output: `sharpe.median`, or `sharpe`."""
    metric, aggregate = output
    return metric if aggregate is None else f"{metric}.{aggregate}"


def _natural_aggregates() -> dict[str, str]:
    import pyarrow as pa

    from akq_dist import _core

    table = pa.table(_core.metric_reference())
    return dict(zip(table["name"].to_pylist(), table["natural"].to_pylist(), strict=True))


_GIVEN_SIGNALS = {"python": "signals:Given"}
"""Stands in a specification for columns that the caller holds."""


@dataclass(frozen=True)
class PreparedRun:
    """One parameter set, ready to run over its data or over data of the same layout."""

    data: PanelData
    values: Mapping[str, Any]
    """Values of the parameters."""
    plan: _core.Plan
    row: list[float]
    strategy: type[Strategy] | None
    signals: Any
    seed: int
    members: Members | None = None
    """Strategies that share every account."""

    def run(self, table: pa.Table, panel: _core.Panel, *, details: bool) -> _core.RunResult:
        """Run over a panel, given as table and as the engine holds it."""
        from akq_dist.runner import StrategyRunner, given_signals
        from akq_dist.strategy.columns import PanelColumns

        if self.members is not None:
            factories = self.members.factories(PanelColumns.of(table), self.seed)
            return self.plan.run_one(panel, [], strategy=factories, details=details)
        if self.strategy is not None:
            runner = StrategyRunner(self.strategy, table, panel, self.plan.spec, [])
            return runner.run(self.values, self.seed, details=details)
        if self.signals is None:
            return self.plan.run_one(panel, self.row, details=details)
        columns = given_signals(self.signals, table).columns
        return self.plan.run_one(panel, self.row, signals=columns, details=details)


def prepare_run(request: Request, params: Mapping[str, Any], signals: Any = None) -> PreparedRun:
    """Load the data and make the plan of one parameter set, refusing parameters that nothing uses."""
    from akq_dist import _core

    spec = request.spec
    found = request.load_data()
    outputs = default_outputs(spec, len(found.symbols))
    members = None
    if signals is not None:
        from akq_dist.runner import given_signals

        values: dict[str, Any] = dict(params)
        names, row, cls = list(values), [_number(name, value) for name, value in values.items()], None
        text = signal_plan(_plan_text(spec, names, {}, outputs), given_signals(signals, found.table), names)
    elif (members := request.members()) is not None:
        if params:
            raise AkqUsageError("params: several strategies have their parameters beside them, in the list")
        values = {
            f"{name}.{key}": value
            for name, given in zip(members.names, members.values, strict=True)
            for key, value in given.items()
        }
        row, cls = [], None
        text = _plan_text(spec, [], {}, outputs)
        _refuse_unused_of_members(text)
    else:
        values = {**spec.params, **request.params, **params}
        cls = request.strategy_class()
        if cls is not None:
            from akq_dist.strategy.params import bind

            bind(cls, values)
        names, row = ([], []) if cls is not None else _rule_values(values, spec)
        text = _plan_text(spec, names, {}, outputs)
    plan = _core.Plan(text)
    if members is None:
        _refuse_unused(plan, values)
    return PreparedRun(found, values, plan, row, cls, signals, spec.search.seed, members)


def signal_plan(plan: str, signals: Signals | SignalBlock, names: list[str]) -> str:
    """Return the JSON of a plan with its strategy replaced by signals; `names` are parameters of the settings."""
    from akq_dist.specs import RulesSpec
    from akq_dist.strategy.rules import plain

    found = json.loads(plan)
    columns = signals.names
    if "weights" in columns and found["mode"] != "portfolio":
        raise AkqUsageError("signals: weights need mode: portfolio")
    slots: dict[str, Any] = {name: plain(value) for name, value in signals.settings.items()}
    for name in columns:
        entry, _, kind = name.rpartition("_")
        if kind in ("limit", "stop"):
            slots[entry] = {kind: "0"}
        else:
            slots[name] = "0"
    # The slots are checked together with the columns that exist; what the columns hold is not for the plan.
    settings = _rules(RulesSpec.parse(slots, lambda place: f"signals.{'.'.join(map(str, place))}"))
    settings.update(
        dict.fromkeys(("enter", "exit", "enter_short", "exit_short", "entry", "entry_short", "weights"))
    )
    return json.dumps({**found, "strategy": {"signals": settings}, "params": names, "constants": {}})


def _rule_values(values: Mapping[str, Any], spec: SweepSpec) -> tuple[list[str], list[float]]:
    """Names and values of the parameters of rules."""
    missing = [name for name in spec.space.names if name not in values]
    if missing:
        known = [*spec.space.names, *spec.params]
        for name in values:
            if name not in known:
                raise AkqUsageError(f"unknown parameter {name!r}{did_you_mean(name, known)}")
        wanted = ", ".join(f"{name}=..." for name in missing)
        raise AkqUsageError(f"no value for {', '.join(missing)}: the sweep searches it; give {wanted}")
    return list(values), [_number(name, value) for name, value in values.items()]


def _refuse_unused(plan: _core.Plan, values: Mapping[str, Any]) -> None:
    unused = [name for name in plan.unused_params if name in values]
    if unused:
        used = [name for name in values if name not in unused]
        raise AkqUsageError(f"the rules use no parameter {unused[0]!r}{did_you_mean(unused[0], used)}")


def _refuse_unused_of_members(text: str) -> None:
    """Look at the rules of each member as if it were alone."""
    from akq_dist import _core

    plan = json.loads(text)
    for member in plan["strategy"]["several"]:
        alone = {**plan, "strategy": member["strategy"], "constants": member["params"]}
        _refuse_unused(_core.Plan(json.dumps(alone)), member["params"])


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    raise AkqUsageError(f"parameter {name}: {value!r} is not a number, and rules compute with numbers only")


def _plan_text(spec: SweepSpec, names: list[str], fixed: Mapping[str, Any], outputs: list[Output]) -> str:
    objective = {part.min_defined for part in spec.objective}
    if len(objective) > 1:
        raise AkqUsageError("objective: min_defined differs between the objectives; one value holds for all")
    plan: dict[str, Any] = {
        "strategy": _strategy(spec.strategy),
        "params": names,
        # A Python strategy has its parameters in Python.
        "constants": {}
        if spec.strategy.python is not None
        else {name: _number(name, value) for name, value in fixed.items()},
        "market": market_plan(spec.market),
        "mode": spec.mode,
        "window": {"start": _days(spec.data.start), "end": _days(spec.data.end)},
        "metrics": {
            "basis": spec.metrics.returns,
            "periods_per_year": spec.periods_per_year,
            "risk_free": spec.metrics.risk_free,
            "mar": spec.metrics.mar,
        },
        "outputs": [list(output) for output in outputs],
        "min_defined": objective.pop() if objective else 0.5,
    }
    # What says nothing stays out of the plan, whose text is part of the keys of stored trials.
    if spec.risk != RiskSpec():
        plan["risk"] = spec.risk.to_dict()
    # The clock of the data is that of the market, whatever a profile says.
    if spec.data.tz is not None:
        plan["market"]["time_zone"] = spec.data.tz
    if spec.data.sessions is not None:
        plan["market"]["sessions"] = [list(pair) for pair in spec.data.sessions]
    return json.dumps(plan, allow_nan=False)


def _strategy(strategy: StrategySpec | MemberSpec) -> dict[str, Any]:
    if isinstance(members := getattr(strategy, "members", None), tuple):
        return {"several": [_member(member) for member in members]}
    if strategy.rules is not None:
        return {"rules": _rules(strategy.rules)}
    return {"callback": True} if strategy.rust is None else {"rust": strategy.rust}


def _member(member: MemberSpec) -> dict[str, Any]:
    # A Python strategy has its parameters in Python.
    params = {} if member.python is not None else member.params
    numbers = {name: _number(f"{member.name}.{name}", value) for name, value in params.items()}
    return {"name": member.name, "strategy": _strategy(member), "params": numbers}


def market_plan(market: MarketSpec) -> dict[str, Any]:
    """Return the market of a plan: what the profile does not say by itself."""
    items = _market(market)
    over_profile = market.profile != "simple"
    if execution := execution_plan(market.execution, market.slippage, over_profile=over_profile):
        items["execution"] = execution
    return items


def _market(market: MarketSpec) -> dict[str, Any]:
    items: dict[str, Any] = {
        "cash": market.cash,
        "fill": market.fill,
        "slippage_bps": market.slippage.bps,
    }
    if market.profile != "simple":
        return {"profile": market.profile, **items, **market_overrides(market)}
    commission = market.commission or CommissionSpec()
    items.update(
        {
            "commission": {
                "rate": commission.rate,
                "per_share": commission.per_share,
                "minimum": commission.minimum,
            },
            "sell_tax": market.sell_tax,
            "lot": market.lot,
            "multiplier": market.multiplier,
            "shorts": market.shorts,
            "buying_power": market.buying_power,
            "on_insufficient_cash": market.on_insufficient_cash,
        }
    )
    given = market.to_dict()
    items.update({item: given[item] for item in ENGINE_ITEMS if item in given})
    return items


def _rules(rules: RulesSpec) -> dict[str, Any]:
    rebalance = rules.rebalance
    return {
        "enter": rules.enter,
        "exit": rules.exit,
        "enter_short": rules.enter_short,
        "exit_short": rules.exit_short,
        "on_opposite": rules.on_opposite,
        "entry": _entry(rules.entry.limit, rules.entry.stop),
        "entry_short": _entry(rules.entry_short.limit, rules.entry_short.stop),
        "valid_bars": rules.valid_bars,
        "size": None if rules.weights is not None else _size(rules.size),
        "stop_loss": _protection(rules.stop_loss),
        "take_profit": _protection(rules.take_profit),
        "trailing": _trailing(rules.trailing),
        "max_bars": rules.max_bars,
        "weights": rules.weights,
        "rebalance": None
        if rebalance is None
        else {"every": rebalance.every, "top": rebalance.top, "offset": rebalance.offset},
    }


def _size(size: SizeSpec) -> dict[str, str]:
    return {"kind": size.kind, "value": size.amount, "at": size.size_at}


def _entry(limit: str | None, stop: str | None) -> dict[str, str] | None:
    if limit is not None:
        return {"limit": limit}
    return None if stop is None else {"stop": stop}


def _protection(level: ProtectionSpec | None) -> dict[str, str] | None:
    return None if level is None else {"kind": level.kind, "value": level.distance, "from": level.from_}


def _trailing(level: TrailingSpec | None) -> dict[str, str] | None:
    return None if level is None else {"kind": level.kind, "value": level.distance, "on": level.on}


def _days(date: dt.date | None) -> int | None:
    return None if date is None else date.toordinal() - 719_163
