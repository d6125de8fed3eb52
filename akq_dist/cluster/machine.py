"""What this machine lets the process use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus() -> int:
    """Count the CPUs of the process: its affinity, cut by a container's quota, at least one."""
    try:
        n_cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        n_cpus = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(n_cpus, int(quota)) if quota is not None else n_cpus)


def shared_memory_bytes() -> tuple[int, int] | None:
    """Return size and free bytes of shared memory, where panels live; None where there is none."""
    try:
        stat = os.statvfs("/dev/shm")  # noqa: S108 - nothing is written there
    except OSError:
        return None
    return stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize


def memory_bytes() -> int | None:
    """Return the physical memory, or the container's limit when that is lower."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    limit = _read("/sys/fs/cgroup/memory.max")
    if limit is not None and limit.isdigit():
        return min(total, int(limit))
    return total


def memory_used_bytes() -> int | None:
    """Return the memory of this machine, or container, that is taken and could not be had by asking for it."""
    current, limit = _read("/sys/fs/cgroup/memory.current"), _read("/sys/fs/cgroup/memory.max")
    if current is not None and limit is not None and limit.isdigit():
        return int(current) - (_field("/sys/fs/cgroup/memory.stat", "inactive_file") or 0)
    available = _field("/proc/meminfo", "MemAvailable:")
    total = _field("/proc/meminfo", "MemTotal:")
    return None if available is None or total is None else 1024 * (total - available)


def _field(path: str, name: str) -> int | None:
    """Return the number that follows a name at the beginning of a line."""
    for line in (_read(path) or "").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return None


def _cgroup_quota() -> float | None:
    text = _read("/sys/fs/cgroup/cpu.max")
    if text is None:
        return None
    quota, _, period = text.partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
