"""One backtest, and the plan that every run of a sweep shares."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import Spec
from akq_dist.specs.market import ENGINE_ITEMS, profile_items
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from akq_dist import _core
    from akq_dist.data import PanelData
    from akq_dist.result import BacktestResult
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
    from akq_dist.strategy import Strategy

Output = tuple[str, "str | None"]
"""A metric and how it is aggregated over assets; None where there is one account."""


def backtest(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    strategy: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    details: bool = True,
    **settings: Any,
) -> BacktestResult:
    """Run one parameter set and return all that it did.

    `spec` is a sweep file, its content as a mapping, or nothing; every other argument replaces a part of it:

    - `params`: values of the strategy's parameters;
    - `strategy`: a Strategy class or instance, `Rules(...)`, or the mapping of a sweep file;
    - `data`: a path, the mapping of a sweep file, or a Polars, pandas or Arrow table of bars (`{"table":
    frame,
      "align": "common"}` where settings go with it);
    - `market`, `mode`, `metrics`: as in a sweep file.

    Raises AkqUsageError for a request that makes no sense and AkqDataError for bad data; what a Python
    strategy raises passes through.
    """
    from akq_dist import _core
    from akq_dist.request import read_request
    from akq_dist.result import BacktestResult

    request = read_request(spec, strategy=strategy, data=data, overrides=overrides, settings=settings)
    found = request.load_data()
    values = {**request.spec.params, **request.params, **(params or {})}
    panel = _core.Panel.from_arrow(found.table)
    names, row, factory = _prepare(request.strategy_class(), values, request.spec, found)
    plan = _core.Plan(_plan_text(request.spec, names, {}, default_outputs(request.spec, panel.n_assets)))
    _refuse_unused(plan, values)
    plan.check(panel)
    started_s = time.perf_counter()
    run = plan.run_one(panel, row, strategy=factory, details=details)
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


def _prepare(
    cls: type[Strategy] | None, values: Mapping[str, Any], spec: SweepSpec, found: PanelData
) -> tuple[list[str], list[float], Any]:
    """Names and values for the rules, or a factory of Python strategies."""
    if cls is not None:
        from akq_dist.strategy import make_factory

        return [], [], make_factory(cls, values, found.table, spec.search.seed)
    missing = [name for name in spec.space.names if name not in values]
    if missing:
        known = [*spec.space.names, *spec.params]
        for name in values:
            if name not in known:
                raise AkqUsageError(f"unknown parameter {name!r}{did_you_mean(name, known)}")
        wanted = ", ".join(f"{name}=..." for name in missing)
        raise AkqUsageError(f"no value for {', '.join(missing)}: the sweep searches it; give {wanted}")
    return list(values), [_number(name, value) for name, value in values.items()], None


def _refuse_unused(plan: _core.Plan, values: Mapping[str, Any]) -> None:
    unused = [name for name in plan.unused_params if name in values]
    if unused:
        used = [name for name in values if name not in unused]
        raise AkqUsageError(f"the rules use no parameter {unused[0]!r}{did_you_mean(unused[0], used)}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    raise AkqUsageError(f"parameter {name}: {value!r} is not a number, and rules compute with numbers only")


def _plan_text(spec: SweepSpec, names: list[str], fixed: Mapping[str, Any], outputs: list[Output]) -> str:
    rules = spec.strategy.rules
    objective = {part.min_defined for part in spec.objective}
    if len(objective) > 1:
        raise AkqUsageError("objective: min_defined differs between the objectives; one value holds for all")
    plan = {
        "strategy": {"callback": True} if rules is None else {"rules": _rules(rules)},
        "params": names,
        "constants": {} if rules is None else {name: _number(name, value) for name, value in fixed.items()},
        "market": _market(spec.market),
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
    return json.dumps(plan, allow_nan=False)


def _market(market: MarketSpec) -> dict[str, Any]:
    """The market of a plan: what the profile does not say by itself."""
    items: dict[str, Any] = {
        "cash": market.cash,
        "fill": market.fill,
        "slippage_bps": market.slippage.bps,
        "commission": {
            "rate": market.commission.rate,
            "per_share": market.commission.per_share,
            "minimum": market.commission.minimum,
        },
        "sell_tax": market.sell_tax,
        "lot": market.lot,
        "multiplier": market.multiplier,
        "shorts": market.shorts,
        "buying_power": market.buying_power,
        "on_insufficient_cash": market.on_insufficient_cash,
    }
    for item in ENGINE_ITEMS:
        value = getattr(market, item)
        if value is not None:
            items[item] = value.to_dict() if isinstance(value, Spec) else value
    if market.profile == "simple":
        return items
    # An item as the profile has it is no override: boards may have another one.
    base = profile_items(market.profile)
    changed = {item: value for item, value in items.items() if base[item] != value}
    return {"profile": market.profile, **changed}


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
