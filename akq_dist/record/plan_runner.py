"""Runs trials of one plan over one panel: rules, named strategies and Python strategies give rows of one table."""

from __future__ import annotations

import json
import math
import traceback
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from akq_dist.errors import AkqError, AkqStrategyError
from akq_dist.record.arrow import float_column, floats, int_column, joined, text_column
from akq_dist.record.canonical import canonical_json, derive_seed
from akq_dist.record.isolation import fresh_globals
from akq_dist.record.pooled import dates_within, pooled_returns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from akq_dist import _core
    from akq_dist.record.protocols import Batch, Job

ERROR_BYTES = 10_000
"""Longest error text that travels; the end of a traceback says most, so the middle is cut."""


class PlanRunner:
    """Runs trials of a plan in this process; the windows of a validation are a plan each.

    Not thread-safe; the engine uses the job's threads by itself.
    """

    def __init__(
        self, job: Job, plan: str, table: pa.Table, panel: _core.Panel, announce: Callable[[int, int], None]
    ) -> None:
        """`plan` is JSON; `announce` hears what begins where trials that should run together run alone.

        Raises AkqStrategyError for a bad strategy.
        """
        from akq_dist import _core

        self.plan = _core.Plan(plan)
        self.plan.check(panel)
        self._text = plan
        self._job = job
        self._table = table
        self._panel = panel
        self._announce = announce
        self._strategy = None if job.strategy is None else _PythonStrategy(job, plan, table, panel)

    @property
    def together(self) -> int | None:
        """Number of trials that run together; None where it is all of a batch."""
        return None if self._strategy is None else max(1, self._strategy.batch_size)

    def run(self, batch: Batch) -> pa.Table:
        """Return a row a trial; one that fails has an error, no values and an empty hash."""
        try:
            table = self._run(batch)
        except KeyboardInterrupt:
            raise
        # The edge of a trial: whatever user code raises, SystemExit and a panic of the engine included, is its
        # result. Where several ran together, each alone tells whose fault it was.
        except BaseException as error:
            if self._strategy is None and not isinstance(error, AkqError):
                raise
            if len(batch.numbers) > 1:
                return joined([self._run_alone(batch, ix) for ix in range(len(batch.numbers))])
            table = self._failed(error)
        return table.add_column(0, "number", int_column(batch.numbers))

    def one(self, point: NDArray[np.float64], *, details: bool) -> _core.RunResult:
        """Run a point; `details` keeps every table. Raises what the strategy raises."""
        if self._strategy is not None:
            return self._strategy.run(point, details=details)
        values = self._job.space.rule_values(point)
        return self.plan.run_one(self._panel, values.tolist(), details=details)

    def by_asset(self, point: NDArray[np.float64], metric: str) -> list[float]:
        """Return a metric of every account, in panel order; NaN where it is undefined."""
        column = pa.table(self.one(point, details=False).metrics()).column(metric)
        return [math.nan if value is None else value for value in column.to_pylist()]

    @cached_property
    def dates(self) -> NDArray[np.int32]:
        """Trading dates of a run in order, in days since 1970-01-01."""
        window = json.loads(self._text)["window"]
        return dates_within(self._table, window["start"], window["end"])

    def returns(self, batch: Batch) -> tuple[NDArray[np.float64], list[str]]:
        """Return the returns of all accounts together, shape (trials, dates - 1), and the trials' hashes.

        A trial that fails has NaN and an empty hash.
        """
        if self._strategy is None:
            values = self._job.space.rule_values(batch.params)
            try:
                found = self.plan.explore(self._panel, values, threads=self._job.threads, returns=True)
            except AkqError:
                if len(batch.numbers) > 1:
                    parts = [self.returns(batch.part(ix, ix + 1)) for ix in range(len(batch.numbers))]
                    return np.concatenate([part[0] for part in parts]), [part[1][0] for part in parts]
                return np.full((1, len(self.dates) - 1), np.nan), [""]
            columns = pa.table(found.returns()).columns[1:]
            hashes = pa.table(found.trials()).column("hash").to_pylist()
            return np.array([floats(column) for column in columns]), [text or "" for text in hashes]
        matrix = np.full((len(batch.numbers), len(self.dates) - 1), np.nan)
        hashes = [""] * len(batch.numbers)
        cash = float(json.loads(self._text)["market"]["cash"])
        for ix, point in enumerate(batch.params):
            try:
                result = self.one(point, details=False)
            except KeyboardInterrupt:
                raise
            # The edge of a trial, as when it was recorded.
            except BaseException:  # noqa: S112
                continue
            matrix[ix] = pooled_returns(pa.table(result.equity()), self.dates, cash)
            hashes[ix] = result.hash
        return matrix, hashes

    def no_rows(self) -> pa.Table:
        """Return the table of no trials."""
        return self._rows([]).add_column(0, "number", int_column(np.empty(0, np.int64)))

    def _run(self, batch: Batch) -> pa.Table:
        if self._strategy is None:
            values = self._job.space.rule_values(batch.params)
            return pa.table(self.plan.run_batch(self._panel, values, threads=self._job.threads))
        if self._strategy.batch_size:
            return pa.table(self._strategy.run_batch(batch.params, self._job.threads))
        return self._rows([self.one(point, details=False) for point in batch.params])

    def _run_alone(self, batch: Batch, ix: int) -> pa.Table:
        part = batch.part(ix, ix + 1)
        if self._strategy is not None:
            self._announce(int(part.numbers[0]), 1)
        return self.run(part)

    def _failed(self, error: BaseException) -> pa.Table:
        if self._strategy is None:
            text = f"{type(error).__name__}: {error}"
        else:
            text = _error_text(error, self._strategy.folder_names)
        row = self._rows([None])
        return row.set_column(row.column_names.index("error"), "error", text_column([text]))

    def _rows(self, results: list[_core.RunResult | None]) -> pa.Table:
        outputs = self.plan.outputs
        values = np.full((len(results), len(outputs)), np.nan)
        for ix, result in enumerate(results):
            if result is not None:
                values[ix] = result.values
        columns: dict[str, pa.Array] = {
            "error": text_column([None] * len(results)),
            "hash": text_column(["" if result is None else result.hash for result in results]),
            "n_bars": int_column(np.array([0 if r is None else r.n_bars for r in results], dtype=np.int64)),
            "n_defined": int_column(
                np.array([0 if r is None else r.n_defined for r in results], dtype=np.int64)
            ),
        }
        columns.update({name: float_column(values[:, ix]) for ix, name in enumerate(outputs)})
        return pa.table(columns)


class _PythonStrategy:
    """The strategy class of a job and the panel it trades."""

    def __init__(self, job: Job, plan: str, table: pa.Table, panel: _core.Panel) -> None:
        from akq_dist.runner import StrategyRunner

        if job.strategy is None:
            raise AkqStrategyError("internal: the job has no Python strategy.")
        names = list(job.space.names)
        self._runner = StrategyRunner(job.strategy.load(), table, panel, plan, names)
        self._space = job.space
        self._fixed = dict(job.fixed)
        self._seed = job.seed
        self._home = Path.cwd()
        self.folder_names = tuple(module.path for module in job.strategy.modules)

    @property
    def batch_size(self) -> int:
        """Number of trials that run together; 0 where each runs alone."""
        return self._runner.batch_size

    def run_batch(self, points: NDArray[np.float64], threads: int) -> _core.ArrowTable:
        sets = [{**self._fixed, **self._space.decode(point)} for point in points]
        return self._runner.run_batch(sets, threads=threads)

    def run(self, point: NDArray[np.float64], *, details: bool) -> _core.RunResult:
        params = self._space.decode(point)
        seed = derive_seed(self._seed, canonical_json(dict(params)))
        fresh_globals(seed, self._home)
        return self._runner.run({**self._fixed, **params}, seed, details=details)


def _error_text(error: BaseException, modules: tuple[str, ...]) -> str:
    """Return the traceback from the strategy's own frames on.

    The frames of the machinery around it say nothing.
    """
    frames = traceback.extract_tb(error.__traceback__)
    first = next(
        (ix for ix, frame in enumerate(frames) if frame.filename.replace("\\", "/").endswith(modules)), 0
    )
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames[first:])]
    lines += traceback.format_exception_only(error)
    text = "".join(lines).strip()
    if len(text) <= ERROR_BYTES:
        return text
    half = ERROR_BYTES // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
