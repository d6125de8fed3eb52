"""Strategies of the engine by name: the run of their rules, in a sweep too, and unknown names refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import akq_dist as akq
from akq_dist import _core
from akq_dist.errors import AkqUsageError
from akq_dist.strategy.rules import Rules
from tests.unit.strategy.test_signals import bars, same

if TYPE_CHECKING:
    from pathlib import Path

CROSS = Rules(
    enter="cross_above(sma(close, fast), sma(close, slow))",
    exit="cross_below(sma(close, fast), sma(close, slow))",
)


@pytest.mark.parametrize("mode", ["per_asset", "portfolio"])
def test_the_sma_cross_is_the_rule_of_its_name(mode: str) -> None:
    settings: dict[str, Any] = {"data": bars(), "params": {"fast": 3, "slow": 8}, "mode": mode}
    named = akq.backtest(strategy={"rust": "sma_cross"}, **settings)
    same(named, akq.backtest(strategy=CROSS, **settings))


def test_a_sweep_runs_it_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {
        "data": bars(),
        "space": {"fast": {"int": [2, 5]}, "slow": {"int": [7, 12]}},
        "search": {"sampler": "grid"},
        "objective": {"metric": "sharpe", "aggregate": "median"},
        "run": {"executor": "serial"},
        "track": {"mlflow": None},
        "storage": {"optuna": None},
    }
    found = []
    for name, strategy in (("rules", CROSS), ("rust", {"rust": "sma_cross"})):
        study = akq.sweep(name=name, strategy=strategy, **settings).run()
        found.append(study.results().sort("params_fast", "params_slow")["hash"].to_list())
    assert len(found[0]) == 24
    assert found[0] == found[1]


def test_defaults_and_fixed_parameters() -> None:
    given = akq.backtest(strategy={"rust": "donchian"}, params={"entry": 20, "leave": 10}, data=bars())
    same(akq.backtest(strategy={"rust": "donchian"}, data=bars()), given)
    qty = akq.backtest({"name": "x", "params": {"qty": 3}}, strategy={"rust": "donchian"}, data=bars())
    assert set(qty.fills["qty"]) == {3.0}


@pytest.mark.parametrize(
    ("strategy", "params", "message"),
    [
        ("sma_corss", {}, 'unknown strategy "sma_corss", known are donchian, sma_cross'),
        ("sma_cross", {"fsat": 3}, 'sma_cross has no parameter "fsat", it has fast, slow, share'),
        ("sma_cross", {"fast": 2.5}, "sma_cross.fast must be a whole number of at least 1, got 2.5"),
        ("sma_cross", {"fast": "three"}, "'three' is not a number"),
    ],
)
def test_what_is_not_declared_is_refused(strategy: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(AkqUsageError) as error:
        akq.backtest(strategy={"rust": strategy}, params=params, data=bars())
    assert message in str(error.value)


def test_the_reference_lists_strategies_and_parameters() -> None:
    rows = pa.table(_core.strategy_reference()).to_pylist()
    assert {row["strategy"] for row in rows} == {"donchian", "sma_cross"}
    fast = next(row for row in rows if row["parameter"] == "fast")
    assert (fast["kind"], fast["default"]) == ("whole number of at least 1", 10.0)
