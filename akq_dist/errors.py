"""Errors of the package: what happened, the value, and what to do about it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AkqError(Exception):
    """Base of every error that the package raises on purpose."""

    exit_code = 2


class AkqUsageError(AkqError):
    """A request that cannot be carried out as written: an unknown key, a bad value, a contradiction."""


class AkqDataError(AkqError):
    """Market data that cannot be used; the message names file, symbol, column and the first bad row."""

    exit_code = 3


class AkqStrategyError(AkqError):
    """A strategy that cannot be loaded or failed while running."""


class AkqStudyError(AkqError):
    """A study that cannot be opened, resumed or found."""


class ExecutorError(AkqError):
    """The machinery that runs trials is not available."""


class TrackerError(AkqError):
    """The store of a tracker cannot be reached; results stay in the ledger."""


class MissingDependencyError(AkqError):
    """An optional package is not installed; the message names the extra that brings it."""


def free_space(path: Path) -> str:
    """Say how much room the disk of a file has: part of every error about a file that cannot be written."""
    try:
        return f"{shutil.disk_usage(path.parent).free:,} bytes free on its disk"
    except OSError:
        return "its folder cannot be read"
