"""This engine, on one thread, through the same program as its peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist import _core
from tests.bench import engine
from tests.bench.programs import common

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.work import Outcome, Work


def prepare(work: Work, bars: Any, pairs: Any) -> Callable[[], Outcome]:
    if work.n_pairs == 0:
        return engine.callbacks(engine.Idle, work, bars)
    return engine.rules(work, bars, pairs, threads=1)


if __name__ == "__main__":
    common.main(_core.__version__, prepare)
