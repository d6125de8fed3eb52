"""A driver that kills itself at a chosen moment of a sweep, or counts how often each moment comes.

It is imported by processes that a fork server makes, so it lives in a module that imports no test framework.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sqlite3.dbapi2
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.search.feed import PointFeed
from akq_dist.search.loop import SearchLoop
from akq_dist.search.model_feed import ModelFeed
from akq_dist.sweep import sweep
from akq_dist.track import bulk
from akq_dist.track.mlflow_tracker import MlflowTracker

if TYPE_CHECKING:
    from collections.abc import Callable

WRITES = {"BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE"}
FILES = {"ledger.db": "mid-ledger", "optuna.db": "mid-Optuna", "mlflow.db": "mid-MLflow"}
"""The stage that a statement which writes to a store belongs to."""
STAGES = (
    "before ask",
    "after ask",
    "after result before tell",
    "after tell before MLflow",
    "after MLflow",
    "closing",
    *FILES.values(),
)


class Doom:
    """Counts what comes by, and ends the process without a word when its moment comes."""

    def __init__(self, stage: str, at: int) -> None:
        """`at` counts from one; 0 is never."""
        self._stage = stage
        self._at = at
        self.seen: Counter[str] = Counter()

    def comes(self, stage: str) -> None:
        self.seen[stage] += 1
        if stage == self._stage and self.seen[stage] == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner: type, name: str, stage: str) -> None:
        own = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            self.comes(stage)
            return own(*args, **options)

        setattr(owner, name, call)

    def after(self, owner: type, name: str, stage: str, counts: Callable[..., bool]) -> None:
        own = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            found = own(*args, **options)
            if counts(*args):
                self.comes(stage)
            return found

        setattr(owner, name, call)

    def in_stores(self) -> None:
        """Come by before every statement that writes to a store, the end of its transaction included."""
        connect = sqlite3.connect

        def connect_traced(path: Any, *args: Any, **options: Any) -> sqlite3.Connection:
            made: sqlite3.Connection = connect(path, *args, **options)
            stage = FILES.get(Path(str(path)).name)
            if stage is not None:

                def trace(sql: str) -> None:
                    if sql.split(None, 1)[0].upper() in WRITES:
                        self.comes(stage)

                made.set_trace_callback(trace)
            return made

        sqlite3.connect = sqlite3.dbapi2.connect = connect_traced  # type: ignore[assignment]


def drive(folder: str, stage: str, at: int, public: bool) -> None:
    """Run the sweep of a folder up to the n-th time that a stage comes; with 0 write down how often each does.

    With `public` runs reach MLflow through its client, one by one.
    """
    os.chdir(folder)
    doom = Doom(stage, at)
    for feed in (PointFeed, ModelFeed):
        doom.before(feed, "next", "before ask")
    doom.after(SearchLoop, "_enter", "after ask", lambda _, __, ask: ask is not None)
    doom.before(SearchLoop, "_finish", "after result before tell")
    doom.before(MlflowTracker, "record", "after tell before MLflow")
    doom.after(MlflowTracker, "record", "after MLflow", lambda *_: True)
    doom.before(MlflowTracker, "finish", "closing")
    doom.in_stores()
    if public:
        bulk.is_possible = lambda uri: False
    handle = sweep("sweep.yaml").run()
    handle.close()
    Path("seen.json").write_text(json.dumps(doom.seen), encoding="ascii")
