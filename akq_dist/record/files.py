"""Files that are whole or not there, and what is left on the disk of one that could not be written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from akq_dist.errors import AkqStudyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


def free_space(path: Path) -> str:
    """Say how much room the disk of a file has."""
    try:
        return f"{shutil.disk_usage(path.parent).free:,} bytes free on its disk"
    except OSError:
        return "its folder cannot be read"


def is_full(error: BaseException) -> bool:
    """Tell whether an error of a file or of a database says that there is no room left.

    Databases and their drivers pass on what the system said as text.
    """
    text = str(error)
    return any(
        words in text for words in ("disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
    )


def is_read_only(folder: Path) -> bool:
    """Tell whether no file of a folder can be made or changed by this process."""
    try:
        mounted = bool(os.statvfs(folder).f_flag & os.ST_RDONLY) if hasattr(os, "statvfs") else False
    except OSError:
        return False
    return mounted or not os.access(folder, os.W_OK)
