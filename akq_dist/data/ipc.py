"""A panel on disk, mapped into memory without a copy: how the processes of one machine share it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from akq_dist.errors import AkqDataError, free_space


def write_panel(path: str | Path, table: pa.Table) -> Path:
    """Write a panel as uncompressed Arrow IPC; readers see the whole file or none. Raises AkqDataError."""
    target = Path(path)
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            with pa.ipc.new_file(stream, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except (OSError, pa.ArrowException) as error:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
        raise AkqDataError(
            f"{target}: the panel cannot be written: {getattr(error, 'strerror', None) or error} ({free_space(target)})"
        ) from None
    return target


def map_panel(path: str | Path) -> pa.Table:
    """Map a panel that `write_panel` wrote; its columns borrow the pages of the file. Raises AkqDataError."""
    try:
        with pa.memory_map(str(path), "r") as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AkqDataError(f"{Path(path).name}: is no panel: {str(error).splitlines()[0][:200]}") from None
    if b"akq.symbols" not in (table.schema.metadata or {}):
        raise AkqDataError(f"{Path(path).name}: is an Arrow file, but no panel")
    return table
