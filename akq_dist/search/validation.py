"""What a validated study is worth out of sample: per fold the train-best, judged on time it has not seen."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.record.protocols import Batch
from akq_dist.record.windowed import with_window
from akq_dist.record.worker import Worker
from akq_dist.search.best import feasible_rows, rank_best
from akq_dist.search.judge import Judge
from akq_dist.search.ranking import best_trials
from akq_dist.search.replay import refuse_changes
from akq_dist.specs.suggest import did_you_mean
from akq_dist.validate import paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    from akq_dist.record.trials import TrialStore
    from akq_dist.search.judge import Objective
    from akq_dist.search.prepare import Prepared
    from akq_dist.validate import Fold, Window, WindowSet

HOLDOUT_VIEW = "holdout"
"""Name under which the ledger counts how often the holdout has been opened."""

_LISTED = 20
_EPOCH = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class FoldResult:
    """The train-best trial of a fold and its values on both sides."""

    fold: int
    train: tuple[Window, ...]
    test: tuple[Window, ...]
    number: int | None
    """None where no trial has a value and meets the constraints."""
    train_value: float | None
    test_value: float | None


@dataclass(frozen=True)
class HoldoutResult:
    """The winner of the whole study on the sealed time."""

    number: int
    start: dt.date
    end: dt.date
    value: float | None
    openings: int
    """How often this holdout has been looked at, this time included; only the first look is honest."""


@dataclass(frozen=True)
class Validation:
    """Folds with their out-of-sample values, and the equity that following them would have given."""

    objective: str
    folds: tuple[FoldResult, ...]
    curves: tuple[pl.DataFrame, ...]
    """`date, equity, fold`: test windows joined, starting at 1; one curve, or one a path of combinatorial folds."""
    sealed_from: dt.date | None = None
    """First date of the holdout, which nothing here has seen."""

    @property
    def efficiency(self) -> float | None:
        """Mean value on the tests over the mean value on the trains (walk-forward efficiency, Pardo 2008).

        None where the train mean is not above zero, for which the ratio says nothing.
        """
        pairs = [(f.train_value, f.test_value) for f in self.folds]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        train = sum(a for a, _ in known)
        return sum(b for _, b in known) / train if train > 0.0 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "objective": self.objective,
            "efficiency": self.efficiency,
            "folds": [
                {**asdict(fold), "train": _dates(fold.train), "test": _dates(fold.test)}
                for fold in self.folds
            ],
            "sealed_from": None if self.sealed_from is None else self.sealed_from.isoformat(),
            "final_equity": [float(curve["equity"][-1]) if curve.height else None for curve in self.curves],
        }


def validation(prepared: Prepared, store: TrialStore, objective: str | None = None) -> Validation:
    """Choose the best trial of each fold by its train windows and join their test windows.

    `objective` names what chooses where a sweep has several objectives: folds have one winner, not a front. Raises
    AkqStudyError for a sweep without `validate`, AkqUsageError where the objective is not named or not known.
    """
    windows = _windows(prepared)
    refuse_changes(store.study, prepared, f"study '{store.study.name}' cannot be validated")
    chooser = _chooser(prepared, objective)
    table = _window_values(prepared, store, windows, chooser.output)
    folds, curves = [], []
    equity: dict[tuple[int, Window], pl.DataFrame] = {}
    for ix, fold in enumerate(windows.folds):
        folds.append(_fold_result(ix, fold, windows, chooser, table))
    for chosen in _routes(prepared, windows):
        parts = []
        for fold_ix, window in chosen:
            number = folds[fold_ix].number
            if number is None:
                parts.append((fold_ix, _cash(prepared, window)))
                continue
            if (number, window) not in equity:
                equity[number, window] = _equity(prepared, store, number, window)
            parts.append((fold_ix, equity[number, window]))
        curves.append(_join(parts))
    spec = prepared.spec.validate_
    sealed_from = None if spec is None or spec.holdout is None else spec.holdout.from_
    return Validation(chooser.output, tuple(folds), tuple(curves), sealed_from)


def open_holdout(
    prepared: Prepared, store: TrialStore, objective: str | None = None, number: int | None = None
) -> HoldoutResult:
    """Run the winner of the study on the sealed time, and count that somebody looked.

    Where a sweep has several objectives `number` is one of the trials that no other dominates, and `objective` the
    value that is reported. Raises AkqStudyError where there is nothing to open, AkqUsageError where a choice is
    missing.
    """
    spec = prepared.spec.validate_
    if spec is None or spec.holdout is None:
        raise AkqStudyError(f"study '{store.study.name}' has no holdout; write validate.holdout.from")
    refuse_changes(store.study, prepared, "the holdout cannot be opened")
    chooser = _chooser(prepared, objective)
    best = [record.number for record in best_trials(prepared.judge, store)]
    if not best:
        raise AkqStudyError(f"study '{store.study.name}' has no winner to run on the holdout")
    if number is None and len(prepared.judge.objectives) > 1:
        raise AkqUsageError(
            f"study '{store.study.name}' has several objectives, so {len(best):,} trials and no single winner; name "
            f"the one to run on the holdout with --trial: {_listed(best)}"
        )
    number = best[0] if number is None else number
    if number not in best:
        raise AkqUsageError(
            f"--trial: {number} is no winner of the study; the holdout is for {_listed(best)}"
        )
    if store.numbers()[1]:
        raise AkqStudyError(
            f"study '{store.study.name}' has open trials; the holdout is for a finished study"
        )
    last = max(prepared.dates)
    # Counted before it is run: a look that failed half-way was a look.
    openings = store.watermark(HOLDOUT_VIEW)[0] + 1
    store.set_watermark(HOLDOUT_VIEW, openings, {"number": number, "from": spec.holdout.from_.isoformat()})
    worker = _worker_over(prepared, spec.holdout.from_, last)
    table = worker.run(_batch(store, number)).table
    column = table.column(chooser.output)[0].as_py()
    value = None if column is None or not np.isfinite(column) else float(column)
    return HoldoutResult(number, spec.holdout.from_, last, value, openings)


def _fold_result(
    ix: int, fold: Fold, windows: WindowSet, chooser: Objective, table: tuple[Any, Any, Any]
) -> FoldResult:
    numbers, values, feasible = table
    train, test = windows.mean(values, fold.train), windows.mean(values, fold.test)
    usable = feasible & np.isfinite(train)
    chosen = rank_best(Judge([chooser.output], [chooser]), numbers[usable], train[usable][:, np.newaxis], 1)
    if not chosen:
        return FoldResult(ix, fold.train, fold.test, None, None, None)
    row = int(np.flatnonzero(numbers == chosen[0])[0])
    test_value = float(test[row])
    return FoldResult(
        ix,
        fold.train,
        fold.test,
        chosen[0],
        float(train[row]),
        test_value if np.isfinite(test_value) else None,
    )


def _window_values(
    prepared: Prepared, store: TrialStore, windows: WindowSet, output: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return numbers, values of shape (windows, trials) and which trials meet the constraints."""
    columns = [store.study.outputs.index(f"{label}.{output}") for label in windows.labels]
    numbers = [np.empty(0, dtype=np.int64)]
    values = [np.empty((0, len(columns)))]
    feasible = [np.empty(0, dtype=np.bool_)]
    for block in store.blocks(size=20_000):
        keep = np.array([state == "complete" for state in block.states], dtype=np.bool_)
        numbers.append(block.numbers[keep])
        values.append(block.metrics[keep][:, columns])
        feasible.append(feasible_rows(prepared.judge.violations(block.metrics[keep])))
    return np.concatenate(numbers), np.concatenate(values).T, np.concatenate(feasible)


def _routes(prepared: Prepared, windows: WindowSet) -> list[list[tuple[int, Window]]]:
    """Return for each curve the (fold, test window) that it is made of, in the order of time."""
    spec = prepared.spec.validate_
    if spec is not None and spec.scheme == "combinatorial":
        groups = sorted({window for fold in windows.folds for window in fold.test})
        return [
            list(zip(route, groups, strict=True)) for route in paths(spec.groups or 0, spec.test_groups or 0)
        ]
    return [[(ix, window) for ix, fold in enumerate(windows.folds) for window in fold.test]]


def _equity(prepared: Prepared, store: TrialStore, number: int, window: Window) -> pl.DataFrame:
    """Return `date, equity` of a trial over a window: all accounts together, as a multiple of their cash."""
    import polars as pl

    worker = _worker_over(prepared, window.start, window.end)
    table = worker.detail(_batch(store, number))[0].tables["equity"]
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    by_account = (
        frame.sort("symbol", "ts")
        .group_by("symbol", "date", maintain_order=True)
        .agg(pl.col("equity").last())
        .pivot(on="symbol", index="date", values="equity")
        .sort("date")
    )
    cash = prepared.spec.market.cash
    accounts = [name for name in by_account.columns if name != "date"]
    # An account that has not begun to trade holds its cash.
    whole = by_account.with_columns(pl.col(accounts).forward_fill().fill_null(cash))
    return whole.select("date", (pl.sum_horizontal(accounts) / (cash * len(accounts))).alias("equity"))


def _cash(prepared: Prepared, window: Window) -> pl.DataFrame:
    """Return the equity of a window in which nothing was chosen to trade."""
    import polars as pl

    dates = [date for date in prepared.dates if window.start <= date <= window.end]
    return pl.DataFrame({"date": dates, "equity": [1.0] * len(dates)})


def _join(parts: Sequence[tuple[int, pl.DataFrame]]) -> pl.DataFrame:
    """Let each part go on from where the one before it ended."""
    import polars as pl

    level, frames = 1.0, []
    for fold, part in parts:
        frames.append(part.select("date", pl.col("equity") * level, pl.lit(fold).alias("fold")))
        level *= float(part["equity"][-1]) if part.height else 1.0
    return pl.concat(frames) if frames else pl.DataFrame({"date": [], "equity": [], "fold": []})


def _worker_over(prepared: Prepared, start: dt.date, end: dt.date) -> Worker:
    from dataclasses import replace

    job = prepared.job(1)
    plan = with_window(job.plan, start.toordinal() - _EPOCH, end.toordinal() - _EPOCH)
    return Worker(replace(job, plan=plan, windows=None), prepared.data.table)


def _batch(store: TrialStore, number: int) -> Batch:
    block = store.take([number])
    return Batch(0, block.numbers, np.ascontiguousarray(block.points))


def _chooser(prepared: Prepared, name: str | None) -> Objective:
    """Return the objective of a name, which a sweep with one objective need not give."""
    known = {objective.output: objective for objective in prepared.judge.objectives}
    if name is None and len(known) > 1:
        raise AkqUsageError(
            f"the sweep has several objectives; name the one that counts with --objective: {', '.join(known)}"
        )
    if name is not None and name not in known:
        raise AkqUsageError(f"--objective: unknown objective {name!r}{did_you_mean(name, list(known))}")
    return known[name] if name is not None else prepared.judge.objectives[0]


def _listed(numbers: Sequence[int]) -> str:
    more = ", ..." if len(numbers) > _LISTED else ""
    return ", ".join(str(number) for number in numbers[:_LISTED]) + more


def _windows(prepared: Prepared) -> WindowSet:
    if prepared.windows is None:
        raise AkqStudyError("the sweep has no section validate, so there is nothing out of sample")
    return prepared.windows


def _dates(windows: Sequence[Window]) -> list[list[str]]:
    return [[window.start.isoformat(), window.end.isoformat()] for window in windows]
