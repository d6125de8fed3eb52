"""What several tests of whole sweeps begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .test_sweep_end_to_end import STRATEGY, write_bars

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with bars and the strategy `hold.py:Hold`."""
    monkeypatch.chdir(tmp_path)
    write_bars(tmp_path / "bars.parquet")
    (tmp_path / "hold.py").write_text(STRATEGY)
    return tmp_path
