"""A sweep as a whole: defaults, cross-checks, hashes, the record of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.specs import SweepSpec, parse_sweep, to_yaml

MINIMAL: dict[str, Any] = {
    "name": "demo",
    "strategy": {"rules": {"enter": "cross_above(close, sma(close, n))"}},
    "data": {"path": "bars.parquet"},
    "space": {"n": {"int": [2, 60]}},
}


def _spec(**changed: Any) -> SweepSpec:
    return SweepSpec.parse({**MINIMAL, **changed})


def test_a_short_file_has_the_documented_defaults() -> None:
    spec = _spec()
    assert spec.mode == "per_asset"
    assert (spec.data.source, spec.data.symbols, spec.data.on_bad, spec.data.align) == (
        "parquet",
        "all",
        "refuse",
        "union",
    )
    assert (spec.market.profile, spec.market.cash, spec.market.fill, spec.market.lot) == (
        "simple",
        1e6,
        "next_open",
        1.0,
    )
    assert (spec.search.sampler, spec.search.trials, spec.search.seed, spec.search.deterministic) == (
        "tpe",
        100,
        0,
        True,
    )
    assert (spec.run.executor, spec.run.workers, spec.run.retries, spec.run.max_failures) == (
        "auto",
        "auto",
        2,
        "5%",
    )
    assert (spec.track.mlflow, spec.storage.optuna, spec.storage.ledger) == (
        "sqlite:///akq/mlflow.db",
        "sqlite:///akq/optuna.db",
        "akq/ledger.db",
    )
    assert spec.experiment == "demo"
    assert spec.periods_per_year == 252.0
    assert [o.metric for o in spec.objective] == ["sharpe"]
    assert _spec(search={"sampler": "grid"}).search.trials is None


def test_one_objective_or_several_become_a_tuple() -> None:
    assert [o.metric for o in _spec(objective="cagr").objective] == ["cagr"]
    several = _spec(
        objective=[{"metric": "sharpe", "aggregate": "q05"}, {"metric": "turnover", "direction": "minimize"}]
    )
    assert [(o.metric, o.aggregate, o.direction) for o in several.objective] == [
        ("sharpe", "q05", "maximize"),
        ("turnover", None, "minimize"),
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"search": {"trails": 5}}, "search.trails: unknown key, did you mean 'trials'?"),
        ({"sapce": {}}, "sapce: unknown key, did you mean 'space'?"),
        ({"name": "../x"}, "name: found '../x'"),
        ({"mode": "asset"}, "mode: found 'asset', expected 'per_asset' or 'portfolio'"),
        ({"space": {"n": {"int": [60, 2]}}}, "space.n: low 60 is above high 2"),
        ({"params": {"n": 3}}, "params.n: is also in space"),
        ({"params": {"m": [1]}}, "params.m: found"),
        ({"params": {"m": "x"}}, "params.m: is text, but rules need numbers"),
        ({"space": {"n": {"choice": ["a", "b"]}}}, "space.n: is text, but rules need numbers"),
        ({"where": ["m < 3"]}, "where[0]: 'm < 3': unknown parameter 'm'"),
        ({"objective": []}, "objective: is empty"),
        ({"objective": ["sharpe", "sharpe"]}, "objective: names a metric twice"),
        (
            {"objective": {"metric": "sharpe", "aggregate": "avg"}},
            "objective[0].aggregate: unknown aggregate 'avg'",
        ),
        ({"objective": {"metric": "sharpe", "min_defined": 2}}, "at most 1"),
        (
            {"validate": {"scheme": "walk_forward", "train": "2y"}},
            "validate.test: is required by walk_forward",
        ),
        ({"validate": {"scheme": "kfold", "folds": 5, "train": "2y"}}, "train: is not used by kfold"),
        (
            {"validate": {"scheme": "kfold", "folds": 5, "embargo": "5x"}},
            "validate.embargo: found '5x', expected calendar time",
        ),
        ({"search": {"pruner": "medain"}}, "search.pruner.name: found 'medain'"),
        ({"search": {"trials": 0}}, "search.trials: found 0, expected a number at least 1"),
        ({"search": {"trials": True}}, "search.trials: found true"),
        ({"search": {"seed": -1}}, "search.seed"),
        ({"search": {"timeout": "soon"}}, "search.timeout: found 'soon', expected a duration"),
        ({"search": {"enqueue": [{"n": 1}]}}, "search.enqueue[0]: n: 1 is outside [2, 60]"),
        ({"search": {"enqueue": [{"n": 3}]}, "where": ["n > 5"]}, "search.enqueue[0]: does not meet where"),
        ({"run": {"workers": 0}}, "run.workers: found 0, expected auto or a whole number from 1"),
        ({"run": {"max_failures": "200%"}}, "run.max_failures"),
        ({"run": {"executor": "dask"}}, "run.executor: found 'dask', expected 'auto', 'ray' or 'serial'"),
        ({"track": {"runs": "best:3"}}, "track.runs: found 'best:3', expected auto, all, none or top:N"),
        ({"storage": {"ledger": "postgresql://h/db"}}, "storage.ledger"),
        (
            {"market": {"profile": "us_stok"}},
            "market.profile: unknown profile 'us_stok', did you mean 'us_stock'",
        ),
        ({"market": {"cash": 0}}, "market.cash: found 0, expected a number above 0"),
        ({"market": {"slippage": 2}}, "market.slippage: found 2, expected a mapping"),
        ({"market": {"commission": {"rate": -1}}}, "market.commission.rate"),
        ({"metrics": {"returns": "bar"}}, "metrics.periods_per_year: is required with returns: bar"),
        ({"data": {"path": "x.parquet", "symbols": ["A/B"]}}, "data.symbols[0]: symbol 'A/B' is not allowed"),
        ({"data": {"path": "x.parquet", "symbols": ["A", "A"]}}, "data.symbols: names A more than once"),
        ({"data": {"path": "x.dat"}}, "data.source: is required"),
        (
            {"data": {"path": "x.parquet", "start": "2020-01-02", "end": "2020-01-01"}},
            "data.start: 2020-01-02 is after",
        ),
        ({"data": {"path": "x.parquet", "tz": "Mars"}}, "data.tz: found 'Mars'"),
        ({"strategy": {"rules": {"weights": "1"}}}, "strategy.rules.weights: needs mode: portfolio"),
    ],
)
def test_a_mistake_gives_one_line_with_its_place(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(AkqUsageError) as caught:
        _spec(**changed)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_reported_together() -> None:
    with pytest.raises(AkqUsageError, match="2 problems") as caught:
        _spec(search={"trails": 5}, mode="x")
    assert len(str(caught.value).splitlines()) == 3


def test_the_word_for_a_symbol_is_text_whatever_yaml_makes_of_it() -> None:
    assert _spec(data={"path": "x.parquet", "symbols": [600000, "ON", "000651"]}).data.symbols == (
        "600000",
        "ON",
        "000651",
    )
    assert _spec(data={"path": "x.parquet", "symbols": "AAPL"}).data.symbols == ("AAPL",)


def test_the_hash_of_a_sweep_covers_what_it_says_and_nothing_else() -> None:
    spec = _spec()
    assert _spec(market={"cash": 1_000_000}).content_hash() == spec.content_hash()
    assert hash(_spec()) == hash(spec)
    for changed in (
        {"name": "other"},
        {"market": {"cash": 5}},
        {"search": {"seed": 1}},
        {"space": {"n": {"int": [2, 61]}}},
    ):
        assert _spec(**changed).content_hash() != spec.content_hash()


def test_a_sweep_survives_pickling_and_its_own_record() -> None:
    spec = _spec(
        where=["n > 5"], constraints=["sum(n_trades) >= 50"], search={"timeout": "2h", "enqueue": [{"n": 7}]}
    )
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert SweepSpec.parse(spec.to_dict()) == spec


def test_the_record_of_a_sweep_has_no_password_and_keeps_what_is_off() -> None:
    spec = _spec(track={"mlflow": None}, storage={"optuna": "postgresql://me:hunter2@host/db"})
    text = to_yaml(spec)
    assert "hunter2" not in text
    assert "mlflow: null" in text


def test_false_switches_a_view_off() -> None:
    spec = _spec(track={"mlflow": False}, storage={"optuna": False})
    assert spec.track.mlflow is None
    assert spec.storage.optuna is None


def test_metrics_that_nobody_knows_are_named_with_the_nearest() -> None:
    spec = _spec(objective="sharp", constraints=["sum(n_trade) >= 1"])
    with pytest.raises(AkqUsageError) as caught:
        spec.check_metrics(["sharpe", "n_trades"])
    assert "unknown metric 'sharp', did you mean 'sharpe'?" in str(caught.value)
    assert "unknown metric 'n_trade', did you mean 'n_trades'?" in str(caught.value)
    _spec().check_metrics(["sharpe"])


def test_tolerated_failures_are_a_number_or_a_share() -> None:
    assert _spec().run.failures_allowed(200) == 10.0
    assert _spec(run={"max_failures": 3}).run.failures_allowed(200) == 3.0


def test_a_sweep_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        _spec().name = "other"


def test_plain_data_with_overrides_and_a_folder() -> None:
    made = parse_sweep(MINIMAL, ["search.trials=7", "space.n.int=[3, 9]"], {})
    assert made.spec.search.trials == 7
    assert made.spec.space["n"].high == 9
    assert MINIMAL["space"]["n"]["int"] == [2, 60]
