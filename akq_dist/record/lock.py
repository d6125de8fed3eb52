"""One driver per study: a lock of the operating system that dies with its owner."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Self

from akq_dist.errors import AkqStudyError

if TYPE_CHECKING:
    from pathlib import Path


class StudyLock:
    """Holds a study for one driver.

    The kernel gives the lock back when the process ends, however it ends, so no lock is ever stale. The file
    stays: deleting it would let two drivers hold locks on two files of the same name.
    """

    def __init__(self, ledger: Path, series: str) -> None:
        self.path = ledger.with_name(ledger.name + ".locks") / f"{series}.lock"
        self._series = series
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises AkqStudyError that names the owner and how long it has held the study.
        """
        if self._fd is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise AkqStudyError(
                f"{self.path}: the lock of the study cannot be opened: {error.strerror}."
            ) from error
        try:
            owner = _try_exclusive(fd)
            if owner is not None:
                os.close(fd)
                raise AkqStudyError(
                    f"study '{self._series}' is being run by {_describe(owner)}; one driver at a time. "
                    "Wait for it or stop it, or give this sweep another name."
                )
        except OSError as error:
            os.close(fd)
            raise AkqStudyError(
                f"{self.path}: this file system has no locks ({error.strerror}); "
                "put the ledger on a local disk."
            ) from error
        owner_text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since_s": time.time()})
        os.ftruncate(fd, 0)
        os.pwrite(fd, owner_text.encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the study back. Safe to call twice."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_owner(ledger: Path, series: str) -> str | None:
    """Describe the driver that holds a study, None when nobody does."""
    path = ledger.with_name(ledger.name + ".locks") / f"{series}.lock"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # A shared lock is refused exactly while somebody holds the exclusive one.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe(os.pread(fd, 4096, 0))
    finally:
        os.close(fd)
    return None


def _try_exclusive(fd: int) -> bytes | None:
    """Take the lock, or return what the owner wrote about itself.

    A moment's patience: `lock_owner` of another process holds a shared lock for microseconds while it looks.
    """
    for attempt in range(5):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            owner = os.pread(fd, 4096, 0)
            if owner or attempt == 4:
                return owner
            time.sleep(0.02)
    return b""


def _describe(owner: bytes) -> str:
    try:
        data = json.loads(owner)
        age_s = max(0.0, time.time() - float(data["since_s"]))
        return f"process {int(data['pid'])} on {data['host']} for {_age(age_s)}"
    except (ValueError, KeyError, TypeError):
        # The owner has the lock but has not written its name yet.
        return "another process"


def _age(age_s: float) -> str:
    for limit_s, unit_s, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172800.0, 3600.0, "h")):
        if age_s < limit_s:
            return f"{age_s / unit_s:.0f} {unit}"
    return f"{age_s / 86400.0:.0f} days"
