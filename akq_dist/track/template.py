"""The empty tables of an MLflow store, as MLflow's own migrations left them: made once, then copied.

MLflow lays a new database out by running the migrations of all its versions, a second of work. What the first
store of a version looks like before anything is in it is kept in the user's cache folder, and the next
one begins as a copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from akq_dist.record.sqlite import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_EMPTIED = ("experiment_tags", "experiments")
"""What a store writes when it is opened for the first time: it does so again in a copy."""
_SEEDED = {"alembic_version", "workspaces"}
"""Tables that the migrations themselves put rows into."""


def copy_to(path: Path) -> bool:
    """Make a store at this path from the tables that are kept; False where there are none, or no store was made.

    A store that somebody else makes at the same moment is left alone.
    """
    held = _place()
    if held is None or not held.is_file():
        return False
    # Only time is at stake: without a copy MLflow makes the tables.
    with contextlib.suppress(OSError, sqlite3.Error), _beside(path) as copy:
        shutil.copyfile(held, copy)
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            is_sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        if not is_sound:
            held.unlink(missing_ok=True)
            return False
        # Under its name the store is whole or not there, and this never replaces one.
        os.link(copy, path)
        return True
    return False


def keep(path: Path) -> None:
    """Keep the tables of a store that MLflow has just made, unless it has runs or the cache cannot be written."""
    held = _place()
    if held is None:
        return
    with contextlib.suppress(OSError, sqlite3.Error):
        held.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _beside(held) as copy:
            with (
                contextlib.closing(sqlite3.connect(path, timeout=5.0)) as source,
                contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target,
            ):
                source.backup(target)
                for table in _EMPTIED:
                    target.execute(f"DELETE FROM {table}")
                if _filled(target) - _SEEDED:
                    return
                # The page size of a file changes only outside a write-ahead log.
                target.execute("PRAGMA journal_mode = DELETE")
                target.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                target.execute("VACUUM")
                target.execute("PRAGMA journal_mode = WAL")
            copy.replace(held)


def _place() -> Path | None:
    """Return where the tables of the installed version are kept; None without MLflow's store or a home."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        names = [f"{package}-{version(package)}" for package in ("mlflow", "alembic", "sqlalchemy")]
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except (PackageNotFoundError, RuntimeError):
        return None
    return Path(root) / "akq_dist" / f"{'_'.join(names)}_pages-{PAGE_BYTES}.db"


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give the name of a file in the same folder, and remove what is there afterwards."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{name}{suffix}").unlink(missing_ok=True)


def _filled(connection: sqlite3.Connection) -> set[str]:
    """Return the tables that have rows."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        table
        for table in tables
        if connection.execute(f'SELECT EXISTS (SELECT 1 FROM "{table}")').fetchone() == (1,)
    }
