"""A disk that is full in mid-sweep: a named error, what was committed stays, the sweep goes on when there is room."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import yaml

from akq_dist.data import map_panel, write_panel
from akq_dist.errors import AkqDataError
from akq_dist.sweep import sweep, sync, verify
from tests.unit.data.frames import good_bars, panel

from .test_sweep_end_to_end import SPEC, write_bars

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIALS = 1_500
ROOT = Path(__file__).parents[2]
# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    return tmp_path


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 700 KiB; `grow` makes it larger."""
    place = folder / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no disk of a given size can be made here: {made.stderr.strip()}")
    yield place
    # Connections that are not collected yet still hold files.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def grow(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)


def write_spec(folder: Path, **sections: Any) -> None:
    rules = {
        "enter": "close > sma(close, slow)",
        "exit": "close < sma(close, slow)",
        "stop_loss": {"pct": "stop"},
    }
    spec = {
        **SPEC,
        "strategy": {"rules": rules},
        # No point comes twice.
        "space": {"stop": {"float": [0.01, 0.2]}, "slow": {"int": [15, 40]}},
        "where": [],
        "search": {"sampler": "random", "trials": TRIALS, "seed": 3},
        **sections,
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))


def run(limit_bytes: int | None = None) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the sweep in a process of its own; return what it said and how long it took."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    began_s = time.monotonic()
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "akq_dist", "sweep", "run", "sweep.yaml"],
        env={**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    return done, time.monotonic() - began_s


def quiet_hash() -> str:
    handle = sweep(
        "sweep.yaml", overrides=["storage={optuna: null, ledger: quiet.db}", "track.mlflow=null"]
    ).run()
    found = str(handle.summary()["result_hash"])
    handle.close()
    return found


def assert_stopped_and_resumed(stopped: subprocess.CompletedProcess[str], ledger: str) -> None:
    """The error names the ledger and the room; a repeat completes what a quiet sweep gives."""
    assert stopped.returncode == 2, stopped.stderr
    assert f"{ledger}: " in stopped.stderr
    assert "bytes free on its disk). What was committed before is intact" in stopped.stderr


def assert_soon(place: Path) -> None:
    """The command has ended within ten seconds of its last write to the disk."""
    written_s = max(path.stat().st_mtime for path in place.rglob("*") if path.is_file())
    print(f"ended {time.time() - written_s:.1f} s after the last write")
    assert time.time() - written_s < 10.0


def assert_synced() -> None:
    assert sync("sweep.yaml") == []
    found = verify("sweep.yaml")
    assert found.ok, found.to_dict()


def assert_completed(expected: str) -> None:
    handle = sweep("sweep.yaml").run()
    assert handle.summary()["result_hash"] == expected
    assert handle.summary()["trials"]["complete"] + handle.summary()["trials"]["failed"] == TRIALS
    handle.close()
    found = verify("sweep.yaml")
    assert found.ok, found.to_dict()


def test_a_ledger_that_may_not_grow_ends_the_sweep_with_a_named_error(folder: Path) -> None:
    write_spec(folder)
    stopped, _ = run(limit_bytes=300_000)
    assert_stopped_and_resumed(stopped, "akq/ledger.db")
    assert 0 < verify("sweep.yaml").trials["total"] < TRIALS
    assert_completed(quiet_hash())


@pytest.mark.slow
def test_a_full_disk_below_the_ledger_is_told_within_seconds(folder: Path, small_disk: Path) -> None:
    write_spec(folder, storage={"optuna": None, "ledger": "disk/ledger.db"})
    stopped, _ = run()
    assert_stopped_and_resumed(stopped, "disk/ledger.db")
    assert_soon(small_disk)
    grow(small_disk)
    assert_completed(quiet_hash())


@pytest.mark.slow
def test_a_full_disk_below_the_views_costs_no_trial(folder: Path, small_disk: Path) -> None:
    write_spec(
        folder,
        search={"sampler": "random", "trials": 300, "seed": 3},
        track={"mlflow": "sqlite:///disk/mlflow.db", "artifacts": "none"},
        storage={"optuna": "sqlite:///disk/optuna.db", "ledger": "ledger.db"},
    )
    ran, _ = run()
    assert_soon(small_disk)
    assert ran.returncode == 0, ran.stderr
    assert "300 complete" in ran.stderr or "of 300 trials" in ran.stderr
    assert "akq sweep sync cross" in ran.stderr
    for name in ("optuna.db", "mlflow.db"):
        assert re.search(rf"disk/{name}: .* bytes free on its disk\)", ran.stderr), ran.stderr
    grow(small_disk)
    assert_synced()


@pytest.mark.slow
def test_a_full_disk_below_the_artifacts_costs_no_trial(folder: Path, small_disk: Path) -> None:
    (folder / "mlflow-artifacts").symlink_to(small_disk)
    write_spec(
        folder,
        search={"sampler": "random", "trials": 150, "seed": 3},
        track={"mlflow": "sqlite:///mlflow.db", "artifacts": "all"},
        storage={"optuna": None, "ledger": "ledger.db"},
    )
    ran, _ = run()
    assert_soon(small_disk)
    assert ran.returncode == 0, ran.stderr
    told = re.search(r"WARNING: artifacts are incomplete: (\S+): .*bytes free on its disk\)", ran.stderr)
    assert told is not None, ran.stderr
    assert told.group(1).startswith(f"{folder}/mlflow-artifacts/")
    grow(small_disk)
    # A sync writes what the run of the sweep needs, a repeat also the tables of trials, each of them whole.
    assert_synced()
    again, _ = run()
    assert again.returncode == 0, again.stderr
    assert "incomplete" not in again.stderr
    complete = re.search(r"(\d+) complete", again.stderr)
    assert complete is not None, again.stderr
    tables = list(small_disk.rglob("*.parquet"))
    assert len({path.parent for path in tables if path.name == "equity.parquet"}) == int(complete.group(1))
    for path in tables:
        assert pq.read_table(path).num_rows >= 0


@pytest.mark.slow
def test_a_full_disk_below_the_cache_only_costs_time(
    folder: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    (small_disk / "filler").write_bytes(bytes(680_000))
    write_spec(
        folder,
        search={"sampler": "random", "trials": 20, "seed": 3},
        track={"mlflow": "sqlite:///mlflow.db", "artifacts": "none"},
        storage={"optuna": None, "ledger": "ledger.db"},
    )
    ran, _ = run()
    assert ran.returncode == 0, ran.stderr
    assert not list(small_disk.rglob("*.db")), "half a cache is no cache"
    found = verify("sweep.yaml")
    assert found.ok, found.to_dict()


def test_a_panel_that_a_full_disk_does_not_take_is_named_and_leaves_nothing(small_disk: Path) -> None:
    table = panel(good_bars(n=2_000)).table
    (small_disk / "filler").write_bytes(bytes(710_000))
    with pytest.raises(
        AkqDataError, match=rf"{small_disk}/panel.arrow: .* \([\d,]+ bytes free on its disk\)"
    ):
        write_panel(small_disk / "panel.arrow", table)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    grow(small_disk)
    assert map_panel(write_panel(small_disk / "panel.arrow", table)).equals(table)
