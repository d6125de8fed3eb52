"""The embedded series."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from akq_dist.data import load_panel
from akq_dist.errors import AkqUsageError, MissingDependencyError
from akq_dist.specs import DataSpec


def test_the_embedded_series_are_clean_panels() -> None:
    pytest.importorskip("arch", reason="the embedded series come with arch")
    both = load_panel(DataSpec.parse({"name": "all"}), Path())
    assert both.symbols == ["NASDAQ", "SP500"]
    assert both.report.is_clean
    assert both.table.num_rows == 10_062
    one = load_panel(DataSpec.parse({"source": "embedded", "name": "sp500"}), Path())
    assert one.symbols == ["SP500"]
    assert one.table["date"][0].as_py().isoformat() == "1999-01-04"
    assert one.table["close"][0].as_py() == pytest.approx(1228.1, abs=0.01)


def test_an_unknown_series_is_named_with_the_nearest() -> None:
    with pytest.raises(AkqUsageError, match="unknown series 'sp50', did you mean 'sp500'"):
        load_panel(DataSpec.parse({"source": "embedded", "name": "sp50"}), Path())


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akq_dist.data.embedded.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="install arch"):
        load_panel(DataSpec.parse({"name": "sp500"}), Path())


def test_the_series_are_those_of_the_package_and_it_is_not_imported() -> None:
    pytest.importorskip("arch", reason="the embedded series come with arch")
    script = """
import sys
from pathlib import Path
from akq_dist.data import load_panel
from akq_dist.specs import DataSpec
made = load_panel(DataSpec.parse({"name": "nasdaq"}), Path())
assert "arch" not in sys.modules and "scipy" not in sys.modules
import arch.data.nasdaq
import numpy as np
loaded = arch.data.nasdaq.load()
names = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
for ours, theirs in names.items():
    assert np.allclose(made.table[ours].to_numpy(), loaded[theirs].to_numpy(), rtol=1e-12, atol=0), ours
assert [str(d) for d in made.table["date"].to_pylist()] == [str(d.date()) for d in loaded.index]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
