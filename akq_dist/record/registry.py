"""Executors and trackers by name.

What lives in an upper layer is registered as text and imported when it is wanted.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from akq_dist.errors import AkqUsageError, MissingDependencyError

_EXECUTORS: dict[str, str] = {
    "serial": "akq_dist.record.serial:SerialExecutor",
    "ray": "akq_dist.cluster:RayExecutor",
}
_TRACKERS: dict[str, str] = {
    "mlflow": "akq_dist.track:MlflowTracker",
}
_EXTRAS: dict[str, str] = {"ray": "ray", "mlflow": "mlflow", "optuna": "optuna", "scipy": "scipy"}


def register_executor(name: str, target: str) -> None:
    """Offer an executor under a name; `target` is `package.module:Class`, imported at first use."""
    _EXECUTORS[name] = target


def register_tracker(name: str, target: str) -> None:
    """Offer a tracker under a name."""
    _TRACKERS[name] = target


def executor_class(name: str) -> Any:
    """Return the class of an executor.

    Raises AkqUsageError for an unknown name, with the nearest known one.
    """
    return _load("run.executor", _EXECUTORS, name)


def tracker_class(name: str) -> Any:
    """Return the class of a tracker. Raises AkqUsageError for an unknown name, with the nearest known one."""
    return _load("track", _TRACKERS, name)


def tracker_module(name: str) -> Any:
    """Return the package of a tracker: it also has `plan_runs`, `plan_artifacts`, `warm` and `BackgroundTracker`."""
    tracker_class(name)
    return import_module(_TRACKERS[name].partition(":")[0])


def executor_names() -> list[str]:
    return sorted(_EXECUTORS)


def _load(place: str, table: dict[str, str], name: str) -> Any:
    target = table.get(name)
    if target is None:
        near = difflib.get_close_matches(name, table, 1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise AkqUsageError(f"{place}: '{name}' is not known{hint} Known: {', '.join(sorted(table))}.")
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _EXTRAS:
            raise MissingDependencyError(
                f"{place}: '{name}' needs the package '{package}'; install it with: pip install {package}."
            ) from error
        raise
