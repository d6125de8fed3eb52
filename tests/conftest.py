"""Where the reference data are: two folders outside the project, named by environment variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of recorded market data."""
    return _folder("AKQ_REFERENCE_DATA")


@pytest.fixture(scope="session")
def oracle() -> Path:
    """Folder of expected results."""
    return _folder("AKQ_ORACLE")


def _folder(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"the environment variable {variable} is not set, so there is nothing to compare with")
    folder = Path(named)
    if not folder.is_dir():
        raise pytest.UsageError(f"{variable} is {named}, which is no folder")
    return folder
