"""From the values of single windows to what a trial is judged by."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from akq_dist.validate.splits import Fold, Window

_EPOCH = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class WindowSet:
    """The different windows of some folds, each run once a trial, and how they make up the folds."""

    windows: tuple[Window, ...]
    folds: tuple[Fold, ...]
    kept: tuple[int, ...]
    """Columns of an engine result that are kept for every window."""

    @staticmethod
    def of(folds: Sequence[Fold], kept: Sequence[int]) -> WindowSet:
        """Collect the windows of folds in the order of time."""
        windows = sorted({window for fold in folds for window in (*fold.train, *fold.test)})
        return WindowSet(tuple(windows), tuple(folds), tuple(kept))

    def days(self) -> list[tuple[int, int]]:
        """Return first and last day of each window since 1970-01-01, as a plan has them."""
        return [(w.start.toordinal() - _EPOCH, w.end.toordinal() - _EPOCH) for w in self.windows]

    def names(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a trial: the outputs over the train windows, then `w03.sharpe.median`."""
        return (*outputs, *(f"{name}.{outputs[ix]}" for name in self.labels for ix in self.kept))

    @property
    def labels(self) -> list[str]:
        """Names of the windows: `w00`, `w01`, ..."""
        return [f"w{ix:02d}" for ix in range(len(self.windows))]

    def description(self) -> list[Any]:
        """Return plain data that tells any two sets apart that would give a trial other values."""
        folds = [[[self.windows.index(w) for w in side] for side in (f.train, f.test)] for f in self.folds]
        return [self.days(), folds, list(self.kept)]

    def combine(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the columns of trials from values of shape (windows, trials, outputs).

        An output is the mean over the folds of its mean over their train windows, by length. It is undefined
        where fewer than half of the folds define it.
        """
        over_folds = np.array([self.mean(values, fold.train) for fold in self.folds])
        n_defined = np.isfinite(over_folds).sum(axis=0)
        total = np.where(np.isfinite(over_folds), over_folds, 0.0).sum(axis=0)
        enough = 2 * n_defined >= len(self.folds)
        train = np.where(enough & (n_defined > 0), total / np.maximum(n_defined, 1), np.nan)
        single = np.concatenate([part[:, list(self.kept)] for part in values], axis=1)
        return np.concatenate([train, single], axis=1)

    @property
    def train(self) -> list[int]:
        """Positions of the windows that some fold learns from, in the order of time."""
        learned = {window for fold in self.folds for window in fold.train}
        return [ix for ix, window in enumerate(self.windows) if window in learned]

    def so_far(self, values: NDArray[np.float64], windows: Sequence[int]) -> NDArray[np.float64]:
        """Return the mean over some windows, by position, of values of shape (trials, windows).

        Undefined where fewer than half of them are defined.
        """
        chosen = values[:, list(windows)]
        defined = np.isfinite(chosen)
        n_defined = defined.sum(axis=1)
        mean: NDArray[np.float64] = np.where(defined, chosen, 0.0).sum(axis=1) / np.maximum(n_defined, 1)
        return np.where((n_defined > 0) & (2 * n_defined >= len(windows)), mean, np.nan)

    def mean(self, values: NDArray[np.float64], windows: Sequence[Window]) -> NDArray[np.float64]:
        """Return the mean over some windows by their length in days; undefined where one of them is."""
        lengths = np.array([(window.end - window.start).days + 1.0 for window in windows])
        chosen = values[[self.windows.index(window) for window in windows]]
        mean: NDArray[np.float64] = np.tensordot(lengths / lengths.sum(), chosen, axes=1)
        return mean
