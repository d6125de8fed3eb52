"""The grid in this process finds what a sweep over the same grid finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

import akq_dist
from akq_dist.errors import AkqUsageError
from akq_dist.optimize import optimize
from akq_dist.sweep import sweep

from .test_sweep_end_to_end import SPEC


@pytest.fixture(autouse=True)
def folder(folder: Path) -> Path:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SPEC))
    return folder


def test_a_grid_equals_the_sweep_over_it_and_writes_nothing() -> None:
    seen: list[int] = []
    found = optimize(
        "sweep.yaml", constraints=["sum(n_trades) >= 3"], on_progress=lambda done, _: seen.append(done)
    )
    assert not Path("akq").exists()
    assert seen[-1] == found.frame.height
    handle = sweep("sweep.yaml", constraints=["sum(n_trades) >= 3"], search={"sampler": "grid"}).run()
    rows = handle.results()
    both = rows.join(found.frame, on=["params_fast", "params_slow"])
    assert both.height == rows.height == found.frame.height
    assert (both["hash"] == both["hash_right"]).all()
    best = handle.best
    assert best is not None
    assert (found.best, found.values) == (dict(best.params), best.values)
    handle.close()
    feasible = found.frame.filter(pl.col("feasible"))["value"]
    assert feasible.is_sorted(descending=True)


def test_other_samplers_need_a_number() -> None:
    assert optimize("sweep.yaml", sampler="qmc", trials=16).frame.height == 16
    with pytest.raises(AkqUsageError, match="give a number of trials"):
        optimize("sweep.yaml", sampler="random")
    with pytest.raises(AkqUsageError, match="learns from results"):
        optimize("sweep.yaml", sampler="tpe", trials=5)
    with pytest.raises(AkqUsageError, match="are too many to keep"):
        optimize("sweep.yaml", sampler="random", trials=10**7)


def test_a_point_that_fails_is_a_row_with_its_reason() -> None:
    found = optimize(
        "sweep.yaml",
        strategy="hold.py:Hold",
        space={"days": {"int": [3, 9]}},
        where=[],
        objective="total_return",
    )
    failed = found.frame.filter(pl.col("state") == "fail")
    assert failed["params_days"].to_list() == [7]
    assert "ValueError: seven" in failed["reason"][0]
    assert found.n_failed == 1
    assert found.best is not None


def test_the_names_of_the_package_can_be_called_after_their_modules_were_imported() -> None:
    assert akq_dist.sweep("sweep.yaml").spec.name == "cross"
    assert callable(akq_dist.optimize)


def test_an_exploration_hands_out_what_the_grid_holds_in_any_chunks() -> None:
    whole = optimize("sweep.yaml").frame.sort("params_fast", "params_slow")
    for chunk in (1, 7, None):
        frames = list(akq_dist.explore("sweep.yaml", chunk=chunk))
        assert all(frame.height == chunk for frame in frames[:-1]) or chunk is None
        # `pl.concat` refuses frames of different types.
        assert pl.concat(frames).equals(whole)


def test_an_endless_exploration_goes_on_where_it_is_read() -> None:
    frames = akq_dist.explore("sweep.yaml", sampler="random", chunk=5)
    first, second = next(frames), next(frames)
    frames.close()
    again = next(akq_dist.explore("sweep.yaml", sampler="random", chunk=10))
    assert pl.concat([first, second]).equals(again)
    with pytest.raises(AkqUsageError, match="found 0, expected at least 1"):
        akq_dist.explore("sweep.yaml", chunk=0)


def test_a_python_strategy_is_explored(folder: Path) -> None:
    strategy = {"python": "hold.py:Hold"}
    space = {"days": {"int": [1, 12]}, "kind": {"choice": ["a", "b", "c"]}}
    (found,) = akq_dist.explore("sweep.yaml", chunk=50, strategy=strategy, space=space, where=[])
    assert found.height == 36
    assert found["params_kind"].unique().sort().to_list() == ["a", "b", "c"]
    assert found.filter(pl.col("params_days") == 7)["state"].unique().to_list() == ["fail"]


GROWTH = """
import sys
import akq_dist

def peak():
    status = open("/proc/self/status").read().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024

def explore(n):
    space = {"fast": {"int": [2, 300]}, "slow": {"int": [3, 900]}}
    frames = akq_dist.explore(
        "sweep.yaml", sampler="random", trials=n, space=space, overrides=['data.symbols=["AAA"]'], chunk=2_000
    )
    return sum(frame.height for frame in frames)

assert explore(int(sys.argv[1])) == int(sys.argv[1])
before = peak()
assert explore(int(sys.argv[2])) == int(sys.argv[2])
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("n_first", "n_then"),
    [(6_000, 30_000), pytest.param(100_000, 1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_the_memory_of_an_exploration_does_not_grow_with_the_space(n_first: int, n_then: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(n_first), str(n_then)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Held rows would take more than 150 bytes each.
    assert int(done.stdout) < 20 * (n_then - n_first) + 4 * 2**20
