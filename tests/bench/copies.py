"""Trials copied to a new database of Optuna: in bulk, and through Optuna's own interface."""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.record.ledger import StudyRecord
from akq_dist.record.protocols import TrialRecord
from akq_dist.search import optuna_bulk
from akq_dist.search.judge import Judge, Objective
from akq_dist.search.storage import OptunaView, load_optuna_study
from akq_dist.specs import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTPUTS = tuple(f"metric_{ix}" for ix in range(20))


def measure(n_bulk: int, n_public: int) -> list[dict[str, Any]]:
    """Rows of both ways; trials have ten parameters and twenty metrics, and all of them are read back."""
    space = Space.from_mapping({f"param_{ix}": {"float": [0.0, 1.0]} for ix in range(10)})
    records = trials(space.names, max(n_bulk, n_public))
    with tempfile.TemporaryDirectory() as folder:
        bulk = copy(space, records[:n_bulk], f"sqlite:///{folder}/bulk.db")
        known, optuna_bulk.KNOWN = optuna_bulk.KNOWN, frozenset()
        try:
            public = copy(space, records[:n_public], f"sqlite:///{folder}/public.db")
        finally:
            optuna_bulk.KNOWN = known
    return [{"way": "in bulk", **bulk}, {"way": "`Study.add_trials`", **public}]


def trials(names: Sequence[str], n: int) -> list[TrialRecord]:
    drawn = np.random.default_rng(3).random((n, len(names) + len(OUTPUTS)))
    return [
        TrialRecord(
            number=number,
            key=f"{number:032x}",
            params=dict(zip(names, row[: len(names)], strict=True)),
            state="complete",
            values=(row[len(names)],),
            metrics=dict(zip(OUTPUTS, row[len(names) :], strict=True)),
            hash=f"{number:032x}",
        )
        for number, row in enumerate(drawn.tolist())
    ]


def copy(space: Space, records: Sequence[TrialRecord], url: str) -> dict[str, Any]:
    """Seconds and CPU of a copy to an empty database that exists."""
    objective = (OUTPUTS[0], "maximize")
    study = StudyRecord(
        1, "id", "s", "s", 0, "", {}, {}, space.names, OUTPUTS, (objective,), 1, "random", None
    )
    view = OptunaView(url, study, space, Judge(OUTPUTS, [Objective(OUTPUTS[0], "maximize")], []))
    view.open()
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(records), view.piece):
        view.add(records[first : first + view.piece])
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    view.close()
    held = load_optuna_study(url, "s").get_trials(deepcopy=False)
    assert [trial.user_attrs["akq.key"] for trial in held] == [record.key for record in records]
    return {"n_trials": len(records), "seconds": seconds, "cpu": cpu}
