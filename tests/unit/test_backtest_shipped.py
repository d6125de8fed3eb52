"""Every shipped sweep reads, and one of its points runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import akq_dist as akq
from akq_dist.specs import load_sweep
from akq_dist.strategy import PythonSource

SWEEPS = sorted((Path(__file__).resolve().parents[2] / "sweeps").glob("*.yaml"))
NEEDS_DATA = {path.name for path in SWEEPS if "AKQ_REFERENCE_DATA" in path.read_text()}


def middle(path: Path) -> dict[str, object]:
    """Values from the middle of the space that meet its conditions."""
    spec = load_sweep(path, environment={"AKQ_REFERENCE_DATA": "anywhere", **os.environ}).spec
    shares = (0.2, 0.3, 0.5, 0.7)
    for i in shares:
        for j in shares:
            unit = [i if column % 2 == 0 else j for column in range(len(spec.space))]
            params = spec.space.decode(spec.space.unit_to_rows(np.array([unit]))[0])
            if spec.conditions().check(params):
                return dict(params)
    raise AssertionError(f"no point of {path.name} meets its conditions")


def test_there_are_sweeps_and_each_is_described() -> None:
    described = (SWEEPS[0].parent / "README.md").read_text()
    assert len(SWEEPS) >= 4
    assert [path.name for path in SWEEPS if f"`{path.name}`" not in described] == []


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_shipped_sweep_is_valid_and_its_strategy_travels(path: Path) -> None:
    file = load_sweep(path, environment={"AKQ_REFERENCE_DATA": "anywhere", **os.environ})
    reference = file.spec.strategy.python
    if reference is not None:
        source = PythonSource.from_reference(reference, file.base_dir)
        assert len(source.modules) > 1
        assert set(file.spec.space.names) <= set(source.load()().params)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_point_of_a_shipped_sweep_trades(path: Path) -> None:
    if path.name in NEEDS_DATA and "AKQ_REFERENCE_DATA" not in os.environ:
        pytest.skip("AKQ_REFERENCE_DATA does not name the folder of market data")
    result = akq.backtest(path, params=middle(path))
    name = "n_fills" if "n_fills" in result.metrics else "n_fills.sum"
    assert result.metrics[name] > 10
