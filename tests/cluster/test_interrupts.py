"""Ctrl-C while Ray workers are in trials that do not end: a few seconds to drain, then a study to go on with."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.search.loop import DRAIN_S
from akq_dist.sweep import sweep
from tests.seam.test_sweep_end_to_end import write_bars

from .test_ray_executor import wait_until

if TYPE_CHECKING:
    from akq_dist.cluster.session import RaySession

ROOT = Path(__file__).parents[2]
DRIVER = "import sys; sys.argv[0] = 'akq'; from akq_dist.cli import main; main()"
STRATEGY = """
import time
from pathlib import Path
import akq_dist as akq

class Stuck(akq.Strategy):
    n: int = akq.Param(0)

    def on_bar(self, bar):
        if bar.index == 3:
            (FOLDER / f"began-{self.n}").touch()
            if self.n == 0:
                # Ends while the sweep is being stopped.
                while not (FOLDER / "stopping").exists():
                    time.sleep(0.01)
            else:
                while not (FOLDER / "go").exists():
                    time.sleep(0.01)
            self.buy(1 + self.n)
"""
SPEC: dict[str, Any] = {
    "name": "stuck",
    "strategy": {"python": "stuck.py:Stuck"},
    "data": {"path": "bars.parquet"},
    "space": {"n": {"int": [0, 7]}},
    "objective": {"metric": "total_return", "aggregate": "mean"},
    "search": {"sampler": "grid"},
    "run": {"executor": "ray", "workers": 2, "batch": 1},
    "track": {"mlflow": None},
    "storage": {"optuna": "sqlite:///optuna.db", "ledger": "ledger.db"},
}


@pytest.mark.parametrize("n_times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_leaves_a_study_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: RaySession, n_times: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "stuck.py").write_text(
        f"from pathlib import Path\nFOLDER = Path({str(tmp_path)!r})\n{STRATEGY}"
    )
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SPEC))
    address = local_ray.ray().get_runtime_context().gcs_address
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "sweep", "run", "sweep.yaml", "--address", address],
        env={**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: len(list(tmp_path.glob("began-*"))) == 2 or driver.poll() is not None)
        began_s = time.monotonic()
        for _ in range(n_times):
            driver.send_signal(signal.SIGINT)
            last_s = time.monotonic()
            assert driver.stderr is not None
            for line in driver.stderr:
                if "Ctrl-C again stops at once" in line:
                    break
            (tmp_path / "stopping").touch()
        _, err = driver.communicate(timeout=60)
        total_s, after_last_s = time.monotonic() - began_s, time.monotonic() - last_s
    finally:
        driver.kill()
    print(f"gone {after_last_s:.2f} s after Ctrl-C number {n_times}, {total_s:.2f} s after the first")
    assert driver.returncode == 130, err
    if n_times == 1:
        assert DRAIN_S <= total_s < 10.0
    else:
        assert after_last_s < 2.0
    if n_times == 1:
        with closing(sqlite3.connect("ledger.db")) as ledger:
            done = [row[0] for row in ledger.execute("SELECT number FROM trial WHERE state = 'complete'")]
        assert done == [0], "what ended within the time to drain is kept"
    (tmp_path / "go").touch()
    with closing(sweep("sweep.yaml").run()) as handle:
        assert handle.summary()["trials"]["complete"] == 8
        trials = handle.optuna_study.get_trials(deepcopy=False)
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8
