"""Market profiles in specifications: own files, overrides, tables, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from akq_dist import _core
from akq_dist.errors import AkqUsageError
from akq_dist.specs import MarketSpec
from akq_dist.specs.load import load_sweep, parse_sweep
from akq_dist.specs.market import PROFILES, overrides

if TYPE_CHECKING:
    from pathlib import Path


def sweep(market: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "s",
        "strategy": {"rules": {"enter": "close > 0"}},
        "data": {"path": "bars.parquet"},
        "market": market,
    }


def test_the_names_are_those_of_the_engine() -> None:
    assert list(PROFILES) == _core.market_profiles()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_alone_overrides_nothing_and_survives_being_written(name: str) -> None:
    spec = MarketSpec.parse({"profile": name})
    assert overrides(spec) == {}
    again = MarketSpec.parse(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.content_hash() == spec.content_hash()


def test_items_that_nobody_gave_are_not_written() -> None:
    written = MarketSpec.parse({}).to_dict()
    assert "tick" not in written
    assert "boards" not in written
    assert written["multiplier"] == 1.0


def test_a_profile_gives_its_values_and_an_item_replaces_its_own() -> None:
    spec = MarketSpec.parse({"profile": "cn_stock", "commission": {"rate": 0.0001}, "sell_after_days": 0})
    assert (spec.buying_power, spec.shorts, spec.lot) == ("cash", False, 100.0)
    assert spec.commission is not None
    assert (spec.commission.rate, spec.commission.minimum) == (0.0001, 5.0)
    assert set(overrides(spec)) == {"commission", "sell_after_days"}


def test_a_value_for_all_boards_replaces_theirs_even_where_it_is_the_profiles() -> None:
    # The boards of futures have multipliers of their own; the profile itself has 1.
    assert MarketSpec.parse({"profile": "cn_future"}).multiplier is None
    assert overrides(MarketSpec.parse({"profile": "cn_future", "multiplier": 1}))["multiplier"] == 1.0


def test_a_number_stands_for_a_rate_that_always_held() -> None:
    spec = MarketSpec.parse({"profile": "cn_stock", "stamp_duty": 0.002})
    assert spec.stamp_duty is not None
    assert [(str(entry.from_), entry.rate) for entry in spec.stamp_duty] == [("0001-01-01", 0.002)]


def test_a_profile_file_is_found_beside_the_sweep_and_may_build_on_another(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "broker.yaml").write_text("profile: cn_stock\ncommission: {rate: 0.00025}\nlot: 10\n")
    (folder / "mine.yml").write_text("profile: broker.yaml\nlot: 1\n")
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(sweep({"profile": "profiles/mine.yml", "sell_tax": 0.001})))
    market = load_sweep(file).spec.market
    assert (market.profile, market.lot, market.sell_tax) == ("cn_stock", 1.0, 0.001)
    assert market.commission is not None
    assert market.commission.rate == 0.00025


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "profile: cn_stock\ncomission: {rate: 0.1}\n",
            "mine.yaml:2: comission: unknown key, did you mean 'commission'",
        ),
        ("lot: -1\n", "mine.yaml:1: lot: found -1"),
        ("profile: mine.yaml\n", "builds on itself"),
        ("- a\n", "expected a mapping of market items"),
        ("lot: [\n", "mine.yaml:2"),
    ],
)
def test_a_mistake_in_a_profile_file_names_the_file(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(AkqUsageError, match=problem.replace("(", r"\(")):
        parse_sweep(sweep({"profile": "mine.yaml"}), base_dir=tmp_path)


@pytest.mark.parametrize(
    ("market", "problem"),
    [
        ({"profile": "none.yaml"}, "none.yaml cannot be read"),
        (
            {"price_limit": [{"from": "2020-01-01", "rat": 0.1}]},
            "price_limit.*rat: unknown key, did you mean 'rate'",
        ),
        ({"boards": [{"name": "a", "symbols": ["1"], "tik": 1}]}, "tik: unknown key, did you mean 'tick'"),
        ({"corporate_actions": [{"symbol": "A", "ex_date": "2020-01-01"}]}, "changes nothing"),
        ({"corporate_actions": [{"symbol": "A", "ex_date": "soon", "cash": 1}]}, "expected a date such as"),
        ({"margin": 0}, "margin: found 0, expected a number above 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, market: dict[str, Any], problem: str) -> None:
    with pytest.raises(AkqUsageError, match=problem):
        parse_sweep(sweep(market), base_dir=tmp_path)
