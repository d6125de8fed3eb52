"""Facts about Ray that are found without starting it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from akq_dist.cluster import doctor, machine


def levels() -> dict[str, str]:
    return {fact.topic: fact.level for fact in doctor.facts()}


def test_settings_that_harm_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "1")
    found = levels()
    assert (found["token"], found["address"], found["uv"]) == ("warning", "warning", "warning")


def test_plain_environment_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_ADDRESS", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "shared_memory_bytes", lambda: (2**33, 2**32))
    monkeypatch.setattr(doctor, "memory_bytes", lambda: 2**34)
    assert set(levels().values()) == {"ok"}


def test_small_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "shared_memory_bytes", lambda: (2**26, 2**26))
    monkeypatch.setattr(doctor, "memory_bytes", lambda: 2**34)
    assert levels()["shared memory"] == "warning"


def test_old_and_missing_ray_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "2.40.0")
    assert levels()["version"] == "error"

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert levels() == {"version": "error"}


def test_looking_does_not_import_ray() -> None:
    script = (
        "import sys; from akq_dist.cluster import doctor; list(doctor.facts()); print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_machine_is_measured() -> None:
    assert machine.usable_cpus() >= 1
    memory = machine.memory_bytes()
    assert memory is None or memory > 2**20


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("", None)]
)
def test_quota_of_a_container(text: str, expected: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read", lambda _: text or None)
    assert machine._cgroup_quota() == expected
    assert machine.usable_cpus() >= 1
