"""What notebooks do: classes that no file has, whose studies go on without it, and sweeps cancelled in a cell."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import yaml

from akq_dist.errors import AkqStudyError
from akq_dist.sweep import replay, report_study, resume_study, sweep, sync

from .test_sweep_end_to_end import SPEC, FakeTracker, write_bars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from akq_dist.record.protocols import TrialRecord

NOTEBOOK = """
import sys
import akq_dist as akq

class Hold(akq.Strategy):
    n: int = akq.Param(5)
    size: int = akq.Param(1)

    def on_bar(self, bar):
        if bar.index % 20 == 0:
            self.buy(self.size)
        if bar.index % 20 == self.n:
            self.close()

akq.sweep(
    name="nb", strategy=Hold(size=7), data={"path": "bars.parquet"}, space={"n": {"int": [1, 9]}},
    search={"sampler": "grid", "trials": 5}, objective={"metric": "total_return", "aggregate": "mean"},
    run={"executor": "serial"}, track={"mlflow": None}, storage={"optuna": None},
).run().close()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet", n=60)
    # A cell: the source is known to the interpreter alone.
    cell = (
        "import linecache\n"
        f"text = {NOTEBOOK!r}\n"
        "linecache.cache['<cell 1>'] = (len(text), None, text.splitlines(True), '<cell 1>')\n"
        "exec(compile(text, '<cell 1>', 'exec'))\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", cell], check=True, cwd=tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_study_of_a_notebook_is_gone_on_with_by_name() -> None:
    report = replay("nb", 3)
    assert report.same, report.differences
    assert report.params == {"n": 4}
    handle = resume_study("nb", overrides=["search.trials=9"]).run()
    assert handle.summary()["trials"]["complete"] == 9
    assert handle.returns([8]).width == 2
    handle.close()
    assert "Nothing could be run again" not in report_study("nb").html


def test_a_file_of_that_name_is_compared_with_what_was_recorded(folder: Path) -> None:
    (folder / "__main__.py").write_text(NOTEBOOK.partition("akq.sweep(")[0].replace("20", "10"))
    with pytest.raises(AkqStudyError, match=r"strategy\.digest"):
        replay("nb", 3)


class SlowTracker(FakeTracker):
    """Takes its time to record while the gate is closed; no two of them may record at once."""

    gate = threading.Event()
    inside = threading.Lock()
    entered = threading.Event()

    def record(self, trials: Sequence[TrialRecord]) -> None:
        assert self.inside.acquire(blocking=False), "two trackers write at once"
        self.entered.set()
        try:
            assert self.gate.wait(60)
            super().record(trials)
        finally:
            self.inside.release()


def test_a_sync_after_a_cancel_does_not_write_beside_the_tracker_that_is_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("akq_dist.record.tracking.tracker_class", lambda _: SlowTracker)
    SlowTracker.reset()
    write_bars(tmp_path / "bars.parquet", n=60)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**SPEC, "track": {"mlflow": "sqlite:///x.db"}}))
    handle = sweep("sweep.yaml").start()
    assert SlowTracker.entered.wait(30)
    handle.cancel()
    handle.cancel()
    assert handle.wait(30)
    handle.close()
    said: list[list[str]] = []
    syncing = threading.Thread(target=lambda: said.append(sync("sweep.yaml")))
    syncing.start()
    syncing.join(0.3)
    assert syncing.is_alive(), "it waits for the request that is under way"
    SlowTracker.gate.set()
    syncing.join(30)
    assert said == [[]]
    assert sorted(SlowTracker.trials) == list(range(len(SlowTracker.trials)))
