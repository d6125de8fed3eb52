"""Trials that are looked at after a part of the assets, the time or the windows, and stopped when they are behind."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from akq_dist.record.arrow import counts, float_column, int_column, text_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.validate import WindowSet


@dataclass(frozen=True)
class Rungs:
    """The assets of each look, a prefix of one order of all assets, or its date or windows; and what is looked at."""

    assets: tuple[tuple[int, ...], ...]
    """Empty where a look is at all assets."""
    output: str
    """Column of an engine result: the first objective."""
    metric: str
    """The metric of it, for values asset by asset."""
    dates: tuple[int, ...] = ()
    """The trading dates at whose end trials are looked at, in days since 1970-01-01; empty for looks by assets."""
    windows: tuple[tuple[int, ...], ...] = ()
    """The train windows of a validation that each look has seen, a prefix of all in the order of time."""
    by_window: tuple[str, ...] = ()
    """Columns of a trial that hold its value in every window of a validation."""

    @staticmethod
    def of_time(dates: Sequence[int], shares: Sequence[float], output: str, metric: str) -> Rungs:
        """Choose the ends of the first shares of the trading dates, ascending in `dates`."""
        ends = [dates[max(1, math.ceil(share * len(dates))) - 1] for share in shares]
        return Rungs((), output, metric, tuple(dict.fromkeys(ends)))

    @staticmethod
    def of(symbols: Sequence[str], shares: Sequence[float], output: str, metric: str) -> Rungs:
        """Choose assets in an order that has nothing to do with names, groups or time."""
        order = sorted(range(len(symbols)), key=lambda ix: hashlib.sha256(symbols[ix].encode()).digest())
        chosen = [tuple(sorted(order[: max(1, math.ceil(share * len(symbols)))])) for share in shares]
        return Rungs(tuple(dict.fromkeys(chosen)), output, metric)

    @staticmethod
    def of_windows(windows: WindowSet, shares: Sequence[float], output: str, metric: str) -> Rungs:
        """Choose the first shares of the train windows."""
        train = windows.train
        chosen = [tuple(train[: max(1, math.ceil(share * len(train)))]) for share in shares]
        by_window = tuple(f"{label}.{output}" for label in windows.labels)
        return Rungs((), output, metric, windows=tuple(dict.fromkeys(chosen)), by_window=by_window)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of a trial that hold its values at the looks."""
        return tuple(f"rung{ix}.{self.output}" for ix in range(len(self)))

    def __len__(self) -> int:
        return len(self.windows or self.dates or self.assets)

    def description(self) -> Any:
        """Return plain data that a trial's key knows of the looks."""
        if self.windows:
            return {"windows": [list(part) for part in self.windows]}
        return {"dates": list(self.dates)} if self.dates else [list(part) for part in self.assets]


_EXACT: Final = 50


def values_at_looks(metrics: Mapping[str, float]) -> dict[int, float]:
    """Return the values of a recorded trial at the looks, by number of the look, from 0."""
    looks = [name for name in metrics if name.startswith("rung")]
    return {int(name.removeprefix("rung").partition(".")[0]): metrics[name] for name in looks}


@dataclass(frozen=True)
class PruneRule:
    """What a pruner decided before a group of trials was sent out; a pure function of a trial's own values.

    Costs are values with the sign that makes less better.
    """

    name: str
    sign: float
    limits: tuple[tuple[float, ...], ...] = ()
    """For each bracket the largest cost that goes on from each rung; infinite where nothing is stopped yet."""
    patience: int = 1
    min_delta: float = 0.0
    lower: float = -math.inf
    upper: float = math.inf
    reference: tuple[float, ...] | None = None
    """Row of the best point so far, which a trial is compared with asset by asset."""
    best_values: tuple[float, ...] | None = None
    """The best trial's value in every window of a validation, which a trial is compared with window by window."""
    p_threshold: float = 0.1

    def stops(self, number: int, values: Sequence[float]) -> bool:
        """Tell whether a trial ends at its newest look; an undefined value stops nothing."""
        value = values[-1]
        if not math.isfinite(value):
            return False
        if self.name == "threshold":
            return not self.lower <= value <= self.upper
        costs = [self.sign * v for v in values if math.isfinite(v)]
        if self.name == "patience":
            if len(costs) <= self.patience:
                return False
            return min(costs[-self.patience :]) > min(costs[: -self.patience]) - self.min_delta
        if not self.limits:
            return False
        limits = self.limits[number % len(self.limits)]
        return costs[-1] > limits[len(values) - 1]

    def is_worse(self, mine: Sequence[float], best: Sequence[float]) -> bool:
        """Tell whether values by asset or window are worse than those of the best trial.

        By the signed-rank test of Wilcoxon (1945), one-sided.
        """
        a, b = self.sign * np.asarray(mine), self.sign * np.asarray(best)
        known = np.isfinite(a) & np.isfinite(b)
        return signed_rank_p(a[known] - b[known]) < self.p_threshold

    def is_worse_over(self, windows: Sequence[int], mine: NDArray[np.float64]) -> bool:
        """Tell the same of values by window, of which some have been run; nothing is worse without a best trial."""
        if self.best_values is None:
            return False
        return self.is_worse(mine[list(windows)].tolist(), [self.best_values[ix] for ix in windows])


def signed_rank_p(differences: NDArray[np.float64]) -> float:
    """Return the probability of a sum of positive ranks at least so large, were signs a matter of chance.

    Zeros are ranked and then left out (Pratt 1959), ties share the mean of their ranks. Exact for up to 50
    differences, by counting signs; the normal approximation beyond.
    """
    n = len(differences)
    magnitudes = np.abs(differences)
    order = np.argsort(magnitudes, kind="stable")
    ranks = np.empty(n)
    # Equal magnitudes share the mean of their ranks.
    _, first, counts = np.unique(magnitudes[order], return_index=True, return_counts=True)
    for start, count in zip(first.tolist(), counts.tolist(), strict=True):
        ranks[order[start : start + count]] = start + (count + 1) / 2.0
    used = differences != 0.0
    if not used.any():
        return 1.0
    plus = float(ranks[differences > 0.0].sum())
    if n <= _EXACT:
        # Doubled ranks are whole numbers; `ways[s]` counts the choices of signs whose doubled sum is s.
        doubled = np.rint(2.0 * ranks[used]).astype(np.int64)
        ways = np.zeros(int(doubled.sum()) + 1)
        ways[0] = 1.0
        for rank in doubled.tolist():
            ways[rank:] += ways[: len(ways) - rank].copy()
        return float(ways[round(2.0 * plus) :].sum() / ways.sum())
    mean = float(ranks[used].sum()) / 2.0
    deviation = math.sqrt(float((ranks[used] ** 2).sum()) / 4.0)
    return 0.5 * math.erfc((plus - mean) / deviation / math.sqrt(2.0))


def part_of_panel(table: pa.Table, assets: Sequence[int]) -> pa.Table:
    """Return the panel of some assets."""
    metadata = dict(table.schema.metadata or {})
    symbols = json.loads(metadata[b"akq.symbols"])
    offsets = json.loads(metadata[b"akq.offsets"])
    slices = [table.slice(offsets[ix], offsets[ix + 1] - offsets[ix]) for ix in assets]
    starts = [0]
    for piece in slices:
        starts.append(starts[-1] + piece.num_rows)
    metadata[b"akq.symbols"] = json.dumps([symbols[ix] for ix in assets]).encode()
    metadata[b"akq.offsets"] = json.dumps(starts).encode()
    return pa.concat_tables(slices).combine_chunks().replace_schema_metadata(metadata)


def stopped_table(
    numbers: NDArray[np.int64],
    alive: NDArray[np.int64],
    whole: pa.Table,
    values: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    rungs: Rungs,
) -> pa.Table:
    """Return the table of a batch from the trials that ran whole (positions `alive`) and the values at the rungs."""
    rows: list[int | None] = [None] * len(numbers)
    for row, ix in enumerate(alive.tolist()):
        rows[ix] = row
    taken = whole.take(pa.array(rows, pa.int64()))
    columns = {name: taken.column(name) for name in taken.schema.names}
    stopped = np.ones(len(numbers), dtype=np.bool_)
    stopped[alive] = False
    columns["number"] = int_column(numbers)
    columns["n_bars"] = int_column(counts(columns["n_bars"]) + n_bars)
    columns["hash"] = text_column([text or "" for text in columns["hash"].to_pylist()])
    columns["n_defined"] = int_column(counts(columns["n_defined"]))
    for rung, name in enumerate(rungs.names):
        columns[name] = float_column(np.ascontiguousarray(values[:, rung]))
    columns["pruned"] = pa.array(stopped)
    return pa.table(columns)
