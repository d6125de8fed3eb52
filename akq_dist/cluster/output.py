"""What a worker prints: kept up to a limit, then dropped.

Ray writes the output of a process to a file of its session that has no limit of its own.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT_BYTES: Final = 10 << 20
"""What is kept of each of the two streams of a worker."""


class CappedFile(io.RawIOBase):
    """A file that takes everything and keeps the beginning."""

    def __init__(self, fd: int, limit: int = OUTPUT_BYTES) -> None:
        self._file = open(fd, "wb", buffering=0, closefd=False)  # noqa: SIM115 - a descriptor, kept open
        self._left = limit
        self._limit = limit

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what there is room for; all of it counts as written."""
        view = memoryview(data)
        if self._left > 0:
            self._file.write(view[: self._left])
            self._left -= len(view)
            if self._left <= 0:
                self._file.write(b"\n... the rest is dropped: %d MiB are kept\n" % (self._limit >> 20))
        return len(view)


def cap_output() -> None:
    """Cap what Python code of this process prints from here on; what native code prints by itself is not seen."""
    sys.stdout = _capped(sys.stdout.fileno())
    sys.stderr = _capped(sys.stderr.fileno())


def _capped(fd: int) -> io.TextIOWrapper:
    file = io.BufferedWriter(CappedFile(fd))
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", line_buffering=True)
