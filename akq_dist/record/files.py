"""Files that are whole or not there, and what is wrong with the disk of one that could not be written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from akq_dist.errors import AkqStudyError, free_space

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_LEAST_BYTES = 64 * 1024
"""A database cannot do anything with less room than this."""


@contextlib.contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """Give a name to write to that becomes `path` when the block ends well; what stood there stays until then.

    Makes the folder. Raises AkqStudyError that says what cannot be written, why, and how much room is left.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise AkqStudyError(
            f"{path}: {what} cannot be written: {error.strerror or error} ({free_space(path)})."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def is_full(error: BaseException, path: Path | None) -> bool:
    """Tell whether an error of a file or of a database means that there is no room left.

    Databases and their drivers pass on what the system said as text, or say only that a file cannot be written;
    then the disk itself is asked.
    """
    text = str(error)
    if any(words in text for words in ("disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))):
        return True
    try:
        return path is not None and shutil.disk_usage(path.parent).free < _LEAST_BYTES
    except OSError:
        return False


def is_read_only(folder: Path) -> bool:
    """Tell whether no file of a folder can be made or changed by this process."""
    try:
        mounted = bool(os.statvfs(folder).f_flag & os.ST_RDONLY) if hasattr(os, "statvfs") else False
    except OSError:
        return False
    return mounted or not os.access(folder, os.W_OK)
