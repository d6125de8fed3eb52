"""Keys and identities: what results depend on changes them, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from akq_dist.errors import AkqStudyError
from akq_dist.record.canonical import canonical_json, derive_seed
from akq_dist.record.identity import KeyMaker, check_resume, diff, study_identity

PLAN: dict[str, Any] = {
    "strategy": {"rules": {"enter": "a"}},
    "params": ["fast", "slow"],
    "constants": {"x": 1.0},
    "market": {"cash": 1e6},
    "outputs": [["sharpe", "median"]],
}
KEY: dict[str, Any] = {
    "data_digest": "d",
    "strategy_digest": "",
    "fixed": {},
    "build": "b",
    "versions": {},
    "seed": None,
    "canonical_rules": "enter: a",
}
SPEC: dict[str, Any] = {
    "space": {"fast": {"int": [2, 60]}},
    "search": {"sampler": "tpe", "seed": 7, "trials": 100, "timeout": None},
    "market": {"cash": 1e6},
    "data": {"start": None},
    "strategy": {"rules": {"enter": "a"}},
}
IDENTITY: dict[str, Any] = {
    "data_digest": "d",
    "symbols": ["A"],
    "strategy_digest": "s",
    "outputs": ["sharpe"],
    "source": "tpe",
    "build": "b1",
    "versions": {"numpy": "2"},
}


def make(plan: dict[str, Any] = PLAN, **changes: Any) -> KeyMaker:
    return KeyMaker(json.dumps(plan), **{**KEY, **changes})


def test_equal_content_has_equal_keys() -> None:
    params = {"fast": 3, "slow": 5}
    assert make().key(params) == make().key({"slow": 5, "fast": 3})
    other_order = {**PLAN, "params": ["slow", "fast"]}
    assert make(other_order).key(params) == make().key(params)
    respaced = {**PLAN, "strategy": {"rules": {"enter": " a "}}}
    assert make(respaced).key(params) == make().key(params), (
        "the canonical form of the rules counts, not their text"
    )


def test_a_parameter_has_the_same_key_fixed_or_searched() -> None:
    fixed = {**PLAN, "params": ["slow"], "constants": {"x": 1.0, "fast": 3}}
    assert make(fixed).key({"slow": 5}) == make().key({"fast": 3, "slow": 5})


@pytest.mark.parametrize(
    "changes",
    [
        {"data_digest": "e"},
        {"strategy_digest": "t"},
        {"fixed": {"y": 1}},
        {"build": "c"},
        {"versions": {"numpy": "3"}},
        {"seed": 1},
        {"canonical_rules": "enter: b"},
        {"plan": {**PLAN, "market": {"cash": 2e6}}},
        {"plan": {**PLAN, "constants": {"x": 2.0}}},
        {"plan": {**PLAN, "outputs": [["sharpe", "mean"]]}},
    ],
    ids=str,
)
def test_everything_that_results_depend_on_changes_the_key(changes: dict[str, Any]) -> None:
    assert make(**changes).key({"fast": 3, "slow": 5}) != make().key({"fast": 3, "slow": 5})


def test_the_strategy_seed_depends_on_seed_and_parameters_alone() -> None:
    seeds = {derive_seed(s, {"fast": f, "slow": 5}) for s in (1, 2) for f in (3, 4)}
    assert len(seeds) == 4
    assert derive_seed(1, {"slow": 5, "fast": 3}) == derive_seed(1, canonical_json({"fast": 3, "slow": 5}))
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_differences_name_their_place() -> None:
    held = {"space": {"fast": {"int": [2, 60]}}, "seed": 1, "gone": True}
    now = {"space": {"fast": {"int": [2, 80], "step": 2}}, "seed": 1}
    assert diff(held, now) == [
        "gone: true -> not set",
        "space.fast.int[1]: 60 -> 80",
        "space.fast.step: not set -> 2",
    ]


def test_a_changed_space_refuses_the_resume_and_names_the_change() -> None:
    held = study_identity(SPEC, **IDENTITY)
    changed = {**SPEC, "space": {"fast": {"int": [2, 80]}}}
    with pytest.raises(AkqStudyError, match=r"space\.fast\.int\[1\]: 60 -> 80"):
        check_resume("s", held, study_identity(changed, **IDENTITY), accept_build=True)
    with pytest.raises(AkqStudyError, match=r"data\.digest: d -> e"):
        check_resume("s", held, study_identity(SPEC, **{**IDENTITY, "data_digest": "e"}), accept_build=True)


def test_limits_of_a_search_may_change() -> None:
    held = study_identity(SPEC, **IDENTITY)
    longer = {**SPEC, "search": {**SPEC["search"], "trials": 500, "timeout": 60.0}}
    check_resume("s", held, study_identity(longer, **IDENTITY), accept_build=False)


def test_another_build_needs_consent() -> None:
    held = study_identity(SPEC, **IDENTITY)
    now = study_identity(SPEC, **{**IDENTITY, "build": "b2", "versions": {"numpy": "3"}})
    with pytest.raises(AkqStudyError, match="--accept-build"):
        check_resume("s", held, now, accept_build=False)
    check_resume("s", held, now, accept_build=True)


def test_rules_written_in_another_way_are_the_same_strategy() -> None:
    held = study_identity(SPEC, **IDENTITY)
    respaced = {**SPEC, "strategy": {"rules": {"enter": " a "}}}
    check_resume("s", held, study_identity(respaced, **IDENTITY), accept_build=False)
    with pytest.raises(AkqStudyError, match=r"strategy\.digest"):
        check_resume(
            "s", held, study_identity(respaced, **{**IDENTITY, "strategy_digest": "t"}), accept_build=False
        )
