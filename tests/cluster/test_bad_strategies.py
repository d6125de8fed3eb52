"""Strategies that do not come back, die or take everything: their trials fail, all others complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.sweep import sweep
from tests.seam.test_sweep_end_to_end import write_bars

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.cluster.session import RaySession

STRATEGY = """
import ctypes, os, sys, time
import akq_dist as akq

class Shaky(akq.Strategy):
    n: int = akq.Param(0)

    def on_bar(self, bar):
        if bar.index == 3:
            self.buy(10)
        if bar.index != 5:
            return
        if self.n == 3:
            while True:
                time.sleep(0.01)
        if self.n == 5:
            os._exit(1)
        if self.n == 7:
            ctypes.string_at(0)
        if self.n == 9:
            self.on_bar(bar)
        if self.n == 11:
            sys.exit(4)
        if self.n == 13:
            raise ValueError("thirteen")
        if self.n == 15:
            held = []
            while True:
                held.append(bytearray(b"x") * 2**24)
                time.sleep(0.01)
"""
SPEC: dict[str, Any] = {
    "name": "shaky",
    "strategy": {"python": "shaky.py:Shaky"},
    "data": {"path": "bars.parquet"},
    "space": {"n": {"int": [0, 23]}},
    "objective": {"metric": "total_return", "aggregate": "mean"},
    "search": {"sampler": "grid"},
    "run": {
        "executor": "ray",
        "workers": 2,
        "trial_timeout": "6s",
        "memory": "300MiB",
        "retries": 2,
        "max_failures": "100%",
    },
    "track": {"mlflow": None},
    "storage": {"optuna": None},
}
REASONS = {
    3: "ran longer than run.trial_timeout allows (6 s)",
    5: "lost 2 workers while it ran",
    7: "lost 2 workers while it ran",
    9: "RecursionError",
    11: "SystemExit: 4",
    13: "ValueError: thirteen",
    15: "out of memory",
}


@pytest.mark.usefixtures("local_ray")
def test_each_bad_trial_fails_alone_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: RaySession
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "shaky.py").write_text(STRATEGY)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SPEC))
    handle = sweep("sweep.yaml").run()
    rows = {row["number"]: row for row in handle.results().to_dicts()}
    handle.close()
    failed = {number: row["reason"] for number, row in rows.items() if row["state"] == "fail"}
    assert set(failed) == set(REASONS)
    for number, reason in REASONS.items():
        assert reason in failed[number], failed[number]
    assert {row["state"] for number, row in rows.items() if number not in REASONS} == {"complete"}
