"""Windows of time: what they cover, what they keep apart, how values of windows become one."""

from __future__ import annotations

import datetime as dt
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.errors import AkqUsageError
from akq_dist.validate import WindowSet, anchored, combinatorial, paths, purged_kfold, rolling
from akq_dist.validate.span import Span, parse_span
from akq_dist.validate.splits import Fold, Window


def weekdays(first: dt.date, n: int) -> list[dt.date]:
    days = (first + dt.timedelta(days=ix) for ix in range(2 * n))
    return [day for day in days if day.weekday() < 5][:n]


DATES = weekdays(dt.date(2015, 1, 1), 1_300)


def test_spans_are_calendar_time() -> None:
    assert parse_span("1y6m") == Span(18, 0)
    assert parse_span("2w 3d") == Span(0, 17)
    assert Span(1, 0).after(dt.date(2020, 1, 31)) == dt.date(2020, 2, 29)
    assert Span(12, 0).after(dt.date(2020, 2, 29)) == dt.date(2021, 2, 28)
    assert Span(3, 5).after(dt.date(2020, 11, 30)) == dt.date(2021, 3, 5)
    assert str(parse_span("14m3d")) == "1y2m3d"
    for wrong in ("", "2", "y2", "2.5y", 7, None, "2h"):
        with pytest.raises(ValueError, match="expected calendar time"):
            parse_span(wrong)


def test_rolling_windows_by_hand() -> None:
    folds = rolling(DATES, train=Span(24), test=Span(6), embargo=Span(0, 10))
    assert folds[0] == Fold(
        (Window(dt.date(2015, 1, 1), dt.date(2016, 12, 30)),),
        # Two years and ten days after 2015-01-01.
        (Window(dt.date(2017, 1, 11), dt.date(2017, 7, 10)),),
    )
    assert folds[1].train[0].start == dt.date(2015, 7, 1)
    assert folds[-1].test[0].end <= DATES[-1]
    assert len(folds) == 5


def test_anchored_windows_begin_with_the_data() -> None:
    folds = anchored(DATES, train=Span(24), test=Span(6))
    assert {fold.train[0].start for fold in folds} == {DATES[0]}
    assert [fold.test for fold in folds] == [
        fold.test for fold in rolling(DATES, train=Span(24), test=Span(6))
    ]


def days_of(windows: tuple[Window, ...]) -> set[dt.date]:
    return {day for window in windows for day in DATES if window.start <= day <= window.end}


@settings(deadline=None, max_examples=60)
@given(train=st.integers(1, 30), test=st.integers(1, 12), extra=st.integers(0, 6), embargo=st.integers(0, 40))
def test_a_walk_never_learns_from_what_it_is_judged_by(
    train: int, test: int, extra: int, embargo: int
) -> None:
    folds = rolling(
        DATES, train=Span(train), test=Span(test), step=Span(test + extra), embargo=Span(0, embargo)
    )
    tested: set[dt.date] = set()
    for fold in folds:
        judged = days_of(fold.test)
        assert fold.train[0].end + dt.timedelta(days=embargo) < fold.test[0].start
        assert not judged & tested, "a day is judged once"
        tested |= judged


@settings(deadline=None, max_examples=60)
@given(groups=st.integers(2, 8), data=st.data(), embargo=st.integers(0, 60))
def test_combinatorial_folds_split_the_dates(groups: int, data: st.DataObject, embargo: int) -> None:
    test_groups = data.draw(st.integers(1, groups - 1))
    folds = combinatorial(DATES, groups=groups, test_groups=test_groups, embargo=Span(0, embargo))
    assert len(folds) == comb(groups, test_groups)
    for fold in folds:
        learned, judged = days_of(fold.train), days_of(fold.test)
        assert not learned & judged
        for window in fold.test:
            quiet = {window.end + dt.timedelta(days=ix) for ix in range(1, embargo + 1)}
            assert not learned & quiet
        if embargo == 0:
            assert learned | judged == set(DATES)
    routes = paths(groups, test_groups)
    assert len(routes) == comb(groups, test_groups) * test_groups // groups
    used = {(fold, group) for route in routes for group, fold in enumerate(route)}
    assert len(used) == len(routes) * groups, "a test of a fold is in one path"


def test_k_folds_test_every_date_once() -> None:
    folds = purged_kfold(DATES, folds=5, embargo=Span(0, 5))
    judged = [day for fold in folds for day in sorted(days_of(fold.test))]
    assert judged == DATES


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(AkqUsageError, match="would be tested twice"):
        rolling(DATES, train=Span(12), test=Span(6), step=Span(3))
    with pytest.raises(AkqUsageError, match="is too short for train 9y"):
        rolling(DATES, train=Span(108), test=Span(6))
    with pytest.raises(AkqUsageError, match="leaves nothing to train on"):
        combinatorial(DATES, groups=4, test_groups=4)
    with pytest.raises(AkqUsageError, match="too few for 900 groups"):
        purged_kfold(DATES, folds=900)


def test_values_of_windows_become_a_mean_over_folds_by_length() -> None:
    day = dt.date(2020, 1, 1)
    a, b, c = (
        Window(day + dt.timedelta(days=s), day + dt.timedelta(days=e))
        for s, e in ((0, 9), (10, 39), (40, 59))
    )
    windows = WindowSet.of([Fold((a, b), (c,)), Fold((b,), (a,))], kept=[1])
    assert windows.windows == (a, b, c)
    values = np.array([[[1.0, 10.0]], [[5.0, 20.0]], [[9.0, np.nan]]])
    found = windows.combine(values)
    first = (10 * 1.0 + 30 * 5.0) / 40
    np.testing.assert_allclose(found[0, :2], [(first + 5.0) / 2, ((100 + 600) / 40 + 20) / 2], rtol=1e-15)
    np.testing.assert_array_equal(found[0, 2:], [10.0, 20.0, np.nan])
    assert windows.names(["x", "y"]) == ("x", "y", "w00.y", "w01.y", "w02.y")
    values[0, 0, 0] = np.nan
    assert windows.combine(values)[0, 0] == 5.0, "half of the folds is enough"
    values[1, 0, 0] = np.nan
    assert np.isnan(windows.combine(values)[0, 0])
