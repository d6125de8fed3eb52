"""What runs trials: a plan, a panel and, for a Python strategy, its class. Every executor uses this one."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from akq_dist.errors import AkqError, AkqStrategyError, ExecutorError
from akq_dist.record.arrow import counts, float_column, floats, int_column, joined
from akq_dist.record.isolation import kept_globals
from akq_dist.record.plan_runner import PlanRunner
from akq_dist.record.protocols import NO_TRIAL, BatchResult, TrialDetail
from akq_dist.record.pruning import part_of_panel, stopped_table
from akq_dist.record.windowed import combine_tables, window_plans, with_window

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from akq_dist import _core
    from akq_dist.record.protocols import Batch, Job
    from akq_dist.record.pruning import PruneRule, Rungs
    from akq_dist.validate import WindowSet


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
        self._kept: Callable[[], AbstractContextManager[None]] = (
            nullcontext if job.strategy is None else kept_globals
        )
        self._table = panel
        self._panel = _core.Panel.from_arrow(panel)
        self._whole = self._runner(job.plan)
        plans = [] if job.windows is None else window_plans(job.plan, job.windows)
        self._windows = [self._runner(plan) for plan in plans]

    @property
    def outputs(self) -> list[str]:
        windows, outputs = self._job.windows, self._whole.plan.outputs
        return outputs if windows is None else list(windows.names(outputs))

    @property
    def dates(self) -> NDArray[np.int32]:
        """Trading dates of a run in order, in days since 1970-01-01."""
        return self._whole.dates

    def run(self, batch: Batch) -> BatchResult:
        """Run a batch.

        A trial that fails is a row with an error; only Ctrl-C and faults of ours come out as exceptions.
        """
        started_s = time.perf_counter()
        with self._kept():
            table = self._run_to_its_end_or_rung(batch)
        self._announce(NO_TRIAL, 0)
        return BatchResult(batch.id, table, time.perf_counter() - started_s, self.name)

    def returns(self, batch: Batch) -> tuple[NDArray[np.float64], list[str]]:
        """Return the returns of all accounts together, shape (trials, dates - 1), and the trials' hashes.

        A trial that fails has NaN and an empty hash.
        """
        with self._kept():
            return self._whole.returns(batch)

    def detail(self, batch: Batch) -> list[TrialDetail]:
        """Run trials again with every table kept. Raises what the strategy raises."""
        with self._kept():
            return self._details(batch)

    def _run_to_its_end_or_rung(self, batch: Batch) -> pa.Table:
        rungs = self._job.rungs
        if rungs is None:
            return self._run_all(batch)
        if rungs.windows:
            assert self._job.windows is not None
            windows = self._job.windows
            return joined([self._run_windows_in_turn(part, rungs, windows) for part in self._parts(batch)])
        if self._whole.plan.canonical_rules is not None and self._job.windows is None:
            return self._run_staged(batch, rungs)
        return self._run_rungs(batch, rungs)

    def _details(self, batch: Batch) -> list[TrialDetail]:
        details = []
        for ix, number in enumerate(batch.numbers.tolist()):
            result = self._whole.one(batch.params[ix], details=True)
            found = result.hash
            if self._windows:
                # Tables are of the whole time; what identifies the trial is what it did in its windows.
                row = self._run_all(batch.part(ix, ix + 1))
                error, found = row.column("error")[0].as_py(), row.column("hash")[0].as_py()
                if error is not None:
                    raise AkqStrategyError(error)
            tables = {
                "metrics": result.metrics(),
                "equity": result.equity(),
                "orders": result.orders(),
                "fills": result.fills(),
                "trades": result.trades(),
            }
            details.append(
                TrialDetail(number, found, {name: pa.table(table) for name, table in tables.items()})
            )
        return details

    def _runner(self, plan: str) -> PlanRunner:
        return PlanRunner(self._job, plan, self._table, self._panel, self._announce)

    def _announce(self, number: int, n_trials: int) -> None:
        if self.on_trial is not None:
            self.on_trial(number, n_trials)

    def _no_rows(self) -> pa.Table:
        windows, empty = self._job.windows, self._whole.no_rows()
        if windows is None:
            return empty
        return combine_tables(windows, self._whole.plan.outputs, [empty] * len(windows.windows))

    def _parts(self, batch: Batch) -> list[Batch]:
        """Return the trials that run together, in the order of the batch."""
        n = len(batch.numbers)
        size = self._whole.together or max(1, n)
        return [batch.part(start, start + size) for start in range(0, n, size)]

    def _run_all(self, batch: Batch) -> pa.Table:
        """Run every trial to its end; where trials run one by one, each runs all of its windows before the next."""
        tables = []
        for part in self._parts(batch):
            self._announce(int(part.numbers[0]), len(part.numbers))
            if self._job.windows is None:
                tables.append(self._whole.run(part))
            else:
                found = [runner.run(part) for runner in self._windows]
                tables.append(combine_tables(self._job.windows, self._whole.plan.outputs, found))
        return tables[0] if len(tables) == 1 else joined(tables)

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

        if rule is None:
            table = self._run_all(batch)
        else:
            self._announce(int(batch.numbers[0]), n)
            ran = self._whole.plan.run_staged(
                self._panel,
                space.rule_values(batch.params),
                look,
                threads=self._job.threads,
                assets=None if rungs.dates else rungs.assets,
                dates=rungs.dates or None,
                reference=reference,
            )
            table = pa.table(ran).add_column(0, "number", int_column(batch.numbers))
        for rung, name in enumerate(rungs.names):
            table = table.append_column(name, float_column(np.ascontiguousarray(values[:, rung])))
        return table.append_column("pruned", pa.array(stopped))

    def _run_rungs(self, batch: Batch, rungs: Rungs) -> pa.Table:
        """Do the same for what the engine cannot stop on the way: each look is a run up to there."""
        n = len(batch.numbers)
        values = np.full((n, len(rungs)), np.nan)
        n_bars = np.zeros(n, dtype=np.int64)
        alive = np.arange(n)
        for rung, worker in enumerate(self._rung_workers if batch.rule is not None else []):
            if not len(alive):
                break
            worker.on_trial = self.on_trial
            part = _chosen(batch, alive)
            table = worker._run_all(part)
            values[alive, rung] = floats(table.column(rungs.output))
            n_bars[alive] += counts(table.column("n_bars"))
            stopped = worker._stopped(part, batch.rule, values[alive, : rung + 1], rungs)
            alive = alive[~stopped]
        table = self._run_all(_chosen(batch, alive)) if len(alive) else self._no_rows()
        return stopped_table(batch.numbers, alive, table, values, n_bars, rungs)

    @cached_property
    def _rung_workers(self) -> list[Worker]:
        """A worker for each look, over its assets or up to its date; made when the first trial may be stopped."""
        rungs = self._job.rungs
        assert rungs is not None
        job = replace(self._job, rungs=None)
        if not rungs.dates:
            return [Worker(job, part_of_panel(self._table, assets)) for assets in rungs.assets]
        start = json.loads(job.plan)["window"]["start"]
        return [
            Worker(replace(job, plan=with_window(job.plan, start, end)), self._table) for end in rungs.dates
        ]

    def _stopped(
        self, part: Batch, rule: PruneRule | None, values: NDArray[np.float64], rungs: Rungs
    ) -> NDArray[np.bool_]:
        """Tell which trials end at this look; `values` are theirs at the looks so far, shape (trials, looks)."""
        if rule is None:
            return np.zeros(len(part.numbers), dtype=np.bool_)
        if rule.reference is None:
            stops = [
                rule.stops(number, mine)
                for number, mine in zip(part.numbers.tolist(), values.tolist(), strict=True)
            ]
        else:
            best = self._whole.by_asset(np.array(rule.reference), rungs.metric)
            stops = [self._is_worse(point, rule, best, rungs.metric) for point in part.params]
        return np.array(stops, dtype=np.bool_)

    def _is_worse(self, point: NDArray[np.float64], rule: PruneRule, best: list[float], metric: str) -> bool:
        try:
            return rule.is_worse(self._whole.by_asset(point, metric), best)
        except AkqError:
            return False  # the whole run tells what is wrong with it

    def _run_windows_in_turn(self, part: Batch, rungs: Rungs, windows: WindowSet) -> pa.Table:
        """Run windows in the order of time, those of the looks first, for the trials that are not stopped yet.

        Nothing is run twice, and what a trial gives that is not stopped does not depend on the rungs.
        """
        self._announce(int(part.numbers[0]), len(part.numbers))
        n, rule = len(part.numbers), part.rule
        values = np.full((n, len(rungs)), np.nan)
        by_window = np.full((n, len(self._windows)), np.nan)
        n_bars = np.zeros(n, dtype=np.int64)
        alive = np.arange(n)
        tables: dict[int, pa.Table] = {}
        everything = tuple(range(len(self._windows)))
        for rung, look in enumerate((*(rungs.windows if rule is not None else ()), everything)):
            if not len(alive):
                break
            for ix in look:
                if ix not in tables:
                    tables[ix] = self._windows[ix].run(_chosen(part, alive))
                    by_window[alive, ix] = floats(tables[ix].column(rungs.output))
            if rule is None or rung == len(rungs):
                continue
            values[alive, rung] = windows.so_far(by_window[alive], look)
            stopped = np.array(
                [
                    rule.stops(int(part.numbers[row]), values[row, : rung + 1].tolist())
                    if rule.name != "wilcoxon"
                    else rule.is_worse_over(look, by_window[row])
                    for row in alive.tolist()
                ],
                dtype=np.bool_,
            )
            n_ran = np.sum([counts(table.column("n_bars")) for table in tables.values()], axis=0)
            n_bars[alive[stopped]] = n_ran[stopped]
            tables = {ix: table.filter(pa.array(~stopped)) for ix, table in tables.items()}
            alive = alive[~stopped]
        found = [tables[ix] for ix in everything] if len(alive) else []
        table = combine_tables(windows, self._whole.plan.outputs, found) if found else self._no_rows()
        return stopped_table(part.numbers, alive, table, values, n_bars, rungs)


def _chosen(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    return replace(batch, numbers=batch.numbers[rows], params=np.ascontiguousarray(batch.params[rows]))
