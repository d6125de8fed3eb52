"""The trial return matrix: what every trial earned on every trading date, run again from the ledger.

It is what statistics of overfitting start from: deflated Sharpe ratios, the probability of backtest overfitting,
tests of superior predictive ability.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.record.protocols import Batch
from akq_dist.record.worker import Worker
from akq_dist.search.choose import serial_executor
from akq_dist.search.replay import refuse_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from akq_dist.record.trials import TrialBlock, TrialStore
    from akq_dist.search.prepare import Prepared

MAX_CELLS: Final = 2**27
"""Largest matrix that is made, in numbers: 1 GiB."""

_BLOCK: Final = 500


def returns_of(prepared: Prepared, store: TrialStore, numbers: Sequence[int] | None = None) -> pl.DataFrame:
    """Return `date`, then a float64 column a trial that has its number as name, in the order of numbers.

    A value is the return of all accounts of the trial together on that trading date, as a fraction, from the
    second date on; NaN for a trial that fails and after an account is gone. Without `numbers` these are all
    complete trials. A trial of a sweep with `validate` is run over the whole time before the holdout.

    Trials run again in this process. Raises AkqStudyError when the sweep is no longer the one that was
    recorded, a number is unknown, or a trial gives another result than the ledger holds; AkqUsageError for a
    matrix above `MAX_CELLS`.
    """
    import polars as pl

    refuse_changes(store.study, prepared, f"the trials of study '{store.study.name}' cannot be run again")
    wanted = _complete(store) if numbers is None else _known(store, numbers)
    n_dates = len(prepared.dates)
    if len(wanted) * n_dates > MAX_CELLS:
        raise AkqUsageError(
            f"returns: {len(wanted):,} trials on {n_dates:,} dates are too many to keep; name the numbers of "
            f"at most {MAX_CELLS // n_dates:,} trials, such as those of the best"
        )
    n_threads = serial_executor(prepared).n_threads
    worker = Worker(replace(prepared.job(n_threads), windows=None, rungs=None), prepared.data.table)
    columns: dict[str, Any] = {"date": pl.Series(worker.dates[1:], dtype=pl.Int32).cast(pl.Date)}
    for start in range(0, len(wanted), _BLOCK):
        block = store.take(wanted[start : start + _BLOCK])
        matrix, hashes = worker.returns(Batch(0, block.numbers, np.ascontiguousarray(block.points)))
        if prepared.windows is None:
            _check(block, hashes)
        columns |= {str(number): row for number, row in zip(block.numbers.tolist(), matrix, strict=True)}
    return pl.DataFrame(columns)


def _check(block: TrialBlock, hashes: Sequence[str]) -> None:
    """Refuse returns that are not those of the recorded trials."""
    for number, state, held, found in zip(
        block.numbers.tolist(), block.states, block.hashes, hashes, strict=True
    ):
        if state == "complete" and held != found:
            raise AkqStudyError(
                f"trial {number} gives another result when it is run again; `akq replay` shows what differs."
            )


def _complete(store: TrialStore) -> list[int]:
    return [
        number
        for block in store.blocks(size=20_000)
        for number, state in zip(block.numbers.tolist(), block.states, strict=True)
        if state == "complete"
    ]


def _known(store: TrialStore, numbers: Sequence[int]) -> list[int]:
    n_asked = store.numbers()[0]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise AkqUsageError(f"returns: found {number!r}, expected numbers of trials")
        if not 0 <= number < n_asked:
            raise AkqStudyError(
                f"study '{store.study.name}' has no trial {number}; it has {n_asked:,} trials."
            )
    return sorted({int(number) for number in numbers})
