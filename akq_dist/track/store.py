"""Tracking URIs and artifact folders: absolute, so that they mean the same from every working folder."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from pathlib import Path

from akq_dist.errors import AkqUsageError, TrackerError
from akq_dist.record.sqlite import prepare_file
from akq_dist.specs.units import redact_url
from akq_dist.track import template
from akq_dist.track.policy import is_http

_SQLITE = "sqlite:///"
_KNOWN = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SIGNAL = "akq_statistics_changed"


def absolute_uri(uri: str) -> str:
    """Make the path of a SQLite file absolute; refuse what MLflow would take for a folder of files."""
    scheme = uri.partition(":")[0].partition("+")[0].lower()
    if scheme not in _KNOWN or "://" not in uri:
        raise AkqUsageError(
            f"track.mlflow {redact_url(uri)!r} is not a tracking URI; write sqlite:///folder/mlflow.db, "
            "postgresql://user@host/name or http://host:5000"
        )
    path = sqlite_path(uri)
    return uri if path is None else f"{_SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for every other store."""
    if not uri.startswith(_SQLITE):
        return None
    name = uri[len(_SQLITE) :].partition("?")[0]
    if not name or name == ":memory:":
        raise AkqUsageError("track.mlflow: a SQLite store needs a file, as in sqlite:///akq/mlflow.db")
    return Path(name).absolute()


def make_file(uri: str) -> bool:
    """Make a SQLite file that is yet to be made, with its folder; tell whether MLflow has to make the tables.

    Raises TrackerError when the folder cannot be made.
    """
    path = sqlite_path(uri)
    if path is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackerError(f"track.mlflow: the folder {path.parent} cannot be made ({error})") from error
    if path.exists() or template.copy_to(path):
        return False
    prepare_file(path)
    return True


def keep_tables(uri: str) -> None:
    """Keep the empty tables of a SQLite store that MLflow has just made, for the next one."""
    path = sqlite_path(uri)
    if path is not None:
        template.keep(path)


def artifact_location(uri: str, experiment: str, root: str | None) -> str | None:
    """Say where a new experiment keeps its files; None leaves the choice to a server.

    That is beside a SQLite file, and in `akq/mlflow-artifacts` for other databases.
    """
    if root is None:
        if is_http(uri):
            return None
        path = sqlite_path(uri)
        base = (path.parent / f"{path.stem}-artifacts") if path else Path("akq/mlflow-artifacts").absolute()
        root = base.as_uri()
    elif "://" not in root:
        root = Path(root).absolute().as_uri()
    return f"{root.rstrip('/')}/{safe_name(experiment)}"


def safe_name(name: str) -> str:
    """Return a folder for a name: a harmful one is cleaned and gets a digest that keeps it unique."""
    if _SAFE.fullmatch(name) and ".." not in name:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    return f"{cleaned or 'x'}-{digest}"


def refresh_statistics(uri: str, *, rows_per_index: int = 0) -> None:
    """Let SQLite count its tables; without this a click on a metric column is quadratic in the runs.

    It looks at every row, or at so many of every index, which takes the same time in a store of any size.
    """
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        return
    # Only speed is at stake: a store that is busy or read-only stays as it is.
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=5.0)) as connection,
    ):
        connection.execute(f"PRAGMA analysis_limit = {int(rows_per_index)}")
        connection.execute("ANALYZE")
        connection.commit()
        # A connection that is open, of a server for example, reads them again only when the schema has changed.
        connection.executescript(
            f"BEGIN IMMEDIATE; CREATE TABLE {_SIGNAL} (x); DROP TABLE {_SIGNAL}; COMMIT;"
        )
