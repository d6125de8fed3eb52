"""Every setting of execution and risk acts, from a sweep file to the fills and refusals of a run (pitfall 8)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import akq_dist as akq
from akq_dist.specs.execution import ExecutionSpec, ImpactSpec, SlippageSpec, execution_plan
from akq_dist.specs.risk import RiskSpec
from akq_dist.specs.yamltext import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

Bar = tuple[float, float, float, float]


def flat(price: float, n: int = 1) -> list[Bar]:
    return [(price, price, price, price)] * n


@dataclass(frozen=True)
class Case:
    """One setting: what it is set to, what the strategy asks for by bar, and what follows."""

    name: str
    section: dict[str, Any]
    asks: dict[int, Callable[[akq.Strategy], object]]
    fills: list[tuple[int, float, float]]
    """Row, signed units, price."""
    rejects: dict[str, int] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=lambda: flat(100.0, 6))
    volume: list[float] | None = None
    base: dict[str, Any] = field(default_factory=dict)
    """Settings that are there with and without the one in question."""


def market(**execution: Any) -> dict[str, Any]:
    return {"market": {"execution": execution}}


def risk(**limits: Any) -> dict[str, Any]:
    return {"risk": limits}


def buy(qty: float, **more: Any) -> Callable[[akq.Strategy], object]:
    return lambda strategy: strategy.buy(qty, **more)


def sell(qty: float, **more: Any) -> Callable[[akq.Strategy], object]:
    return lambda strategy: strategy.sell(qty, **more)


def both(*asks: Callable[[akq.Strategy], object]) -> Callable[[akq.Strategy], object]:
    return lambda strategy: [ask(strategy) for ask in asks]


def guarded(strategy: akq.Strategy) -> object:
    """An entry between a stop and a target."""
    return strategy.buy(1, stop_loss={"abs": 10.0}, take_profit={"abs": 10.0})


# Entry at 100 on row 1. Row 2 reaches both 90 and 110; its open is nearer to the high than to the low.
REACHES_BOTH: list[Bar] = [*flat(100.0, 2), (100.0, 112.0, 85.0, 100.0), *flat(100.0, 2)]
CASES = [
    Case(
        "max_participation",
        market(max_participation=0.1),
        {0: buy(250)},
        [(1, 100.0, 100.0), (2, 100.0, 100.0), (3, 50.0, 100.0)],
        volume=[1000.0] * 6,
    ),
    Case(
        "halt_on_zero_volume",
        market(halt_on_zero_volume=True),
        {0: buy(1)},
        [(2, 1.0, 100.0)],
        volume=[9.0, 0.0, 9.0, 9.0, 9.0, 9.0],
    ),
    Case(
        "cap_to_bar",
        market(cap_to_bar=True),
        {0: buy(1)},
        [(1, 1.0, 102.0)],  # 5 % above the open is 105
        bars=[*flat(100.0), (100.0, 102.0, 100.0, 100.0), *flat(100.0)],
        base={"market": {"slippage": {"bps": 500.0}}},
    ),
    Case(
        "tick",
        market(tick=0.05),
        {0: buy(1)},
        [(1, 1.0, 100.1)],  # two steps of 0.05
        base={"market": {"slippage": {"ticks": 2.0}, "execution": {"tick": 1.0}}},
    ),
    Case(
        "intrabar",
        market(intrabar="optimistic"),
        {0: guarded},
        [(1, 1.0, 100.0), (2, -1.0, 110.0)],
        bars=REACHES_BOTH,
    ),
    Case(
        "intrabar",
        market(intrabar="ohlc"),
        {0: guarded},
        [(1, 1.0, 100.0), (2, -1.0, 110.0)],
        bars=REACHES_BOTH,
    ),
    Case("bps", {"market": {"slippage": {"bps": 100.0}}}, {0: buy(1)}, [(1, 1.0, 101.0)]),
    Case(
        "ticks",
        {"market": {"slippage": {"ticks": 3.0}}},
        {0: buy(1)},
        [(1, 1.0, 100.75)],
        base=market(tick=0.25),
    ),
    Case(
        "volume_impact",
        {"market": {"slippage": {"volume_impact": {"coefficient": 0.1}}}},
        {0: buy(4)},
        [(1, 4.0, 102.0)],  # 0.1 * sqrt(4 / 100) = 2 %
        volume=[100.0] * 6,
    ),
    Case(
        "formula",
        {"market": {"slippage": {"volume_impact": {"coefficient": 0.1, "formula": "linear"}}}},
        {0: buy(4)},
        [(1, 4.0, 100.4)],  # 0.1 * 4 / 100 = 0.4 %
        volume=[100.0] * 6,
        base={"market": {"slippage": {"volume_impact": {"coefficient": 0.1}}}},
    ),
    Case(
        "coefficient",
        {"market": {"slippage": {"volume_impact": {"coefficient": 0.2}}}},
        {0: buy(4)},
        [(1, 4.0, 104.0)],
        volume=[100.0] * 6,
        base={"market": {"slippage": {"volume_impact": {"coefficient": 0.1}}}},
    ),
    Case(
        "sellable",
        risk(sellable=False),
        {0: both(buy(5), sell(5))},
        [(1, 5.0, 100.0), (1, -5.0, 100.0)],  # the sell is let pass and the buy comes first
        base={"market": {"shorts": False}},
    ),
    Case(
        "cash",
        risk(cash=False),
        {0: buy(15)},
        [(1, 15.0, 50.0)],  # 1500 at the close of the decision, 750 at the fill
        bars=[*flat(100.0), *flat(50.0, 2)],
        base={"market": {"buying_power": "cash", "cash": 1000.0}},
    ),
    Case(
        "lot",
        risk(lot=True),
        {0: buy(150), 1: buy(100), 3: sell(100)},
        [(2, 100.0, 100.0), (4, -100.0, 100.0)],
        {"off_lot": 1},
        base={"market": {"lot": 100}},
    ),
    Case(
        "risk.tick",
        risk(tick=True),
        {0: both(buy(1, limit=99.97), buy(2, limit=100.0))},
        [(1, 2.0, 99.0)],
        {"off_tick": 1},
        bars=[*flat(100.0), *flat(99.0, 2)],
        base=market(tick=0.05),
    ),
    Case("tradable", risk(tradable=["B"]), {0: buy(1)}, [], {"not_tradable": 1}),
    Case(
        "restricted",
        risk(restricted=["A"]),
        {0: buy(1)},
        [],
        {"restricted": 1},
    ),
    Case(
        "max_order_qty",
        risk(max_order_qty=5),
        {0: both(buy(6), buy(5))},
        [(1, 5.0, 100.0)],
        {"order_quantity": 1},
    ),
    Case(
        "max_order_value",
        risk(max_order_value=500),
        {0: both(buy(6), buy(5))},
        [(1, 5.0, 100.0)],
        {"order_value": 1},
    ),
    Case(
        "max_position_qty",
        risk(max_position_qty=5),
        {0: buy(4), 2: both(buy(2), buy(1), sell(4))},
        [(1, 4.0, 100.0), (3, 1.0, 100.0), (3, -4.0, 100.0)],
        {"position_limit": 1},
    ),
    Case(
        "max_position_value",
        risk(max_position_value=500),
        {0: buy(4), 2: buy(2)},
        [(1, 4.0, 100.0)],
        {"position_limit": 1},
    ),
    Case(
        "max_concentration",
        risk(max_concentration=0.5),
        {0: both(buy(6), buy(5))},
        [(1, 5.0, 100.0)],
        {"concentration": 1},
        base={"market": {"cash": 1000.0}},
    ),
    Case(
        "max_gross_exposure",
        risk(max_gross_exposure=0.8),
        {0: both(buy(9), buy(8))},
        [(1, 8.0, 100.0)],
        {"gross_exposure": 1},
        base={"market": {"cash": 1000.0}},
    ),
    Case(
        "max_net_exposure",
        risk(max_net_exposure=0.8),
        {0: both(sell(9), sell(8))},
        [(1, -8.0, 100.0)],
        {"net_exposure": 1},
        base={"market": {"cash": 1000.0}},
    ),
    Case(
        "max_drawdown",
        risk(max_drawdown=0.2),
        {0: buy(10), 2: buy(1), 3: sell(10), 4: buy(1)},  # 1000 of 1000 lose a quarter on row 2
        [(1, 10.0, 100.0), (4, -10.0, 75.0)],
        {"max_drawdown": 2},
        bars=[*flat(100.0, 2), *flat(75.0, 4)],
        base={"market": {"cash": 1000.0}},
    ),
    Case(
        "max_daily_loss",
        risk(max_daily_loss=0.2),
        {0: buy(10), 2: buy(1), 3: buy(2)},  # the next date is free again
        [(1, 10.0, 100.0), (4, 2.0, 75.0)],
        {"daily_loss": 1},
        bars=[*flat(100.0, 2), *flat(75.0, 4)],
        base={"market": {"cash": 1000.0}},
    ),
    Case(
        "max_orders_per_step",
        risk(max_orders_per_step=2),
        {0: both(buy(1), buy(2), buy(3)), 1: buy(4)},
        [(1, 1.0, 100.0), (1, 2.0, 100.0), (2, 4.0, 100.0)],
        {"order_rate": 1},
    ),
    Case(
        "max_orders_per_day",
        risk(max_orders_per_day=1),
        {0: both(buy(1), buy(2)), 1: buy(3)},
        [(1, 1.0, 100.0), (2, 3.0, 100.0)],
        {"order_rate": 1},
    ),
]


def scripted(asks: dict[int, Callable[[akq.Strategy], object]]) -> type[akq.Strategy]:
    class Scripted(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            if bar.symbol == "A" and bar.index in asks:
                asks[bar.index](self)

    return Scripted


def joined(*sections: dict[str, Any]) -> dict[str, Any]:
    """Later sections over earlier ones, key by key."""
    merged: dict[str, Any] = {}
    for section in sections:
        for key, value in section.items():
            both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = joined(merged[key], value) if both_maps else value
    return merged


def run(case: Case, settings: dict[str, Any], folder: Path) -> akq.BacktestResult:
    n = len(case.bars)
    days = pl.date_range(pl.date(2021, 1, 4), pl.date(2021, 2, 28), eager=True).head(n)
    columns = {
        name: [bar[ix] for bar in case.bars] for ix, name in enumerate(("open", "high", "low", "close"))
    }
    frames = [pl.DataFrame({"symbol": symbol, "date": days, **columns}) for symbol in ("A", "B")]
    if case.volume is not None:
        frames = [frame.with_columns(volume=pl.Series(case.volume)) for frame in frames]
    pl.concat(frames).write_parquet(folder / "bars.parquet")
    content = {
        "name": "acts",
        "strategy": {"python": "scripted.py:Scripted"},
        "data": {"path": "bars.parquet"},
        "mode": "portfolio",
        **settings,
    }
    (folder / "acts.yaml").write_text(json.dumps(content))
    return akq.backtest(folder / "acts.yaml", strategy=scripted(case.asks))


def fills(result: akq.BacktestResult) -> list[tuple[int, float, float]]:
    rows = result.fills.select("row", "side", "qty", "price").iter_rows()
    return [(row, qty if side == "buy" else -qty, round(price, 9)) for row, side, qty, price in rows]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{ix}" for ix, case in enumerate(CASES)])
def test_a_setting_of_a_sweep_file_acts(case: Case, tmp_path: Path) -> None:
    result = run(case, joined(case.base, case.section), tmp_path)
    assert fills(result) == case.fills
    assert dict(result.rejects.select("reason", "n").iter_rows()) == case.rejects
    assert result.metrics["n_rejects"] == sum(case.rejects.values())
    refused = result.orders.filter(pl.col("status") == "rejected")["reason"]
    assert dict(refused.value_counts().iter_rows()) == case.rejects
    without = run(case, case.base, tmp_path)
    assert (fills(without), without.metrics["n_rejects"]) != (case.fills, result.metrics["n_rejects"])


def test_no_setting_is_left_without_a_case() -> None:
    covered = {case.name for case in CASES}
    named = {*ExecutionSpec.model_fields, *SlippageSpec.model_fields, *ImpactSpec.model_fields}
    named |= {"risk.tick" if name == "tick" else name for name in RiskSpec.model_fields}
    assert covered == named


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"market": {"execution": {"max_partcipation": 0.1}}}, "did you mean 'max_participation'"),
        (
            {"market": {"execution": {"max_participation": 0.0}}},
            "market.execution.max_participation: found 0.0",
        ),
        ({"market": {"execution": {"intrabar": "pesimistic"}}}, "did you mean 'pessimistic'"),
        ({"market": {"slippage": {"bps": 1.0, "ticks": 1.0}}}, "has bps and ticks, expected one of"),
        ({"market": {"slippage": {"ticks": 1.0}}}, "set tick"),
        ({"market": {"slippage": {"volume_impact": {"coeficient": 1.0}}}}, "did you mean 'coefficient'"),
        ({"risk": {"max_drawdwn": 0.1}}, "risk.max_drawdwn: unknown key, did you mean 'max_drawdown'"),
        ({"risk": {"max_drawdown": 1.5}}, "risk.max_drawdown: found 1.5, expected a number below 1"),
        ({"risk": {"max_orders_per_day": 0}}, "at least 1"),
        ({"risk": {"restricted": ["A", "A"]}}, "names A more than once"),
        ({"risk": {"restricted": ["AA"]}}, "risk.restricted names 'AA', which the data do not have"),
        ({"risk": {"tick": True}}, "tick needs the size of a tick"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    case = Case("refused", settings, {0: buy(1)}, [])
    with pytest.raises(akq.AkqError) as caught:
        run(case, settings, tmp_path)
    assert message in str(caught.value)


def test_defaults_leave_records_and_keys_as_they_were() -> None:
    from akq_dist.backtest import build_plan
    from akq_dist.specs import SweepSpec

    content: dict[str, Any] = {
        "name": "keys",
        "strategy": {"rules": {"enter": "close > 1"}},
        "data": {"path": "x.parquet"},
    }
    plain = SweepSpec.parse(content)
    said = SweepSpec.parse({**content, "market": {"execution": {"tick": 0.0}}, "risk": {"lot": False}})
    limited = SweepSpec.parse({**content, "risk": {"max_drawdown": 0.2}})
    capped = SweepSpec.parse({**content, "market": {"execution": {"max_participation": 0.2}}})
    assert "risk" not in plain.to_dict()
    assert "execution" not in plain.to_dict()["market"]
    assert "risk" not in said.to_dict()
    plans = [build_plan(spec, spec.space) for spec in (plain, said, limited, capped)]
    assert plans[0] == plans[1]
    assert len(set(plans)) == 3
    assert len({spec.content_hash() for spec in (plain, limited, capped)}) == 3
    for spec in (limited, capped):
        assert SweepSpec.parse(spec.to_dict()) == spec


def test_the_documented_defaults_are_the_defaults() -> None:
    text = (Path(__file__).parents[2] / "sweeps" / "README.md").read_text(encoding="utf-8")
    block = text.partition("## Execution and risk")[2].partition("```yaml\n")[2].partition("```")[0]
    shown, _ = read_yaml(block, "sweeps/README.md")
    execution = ExecutionSpec.parse(shown["market"]["execution"])
    slippage = SlippageSpec.parse(shown["market"]["slippage"])
    assert execution_plan(execution, slippage, over_profile=False) == {}
    assert RiskSpec.parse(shown["risk"]) == RiskSpec()
    assert set(shown["risk"]) == set(RiskSpec.model_fields)
    assert set(shown["market"]["execution"]) == set(ExecutionSpec.model_fields)


def test_a_cap_holds_for_rules_in_a_batch_as_in_one_run(tmp_path: Path) -> None:
    """The sweep's path sees the settings too: the batch of one trial equals the run of it."""
    import numpy as np
    import pyarrow as pa

    from akq_dist import _core
    from akq_dist.backtest import build_plan
    from akq_dist.data import panel_from_frame
    from akq_dist.specs import SweepSpec

    n = 40
    price = [100.0 + 10.0 * math.sin(ix / 3.0) for ix in range(n)]
    frame = pl.DataFrame(
        {
            "symbol": "A",
            "date": pl.date_range(pl.date(2021, 1, 4), pl.date(2021, 3, 1), eager=True).head(n),
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": 1000.0,
        }
    )
    content = {
        "name": "batch",
        "strategy": {"rules": {"enter": "close > sma(close, n)", "exit": "close < sma(close, n)"}},
        "data": {"path": "x.parquet"},
        "space": {"n": {"int": [2, 9]}},
        "market": {"execution": {"max_participation": 0.5}},
        "risk": {"max_orders_per_day": 1, "max_drawdown": 0.05},
    }
    spec = SweepSpec.parse(content)
    panel = _core.Panel.from_arrow(panel_from_frame(frame).table)
    plan = _core.Plan(build_plan(spec, spec.space, n_assets=1))
    table = pa.table(plan.run_batch(panel, np.array([[3.0], [5.0]]), threads=1))
    for row, value in enumerate((3.0, 5.0)):
        one = plan.run_one(panel, [value])
        assert table["hash"][row].as_py() == one.hash
        free = akq.backtest({**content, "market": {}, "risk": {}}, {"n": int(value)}, data=frame)
        assert free.hash != one.hash


def test_fees_are_rounded_to_the_cent(tmp_path: Path) -> None:
    commission = {"market": {"commission": {"rate": 0.00005}}}
    case = Case("fee_rounding", {"market": {"fee_rounding": "cent"}}, {0: buy(1)}, [(1, 1.0, 100.0)])
    rounded = run(case, joined(commission, case.section), tmp_path)
    assert rounded.fills["fees"].to_list() == [0.01]  # 0.005 of 100 is half a cent, and halves go up
    assert run(case, commission, tmp_path).fills["fees"].to_list() == [0.005]


def test_an_item_of_execution_leaves_the_others_of_a_profile_as_they_are(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "symbol": "600000",
            "date": pl.date_range(pl.date(2021, 1, 4), pl.date(2021, 1, 9), eager=True),
            **dict.fromkeys(("open", "high", "low", "close"), 10.0),
            "volume": [9000.0, 0.0, 1000.0, 9000.0, 9000.0, 9000.0],
        }
    )

    class Buys(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            if bar.index == 0:
                self.buy(500)

    def rows(**execution: Any) -> list[tuple[int, float]]:
        settings = {"profile": "cn_stock", "cash": 1e6, "execution": execution}
        return akq.backtest(strategy=Buys, data=frame, market=settings).fills.select("row", "qty").rows()

    assert rows() == [(2, 500.0)]
    assert rows(max_participation=0.2) == [
        (2, 200.0),
        (3, 300.0),
    ]  # the bar without volume still trades nothing
    assert rows(halt_on_zero_volume=False) == [(1, 500.0)]


def test_a_position_follows_a_split(tmp_path: Path) -> None:
    seen: list[float] = []

    class Holds(akq.Strategy):
        def on_bar(self, bar: akq.Bar) -> None:
            if bar.index == 0:
                self.buy(100)
            seen.append(self.position())

    prices = [10.0, 10.0, 5.0, 5.0]
    frame = pl.DataFrame(
        {
            "symbol": "A",
            "date": pl.date_range(pl.date(2021, 1, 4), pl.date(2021, 1, 7), eager=True),
            **dict.fromkeys(("open", "high", "low", "close"), prices),
        }
    )
    split = {"symbol": "A", "ex_date": "2021-01-06", "bonus": 1.0}
    result = akq.backtest(strategy=Holds, data=frame, market={"corporate_actions": [split]})
    assert seen == [0.0, 100.0, 200.0, 200.0]
    assert result.positions["qty"].to_list() == [100.0, 200.0, 200.0]
