"""One driver per study: the second is refused and told who the first is, and a dead driver holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from akq_dist.errors import AkqStudyError
from akq_dist.record.lock import StudyLock, lock_owner

if TYPE_CHECKING:
    from pathlib import Path

_HOLDER = """
import sys, pathlib
from akq_dist.record.lock import StudyLock
StudyLock(pathlib.Path(sys.argv[1]), "s").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_driver_is_told_owner_and_age(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with StudyLock(ledger, "s"):
        with pytest.raises(
            AkqStudyError, match=rf"study 's' is being run by process {os.getpid()} on .* for \d+ s"
        ):
            StudyLock(ledger, "s").acquire()
        StudyLock(ledger, "other").acquire()
        assert lock_owner(ledger, "s") is not None
    assert lock_owner(ledger, "s") is None
    with StudyLock(ledger, "s"):
        pass


def test_kill_9_of_the_owner_frees_the_study(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    command = [sys.executable, "-c", _HOLDER, str(ledger)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AkqStudyError, match=f"process {holder.pid}"):
            StudyLock(ledger, "s").acquire()
        holder.kill()
        holder.wait(10)
        with StudyLock(ledger, "s"):
            pass


def test_nobody_holds_a_study_that_never_ran(tmp_path: Path) -> None:
    assert lock_owner(tmp_path / "ledger.db", "s") is None


def test_a_study_stays_locked_for_the_thread_that_writes_its_last(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    first, second = StudyLock(ledger, "s"), StudyLock(ledger, "s")
    first.acquire()
    give_back = first.share()
    first.release()
    taken = threading.Event()

    def take() -> None:
        with second:
            taken.set()

    waiter = threading.Thread(target=take)
    waiter.start()
    assert not taken.wait(0.2)
    assert lock_owner(ledger, "s") is not None
    give_back()
    assert taken.wait(10)
    waiter.join(10)
    assert lock_owner(ledger, "s") is None


def test_a_thread_that_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akq_dist.record.lock._ENDING_S", 0.1)
    ledger = tmp_path / "ledger.db"
    first = StudyLock(ledger, "s")
    with first:
        give_back = first.share()
    with pytest.raises(
        AkqStudyError, match=rf"study 's' is being written by process {os.getpid()} on .* for"
    ):
        StudyLock(ledger, "s").acquire()
    give_back()
    with StudyLock(ledger, "s"):
        pass
