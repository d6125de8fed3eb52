"""Figures and the page that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from plotly.graph_objects import Figure as Plotly

from akq_dist.report import charts, page

if TYPE_CHECKING:
    from akq_dist.report.charts import Figure


def trials(x: np.ndarray, y: np.ndarray, marked: np.ndarray | None = None) -> Figure:
    marks = np.zeros(len(y), dtype=np.bool_) if marked is None else marked
    return charts.scatter(x, y, x_label="x", y_label="y", numbers=np.arange(len(y)), marked=marks)


def test_many_points_are_thinned_and_marked_ones_stay() -> None:
    n = 50_000
    marked = np.zeros(n, dtype=np.bool_)
    marked[[7, 12_345]] = True
    dots = trials(np.arange(n, dtype=float), np.ones(n), marked)["data"][0]
    assert charts.MAX_POINTS <= len(dots["x"]) <= charts.MAX_POINTS + 2
    assert dots["text"][-2:] == [7, 12_345]
    colours = dots["marker"]["color"]
    assert len(set(colours[-2:]) & set(colours[:-2])) == 0
    drawn = charts.line(np.arange(n, dtype=float), np.ones(n), y_label="y")["data"][0]
    assert len(drawn["x"]) == charts.MAX_POINTS
    assert drawn["x"][-1] == n - 1


def test_points_without_a_value_are_left_out_and_none_at_all_says_so() -> None:
    x, y = np.array([0.0, 1.0, 2.0, np.nan]), np.array([1.0, np.nan, np.inf, 1.0])
    assert list(trials(x, y)["data"][0]["x"]) == [0.0]
    nothing = np.full(4, np.nan)
    empty = (trials(x, nothing), charts.line(x, nothing, y_label="y"), charts.histogram(nothing, x_label="x"))
    for figure in empty:
        assert [note["text"] for note in figure["layout"]["annotations"]] == ["nothing to show"]


@pytest.mark.parametrize(
    "values", [[3.0, 3.0], [0.0, 5e-324], [-1.7e308, 1.7e308], [1.0, 1.0 + 2e-16], [0.0]]
)
def test_any_finite_values_can_be_drawn(values: list[float]) -> None:
    y = np.array(values)
    x = np.arange(len(y), dtype=np.float64)
    made = (charts.line(x, y, y_label="y"), trials(y, x), charts.histogram(y, x_label="x", mark=values[0]))
    assert all(Plotly(figure).data for figure in made)
    assert page.page("all", [made]).count('class="plotly-graph-div"') == 3


def test_names_on_an_axis_are_shown_as_they_are() -> None:
    dots = trials(np.array(["<i>a</i>", True, 3], dtype=object), np.ones(3))["data"][0]
    assert dots["x"] == ["&lt;i&gt;a&lt;/i&gt;", "True", "3"]


def test_text_from_outside_is_escaped() -> None:
    bad = "</script><script>alert(1)</script>"
    html = page.page(
        bad,
        [
            [charts.line(np.arange(2.0), np.arange(2.0), x_label=bad, y_label=bad)],
            page.table([bad], [[bad]]),
            page.paragraph(bad),
        ],
    )
    assert "<script>alert" not in html
    assert [page.cell(value) for value in (None, float("nan"), 1.25, 3, "x")] == ["-", "-", "1.25", "3", "x"]


def test_a_page_without_figures_needs_no_library() -> None:
    assert len(page.page("plain", [page.paragraph("text")])) < 5_000
    figure = charts.histogram(np.arange(3.0), x_label="x")
    assert len(page.page("drawn", [[figure]])) > 1_000_000
