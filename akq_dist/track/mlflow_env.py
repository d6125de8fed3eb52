"""How this process speaks to MLflow: settings, lazy import, and errors without secrets."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from akq_dist.errors import MissingDependencyError, TrackerError, free_space
from akq_dist.record.files import is_full
from akq_dist.record.follower import StoreFullError
from akq_dist.record.sqlite import file_of
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = {
    # A request that the HTTP library repeats could make a second run; the tracker looks before it retries.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_KNOCK_TIMEOUT_S = 5.0
_DATABASE_PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mssql": 1433}
_LONGEST_MESSAGE = 600


def prepare_environment() -> None:
    """Set what the user has not set."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def import_client() -> Any:
    """Return the class MlflowClient; importing it takes two seconds, so only what needs it calls this."""
    prepare_environment()
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MissingDependencyError(
            "track.mlflow needs the package mlflow: pip install 'mlflow>=3.13,<4'"
        ) from error
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient


def warm() -> None:
    """Import MLflow ahead of its use. Where it is not installed, the first use says so."""
    with contextlib.suppress(MissingDependencyError):
        import_client()


def store_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions by which MLflow and what is below it say that a store did not do as asked."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    found: list[type[Exception]] = [MlflowException, RequestException, OSError]
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:  # the client-only installation
        pass
    else:
        found.append(SQLAlchemyError)
    return tuple(found)


def explain(error: BaseException, uri: str) -> TrackerError:
    """Say what failed where, in one line and without a password; a disk that is full is an error of its own."""
    # A database says after it which statement it was, with its values.
    text = " ".join(redact_url(str(error)).partition("[SQL:")[0].split())
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    if len(text) > _LONGEST_MESSAGE:
        text = f"{text[:_LONGEST_MESSAGE]}..."
    said = f"MLflow at {redact_url(uri)}: {type(error).__name__}: {text}"
    # Files and the database of a store may be on disks of their own.
    path = _written_file(error) or file_of(uri)
    if is_full(error, path):
        return StoreFullError(said if path is None else f"{path}: {said} ({free_space(path)})")
    return TrackerError(said)


def _written_file(error: BaseException) -> Path | None:
    """Return the file that could not be written, where the error names one."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # Of a copied folder: what was copied, to where, and why that failed.
        return Path(error.args[0][0][1])
    named = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return Path(named) if named else None


def is_refusal(error: BaseException) -> bool:
    """Tell a value that the store will never take from a store that is away."""
    code = getattr(error, "error_code", None)
    return code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


def knock(uri: str) -> None:
    """Fail within seconds when nobody listens; the client library would try for minutes."""
    parts = urlsplit(uri)
    scheme = parts.scheme.split("+")[0].lower()
    default = {"http": 80, "https": 443}.get(scheme, _DATABASE_PORTS.get(scheme))
    if default is None or not parts.hostname:
        return
    try:
        port = parts.port or default
    except ValueError as error:
        raise TrackerError(f"track.mlflow {redact_url(uri)}: {error}") from None
    try:
        socket.create_connection((parts.hostname, port), timeout=_KNOCK_TIMEOUT_S).close()
    except OSError as error:
        raise TrackerError(f"MLflow at {redact_url(uri)} cannot be reached ({error})") from None


def _secrets(uri: str) -> Iterator[str]:
    """Passwords as they may appear in messages: as written and decoded."""
    from urllib.parse import unquote

    for password in (urlsplit(uri).password, os.environ.get("MLFLOW_TRACKING_PASSWORD")):
        if password:
            yield password
            yield unquote(password)
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        yield token
