"""Versions on both ends of the wire: a worker that would compute something else is refused."""

from __future__ import annotations

import platform
import socket
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

MIN_RAY = (2, 52)
"""Older releases let a web page in the user's browser submit jobs to a local cluster."""


@dataclass(frozen=True)
class Versions:
    """What decides whether two processes give the same numbers."""

    host: str
    python: str
    ray: str
    build: str | None
    """Build of the engine; None when it cannot be imported, with the reason in `problem`."""
    numpy: str
    polars: str
    problem: str = ""


def versions_here(build_name: str) -> Versions:
    """Collect the versions of this process; `build_name` names the engine's build as `module:attribute`."""
    build: str | None = None
    problem = ""
    try:
        build = str(load_name(build_name))
    except (ImportError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    return Versions(
        host=socket.gethostname(),
        python=platform.python_version(),
        ray=_version("ray"),
        build=build,
        numpy=_version("numpy"),
        polars=_version("polars"),
        problem=problem,
    )


def refusal(driver: Versions, worker: Versions, build: str, *, python_strategy: bool) -> str | None:
    """Say why a worker may not take part, or None when it may.

    The engine must be the same build and Ray the same release. Python must agree in its minor version; where
    the strategy runs in it, Python, NumPy and Polars must be exactly the same.
    """
    if worker.build is None:
        return f"the engine cannot be imported on {worker.host} ({worker.problem}); install akq_dist there"
    faults = []
    if worker.build != build:
        faults.append(f"akq_dist build {worker.build}, the driver has {build}")
    if worker.ray != driver.ray:
        faults.append(f"Ray {worker.ray}, the driver has {driver.ray}")
    exact = python_strategy
    if (worker.python if exact else _minor(worker.python)) != (
        driver.python if exact else _minor(driver.python)
    ):
        faults.append(f"Python {worker.python}, the driver has {driver.python}")
    if exact:
        for name, theirs, ours in (
            ("NumPy", worker.numpy, driver.numpy),
            ("Polars", worker.polars, driver.polars),
        ):
            if theirs != ours:
                faults.append(f"{name} {theirs}, the driver has {ours}")
    if not faults:
        return None
    return (
        f"the worker on {worker.host} differs: {'; '.join(faults)}. Install the same versions on every node."
    )


def ray_is_supported(version: str) -> bool:
    """Tell whether a Ray release is new enough."""
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(ch for ch in part if ch.isdigit())
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers) >= MIN_RAY


def load_name(dotted: str) -> Any:
    """Import `package.module:attribute`."""
    module, _, attribute = dotted.partition(":")
    return getattr(import_module(module), attribute)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
