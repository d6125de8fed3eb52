"""A panel on disk: whole or absent, mapped without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from akq_dist.data import map_panel, write_panel
from akq_dist.errors import AkqDataError

from .frames import good_bars, panel

if TYPE_CHECKING:
    from pathlib import Path


def test_a_mapped_panel_is_the_panel_and_allocates_nothing(tmp_path: Path) -> None:
    made = panel(good_bars(n=2000))
    file = write_panel(tmp_path / "deep" / "panel.arrow", made.table)
    before = pa.total_allocated_bytes()
    mapped = map_panel(file)
    assert pa.total_allocated_bytes() == before
    assert mapped.equals(made.table, check_metadata=True)
    assert all(column.num_chunks == 1 for column in mapped.columns)
    assert [entry.name for entry in file.parent.iterdir()] == ["panel.arrow"]


def test_a_panel_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = write_panel(tmp_path / "panel.arrow", panel(good_bars(n=2000)).table)
    old = map_panel(file)
    write_panel(file, panel(good_bars(n=3)).table)
    assert old.num_rows == 4000
    assert old["close"][3999].as_py() > 0
    assert map_panel(file).num_rows == 6


def test_what_is_no_panel_is_refused(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"hello, this is text"), ("cut", b"ARROW1\0\0")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AkqDataError, match=f"{name}: is no panel"):
            map_panel(tmp_path / name)
    with pytest.raises(AkqDataError, match="is no panel"):
        map_panel(tmp_path / "absent")
    with pa.OSFile(str(tmp_path / "other"), "wb") as stream, pa.ipc.new_file(stream, pa.schema([])):
        pass
    with pytest.raises(AkqDataError, match="but no panel"):
        map_panel(tmp_path / "other")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(AkqDataError, match="cannot be written"):
        write_panel(tmp_path / "file" / "panel.arrow", panel(good_bars()).table)
