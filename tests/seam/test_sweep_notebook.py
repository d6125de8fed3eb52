"""A strategy class that no file has: its study replays, resumes and is reported by name, without the notebook."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from akq_dist.errors import AkqStudyError
from akq_dist.sweep import replay, report_study, resume_study

from .test_sweep_end_to_end import write_bars

if TYPE_CHECKING:
    from pathlib import Path

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
