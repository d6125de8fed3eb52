"""The ledger: what is committed stays, finishing twice changes nothing, foreign files are refused."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from akq_dist.errors import AkqStudyError
from akq_dist.record.ledger import Ledger
from akq_dist.record.trials import UNDEFINED, AskBlock, FinishBlock, TrialStore

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTPUTS = ("sharpe", "drawdown", "trades")


def make_store(ledger: Ledger, name: str = "s", outputs: tuple[str, ...] = OUTPUTS) -> TrialStore:
    study = ledger.create(
        name,
        name=name,
        base_dir="",
        spec={"name": name},
        identity={"seed": 1},
        params=("a", "b"),
        outputs=outputs,
        objectives=[("sharpe", "maximize")],
        seed=7,
        source="random",
        budget=10,
    )
    return TrialStore(
        ledger, study, ledger.open_session(study.sid, build="b1", executor="serial", environment={})
    )


def asked(start: int, n: int) -> AskBlock:
    points = np.arange(start, start + n, dtype=np.float64)[:, np.newaxis] * [1.0, 0.5]
    return AskBlock(
        np.arange(start, start + n, dtype=np.int64),
        np.full(n, -1, dtype=np.int64),
        points,
        [f'{{"a":{int(a)},"b":{float(b)!r}}}' for a, b in points],
        [f"key{start + i}" for i in range(n)],
    )


def finished(numbers: list[int], *, shift: float = 0.0, states: list[str] | None = None) -> FinishBlock:
    n = len(numbers)
    metrics = np.array([[i + shift, -0.1, np.nan] for i in numbers], dtype=np.float64).reshape(n, 3)
    return FinishBlock(
        numbers=np.array(numbers, dtype=np.int64),
        states=states or ["complete"] * n,
        values=metrics[:, :1],
        metrics=metrics,
        reasons=[None if s == "complete" else "boom" for s in (states or ["complete"] * n)],
        hashes=[f"h{i}" for i in numbers],
        n_bars=np.full(n, 100, dtype=np.int64),
        started_ms=1000,
        ended_ms=2000,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    book = Ledger(tmp_path / "akq" / "ledger.db")
    yield book
    book.close()


def test_trials_come_back_in_number_order_with_what_was_recorded(ledger: Ledger) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 5))
    assert store.numbers() == (5, 5)
    store.finish(finished([3, 1, 0, 2]))
    assert store.numbers() == (5, 1)
    records = store.read_finished(0, 100)
    assert [r.number for r in records] == [0, 1, 2, 3]
    assert records[3].params == {"a": 3, "b": 1.5}
    assert records[3].values == (3.0,)
    assert records[3].metrics == {"sharpe": 3.0, "drawdown": -0.1}, "an undefined metric is absent"
    assert (records[3].started_ms, records[3].ended_ms, records[3].n_bars) == (1000, 2000, 100)


def test_views_stop_before_an_open_trial(ledger: Ledger) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 4))
    store.finish(finished([0, 1, 3]))
    assert [r.number for r in store.read_finished(0, 10)] == [0, 1]
    assert store.read_finished(2, 10) == []
    store.finish(finished([2]))
    assert [r.number for r in store.read_finished(2, 10)] == [2, 3]


def test_finishing_twice_changes_nothing(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 3))
    assert store.finish(finished([0, 1])) == 2
    before = store.result_hash()
    with caplog.at_level(logging.WARNING):
        assert store.finish(finished([0, 1])) == 0
    assert not caplog.records, "an equal result is no news"
    with caplog.at_level(logging.WARNING):
        assert store.finish(finished([1, 2], shift=5.0)) == 1
    assert "trial 1 has ended already" in caplog.text
    assert store.read_finished(1, 1)[0].values == (1.0,), "the first result stays"
    assert store.result_hash() != before


def test_a_result_that_was_never_asked_is_an_error_and_leaves_nothing(ledger: Ledger) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 1))
    with pytest.raises(AkqStudyError, match="never asked"):
        store.finish(finished([0, 9]))
    assert store.numbers() == (1, 1), "the whole block was one transaction"


def test_asking_twice_changes_nothing(ledger: Ledger) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 3))
    store.finish(finished([1]))
    store.ask(asked(0, 3))
    assert store.numbers() == (3, 2)


def test_result_hash_ignores_timings_and_sees_every_bit(ledger: Ledger) -> None:
    hashes = []
    for name, shift, ended in (("a", 0.0, 2000), ("b", 0.0, 9999), ("c", 1e-12, 2000)):
        store = make_store(ledger, name)
        store.ask(asked(0, 3))
        block = finished([2, 0, 1], shift=shift)
        store.finish(FinishBlock(**{**block.__dict__, "ended_ms": ended, "cached": name == "b"}))
        hashes.append(store.result_hash())
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_not_a_number_and_infinity_are_undefined_whatever_their_bits(ledger: Ledger) -> None:
    hashes = set()
    for name, odd in (
        ("a", np.nan),
        ("b", -np.nan),
        ("c", np.inf),
        ("d", np.frombuffer(b"\x01\0\0\0\0\0\xf8\x7f")[0]),
    ):
        store = make_store(ledger, name)
        store.ask(asked(0, 1))
        block = finished([0])
        metrics = np.array([[0.5, -0.0, odd]])
        store.finish(FinishBlock(**{**block.__dict__, "metrics": metrics, "values": metrics[:, :1]}))
        assert store.read_finished(0, 1)[0].metrics == {"sharpe": 0.5, "drawdown": 0.0}
        hashes.add(store.result_hash())
    assert len(hashes) == 1


def test_only_complete_trials_answer_from_the_cache_in_any_study(ledger: Ledger) -> None:
    first = make_store(ledger, "first")
    first.ask(asked(0, 3))
    first.finish(finished([0, 1], states=["complete", "fail"]))
    second = make_store(ledger, "second")
    found = second.lookup(["key0", "key1", "key2", "nothing"])
    assert list(found) == ["key0"]
    assert found["key0"].hash == "h0"
    np.testing.assert_array_equal(found["key0"].metrics, [0.0, -0.1, np.nan])
    other = make_store(ledger, "other", outputs=("sharpe",))
    assert other.lookup(["key0"]) == {}, "another set of outputs is another result"


def test_lookup_takes_more_keys_than_one_statement(ledger: Ledger) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 1200))
    store.finish(finished(list(range(1200))))
    assert len(store.lookup([f"key{i}" for i in range(1200)])) == 1200


def test_counts_tell_undefined_from_failed(ledger: Ledger) -> None:
    store = make_store(ledger)
    store.ask(asked(0, 4))
    block = finished([0, 1, 2], states=["complete", "fail", "fail"])
    store.finish(FinishBlock(**{**block.__dict__, "reasons": [None, "boom", UNDEFINED]}))
    counts = store.counts()
    assert (counts["total"], counts["asked"], counts["complete"], counts["fail"], counts["undefined"]) == (
        4,
        1,
        1,
        2,
        1,
    )


def test_results_table_has_one_typed_row_a_trial(ledger: Ledger) -> None:
    store = make_store(ledger)
    assert store.results().num_rows == 0
    store.ask(asked(0, 3))
    store.finish(finished([0, 2]))
    table = store.results()
    assert table.column("number").to_pylist() == [0, 1, 2]
    assert table.column("state").to_pylist() == ["complete", "asked", "complete"]
    assert table.column("value").to_pylist() == [0.0, None, 2.0]
    assert table.column("params_a").to_pylist() == [0, 1, 2]
    assert table.column("trades").to_pylist() == [None, None, None]


def test_watermarks_are_kept_per_view(ledger: Ledger) -> None:
    store = make_store(ledger)
    assert store.watermark("optuna") == (0, {})
    store.set_watermark("optuna", 5, {"x": 1})
    store.set_watermark("optuna", 9)
    assert store.watermark("optuna") == (9, {"x": 1})
    assert store.watermark("tracker") == (0, {})


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    connection.close()
    with pytest.raises(AkqStudyError, match="newer version"):
        Ledger(path)


def test_files_that_are_no_ledger_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(AkqStudyError, match="not a ledger"):
        Ledger(foreign)
    text = tmp_path / "text.db"
    text.write_text("this is no database" * 100)
    with pytest.raises(AkqStudyError, match="not a database"):
        Ledger(text)
    with pytest.raises(AkqStudyError, match="no ledger at"):
        Ledger(tmp_path / "missing.db", must_exist=True)


def test_a_full_store_gives_a_clear_error_and_keeps_what_it_has(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    store = make_store(ledger)
    store.ask(asked(0, 10))
    store.finish(finished(list(range(5))))
    before = store.result_hash()
    pages = ledger.connection().execute("PRAGMA page_count").fetchone()[0]
    ledger.connection().execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(AkqStudyError, match=r"ledger .*ledger\.db: .*full.* bytes free"):
        store.ask(asked(10, 20_000))
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    study = again.find("s")
    assert study is not None
    assert TrialStore(again, study).result_hash() == before
    again.close()


def test_names_are_taken_once_and_the_newest_of_a_series_is_found(ledger: Ledger) -> None:
    make_store(ledger, "s")
    with pytest.raises(AkqStudyError, match="already has a study named 's'"):
        make_store(ledger, "s")
    study = ledger.create(
        "s",
        name="s-2",
        base_dir="",
        spec={},
        identity={},
        params=(),
        outputs=(),
        objectives=(),
        seed=0,
        source="",
        budget=None,
    )
    newest = ledger.latest("s")
    assert newest == study
    assert ledger.find(study.id) == study
    assert [s.name for s in ledger.studies()] == ["s", "s-2"]


_WRITER = """
import sys, numpy as np
sys.path.insert(0, sys.argv[2])
from test_ledger import Ledger, make_store, asked, finished
store = make_store(Ledger(sys.argv[1]))
n = 0
while True:
    store.ask(asked(n, 5))
    store.finish(finished(list(range(n, n + 5))))
    n += 5
    print(n, flush=True)
"""


def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    command = [sys.executable, "-c", _WRITER, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = 0
        while told < 50:
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    told = int(rest[-1]) if rest else told
    ledger = Ledger(path)
    study = ledger.find("s")
    assert study is not None
    records = TrialStore(ledger, study).read_finished(0, 10**6)
    assert len(records) >= told
    assert [r.number for r in records] == list(range(len(records)))
    ledger.close()


def test_results_are_synced_when_they_are_committed_and_points_before_them_with_them(ledger: Ledger) -> None:
    synchronous = []
    for synced in (True, False, True):
        with ledger.transaction(synced=synced) as connection:
            synchronous.append(connection.execute("PRAGMA synchronous").fetchone()[0])
            # What joins it is of its kind.
            with ledger.transaction() as inner:
                synchronous.append(inner.execute("PRAGMA synchronous").fetchone()[0])
    assert synchronous == [2, 2, 1, 1, 2, 2], "2 waits for the disk, 1 does not"


def test_a_ledger_in_a_folder_that_nobody_can_write_to_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a folder" / "ledger.db"
    Ledger(path).close()
    monkeypatch.setattr("akq_dist.record.ledger.is_read_only", lambda _: True)
    held = Ledger(path, must_exist=True)
    assert held.studies() == []
    assert [entry.name for entry in path.parent.iterdir()] == ["ledger.db"], "reading leaves nothing behind"
    with pytest.raises(AkqStudyError, match="readonly database"), held.transaction() as connection:
        connection.execute("DELETE FROM study")
    held.close()
    with pytest.raises(AkqStudyError, match="is read-only, so nothing can be recorded there"):
        Ledger(path)
    (path.parent / "ledger.db-wal").write_bytes(b"frames")
    with pytest.raises(AkqStudyError, match="its last session was not closed"):
        Ledger(path, must_exist=True)
