"""`akq sweep`, `akq study`, `akq replay` and `akq backtest` on a small sweep, from the outside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import polars as pl
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Akq, Start

KEYS = {
    "study", "optuna", "mlflow", "trials", "best", "executor", "workers", "wall_s", "trials_per_s",
    "bars_per_s",
    "data_digest", "result_hash",
}  # fmt: skip


def test_a_sweep_runs_resumes_and_starts_anew(akq: Akq) -> None:
    first = akq("sweep", "run", "small.yaml", "--json")
    assert first.returncode == 0, first.stderr
    facts = json.loads(first.stdout)
    assert set(facts) == KEYS
    assert facts["trials"] | {"cached": 0} == {
        "complete": 40, "failed": 0, "pruned": 0, "cached": 0, "total": 40,
    }  # fmt: skip
    assert facts["best"]["params"]["fast"] < facts["best"]["params"]["slow"]
    assert (facts["executor"], facts["mlflow"], facts["optuna"]) == ("serial", None, None)

    again = json.loads(akq("sweep", "run", "small.yaml", "--json").stdout)
    assert again["result_hash"] == facts["result_hash"]
    assert again["executor"] is None

    more = json.loads(akq("sweep", "resume", "small", "--set", "search.trials=60", "--json").stdout)
    assert more["trials"]["complete"] == 60

    new = json.loads(akq("sweep", "run", "small.yaml", "--new", "--json").stdout)
    assert new["study"] != facts["study"]
    assert new["result_hash"] == facts["result_hash"]

    changed = akq("sweep", "run", "small.yaml", "--set", "market.cash=5", "--json")
    assert changed.returncode == 2
    assert "market.cash" in changed.stderr


def test_the_screen_shows_the_best_and_what_to_do_next(akq: Akq) -> None:
    shown = akq("sweep", "run", "small.yaml")
    assert shown.returncode == 0, shown.stderr
    assert "sharpe.mean" in shown.stdout
    assert len(shown.stdout.split()) > 20
    assert "executor: serial" in shown.stderr
    assert "akq ui small" in shown.stderr
    assert "\x1b" not in shown.stdout + shown.stderr
    quick = akq("sweep", "status", "small.yaml", "--json")
    assert json.loads(quick.stdout)["trials"]["complete"] == 40


def test_studies_are_listed_shown_and_ranked(akq: Akq) -> None:
    facts = json.loads(akq("sweep", "run", "small.yaml", "--json").stdout)
    listed = json.loads(akq("study", "list", "--json").stdout)["studies"]
    assert [study["study"] for study in listed] == ["small"]
    held = json.loads(akq("study", "show", "small", "--json").stdout)
    assert held["result_hash"] == facts["result_hash"]
    assert held["best"][0]["number"] == facts["best"]["number"]
    best = json.loads(akq("study", "best", "small", "-n", "5", "--json").stdout)["best"]
    values = [trial["values"][0] for trial in best]
    assert len(best) == 5
    assert values == sorted(values, reverse=True)
    assert values[0] == facts["best"]["values"][0]
    assert akq("study", "best", "small", "-n", "3").stdout.count("\n") >= 5
    missing = akq("study", "show", "smal")
    assert missing.returncode == 2
    assert "did you mean 'small'" in missing.stderr


def test_a_study_is_verified_exported_and_explained(akq: Akq, folder: Path) -> None:
    facts = json.loads(akq("sweep", "run", "small.yaml", "--json").stdout)
    checked = akq("sweep", "verify", "small", "--json")
    assert (checked.returncode, json.loads(checked.stdout)["ok"]) == (0, True)
    front = json.loads(akq("study", "pareto", "small", "--json").stdout)["pareto"]
    assert [trial["number"] for trial in front] == [facts["best"]["number"]]
    shares = json.loads(akq("study", "importance", "small", "--json").stdout)["importance"]
    assert set(shares) == {"fast", "slow"}
    assert sum(shares.values()) == pytest.approx(1.0)
    for name in ("all.parquet", "all.csv", "all.arrow"):
        assert akq("sweep", "export", "small", name).returncode == 0
    frames = [
        pl.read_parquet(folder / "all.parquet"),
        pl.read_csv(folder / "all.csv"),
        pl.read_ipc(folder / "all.arrow"),
    ]
    for frame in frames:
        assert frame["number"].to_list() == list(range(facts["trials"]["total"]))
        assert frame["value"].max() == facts["best"]["values"][0]
    assert akq("sweep", "export", "small", "all.xlsx").returncode == 2
    with closing(sqlite3.connect(folder / "akq" / "ledger.db")) as connection, connection:
        connection.execute("DELETE FROM trial WHERE number = 3")
    damaged = akq("sweep", "verify", "small")
    assert damaged.returncode == 5
    assert "trial numbers have gaps" in damaged.stdout


def test_a_trial_replays_bit_for_bit_and_equals_its_backtest(akq: Akq, folder: Path) -> None:
    best = json.loads(akq("sweep", "run", "small.yaml", "--json").stdout)["best"]
    report = json.loads(akq("replay", "small", str(best["number"]), "--json").stdout)
    assert report["same"] is True
    params = [part for name, value in best["params"].items() for part in ("--param", f"{name}={value}")]
    alone = akq("backtest", "small.yaml", *params, "--out", "one", "--json")
    facts = json.loads(alone.stdout)
    assert facts["result_hash"] == report["hash"]
    assert facts["metrics"]["sharpe.mean"] == best["values"][0]
    assert pl.read_parquet(folder / "one" / "equity.parquet").height == 780
    assert "sharpe.mean" in akq("backtest", "small.yaml", *params).stdout
    assert "identical, bit for bit" in akq("replay", "small", str(best["number"])).stdout


def test_too_many_failed_trials_are_exit_code_4(akq: Akq) -> None:
    stopped = akq("sweep", "run", "shaky.yaml", "--set", "run.batch=10", "--json")
    assert stopped.returncode == 4, stopped.stderr
    assert 0 < json.loads(stopped.stdout)["trials"]["failed"] < 50
    assert "stopped:" in stopped.stderr
    tolerated = akq("sweep", "run", "shaky.yaml", "--new", "--set", "run.max_failures=60%")
    assert tolerated.returncode == 0, tolerated.stderr
    assert "50 failed" in tolerated.stderr
    assert "ValueError: n is 2" in tolerated.stderr


def test_an_estimate_runs_nothing(akq: Akq, folder: Path) -> None:
    facts = json.loads(akq("sweep", "estimate", "small.yaml", "--json").stdout)
    assert facts["trials"] == 40
    assert facts["trials_per_s"] > 0
    assert "time here" in akq("sweep", "estimate", "small.yaml").stdout
    assert not (folder / "akq").exists()


def test_an_interrupted_sweep_leaves_a_resumable_study(akq: Akq, akq_process: Start, folder: Path) -> None:
    (folder / "slow.py").write_text(
        "from akq_dist import Param, Strategy\n\n\n"
        "class Slow(Strategy):\n    n: int = Param(1)\n\n"
        "    def on_bar(self, bar):\n"
        "        sum(range(2_000))\n        if bar.index == self.n:\n            self.buy(1)\n"
    )
    spec = ("slow.yaml", "--set", "run.batch=1", "--json")
    text = (
        (folder / "shaky.yaml").read_text().replace("shaky.py:Shaky", "slow.py:Slow").replace("shaky", "slow")
    )
    (folder / "slow.yaml").write_text(text)
    process = akq_process("sweep", "run", *spec)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("0/100"):
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "go on with: akq sweep run slow.yaml" in errors
    done = json.loads(output)["trials"]
    assert done["failed"] == 0
    assert done["complete"] < 100
    rest = json.loads(akq("sweep", "run", *spec).stdout)
    assert rest["trials"]["complete"] == 100
    (folder / "akq").rename(folder / "before")
    whole = json.loads(akq("sweep", "run", *spec).stdout)
    assert whole["result_hash"] == rest["result_hash"]


def test_a_second_ctrl_c_leaves_at_once(akq: Akq, akq_process: Start, folder: Path) -> None:
    (folder / "stuck.py").write_text(
        "import time\nfrom pathlib import Path\nfrom akq_dist import Param, Strategy\n\n\n"
        "class Stuck(Strategy):\n    n: int = Param(1)\n\n"
        "    def on_bar(self, bar):\n"
        "        while not Path('go').exists():\n            time.sleep(0.01)\n"
        "        if bar.index == self.n:\n            self.buy(1)\n"
    )
    text = (folder / "shaky.yaml").read_text().replace("shaky.py:Shaky", "stuck.py:Stuck")
    (folder / "stuck.yaml").write_text(text.replace("shaky", "stuck"))
    spec = ("stuck.yaml", "--set", "run.batch=1", "--set", "search.trials=3", "--json")
    process = akq_process("sweep", "run", *spec)
    assert process.stderr is not None
    for awaited in ("0/3", "stopping:"):
        for line in process.stderr:
            if line.startswith(awaited):
                break
        process.send_signal(signal.SIGINT)
        began_s = time.monotonic()
    _, errors = process.communicate(timeout=60)
    took_s = time.monotonic() - began_s
    print(f"left {took_s:.2f} s after the second Ctrl-C")
    assert process.returncode == 130, errors
    assert "stopped at once; the study can be resumed" in errors
    assert took_s < 2.0
    (folder / "go").touch()
    rest = akq("sweep", "run", *spec)
    assert json.loads(rest.stdout)["trials"]["complete"] == 3, rest.stderr


def test_resuming_a_finished_sweep_runs_nothing_and_is_quick(
    akq: Akq, akq_process: Start, folder: Path
) -> None:
    text = (folder / "small.yaml").read_text()
    for line in ("track: {mlflow: null}", "storage: {optuna: null}"):
        text = text.replace(line, "")
    (folder / "whole.yaml").write_text(text)
    whole = json.loads(akq("sweep", "run", "whole.yaml", "--json").stdout)
    assert whole["mlflow"] is not None
    began_s = time.monotonic()
    process = akq_process("sweep", "resume", "whole.yaml", "--set", "run.executor=ray", "--json")
    output, errors = process.communicate(timeout=60)
    took_s = time.monotonic() - began_s
    assert process.returncode == 0, errors
    again = json.loads(output)
    assert again["executor"] is None, "nothing ran"
    assert (again["trials"], again["result_hash"]) == (whole["trials"], whole["result_hash"])
    # Who shares the processor with others waits for them.
    share = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    print(f"resumed in {took_s:.1f} s, {share:.1f} processes a core")
    assert took_s < 5.0 * share
