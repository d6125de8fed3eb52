"""The run list stays fast: what SQLite makes of the queries that the UI and `search_runs` send."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from .tracked import all_trials, sweep_info, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from akq_dist.track import MlflowTracker

# MLflow's own store uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

N_RUNS = 400


def plans(path: Path, experiment_id: str, query: str, order: str) -> str:
    """How SQLite would run what MLflow sends for a search."""
    from mlflow import MlflowClient
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    sent: list[tuple[str, Any]] = []

    def listen(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        sent.append((statement, parameters))

    client = MlflowClient(tracking_uri=f"sqlite:///{path}")
    client.search_experiments()
    event.listen(Engine, "before_cursor_execute", listen)
    try:
        found = client.search_runs([experiment_id], query, max_results=20, order_by=[order])
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert len(found) == 20
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(
            row[3]
            for statement, parameters in sent
            if "ORDER BY" in statement
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        )


def test_no_search_looks_at_all_values_of_every_run(
    make_tracker: Callable[..., MlflowTracker], store_uri: str
) -> None:
    from akq_dist.track.store import sqlite_path

    path = sqlite_path(store_uri)
    assert path is not None
    tracker = make_tracker()
    links = tracker.open(sweep_info())
    tracker.record([trial(number, metrics={"sharpe": number / 7}) for number in range(N_RUNS)])
    tracker.finish("finished", all_trials(N_RUNS), {})
    searches = {
        "newest": ("", "attributes.start_time DESC"),
        "by metric": ("", "metrics.`sharpe` DESC"),
        "by parameter": ("", "params.`fast` DESC"),
        "filtered": ("metrics.`sharpe` > 1.0", "metrics.`sharpe` DESC"),
        "children": (f"tags.`mlflow.parentRunId` = '{links.run_id}'", "metrics.`sharpe` DESC"),
    }
    for name, (query, order) in searches.items():
        plan = plans(path, links.experiment_id, query, order)
        # Of a scan for each run the work grows with the square of the runs: eleven seconds at 10,000.
        assert "SCAN anon_1" not in plan, (name, plan)
    # The same without the statistics that the tracker keeps up to date, to see that this looks at the right thing.
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4;")
    assert "SCAN anon_1" in plans(path, links.experiment_id, *searches["by metric"])


def test_a_connection_that_is_open_learns_of_new_statistics(tmp_path: Path) -> None:
    from akq_dist.track.store import refresh_statistics

    path = tmp_path / "store.db"
    query = "SELECT * FROM t WHERE few = 1 AND many = 1"
    with (
        closing(sqlite3.connect(path, cached_statements=0)) as server,
        closing(sqlite3.connect(path)) as writer,
    ):
        writer.executescript(
            "CREATE TABLE t (few, many); CREATE INDEX few ON t (few); CREATE INDEX many ON t (many)"
        )

        def fill(few: int, many: int) -> str:
            writer.executemany("INSERT INTO t VALUES (?, ?)", [(ix % few, ix % many) for ix in range(2_000)])
            writer.commit()
            refresh_statistics(f"sqlite:///{path}")
            server.execute(query).fetchall()  # a plan alone does not look whether the schema has changed
            return str(server.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()[0][3])

        assert "INDEX many" in fill(2, 1_000)
        writer.execute("DELETE FROM t")
        assert "INDEX few" in fill(1_000, 2)
        left = server.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name")
        assert [name for (name,) in left] == ["few", "many", "t"]
