"""Benchmarks still run, check what they time, and their tables are those of their figures."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench import copies, engine, machine, peers, record, run, scale, tables
from tests.bench.environments import CannotInstallError, Environment
from tests.bench.loop import PlainLoop, forms
from tests.bench.work import WORKS, Outcome, Work, load, quick, save

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {name: quick(work).cut(n_assets=3, n_rows=1_000, n_pairs=4) for name, work in WORKS.items()}


def test_the_documents_hold_the_tables_of_the_kept_figures() -> None:
    for path, text in tables.documents(tables.kept()).items():
        assert path.read_text() == text, f"python -m tests.bench.tables writes {path.name}"


@pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to compile the plain loop with")
@pytest.mark.parametrize("name", [name for name, work in WORKS.items() if work.n_pairs])
def test_the_plain_loop_comes_to_what_the_engine_comes_to(
    name: str, tmp_path: Path, plain_loop: PlainLoop
) -> None:
    path = save(SMALL[name], tmp_path)
    work, bars, pairs = load(path)
    expected = engine.rules(work, bars, pairs, threads=1)()
    assert sum(expected.trades) > 0
    for form in forms(work).values():
        _, found = plain_loop.run(work, path, form, threads=2)
        assert not found.differs(expected, 1e-9)


@pytest.fixture(scope="module")
def plain_loop(tmp_path_factory: pytest.TempPathFactory) -> PlainLoop:
    built = PlainLoop.build(tmp_path_factory.mktemp("loop"))
    assert built is not None
    return built


def test_a_run_measures_every_work_and_prints_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "WORKS", SMALL)
    monkeypatch.setattr(run, "memory", lambda work: {"panel_mb": 1.0, "above_mb": 1.0})
    run.main(["--quick"])
    printed = capsys.readouterr().out
    for name in SMALL:
        assert f"| {name}: " in printed


def test_the_program_of_this_engine_prints_what_it_came_to(tmp_path: Path) -> None:
    work = Work("W2", 1, 500, 1, 2)
    found = peers.timed(sys.executable, peers.OURS, work, tmp_path)  # type: ignore[arg-type]
    assert len(found["equity"]) == len(found["trades"]) == 2
    assert peers.rate(work, found)["backtests_s"] > 0


@pytest.mark.slow
def test_what_pip_says_is_the_reason_why_an_environment_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CannotInstallError, match="no-such-package"):
        Environment("missing", ("./no-such-package",)).make(tmp_path)


def test_an_engine_that_cannot_be_installed_is_a_row_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(Environment):
        def make(self, folder: Path) -> Path:
            raise CannotInstallError("no such package")

    monkeypatch.setattr(peers, "WORKS", {"W2": Work("W2", 1, 500, 1, 2)})
    monkeypatch.setattr(peers, "PEERS", (peers.Peer("absent", Missing("missing", ()), "no.program"),))
    found = peers.measure(tmp_path, small=True)
    assert [row["engine"] for row in found["rows"]] == [tables.OURS, "absent"]
    assert "no such package" in tables.peers(found)


def test_written_tables_are_those_of_the_kept_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALL", "SHORT"):
        copy = tmp_path / name
        copy.write_text(getattr(tables, name).read_text())
        monkeypatch.setattr(tables, name, copy)
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results.json")
    head = {"machine": {**machine.describe(), "profile": "release"}}
    timed = run.Timed([2.0, 1.0, 4.0], [1.0, 1.0, 1.0])
    bench = [run.row(WORKS["W2"], timed, threads, {"inlined loop": 1.0}) for threads in (1, 2)]
    found = {"version": "1", "seconds": [1.0], "peak_mb": 90.0}
    ours, theirs = (peers.rate(WORKS["W2"], {**found, "seconds": [s]}) for s in (1.0, 50.0))
    other = [
        {"work": "W2", "engine": tables.OURS, "measured": ours},
        {"work": "W2", "engine": "slow", "measured": theirs, "differs": "trades by 3"},
        {"work": "W2", "engine": "none", "reason": "not for this machine"},
    ]
    trials = [
        record.row(stack, "random", 100, seconds=seconds, cpu=0.1)
        for stack, seconds in ((tables.OURS, 0.1), ("usual", 50.0))
    ]
    scaled = scale.row(scale.ONE, 1_000, {"bars": 2e6, "wall_s": 2.0, "peak": 2.0**20})
    tables.write(
        {
            "engine": {**head, "repeats": 3, "rows": bench, "memory": {"panel_mb": 26.0, "above_mb": 19.0}},
            "peers": {**head, "tolerance": 1e-9, "rows": other},
            "record": {**head, "rows": trials},
            "scale": {**head, "threads": 2, "rows": [scaled]},
        }
    )
    everything, short = tables.ALL.read_text(), tables.SHORT.read_text()
    for expected in (
        "| W2: 2,520 bars x 1,000 | 2 | 2.00 s | 1.00 s - 4.00 s | 1.00 s | 1.3 M | 500 | 0.50 | 1.00 |",
        "| W2 | slow | 2,520 bars x 1,000 | 50,400 | 20.0 | 50.0 | 90 MB | trades by 3 |",
        "| W2 | none |  |  |  |  |  | not for this machine |",
        "| usual | random | 100 | 2.00 | 1.00 ms | 500 |",
        "| wide space | 2,520 bars x 1,000 | 1.0 M | 500 |  |  | 1 MB |",
    ):
        assert expected in everything
    assert (
        "| W2: one asset, many pairs, 2,520 bars x 1,000 | 2.00 s | 500 backtests/s |  | 0.50 | 50.0 |"
        in short
    )
    assert "| usual | random | 100 | 2.00 |" in short
    tables.write({})
    assert tables.ALL.read_text() == everything
    assert tables.SHORT.read_text() == short


def test_figures_of_a_debug_build_are_not_kept() -> None:
    section = {"machine": {**machine.describe(), "profile": "debug"}}
    with pytest.raises(ValueError, match="engine: tables are made of figures of a release build"):
        tables.write({"engine": section})


def test_outcomes_that_differ_say_in_what() -> None:
    here = Outcome([100.0, 200.0], [3, 4])
    assert not here.differs(Outcome([100.0, 200.0 + 1e-8], [3, 4]), 1e-9)
    assert here.differs(Outcome([100.0, 201.0], [3, 6]), 1e-9) == "final equity by 5.0e-03, trades by 2"


def test_a_recorded_sweep_is_timed_and_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "N_SEARCHED", 20)
    (row,) = record.bench(["random"], [20])
    assert row["seconds"] > 0
    assert all(took > 0 for took in row["searches"].values())
    copied = copies.measure(n_bulk=20, n_public=2)
    printed = tables.record({"machine": machine.describe(), "rows": [row], "copies": copied})
    assert "| random | 20 |" in printed
    assert "| in bulk | 20 |" in printed
