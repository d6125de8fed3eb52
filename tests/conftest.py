"""What tests find outside the project: reference data, named by environment variables, and a PostgreSQL server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .postgresql import NoServerError, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between sweeps is kept away from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of recorded market data."""
    return _folder("AKQ_REFERENCE_DATA")


@pytest.fixture(scope="session")
def oracle() -> Path:
    """Folder of expected results."""
    return _folder("AKQ_ORACLE")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """Gives the SQLAlchemy URL of an empty database at each call; skips where there is no server to be had."""
    named = os.environ.get("AKQ_TEST_POSTGRESQL")
    if named:
        yield lambda: named
        return
    try:
        with server() as running:
            yield running.database
    except NoServerError as error:
        pytest.skip(f"{error}, and AKQ_TEST_POSTGRESQL does not name an empty database")


def _folder(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"the environment variable {variable} is not set, so there is nothing to compare with")
    folder = Path(named)
    if not folder.is_dir():
        raise pytest.UsageError(f"{variable} is {named}, which is no folder")
    return folder
