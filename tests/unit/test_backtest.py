"""One backtest from Python: the ways to ask for it, what comes back, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import akq_dist as akq
from akq_dist import _core
from akq_dist.backtest import build_plan, default_outputs, output_name
from akq_dist.specs import SweepSpec
from akq_dist.strategy.rules import Rules, close, cross_above, cross_below, param, sma

if TYPE_CHECKING:
    from pathlib import Path

RULES = {
    "enter": "cross_above(sma(close, fast), sma(close, slow))",
    "exit": "cross_below(sma(close, fast), sma(close, slow))",
}
PARAMS = {"fast": 3, "slow": 8}


def bars(n: int = 120, symbols: tuple[str, ...] = ("AAA",), seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in symbols:
        close_ = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
        open_ = close_ * (1.0 + rng.normal(0.0, 0.003, n))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 1, 1), eager=True).head(n),
                    "open": open_,
                    "high": np.maximum(open_, close_) * 1.01,
                    "low": np.minimum(open_, close_) * 0.99,
                    "close": close_,
                    "volume": 1000.0,
                }
            )
        )
    return pl.concat(frames)


class Cross(akq.Strategy):
    fast: int = akq.Param(3, low=1)
    slow: int = akq.Param(8, low=2)

    def on_bar(self, bar: akq.Bar) -> None:
        closes = self.history("close", self.slow + 1)
        if len(closes) <= self.slow:
            return
        now = closes[-self.fast :].mean() - closes[-self.slow :].mean()
        before = closes[-self.fast - 1 : -1].mean() - closes[:-1].mean()
        if self.position() == 0 and now > 0 >= before:
            self.buy(pct_equity=1.0, size_at="fill")
        elif self.position() > 0 and now < 0 <= before:
            self.close()


def test_rules_text_expressions_and_a_class_give_the_same_fills() -> None:
    fast, slow = sma(close, param("fast")), sma(close, param("slow"))
    written = Rules(enter=cross_above(fast, slow), exit=cross_below(fast, slow))
    results = [
        akq.backtest(strategy=strategy, data=bars(), params=PARAMS)
        for strategy in ({"rules": RULES}, written, Cross, Cross(fast=3))
    ]
    columns = ["ts", "side", "qty", "price", "fees"]
    assert results[0].fills.height > 4
    for other in results[1:]:
        assert other.fills.select(columns).equals(results[0].fills.select(columns))
    assert len({result.hash for result in results}) == 1


def test_polars_pandas_arrow_and_parquet_are_the_same_data(tmp_path: Path) -> None:
    frame = bars()
    frame.write_parquet(tmp_path / "bars.parquet")
    pandas = frame.to_pandas()
    pandas["date"] = pd.to_datetime(pandas["date"])
    given: list[Any] = [frame, frame.to_arrow(), {"table": frame}, tmp_path / "bars.parquet", pandas]
    results = [akq.backtest(strategy={"rules": RULES}, data=data, params=PARAMS) for data in given]
    assert len({result.hash for result in results}) == 1
    assert len({result.data_digest for result in results}) == 1


def test_a_sweep_file_runs_with_values_for_what_it_searches(tmp_path: Path) -> None:
    bars().write_parquet(tmp_path / "bars.parquet")
    content = {
        "name": "one",
        "strategy": {"rules": RULES},
        "data": {"path": "bars.parquet"},
        "params": {"slow": 8},
        "space": {"fast": {"int": [2, 5]}},
    }
    (tmp_path / "one.yaml").write_text(json.dumps(content))
    result = akq.backtest(tmp_path / "one.yaml", params={"fast": 3})
    assert result.hash == akq.backtest(strategy={"rules": RULES}, data=bars(), params=PARAMS).hash
    costly = akq.backtest(tmp_path / "one.yaml", {"fast": 3}, market={"commission": {"rate": 0.01}})
    assert costly.metrics["fees"] > 0.0 == result.metrics["fees"]
    assert (
        akq.backtest(tmp_path / "one.yaml", {"fast": 3}, overrides=["market.cash=5000"]).hash != result.hash
    )


def test_many_assets_are_aggregated_and_one_shared_account_is_not() -> None:
    data = bars(symbols=("AAA", "BBB", "CCC"))
    alone = akq.backtest(strategy={"rules": RULES}, data=data, params=PARAMS)
    assert alone.accounts["symbol"].to_list() == ["AAA", "BBB", "CCC"]
    assert alone.metrics["n_fills.sum"] == alone.fills.height == alone.accounts["n_fills"].sum()
    assert math.isclose(alone.metrics["sharpe.median"], float(np.median(alone.accounts["sharpe"].to_numpy())))
    shared = akq.backtest(strategy={"rules": RULES}, data=data, params=PARAMS, mode="portfolio")
    assert shared.accounts.height == 1
    assert "sharpe" in shared.metrics
    assert shared.equity.height == 120


def test_the_result_pickles_prints_and_saves(tmp_path: Path) -> None:
    result = akq.backtest(strategy={"rules": RULES}, data=bars(), params=PARAMS)
    again = pickle.loads(pickle.dumps(result))
    assert again.equity.equals(result.equity)
    assert str(again) == str(result)
    folder = result.save(tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "accounts.parquet", "drawdowns.parquet", "equity.parquet", "exposure.parquet", "fills.parquet",
        "metrics.json", "orders.parquet", "positions.parquet", "rejects.parquet", "trades.parquet",
        "turnover.parquet",
    ]  # fmt: skip
    assert pl.read_parquet(folder / "fills.parquet").equals(result.fills)
    held = json.loads((folder / "metrics.json").read_text())
    assert held["result_hash"] == result.hash
    assert held["metrics"]["alpha"] is None
    assert result.to_pandas("equity")["equity"].iloc[0] == 1_000_000.0
    with pytest.raises(akq.AkqUsageError, match="unknown table 'fils', did you mean 'fills'"):
        result.frame("fils")
    (tmp_path / "file").write_text("")
    with pytest.raises(akq.AkqUsageError, match="cannot write the result"):
        result.save(tmp_path / "file")


class Failing(Cross):
    def on_bar(self, bar: akq.Bar) -> None:
        raise ZeroDivisionError(f"at {bar.index}")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"params": {"fast": 3, "slwo": 8}}, _core.RuleError, "slow"),
        ({"params": {**PARAMS, "extra": 1}}, akq.AkqUsageError, "the rules use no parameter 'extra'"),
        ({"params": {"fast": "x", "slow": 8}}, akq.AkqUsageError, "'x' is not a number"),
        ({"params": {"fast": 0, "slow": 8}}, _core.RuleError, "sma"),
        ({"market": {"csh": 1}}, akq.AkqUsageError, "did you mean 'cash'"),
        ({"markt": {}}, akq.AkqUsageError, "unknown argument 'markt', did you mean 'market'"),
        ({"strategy": 3}, akq.AkqUsageError, "found int"),
        ({"strategy": dict}, akq.AkqUsageError, "does not derive from akq_dist.Strategy"),
        ({"strategy": Cross, "params": {"fsat": 3}}, akq.AkqUsageError, "did you mean 'fast'"),
        ({"strategy": Failing}, ZeroDivisionError, "at 0"),
        ({"data": {"path": "nowhere.parquet"}}, akq.AkqDataError, "nowhere.parquet"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"strategy": {"rules": RULES}, "data": bars(), "params": PARAMS, **arguments}
    if given["strategy"] is Failing:
        given["params"] = {}
    with pytest.raises(kind) as caught:
        akq.backtest(**given)
    assert message in str(caught.value)


def sweep_spec(**changes: Any) -> SweepSpec:
    content = {
        "name": "plan",
        "strategy": {"rules": {**RULES, "stop_loss": {"pct": "stop", "from": "signal"}, "max_bars": 20}},
        "data": {"path": "x.parquet", "start": "2020-01-02", "end": "2020-06-30"},
        "params": {"slow": 8},
        "space": {"fast": {"int": [2, 5]}, "stop": {"float": [0.01, 0.1]}},
        "objective": {"metric": "sharpe", "aggregate": "q25", "min_defined": 0.8},
        "constraints": ["sum(n_trades) >= 5"],
        **changes,
    }
    return SweepSpec.parse(content)


def test_the_plan_says_what_the_specification_says() -> None:
    spec = sweep_spec()
    text = build_plan(spec, spec.space)
    plan = json.loads(text)
    assert plan["params"] == ["fast", "stop"]
    assert plan["constants"] == {"slow": 8.0}
    assert plan["window"] == {"start": 18263, "end": 18443}
    assert plan["strategy"]["rules"]["stop_loss"] == {"kind": "pct", "value": "stop", "from": "signal"}
    assert plan["strategy"]["rules"]["size"] == {"kind": "pct_equity", "value": "1.0", "at": "fill"}
    assert plan["min_defined"] == 0.8
    assert _core.Plan(text).outputs[:2] == ["sharpe.q25", "n_trades.sum"]
    assert not _core.Plan(text).unused_params


def test_outputs_name_the_objective_first_and_every_metric_once() -> None:
    many = [output_name(output) for output in default_outputs(sweep_spec(), 3)]
    assert many[:2] == ["sharpe.q25", "n_trades.sum"]
    assert len(many) == len(set(many))
    assert "sharpe.median" in many
    one = [output_name(output) for output in default_outputs(sweep_spec(), 1)]
    assert one[:2] == ["sharpe", "n_trades"]
    assert sorted(one) == sorted(_core.metric_names())
    with pytest.raises(akq.AkqUsageError, match="unknown metric 'shrpe', did you mean 'sharpe'"):
        default_outputs(sweep_spec(objective="shrpe"), 1)


def test_the_module_is_also_the_function() -> None:
    from akq_dist import backtest as function

    assert callable(akq.backtest)
    assert function(strategy={"rules": RULES}, data=bars(), params=PARAMS).n_bars == 120
    with pytest.raises(AttributeError, match="did you mean 'backtest'"):
        _ = akq.backtset
