"""Charts as text: round ticks, thinned points, nothing to show."""

from __future__ import annotations

import re

import numpy as np
import pytest

from akq_dist.report import charts
from akq_dist.report.page import cell, table


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (0.4212, 0.5811, [0.45, 0.5, 0.55]),
        (-3.0, 250.0, [0, 100, 200]),
        (1e-9, 3e-9, [1e-9, 1.5e-9, 2e-9, 2.5e-9, 3e-9]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low: float, high: float, ticks: list[float]) -> None:
    assert charts.ticks_within(low, high) == pytest.approx(ticks)


def test_many_points_are_thinned_and_marked_ones_stay() -> None:
    n = 50_000
    marked = np.zeros(n, dtype=np.bool_)
    marked[[7, 12_345]] = True
    svg = charts.scatter_chart(np.arange(n, dtype=float), np.ones(n), x_label="x", y_label="y", marked=marked)
    assert svg.count('class="best"') == 2
    assert charts.MAX_POINTS - 2 <= svg.count('class="dot"') <= charts.MAX_POINTS


def test_points_without_a_value_are_left_out_and_none_at_all_says_so() -> None:
    x, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, np.nan, np.inf])
    assert charts.scatter_chart(x, y, x_label="x", y_label="y").count("<circle") == 1
    for chart in (
        charts.line_chart(x, np.full(3, np.nan), x_label="x", y_label="y"),
        charts.histogram(np.full(3, np.nan), x_label="x"),
    ):
        assert "nothing to show" in chart


@pytest.mark.parametrize(
    "values", [[3.0, 3.0], [0.0, 5e-324], [-1.7e308, 1.7e308], [1.0, 1.0 + 2e-16], [0.0]]
)
def test_any_finite_values_can_be_drawn(values: list[float]) -> None:
    y = np.array(values)
    x = np.arange(len(y), dtype=np.float64)
    for svg in (
        charts.line_chart(x, y, x_label="x", y_label="y"),
        charts.scatter_chart(y, x, x_label="x", y_label="y"),
        charts.histogram(y, x_label="x", mark=values[0]),
    ):
        assert "nan" not in svg


def test_bars_of_a_histogram_have_the_height_of_their_counts() -> None:
    svg = charts.histogram(np.repeat([1.0, 2.0], [30, 10]), x_label="x", mark=2.0)
    heights = [float(text) for text in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]
    assert max(heights) == pytest.approx(3 * sorted(heights)[-2], rel=0.01)
    assert 'class="mark"' in svg


def test_text_from_outside_is_escaped() -> None:
    bad = "<script>alert(1)</script>"
    svg = charts.line_chart(np.arange(2.0), np.arange(2.0), x_label=bad, y_label=bad, x_names=[bad, bad])
    assert "<script" not in svg
    assert "<script" not in table([bad], [[bad]])
    assert [cell(value) for value in (None, float("nan"), 1.25, 3, "x")] == ["-", "-", "1.25", "3", "x"]
