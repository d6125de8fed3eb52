"""Finding and opening the file of a source, with errors that name it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from akq_dist.errors import AkqDataError, AkqUsageError
from akq_dist.specs.suggest import nearest

if TYPE_CHECKING:
    from akq_dist.specs.data import DataSpec


def input_file(spec: DataSpec, base_dir: Path) -> Path:
    """Return the file of a specification. Raises AkqDataError when it is missing or no file."""
    if spec.path is None:
        raise AkqUsageError(f"data.path is required by the source {spec.source}")
    try:
        path = base_dir / Path(spec.path).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            raise AkqDataError(f"{spec.path}: is a folder, expected a file with all symbols")
        if path.exists():
            raise AkqDataError(f"{spec.path}: is not a regular file")
    except (OSError, RuntimeError, ValueError) as error:
        raise AkqDataError(f"{spec.path}: cannot be opened: {_reason(error)}") from None
    raise AkqDataError(
        f"{spec.path}: no such file; relative paths start at the folder of the sweep file{_sibling(path)}"
    )


def cannot_read(path: Path, error: BaseException) -> AkqDataError:
    """Return the error for a file that the system does not let us read."""
    return AkqDataError(f"{path.name}: cannot be read: {_reason(error)}")


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _sibling(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return ""
    guess = nearest(path.name, names)
    return f", did you mean {guess!r}?" if guess else ""
