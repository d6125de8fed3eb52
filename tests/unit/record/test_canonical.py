"""Many points written at once are what each of them is written as alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from akq_dist.record.canonical import canonical_json, params_json
from akq_dist.record.identity import KeyMaker
from akq_dist.specs import Space

SPACE = Space.from_mapping(
    {
        "z": {"float": [-1.0, 1.0], "step": 0.25},
        "n": {"int": [-3, 3]},
        "choice": {"choice": ["a", 'quo"ted', "ü,\n", True, 2, 2.5]},
        "free": {"float": [1e-9, 1e9], "log": True},
    }
)


@pytest.mark.parametrize("n", [0, 1, 500])
def test_many_points_are_written_as_one_by_one(n: int) -> None:
    points = SPACE.unit_to_rows(np.random.default_rng(n).random((n, 4)))
    # Equal numbers that are written in two ways.
    points[:, 0][points[:, 0] == 0.0] *= np.where(np.arange(n)[points[:, 0] == 0.0] % 2, -1.0, 1.0)
    expected = [canonical_json(SPACE.decode(point)) for point in points]
    assert params_json(SPACE, points) == expected
    assert n < 500 or {'"z":0.0', '"z":-0.0'} <= {text[text.index('"z"') : -1] for text in expected}


def test_a_space_without_parameters_has_one_point() -> None:
    assert params_json(Space(), np.empty((2, 0))) == ["{}", "{}"]


@pytest.mark.parametrize("constants", [{}, {"free": 1.0, "z": 0.5, "other": 3}])
def test_the_key_of_a_text_is_that_of_its_parameters(constants: dict[str, Any]) -> None:
    plan = {"params": list(SPACE.names), "constants": constants}
    keys = KeyMaker(
        json.dumps(plan), data_digest="", strategy_digest="", fixed={}, build="", versions={}, seed=None
    )
    points = SPACE.unit_to_rows(np.random.default_rng(5).random((20, 4)))
    for point, text in zip(points, params_json(SPACE, points), strict=True):
        assert keys.key_of_json(text) == keys.key(SPACE.decode(point))
