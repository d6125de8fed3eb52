"""What `akq doctor` says about Ray, found out without starting it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from akq_dist.cluster import auth
from akq_dist.cluster.handshake import MIN_RAY, ray_is_supported
from akq_dist.cluster.machine import memory_bytes, shared_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

_SMALL_SHARED_MEMORY = 0.25
"""Share of the memory below which Ray puts panels on disk."""


@dataclass(frozen=True)
class Fact:
    """Something about Ray on this machine, and whether it is in order."""

    topic: str
    level: Literal["ok", "warning", "error"]
    text: str


def facts() -> Iterator[Fact]:
    """Look at the version, the token, shared memory and settings of the environment."""
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        yield Fact("version", "error", "missing: pip install 'ray[default]>=2.59'")
        return
    if not ray_is_supported(version):
        wanted = ".".join(str(number) for number in MIN_RAY)
        yield Fact("version", "error", f"{version} is too old for safe use: install {wanted} or newer")
    yield _token()
    yield _shared_memory()
    yield _address()
    if os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0").lower() not in {"", "0", "false"}:
        yield Fact(
            "uv",
            "warning",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV is on: under `uv run` every worker builds its environment anew",
        )
    yield Fact(
        "network",
        "ok",
        "a local Ray listens on all interfaces, which cannot be changed; the token keeps others out",
    )


def _token() -> Fact:
    if os.environ.get(auth.MODE, "").lower() == "disabled":
        return Fact(
            "token", "warning", f"{auth.MODE}=disabled: any user who reaches this machine can run code in Ray"
        )
    if auth.find_token() is None:
        return Fact("token", "ok", "none yet; the first local sweep makes ~/.ray/auth_token")
    return Fact("token", "ok", "found")


def _shared_memory() -> Fact:
    shared, memory = shared_memory_bytes(), memory_bytes()
    if shared is None:
        return Fact("shared memory", "ok", "no /dev/shm on this system; Ray uses files")
    total, free = shared
    text = f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB in /dev/shm"
    if memory is not None and total < _SMALL_SHARED_MEMORY * memory:
        return Fact("shared memory", "warning", f"{text}: large panels go to disk; in Docker give --shm-size")
    return Fact("shared memory", "ok", text)


def _address() -> Fact:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        return Fact(
            "address", "warning", f"RAY_ADDRESS={address} is not used; set run.address to join that cluster"
        )
    return Fact("address", "ok", "no cluster in the environment; sweeps without run.address start their own")
