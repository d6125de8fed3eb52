"""Watches the workers of one node: ends those that are frozen, take too long or too much memory.

It runs in a process of its own on the node, so that it can kill what the driver cannot reach, and remembers why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.cluster.beacon import IDLE, Sighting, beacon_path, read_beacon
from akq_dist.cluster.machine import memory_bytes, memory_used_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from akq_dist.record.protocols import LossCause

log = logging.getLogger(__name__)

BEATS_A_LEASE = 6
NODE_SHARE = 0.85
_LEAST_SHARE = 0.02
"""Share of the node's memory that a worker has taken at least when it is ended because the node is short of it."""


@dataclass(frozen=True)
class WatchLimits:
    """What a worker may take; None for no limit."""

    lease_s: float = 30.0
    """A worker that neither beats nor uses the processor for so long is frozen."""
    trial_timeout_s: float | None = None
    memory_bytes: int | None = None
    """Memory of one worker process beyond what it had when its panel was loaded."""
    node_share: float = NODE_SHARE
    """Share of the memory of the node, taken by whomever, above which its largest worker is ended."""

    @property
    def look_every_s(self) -> float:
        """Pause between two looks: well below every limit. A process can take gigabytes in a second."""
        shortest = min(self.lease_s, self.trial_timeout_s or self.lease_s)
        return min(0.1, shortest / (2 * BEATS_A_LEASE))


@dataclass(frozen=True)
class PostMortem:
    """What a worker that is gone was doing, and why it was ended, where it was."""

    number: int | None
    """The trial that ran, where trials run one by one; None when it is not known."""
    cause: LossCause
    text: str = ""


class Watch:
    """The workers of one folder. Not thread-safe; `look` is called again and again."""

    def __init__(
        self,
        folder: Path,
        limits: WatchLimits,
        clock: Callable[[], float] = time.monotonic,
        memory_used: Callable[[], int | None] = memory_used_bytes,
    ) -> None:
        """`memory_used` tells how much of the memory of the node is taken."""
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._memory_used = memory_used
        self._node_bytes = memory_bytes()
        self._ended: dict[int, PostMortem] = {}
        self._cpu: dict[int, tuple[float, float]] = {}
        """For each process its processor time, and when that last changed."""
        self._base_bytes: dict[int, int] = {}

    def look(self) -> list[int]:
        """Kill every worker that has overstepped a limit; return their processes."""
        killed = []
        grown: list[tuple[int, Path, Sighting]] = []
        """What each worker that lives on has taken."""
        for path in sorted(self._folder.glob("*.beat")):
            # First the time, then the beacon: a pause between the two makes no trial look longer than it is.
            now_s = self._clock()
            seen = read_beacon(path)
            if seen is None or seen.pid in self._ended:
                continue
            taken = self._grown(seen)
            found = self._judge(seen, now_s, taken)
            if found is not None:
                killed += self._end(path, seen, found)
            elif seen.number != IDLE:
                grown.append((taken, path, seen))
        if grown and not killed:
            killed += self._relieve(*max(grown, key=lambda worker: worker[0]))
        return killed

    def _relieve(self, taken: int, path: Path, seen: Sighting) -> list[int]:
        """End the worker that has taken most where the node is short of memory, before the system ends anything."""
        total, used = self._node_bytes, self._memory_used()
        if total is None or used is None or used <= self._limits.node_share * total:
            return []
        if taken < _LEAST_SHARE * total:
            return []  # it is not the workers' doing
        text = (
            f"out of memory: {used / total:.0%} of the node's {total / 2**20:,.0f} MiB were taken, "
            f"{taken / 2**20:,.0f} MiB of it by this trial"
        )
        return self._end(path, seen, PostMortem(_single(seen), "memory", text))

    def _end(self, path: Path, seen: Sighting, found: PostMortem) -> list[int]:
        if not _unchanged(path, seen):
            return []
        self._ended[seen.pid] = found
        log.warning("worker %d is ended: %s", seen.pid, found.text)
        with contextlib.suppress(ProcessLookupError):
            os.kill(seen.pid, signal.SIGKILL)
        return [seen.pid]

    def post_mortem(self, pid: int) -> PostMortem:
        """Return what is known about a worker that is gone."""
        found = self._ended.get(pid)
        if found is not None:
            return found
        seen = read_beacon(beacon_path(self._folder, pid))
        return PostMortem(_single(seen), "died")

    def _grown(self, seen: Sighting) -> int:
        """Return the memory that a worker has taken since it last ran nothing."""
        used = resident_bytes(seen.pid)
        if seen.number == IDLE or seen.pid not in self._base_bytes:
            self._base_bytes[seen.pid] = used
        return used - self._base_bytes[seen.pid]

    def _judge(self, seen: Sighting, now_s: float, grown: int) -> PostMortem | None:
        limits = self._limits
        running = seen.number != IDLE
        if running and limits.trial_timeout_s is not None:
            # Where one call runs several trials, together they may take what each of them may.
            allowed_s = limits.trial_timeout_s * max(1, seen.n_trials)
            if now_s - seen.began_s > allowed_s:
                text = f"ran longer than run.trial_timeout allows ({limits.trial_timeout_s:g} s)"
                return PostMortem(_single(seen), "timeout", text)
        if limits.memory_bytes is not None and running and grown > limits.memory_bytes:
            text = (
                f"out of memory: took {grown / 2**20:,.0f} MiB, run.memory allows "
                f"{limits.memory_bytes / 2**20:,.0f} MiB"
            )
            return PostMortem(_single(seen), "memory", text)
        cpu_s = processor_seconds(seen.pid)
        if cpu_s is None:
            return None  # it is gone already; Ray tells the driver
        known = self._cpu.get(seen.pid)
        if known is None or known[0] != cpu_s:
            self._cpu[seen.pid] = (cpu_s, now_s)
            return None
        if now_s - max(known[1], seen.beat_s) > limits.lease_s:
            text = f"frozen: no sign of life for {limits.lease_s:g} s"
            return PostMortem(_single(seen), "frozen", text)
        return None


class Warden:
    """A watch in a thread of its own, as an actor of the node."""

    def __init__(self, folder: str, limits: WatchLimits) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._folder = Path(folder)
        self._watch = Watch(self._folder, limits)
        self._guard = threading.Lock()
        self._pause_s = limits.look_every_s
        threading.Thread(target=self._run, name="akq-warden", daemon=True).start()

    def ready(self) -> int:
        """Answer once the watch is on."""
        return os.getpid()

    def post_mortem(self, pid: int) -> PostMortem:
        """Return what is known about a worker that is gone."""
        with self._guard:
            return self._watch.post_mortem(pid)

    def clear(self) -> None:
        """Remove the files of the workers, all of which are gone."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        while True:
            with self._guard:
                self._watch.look()
            time.sleep(self._pause_s)


def shipped_warden(package_folder: str) -> type:
    """Return a class that imports the driver's own akq_dist on the node; see `actor.shipped_actor`."""

    class WardenShell:
        def __init__(self, *args: Any) -> None:
            import sys
            from pathlib import Path

            if (Path(package_folder) / "akq_dist").is_dir():
                sys.path.insert(0, package_folder)
            from akq_dist.cluster.warden import Warden

            self._warden = Warden(*args)

        def ready(self) -> int:
            return self._warden.ready()

        def post_mortem(self, pid: int) -> Any:
            return self._warden.post_mortem(pid)

        def clear(self) -> None:
            self._warden.clear()

    return WardenShell


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds for itself, shared pages left out; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0
    return max(0, int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float | None:
    """Return the processor time that a process has used; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _unchanged(path: Path, seen: Sighting) -> bool:
    """Tell whether a worker is still in the trial that it was judged by; another trial is not to pay for it."""
    again = read_beacon(path)
    return again is not None and (again.number, again.began_s) == (seen.number, seen.began_s)


def _single(seen: Sighting | None) -> int | None:
    if seen is None or seen.number == IDLE or seen.n_trials != 1:
        return None
    return seen.number
