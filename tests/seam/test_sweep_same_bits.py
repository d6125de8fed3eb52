"""The same sweep again and again, whatever the threads, the hash seed and the order of names: the same bits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from akq_dist.record.ledger import Ledger
from akq_dist.sweep import sweep

from .test_sweep_end_to_end import STRATEGY, write_bars

ROOT = Path(__file__).parents[2]
SEED = 20
DRIVER = """
import hashlib, json, sys
from akq_dist.sweep import sweep

found = {}
for name in ("rules", "python"):
    symbols, ledger = json.loads(sys.argv[1]), sys.argv[2]
    handle = sweep(f"{name}.yaml", overrides=[f"data.symbols={symbols}", f"storage.ledger={ledger}-{name}.db"]).run()
    found[name] = handle.summary()["result_hash"]
    handle.close()
print(json.dumps(found))
"""
"""The hash is over parameters, states, values, metrics and the engine's hash of fills and equity of every trial."""
COMMON: dict[str, Any] = {
    "mode": "portfolio",
    "data": {"path": "bars.parquet"},
    "run": {"executor": "serial"},
    "track": {"mlflow": None},
    "storage": {"optuna": None},
}
RULES = {
    **COMMON,
    "name": "rules",
    "strategy": {
        "rules": {
            "enter": "cross_above(sma(close, fast), sma(close, slow))",
            "exit": "cross_below(sma(close, fast), sma(close, slow))",
            "size": {"pct_equity": 0.4},
        }
    },
    "space": {"fast": {"int": [2, 12]}, "slow": {"int": [15, 60]}},
    "objective": {"metric": "sharpe"},
    "search": {"sampler": "tpe", "trials": 30, "seed": 3, "group": 5},
}
PYTHON = {
    **COMMON,
    "name": "python",
    "strategy": {"python": "hold.py:Hold"},
    "space": {"days": {"int": [1, 19]}, "kind": {"choice": ["a", "b"]}},
    "objective": {"metric": "total_return"},
    "search": {"sampler": "random", "trials": 12, "seed": 3},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet")
    (tmp_path / "hold.py").write_text(STRATEGY)
    for spec in (RULES, PYTHON):
        (tmp_path / f"{spec['name']}.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def run(case: int, symbols: list[str], settings: dict[str, str]) -> dict[str, str]:
    """Return the result hashes of the sweeps in a process with these settings."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(symbols), str(case)],
        env={**os.environ, "PYTHONPATH": paths, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("n_runs", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_reruns_agree_to_the_bit(n_runs: int) -> None:
    rng = random.Random(SEED)
    found = []
    for case in range(n_runs):
        settings = {
            "RAYON_NUM_THREADS": ("1", "8", "2")[case % 3],
            "POLARS_MAX_THREADS": ("8", "1")[case % 2],
            "PYTHONHASHSEED": ("0", "random", "1")[case % 3],
        }
        symbols = rng.sample(["AAA", "BBB", "CCC"], 3)
        found.append(run(case, symbols, settings))
        assert found[-1] == found[0], f"seed {SEED}, run {case}: {settings}, {symbols}"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("threads", [2, 8])
def test_threads_of_the_engine_change_no_bit(threads: int) -> None:
    hashes = []
    for count in (1, threads):
        handle = sweep(
            "rules.yaml", overrides=[f"run.threads={count}", f"storage.ledger=threads-{count}.db"], new=True
        ).run()
        hashes.append(handle.summary()["result_hash"])
        handle.close()
    assert hashes[0] == hashes[1]


@pytest.mark.usefixtures("folder")
def test_the_ledger_knows_what_a_session_ran_on() -> None:
    sweep("rules.yaml", overrides=["run.threads=2", "storage.ledger=ledger.db"]).run().close()
    ledger = Ledger("ledger.db")
    study = ledger.studies()[0]
    session = ledger.session(1)
    ledger.close()
    assert session is not None
    build, facts = session
    assert build == study.identity["build"]
    assert (facts["executor"], facts["workers"], facts["threads"], facts["group"]) == (
        "serial",
        "1",
        "2",
        "5",
    )
    assert {"python", "platform", "numpy", "polars", "optuna"} <= set(facts)
    assert study.seed == 3
    assert len(study.identity["data"]["digest"]) == 64, "SHA-256"
