"""Train and test windows over the trading dates of a panel.

Every window is a run of its own: it begins with the full cash and no position, and bars before it warm the
indicators. So no trade reaches from a train window into a test window; what the purge of López de Prado
("Advances in Financial Machine Learning", 2018, chapters 7 and 12) removes cannot arise, and the embargo keeps
train windows away from the time right after a test.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from akq_dist.errors import AkqUsageError
from akq_dist.validate.span import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FOLDS = 1_000
NO_TIME = Span()
_DAY = dt.timedelta(days=1)
_LEAST_DATES = 2


@dataclass(frozen=True, order=True)
class Window:
    """Trading dates from `start` to `end`, both included."""

    start: dt.date
    end: dt.date


@dataclass(frozen=True)
class Fold:
    """One choice of what to learn from and what to judge by."""

    train: tuple[Window, ...]
    test: tuple[Window, ...]


def rolling(
    dates: Sequence[dt.date], *, train: Span, test: Span, step: Span | None = None, embargo: Span = NO_TIME
) -> list[Fold]:
    """Walk-forward with a train window of fixed length that moves with the test window.

    `dates` are the trading dates in order. The embargo is left out between a train window and its test. Only
    test windows that end within the dates count. Raises AkqUsageError when there is none.
    """
    return _walk(dates, train, test, step or test, embargo, anchored=False)


def anchored(
    dates: Sequence[dt.date], *, train: Span, test: Span, step: Span | None = None, embargo: Span = NO_TIME
) -> list[Fold]:
    """Walk-forward in which every train window begins at the first date; `train` is the shortest of them."""
    return _walk(dates, train, test, step or test, embargo, anchored=True)


def purged_kfold(dates: Sequence[dt.date], *, folds: int, embargo: Span = NO_TIME) -> list[Fold]:
    """Each of k equal groups of dates is the test once; the others train, without the embargo after the test."""
    return combinatorial(dates, groups=folds, test_groups=1, embargo=embargo)


def combinatorial(
    dates: Sequence[dt.date], *, groups: int, test_groups: int, embargo: Span = NO_TIME
) -> list[Fold]:
    """Every choice of `test_groups` out of equal groups of dates is a test once, in lexical order.

    The windows of a fold are groups: a group is run once, whatever the number of folds that it is in. Raises
    AkqUsageError when there are too few dates or too many folds.
    """
    if not 1 <= test_groups < groups:
        raise AkqUsageError(f"validate: {test_groups} of {groups} groups as test leaves nothing to train on")
    if len(dates) < groups * _LEAST_DATES:
        raise AkqUsageError(f"validate: {len(dates)} dates are too few for {groups} groups")
    choices = list(combinations(range(groups), test_groups))
    if len(choices) > MAX_FOLDS:
        raise AkqUsageError(f"validate: {len(choices):,} folds, at most {MAX_FOLDS:,} are possible")
    bounds = [len(dates) * ix // groups for ix in range(groups + 1)]
    whole = [Window(dates[bounds[ix]], dates[bounds[ix + 1] - 1]) for ix in range(groups)]
    folds = []
    for chosen in choices:
        train = []
        for ix in range(groups):
            if ix in chosen:
                continue
            first = embargo.after(whole[ix - 1].end) + _DAY if ix - 1 in chosen else whole[ix].start
            cut = _within(dates, max(first, whole[ix].start), whole[ix].end)
            if cut is not None:
                train.append(cut)
        if not train:
            raise AkqUsageError(f"validate: an embargo of {embargo} leaves no train window")
        folds.append(Fold(tuple(train), tuple(whole[ix] for ix in chosen)))
    return folds


def paths(groups: int, test_groups: int) -> list[list[int]]:
    """Return the backtest paths of combinatorial folds: for each path the fold that tests group 0, 1, ...

    Every (fold, test group) is in exactly one path, so there are C(n, k) * k / n of them.
    """
    testing: list[list[int]] = [[] for _ in range(groups)]
    for fold, chosen in enumerate(combinations(range(groups), test_groups)):
        for group in chosen:
            testing[group].append(fold)
    return [list(path) for path in zip(*testing, strict=True)]


def _walk(
    dates: Sequence[dt.date], train: Span, test: Span, step: Span, embargo: Span, *, anchored: bool
) -> list[Fold]:
    if not train.positive or not test.positive or not step.positive:
        raise AkqUsageError("validate: train, test and step have to be longer than nothing")
    origin = dates[0]
    if step.after(origin) < test.after(origin):
        raise AkqUsageError(
            f"validate.step: {step} is shorter than the test of {test}, so the same days would be tested twice"
        )
    folds: list[Fold] = []
    first_test = embargo.after(train.after(origin))
    for k in range(MAX_FOLDS + 1):
        test_start = step.after(first_test, k)
        # Months differ in length: the next test begins where this one would reach into it.
        test_end = min(test.after(test_start), step.after(first_test, k + 1))
        if test_end > dates[-1] + _DAY:
            break
        train_end = embargo.after(test_start, -1)
        begin = origin if anchored else max(origin, train.after(train_end, -1))
        learn = _within(dates, begin, train_end - _DAY)
        judge = _within(dates, test_start, test_end - _DAY)
        if learn is None or judge is None:
            raise AkqUsageError(f"validate: a window from {begin} on has no trading dates")
        folds.append(Fold((learn,), (judge,)))
    if not folds:
        raise AkqUsageError(
            f"validate: {origin} to {dates[-1]} is too short for train {train}, embargo {embargo} and test {test}"
        )
    if len(folds) > MAX_FOLDS:
        raise AkqUsageError(f"validate: more than {MAX_FOLDS:,} folds; make step longer")
    return folds


def _within(dates: Sequence[dt.date], first: dt.date, last: dt.date) -> Window | None:
    """Return the window of the trading dates between two days; None when there are hardly any."""
    low, high = bisect_left(dates, first), bisect_right(dates, last)
    return Window(dates[low], dates[high - 1]) if high - low >= _LEAST_DATES else None
