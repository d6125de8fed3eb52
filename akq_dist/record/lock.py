"""One writer per study: a lock of the operating system that dies with its owner."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

from akq_dist.errors import AkqStudyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENDING_S = 60.0
"""How long a study is waited for whose driver has ended but for a request that is under way."""
_LOOK_EVERY_S = 0.02


class StudyLock:
    """Holds a study for one driver, and for the threads that still write for it when it has ended.

    The kernel gives the lock back when the process ends, however it ends, so no lock is ever stale. The file
    stays: deleting it would let two drivers hold locks on two files of the same name.
    """

    def __init__(self, ledger: Path, series: str) -> None:
        self.path = ledger.with_name(ledger.name + ".locks") / f"{series}.lock"
        self._series = series
        self._fd: int | None = None
        self._guard = threading.Lock()
        self._held = False
        self._n_shared = 0
        self._since_s = 0.0

    def acquire(self) -> None:
        """Take the lock, at once unless its owner has ended but for its last request.

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
                    f"study '{self._series}' is being {'written' if _is_ending(owner) else 'run'} by "
                    f"{_describe(owner)}; one driver at a time. "
                    "Wait for it or stop it, or give this sweep another name."
                )
        except OSError as error:
            os.close(fd)
            raise AkqStudyError(
                f"{self.path}: this file system has no locks ({error.strerror}); "
                "put the ledger on a local disk."
            ) from error
        self._fd, self._held = fd, True
        self._since_s = time.time()
        self._write_owner()

    def share(self) -> Callable[[], None]:
        """Keep the study locked for a thread that writes, also when the driver has given it back.

        What is returned gives this share back.
        """
        with self._guard:
            if self._fd is None:
                raise AkqStudyError("internal: a lock is shared that nobody holds.")
            self._n_shared += 1
        return self._give_back

    def release(self) -> None:
        """Give the study back, now or when the last share is. Safe to call twice."""
        with self._guard:
            if self._held:
                self._held = False
                if self._n_shared:
                    self._write_owner()
            self._close_if_free()

    def _give_back(self) -> None:
        with self._guard:
            self._n_shared -= 1
            self._close_if_free()

    def _close_if_free(self) -> None:
        if self._fd is not None and not self._held and not self._n_shared:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def _write_owner(self) -> None:
        """Say who holds the lock, and whether only until its last request is answered."""
        assert self._fd is not None
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since_s": self._since_s,
            "ending": not self._held,
        }
        text = json.dumps(owner).encode()
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))

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

    An owner that is ending is waited for. To one that has not written its name a moment is given: `lock_owner` of
    another process holds a shared lock for microseconds while it looks.
    """
    began_s = time.monotonic()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            owner = os.pread(fd, 4096, 0)
            patience_s = 0.1 if not owner else _ENDING_S if _is_ending(owner) else 0.0
            if time.monotonic() - began_s >= patience_s:
                return owner
            time.sleep(_LOOK_EVERY_S)


def _is_ending(owner: bytes) -> bool:
    try:
        return bool(json.loads(owner).get("ending", False))
    except (ValueError, AttributeError):
        return False


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
