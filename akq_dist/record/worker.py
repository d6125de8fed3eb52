"""What runs trials: a plan, a panel and, for a Python strategy, its class. Every executor uses this one."""

from __future__ import annotations

import json
import math
import os
import socket
import time
import traceback
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from akq_dist.errors import AkqError, AkqStrategyError, ExecutorError
from akq_dist.record.arrow import float_column, floats, int_column, text_column
from akq_dist.record.canonical import canonical_json, derive_seed
from akq_dist.record.pooled import dates_within, pooled_returns
from akq_dist.record.protocols import NO_TRIAL, Batch, BatchResult, TrialDetail
from akq_dist.record.pruning import part_of_panel, stopped_table
from akq_dist.record.windowed import combine_runs, combine_tables, window_plans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from akq_dist import _core
    from akq_dist.record.protocols import Job
    from akq_dist.record.pruning import Rungs
    from akq_dist.record.windowed import WindowedRun

ERROR_BYTES = 10_000
"""Longest error text that travels; the end of a traceback says most, so the middle is cut."""


class Worker:
    """Runs batches of one sweep in this process.

    Not thread-safe; the engine uses the job's threads by itself.
    """

    def __init__(self, job: Job, panel: pa.Table) -> None:
        """Raise ExecutorError when the engine is not the driver's, AkqStrategyError for a bad strategy."""
        from akq_dist import _core

        if job.build != _core.BUILD:
            raise ExecutorError(
                f"the engine here is {_core.BUILD}, the driver's is {job.build}; "
                "install the same akq_dist on every node."
            )
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.on_trial: Callable[[int, int], None] | None = None
        """Hears the first number and the count of the trials that begin together, NO_TRIAL and 0 after the last."""
        self._job = job
        self._table = panel
        self._panel = _core.Panel.from_arrow(panel)
        self._plan = _core.Plan(job.plan)
        self._plan.check(self._panel)
        texts = [] if job.windows is None else window_plans(job.plan, job.windows)
        self._window_plans = [_core.Plan(text) for text in texts]
        self._strategy = _PythonStrategy(job, panel, self._panel) if job.strategy is not None else None
        self._window_strategies = (
            [_PythonStrategy(replace(job, plan=text), panel, self._panel) for text in texts]
            if job.strategy is not None
            else []
        )

    @property
    def outputs(self) -> list[str]:
        windows = self._job.windows
        return self._plan.outputs if windows is None else list(windows.names(self._plan.outputs))

    @cached_property
    def _rung_workers(self) -> list[Worker]:
        """A worker for the assets of each rung; made when the first trial may be stopped."""
        rungs = self._job.rungs
        if rungs is None:
            return []
        job = replace(self._job, rungs=None)
        return [Worker(job, part_of_panel(self._table, assets)) for assets in rungs.assets]

    def run(self, batch: Batch) -> BatchResult:
        """Run a batch.

        A trial that fails is a row with an error; only Ctrl-C and faults of ours come out as exceptions.
        """
        started_s = time.perf_counter()
        if self._strategy is None and self.on_trial is not None:
            self.on_trial(int(batch.numbers[0]), len(batch.numbers))
        rungs = self._job.rungs
        if rungs is None:
            table = self._run_all(batch)
        elif self._plan.canonical_rules is not None and self._job.windows is None:
            table = self._run_staged(batch, rungs)
        else:
            table = self._run_rungs(batch, rungs)
        return BatchResult(batch.id, table, time.perf_counter() - started_s, self.name)

    def _run_all(self, batch: Batch) -> pa.Table:
        return self._run_rules(batch) if self._strategy is None else self._run_python(batch, self._strategy)

    def _run_staged(self, batch: Batch, rungs: Rungs) -> pa.Table:
        """Run rules on from look to look inside the engine, to the one at which the rule stops a trial or to the end.

        What a trial gives that is not stopped does not depend on the rungs.
        """
        rule, space, n = batch.rule, self._job.space, len(batch.numbers)
        values = np.full((n, len(rungs)), np.nan)
        stopped = np.zeros(n, dtype=np.bool_)
        reference = None
        if rule is not None and rule.reference is not None:
            reference = space.rule_values(np.array(rule.reference)).tolist()

        def look(stage: int, trials: list[int], found: _core.BatchResult) -> list[bool]:
            assert rule is not None
            shown = floats(pa.table(found.trials()).column(rungs.output))
            values[trials, stage] = shown[: len(trials)]
            if reference is None:
                stops = [
                    rule.stops(int(batch.numbers[ix]), values[ix, : stage + 1].tolist()) for ix in trials
                ]
            else:
                by_asset = floats(pa.table(found.accounts()).column(rungs.metric)).reshape(len(shown), -1)
                stops = [rule.is_worse(mine.tolist(), by_asset[-1].tolist()) for mine in by_asset[:-1]]
            stopped[[ix for ix, is_stopped in zip(trials, stops, strict=True) if is_stopped]] = True
            return stops

        rows = space.rule_values(batch.params)
        if rule is None:
            table = self._run_batch(rows)
        else:
            table = pa.table(
                self._plan.run_staged(
                    self._panel,
                    rows,
                    look,
                    threads=self._job.threads,
                    assets=None if rungs.dates else rungs.assets,
                    dates=rungs.dates or None,
                    reference=reference,
                )
            )
        table = table.add_column(0, "number", int_column(batch.numbers))
        for rung, name in enumerate(rungs.names):
            table = table.append_column(name, float_column(np.ascontiguousarray(values[:, rung])))
        return table.append_column("pruned", pa.array(stopped))

    def _run_rungs(self, batch: Batch, rungs: Rungs) -> pa.Table:
        """Do the same for what the engine cannot stop on the way: each rung is a run over its assets."""
        n = len(batch.numbers)
        values = np.full((n, len(rungs.assets)), np.nan)
        n_bars = np.zeros(n, dtype=np.int64)
        alive = np.arange(n)
        for rung, worker in enumerate(self._rung_workers if batch.rule is not None else []):
            if not len(alive):
                break
            worker.on_trial = self.on_trial
            part = Batch(batch.id, batch.numbers[alive], np.ascontiguousarray(batch.params[alive]))
            table = worker._run_all(part)
            values[alive, rung] = floats(table.column(rungs.output))
            n_bars[alive] += np.array([bars or 0 for bars in table.column("n_bars").to_pylist()])
            stopped = [self._is_stopped(batch, ix, rung, values, rungs) for ix in alive.tolist()]
            alive = alive[~np.array(stopped, dtype=np.bool_)]
        whole = Batch(batch.id, batch.numbers[alive], np.ascontiguousarray(batch.params[alive]))
        table = (
            self._run_all(whole)
            if len(alive)
            else self._rows([]).add_column(0, "number", int_column(np.empty(0, np.int64)))
        )
        return stopped_table(batch.numbers, alive, table, values, n_bars, rungs)

    def _is_stopped(
        self, batch: Batch, ix: int, rung: int, values: NDArray[np.float64], rungs: Rungs
    ) -> bool:
        rule = batch.rule
        if rule is None:
            return False
        if rule.reference is None:
            return rule.stops(int(batch.numbers[ix]), values[ix, : rung + 1].tolist())
        worker = self._rung_workers[rung]
        try:
            mine = worker.by_asset(batch.params[ix], rungs.metric)
        except AkqError:
            return False  # the whole run tells what is wrong with it
        return rule.is_worse(mine, worker.by_asset(np.array(rule.reference), rungs.metric))

    def by_asset(self, point: NDArray[np.float64], metric: str) -> list[float]:
        """Return a metric of every account, in panel order; NaN where it is undefined."""
        column = pa.table(self._one(point, details=False).metrics()).column(metric)
        return [math.nan if value is None else value for value in column.to_pylist()]

    @cached_property
    def dates(self) -> NDArray[np.int32]:
        """Trading dates of a run in order, in days since 1970-01-01."""
        window = json.loads(self._job.plan)["window"]
        return dates_within(self._table, window["start"], window["end"])

    def returns(self, batch: Batch) -> tuple[NDArray[np.float64], list[str]]:
        """Return the returns of all accounts together, shape (trials, dates - 1), and the trials' hashes.

        A trial that fails has NaN and an empty hash.
        """
        if self._strategy is None:
            values = self._job.space.rule_values(batch.params)
            try:
                found = self._plan.explore(self._panel, values, threads=self._job.threads, returns=True)
            except AkqError:
                if len(batch.numbers) > 1:
                    parts = [self.returns(_slice(batch, ix, ix + 1)) for ix in range(len(batch.numbers))]
                    return np.concatenate([part[0] for part in parts]), [part[1][0] for part in parts]
                return np.full((1, len(self.dates) - 1), np.nan), [""]
            columns = pa.table(found.returns()).columns[1:]
            hashes = pa.table(found.trials()).column("hash").to_pylist()
            return np.array([floats(column) for column in columns]), [text or "" for text in hashes]
        matrix = np.full((len(batch.numbers), len(self.dates) - 1), np.nan)
        hashes = [""] * len(batch.numbers)
        cash = float(json.loads(self._job.plan)["market"]["cash"])
        for ix, point in enumerate(batch.params):
            try:
                result = self._one(point, details=False)
            except KeyboardInterrupt:
                raise
            # The edge of a trial, as when it was recorded.
            except BaseException:  # noqa: S112
                continue
            matrix[ix] = pooled_returns(pa.table(result.equity()), self.dates, cash)
            hashes[ix] = result.hash
        return matrix, hashes

    def detail(self, batch: Batch) -> list[TrialDetail]:
        """Run trials again with every table kept. Raises what the strategy raises."""
        details = []
        for number, point in zip(batch.numbers.tolist(), batch.params, strict=True):
            result = self._one(point, details=True)
            # Tables are of the whole time; what identifies the trial is what it did in its windows.
            found = result if self._job.windows is None else self._over_windows(point)
            tables = {
                "metrics": result.metrics(),
                "equity": result.equity(),
                "orders": result.orders(),
                "fills": result.fills(),
                "trades": result.trades(),
            }
            details.append(
                TrialDetail(number, found.hash, {name: pa.table(table) for name, table in tables.items()})
            )
        return details

    def _run_rules(self, batch: Batch) -> pa.Table:
        values = self._job.space.rule_values(batch.params)
        try:
            table = self._run_batch(values)
        except AkqError as error:
            if len(batch.numbers) > 1:
                # One bad trial must not cost the others theirs.
                parts = [self._run_rules(_slice(batch, ix, ix + 1)) for ix in range(len(batch.numbers))]
                return _joined(parts)
            table = self._rows([(f"{type(error).__name__}: {error}", None)])
        return table.add_column(0, "number", int_column(batch.numbers))

    def _run_batch(self, values: NDArray[np.float64]) -> pa.Table:
        threads = self._job.threads
        if self._job.windows is None:
            return pa.table(self._plan.run_batch(self._panel, values, threads=threads))
        tables = [
            pa.table(plan.run_batch(self._panel, values, threads=threads)) for plan in self._window_plans
        ]
        return combine_tables(self._job.windows, self._plan.outputs, tables)

    def _run_python(self, batch: Batch, strategy: _PythonStrategy) -> pa.Table:
        size = strategy.batch_size
        if size == 0:
            return self._run_one_by_one(batch, strategy)
        starts = range(0, len(batch.numbers), size)
        parts = [self._run_together(_slice(batch, start, start + size), strategy) for start in starts]
        return _joined(parts)

    def _run_together(self, batch: Batch, strategy: _PythonStrategy) -> pa.Table:
        """Run trials whose signals come from one call; where it raises, each alone tells whose fault it was."""
        if self.on_trial is not None:
            self.on_trial(int(batch.numbers[0]), len(batch.numbers))
        windows, threads = self._job.windows, self._job.threads
        try:
            if windows is None:
                table = pa.table(strategy.run_batch(batch.params, threads))
            else:
                tables = [pa.table(s.run_batch(batch.params, threads)) for s in self._window_strategies]
                table = combine_tables(windows, self._plan.outputs, tables)
        except KeyboardInterrupt:
            raise
        # The edge of a trial, as in `_run_one_by_one`.
        except BaseException as error:
            if len(batch.numbers) > 1:
                parts = [
                    self._run_together(_slice(batch, ix, ix + 1), strategy)
                    for ix in range(len(batch.numbers))
                ]
                return _joined(parts)
            table = self._rows([(_error_text(error, strategy.folder_names), None)])
        return table.add_column(0, "number", int_column(batch.numbers))

    def _run_one_by_one(self, batch: Batch, strategy: _PythonStrategy) -> pa.Table:
        rows: list[tuple[str | None, _core.RunResult | WindowedRun | None]] = []
        for number, point in zip(batch.numbers.tolist(), batch.params, strict=True):
            if self.on_trial is not None:
                self.on_trial(number, 1)
            try:
                windowed = self._job.windows is not None
                run = self._over_windows(point) if windowed else self._one(point, details=False)
                rows.append((None, run))
            except KeyboardInterrupt:
                raise
            # The edge of a trial: whatever user code raises, SystemExit and a panic of the engine included,
            # is its result, and the other trials of the batch go on.
            except BaseException as error:
                rows.append((_error_text(error, strategy.folder_names), None))
        if self.on_trial is not None:
            # What is left to do is no part of the last trial, whose time is limited.
            self.on_trial(NO_TRIAL, 0)
        return self._rows(rows).add_column(0, "number", int_column(batch.numbers))

    def _one(self, point: NDArray[np.float64], *, details: bool) -> _core.RunResult:
        if self._strategy is None:
            values = self._job.space.rule_values(point)
            return self._plan.run_one(self._panel, values.tolist(), details=details)
        return self._strategy.run(point, details=details)

    def _over_windows(self, point: NDArray[np.float64]) -> WindowedRun:
        assert self._job.windows is not None
        if self._strategy is None:
            row = self._job.space.rule_values(point).tolist()
            runs = [plan.run_one(self._panel, row, details=False) for plan in self._window_plans]
        else:
            runs = [strategy.run(point, details=False) for strategy in self._window_strategies]
        return combine_runs(self._job.windows, runs)

    def _rows(self, rows: list[tuple[str | None, _core.RunResult | WindowedRun | None]]) -> pa.Table:
        outputs = self.outputs
        values = np.full((len(rows), len(outputs)), np.nan)
        for ix, (_, result) in enumerate(rows):
            if result is not None:
                values[ix] = result.values
        ran = [result for _, result in rows]
        columns: dict[str, pa.Array] = {
            "error": text_column([error for error, _ in rows]),
            "hash": text_column(["" if result is None else result.hash for result in ran]),
            "n_bars": int_column(np.array([0 if result is None else result.n_bars for result in ran])),
            "n_defined": int_column(np.array([0 if result is None else result.n_defined for result in ran])),
        }
        columns.update({name: float_column(values[:, ix]) for ix, name in enumerate(outputs)})
        return pa.table(columns)


class _PythonStrategy:
    """The strategy class of a job and the panel it trades."""

    def __init__(self, job: Job, table: pa.Table, panel: _core.Panel) -> None:
        from akq_dist.runner import StrategyRunner

        if job.strategy is None:
            raise AkqStrategyError("internal: the job has no Python strategy.")
        names = list(job.space.names)
        self._runner = StrategyRunner(job.strategy.load(), table, panel, job.plan, names)
        self._space = job.space
        self._fixed = dict(job.fixed)
        self._seed = job.seed
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
        return self._runner.run({**self._fixed, **params}, seed, details=details)


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables with the same columns, whether or not these say that they hold no nulls."""
    plain = [pa.table({name: part.column(name) for name in part.column_names}) for part in parts]
    return pa.concat_tables(plain).combine_chunks()


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(batch.id, batch.numbers[start:stop], batch.params[start:stop])


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
