"""Strategies that raise, hang, die, take everything or leave a mess: their trials fail, all others complete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from akq_dist.cluster.output import OUTPUT_BYTES, CappedFile
from akq_dist.sweep import sweep
from tests.seam.test_sweep_end_to_end import write_bars

from .test_ray_executor import wait_until

if TYPE_CHECKING:
    import pytest

    from akq_dist.cluster.session import RaySession

TRIALS = 100
TIMEOUT_S = 6.0
STRATEGY = """
import ctypes, os, random, sys, threading, time
import numpy as np
import polars as pl
import akq_dist as akq

class Shaky(akq.Strategy):
    n: int = akq.Param(0)

    def __init__(self, **params):
        super().__init__(**params)
        if self.n == 1:
            raise ValueError("in init")

    def on_start(self):
        if self.n == 21:
            raise ValueError("in on_start")

    def on_trade(self, trade):
        if self.n == 3:
            raise ValueError("in on_trade")

    def on_order(self, order):
        if self.n == 23:
            raise ValueError("in on_order")

    def on_stop(self):
        if self.n == 5:
            raise ValueError("in on_stop")

    def on_bar(self, bar):
        if bar.index == 3:
            # What another trial has left behind would show here.
            if os.getcwd() == "/" and self.n != 31:
                raise ValueError("in the folder of another trial")
            self.buy(10 + random.randrange(50) + np.random.randint(50))
        if bar.index != 5:
            return None
        n = self.n
        if n in (7, 11, 13, 15, 29):
            with open(os.path.join(FOLDER, f"began-{n}"), "a") as log:
                log.write(f"{os.getpid()} {time.time()}\\n")
        if n == 7:
            while True:
                time.sleep(0.01)
        if n == 9:
            self.on_bar(bar)
        if n == 11:
            os._exit(1)
        if n == 13:
            ctypes.string_at(0)
        if n == 15:
            held = []
            while True:
                held.append(b"x" * 2**30)
        if n == 17:
            sys.exit(4)
        if n == 19:
            raise ValueError("in on_bar")
        if n == 25:
            pl.Series([1]).new_from_index(0, 2**62)
        if n == 27:
            line = "x" * 2**20
            for _ in range(2**10):
                print(line)
        if n == 29:
            threading.Thread(target=time.sleep, args=(3600,)).start()
        if n == 31:
            random.seed(1)
            np.random.seed(1)
            os.chdir("/")
        orders = {41: float("nan"), 43: float("inf"), 45: "many", 47: np.array([1.0, 2.0]), 49: None}
        if n in orders:
            self.buy(orders[n])
        answers = {51: float("nan"), 53: None, 55: float("inf"), 57: "text", 59: np.zeros(3)}
        return answers.get(n)
"""
REASONS = {
    1: "ValueError: in init",
    3: "ValueError: in on_trade",
    5: "ValueError: in on_stop",
    7: "ran longer than run.trial_timeout allows (6 s)",
    9: "RecursionError",
    11: "lost 2 workers while it ran",
    13: "lost 2 workers while it ran",
    15: "out of memory: took",
    17: "SystemExit: 4",
    19: "ValueError: in on_bar",
    21: "ValueError: in on_start",
    23: "ValueError: in on_order",
    25: "PanicException: capacity overflow",
    41: "qty is nan, which is not a finite number",
    43: "qty is inf, which is not a finite number",
    45: "qty is 'many', which is not a number",
    47: "which is not a number",
    49: "an order has exactly one size",
}
"""Trials that fail, and why. The others that do something odd complete: 27 to 31, and 51 to 59, whose hooks return
what nobody asked for."""
SPEC: dict[str, Any] = {
    "name": "shaky",
    "strategy": {"python": "shaky.py:Shaky"},
    "data": {"path": "bars.parquet"},
    "objective": {"metric": "total_return", "aggregate": "mean"},
    "search": {"sampler": "grid", "seed": 20},
    "track": {"mlflow": None},
}


def write(folder: Path, numbers: list[int], **run: Any) -> None:
    (folder / "shaky.py").write_text(f"FOLDER = {str(folder)!r}\n{STRATEGY}")
    spec = {
        **SPEC,
        "space": {"n": {"choice": numbers}},
        "run": run,
        "storage": {"optuna": None, "ledger": f"{run['executor']}.db"},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))


def test_each_bad_trial_fails_alone_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: RaySession
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    limits = {"trial_timeout": TIMEOUT_S, "memory": "300MiB", "retries": 2, "max_failures": "35%"}
    # The bad ones all over the sweep.
    write(tmp_path, [37 * ix % TRIALS for ix in range(TRIALS)], executor="ray", workers=2, **limits)
    logs = Path(local_ray.ray().nodes()[0]["ObjectStoreSocketName"]).parents[1] / "logs"
    handle = sweep("sweep.yaml").run()
    rows = {row["params_n"]: row for row in handle.results().to_dicts()}
    assert handle.exit_code == 0
    handle.close()
    failed = {n: row["reason"] for n, row in rows.items() if row["state"] == "fail"}
    assert set(failed) == set(REASONS)
    for n, reason in REASONS.items():
        assert reason in failed[n], failed[n]
    for n in (1, 3, 5, 19):
        assert failed[n].startswith("Traceback (most recent call last):"), failed[n]
        assert "shaky.py" in failed[n]
    assert len(rows) == TRIALS
    assert {row["state"] for n, row in rows.items() if n not in REASONS} == {"complete"}

    began_s = float((tmp_path / "began-7").read_text().split()[1])
    took_s = rows[7]["ended_ms"] / 1000.0 - began_s
    print(f"the trial that never returned was ended after {took_s:.1f} s")
    assert took_s < TIMEOUT_S + 5.0
    for n, n_times in ((7, 1), (11, 2), (13, 2), (15, 2)):
        assert len((tmp_path / f"began-{n}").read_text().splitlines()) == n_times
    sizes = [path.stat().st_size for path in logs.glob("worker-*.out")]
    print(f"largest log of a worker: {max(sizes) / 2**20:.1f} MiB")
    assert OUTPUT_BYTES <= max(sizes) < OUTPUT_BYTES + 2**16

    # The same trials without any of the bad ones, in another order and one process: nothing has rubbed off.
    write(
        tmp_path, [n for n in reversed(range(TRIALS)) if n not in {*REASONS, 27, 29, 31}], executor="serial"
    )
    quiet = sweep("sweep.yaml").run()
    for row in quiet.results().to_dicts():
        assert row["hash"] == rows[row["params_n"]]["hash"], row["params_n"]
    quiet.close()
    assert Path.cwd() == tmp_path


def test_output_is_kept_up_to_its_limit(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        capped = CappedFile(file.fileno(), limit=2**20)
        for _ in range(3):
            assert capped.write(b"y" * 700_000) == 700_000
    text = (tmp_path / "log").read_bytes()
    assert text[: 2**20] == b"y" * 2**20
    assert text[2**20 :] == b"\n... the rest is dropped: 1 MiB are kept\n"


def test_no_worker_outlives_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: RaySession
) -> None:
    """A thread that is no daemon keeps nobody alive."""
    assert local_ray.ray().is_initialized()
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    write(tmp_path, [28, 29], executor="ray", workers=1)
    handle = sweep("sweep.yaml").run()
    assert handle.summary()["trials"]["complete"] == 2
    handle.close()
    pid = int((tmp_path / "began-29").read_text().split()[0])
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
