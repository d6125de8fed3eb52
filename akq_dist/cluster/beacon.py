"""What a worker is doing, in a small shared file that outlives it.

The worker maps the file and writes without a system call; whoever reads it later sees the last word also of a
process that was killed in the middle of a trial. Times are those of the machine's monotonic clock, which all
its processes share.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from akq_dist.record.protocols import NO_TRIAL

_FORMAT: Final = struct.Struct("<qqqqddq")
"""Guard, process, first trial, trials, begin, last beat, guard again."""
_TRIES: Final = 50

IDLE: Final = NO_TRIAL
"""Number of the trial of a worker that runs none."""


@dataclass(frozen=True)
class Sighting:
    """A worker at one moment."""

    pid: int
    number: int
    """The trial that runs, or the first of several that run in one call; IDLE between batches."""
    n_trials: int
    began_s: float
    beat_s: float


class Beacon:
    """Written by one worker: what it runs, and that it is alive."""

    def __init__(self, folder: Path, beat_every_s: float) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = beacon_path(folder, os.getpid())
        with self.path.open("w+b") as file:
            file.truncate(_FORMAT.size)
            self._map = mmap.mmap(file.fileno(), _FORMAT.size)
        self._write = threading.Lock()
        self._guard = 0
        self._doing = (IDLE, 0, time.monotonic())
        self._put()
        self._beat_every_s = beat_every_s
        threading.Thread(target=self._beat, name="akq-beacon", daemon=True).start()

    def begin(self, number: int, n_trials: int = 1) -> None:
        """Say that a trial, or a call with several, begins."""
        self._doing = (number, n_trials, time.monotonic())
        self._put()

    def idle(self) -> None:
        """Say that nothing runs."""
        self._doing = (IDLE, 0, time.monotonic())
        self._put()

    def _beat(self) -> None:
        while True:
            time.sleep(self._beat_every_s)
            self._put()

    def _put(self) -> None:
        with self._write:
            self._guard += 1
            number, n_trials, began_s = self._doing
            _FORMAT.pack_into(
                self._map,
                0,
                self._guard,
                os.getpid(),
                number,
                n_trials,
                began_s,
                time.monotonic(),
                self._guard,
            )


def beacon_folder(session: str) -> Path:
    """Return where the workers of one driver keep their files on a node."""
    return Path(tempfile.gettempdir()) / f"akq-{os.getuid()}-{session}"


def beacon_path(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.beat"


def read_beacon(path: Path) -> Sighting | None:
    """Return the last word of a worker; None when there is none."""
    for _ in range(_TRIES):
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        if len(raw) != _FORMAT.size:
            return None
        first, pid, number, n_trials, began_s, beat_s, last = _FORMAT.unpack(raw)
        # Equal guards: nobody wrote while this was read.
        if first == last:
            return None if first == 0 else Sighting(pid, number, n_trials, began_s, beat_s)
    return None
