"""Where and when figures were measured, and how much memory a run takes."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist import _core

if TYPE_CHECKING:
    from collections.abc import Callable


def describe(**versions: str) -> dict[str, Any]:
    """Date, processor, cores, system, load, build of the engine and versions of what was measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "profile": _core.PROFILE,
        "versions": {"Python": platform.python_version(), "akq-dist": _core.__version__, **versions},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def megabytes_above(run: Callable[[], Any]) -> float | None:
    """Largest resident memory while something runs, in MB above what was resident before; None but on Linux."""
    if platform.system() != "Linux":
        return None
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident
    before = _resident_kb("VmRSS")
    run()
    return (_resident_kb("VmHWM") - before) / 1024


def _resident_kb(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))
