"""A store that begins as a copy of kept tables is the store that MLflow would have made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from akq_dist.record.sqlite import PAGE_BYTES
from akq_dist.track import MlflowTracker, template
from akq_dist.track.store import sqlite_path

from .tracked import copy_store, sweep_info, trial

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def kept(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of kept tables, in a cache that nothing else uses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    held = template._place()
    assert held is not None
    fresh = tmp_path / "made.db"
    copy_store(empty_store, fresh)
    # The store of the fixture has the parent run of a sweep: what is kept must have none.
    template.keep(fresh)
    assert not held.exists()
    with closing(sqlite3.connect(fresh)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in ("alembic_version", "workspaces", "experiments"):
                connection.execute(f'DELETE FROM "{table}"')
        connection.commit()
    template.keep(fresh)
    return held


def layout(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' "
            "ORDER BY type, name"
        ).fetchall()


def test_a_copy_has_the_tables_that_the_migrations_made(
    kept: Path, empty_store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "mlflow.db"
    path.parent.mkdir()
    assert template.copy_to(path)
    assert layout(path) == layout(empty_store)
    tracker = MlflowTracker(f"sqlite:///{path}", "demo")
    links = tracker.open(sweep_info())
    tracker.record([trial(number) for number in range(3)])
    tracker.close()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{path}")
    assert {found.name for found in client.search_experiments()} == {"Default", "demo"}
    assert len(client.search_runs([links.experiment_id])) == 4
    assert sorted(each.name for each in path.parent.iterdir() if each.name.startswith(".")) == []


def test_a_copy_never_replaces_a_store(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"of somebody else")
    assert not template.copy_to(path)
    assert path.read_bytes() == b"of somebody else"


def test_damaged_tables_are_thrown_away_and_mlflow_makes_new_ones(kept: Path, tmp_path: Path) -> None:
    content = bytearray(kept.read_bytes())
    content[20_000:60_000] = b"\xff" * 40_000
    kept.write_bytes(content)
    path = tmp_path / "mlflow.db"
    assert not template.copy_to(path)
    assert not path.exists()
    assert not kept.exists()


def test_without_a_cache_mlflow_makes_the_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = MlflowTracker(uri, "demo")
    tracker.open(sweep_info())
    tracker.record([trial(0)])
    tracker.close()
    path = sqlite_path(uri)
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (PAGE_BYTES,)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)
