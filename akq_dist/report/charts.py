"""Figures: pure functions of arrays. Points without a finite value are left out; names are shown as they are.

A figure is a mapping of `data` and `layout` as Plotly has it; `plotly.graph_objects.Figure` makes an object of
it, which costs more than everything here.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Figure = dict[str, Any]

MAX_POINTS: Final = 5_000
"""Points that a figure draws; of more, evenly spaced ones, the last one and the marked ones always."""

_BLUE, _RED, _GREY = "#4a86c5", "#d9541e", "#7a8594"


def line(
    x: NDArray[Any], y: NDArray[np.float64], *, x_label: str = "", y_label: str, height: int = 260
) -> Figure:
    """Draw a line through the points; `x` are numbers or dates."""
    kept = _thinned(np.isfinite(y))
    trace = {
        "type": "scatter",
        "x": x[kept],
        "y": y[kept],
        "mode": "lines",
        "line": {"color": _BLUE, "width": 1.6},
    }
    return _figure(trace, x_label, y_label, height)


def scatter(
    x: NDArray[Any],
    y: NDArray[np.float64],
    *,
    x_label: str,
    y_label: str,
    numbers: NDArray[np.int64],
    marked: NDArray[np.bool_],
    log: bool = False,
    height: int = 260,
) -> Figure:
    """Draw a dot for each trial, named by its number; marked ones stand out. `x` are numbers or names."""
    finite = np.isfinite(y)
    if x.dtype.kind == "f":
        finite &= np.isfinite(x)
    kept = _thinned(finite, marked)
    # Marked dots last: they lie on top.
    kept = kept[np.argsort(marked[kept], kind="stable")]
    best = marked[kept]
    trace = {
        "type": "scatter",
        "x": [escape(str(name)) for name in x[kept]] if x.dtype.kind == "O" else x[kept],
        "y": y[kept],
        "mode": "markers",
        "text": numbers[kept].tolist(),
        "hovertemplate": "trial %{text}<br>%{x}<br>%{y}<extra></extra>",
        "marker": {
            "color": np.where(best, _RED, _BLUE).tolist(),
            "size": np.where(best, 9, 5).tolist(),
            "opacity": 0.7,
        },
    }
    figure = _figure(trace, x_label, y_label, height)
    if log:
        figure["layout"]["xaxis"]["type"] = "log"
    return figure


def histogram(
    values: NDArray[np.float64], *, x_label: str, mark: float | None = None, height: int = 260
) -> Figure:
    """Draw how often values occur, in up to forty bins of round edges, with a line at `mark`."""
    trace = {
        "type": "histogram",
        "x": values[np.isfinite(values)],
        "nbinsx": 40,
        "marker": {"color": _BLUE},
        "hovertemplate": "%{x}: %{y}<extra></extra>",
    }
    figure = _figure(trace, x_label, "trials", height)
    figure["layout"]["bargap"] = 0.05
    if mark is not None:
        upright = {"type": "line", "x0": mark, "x1": mark, "yref": "paper", "y0": 0, "y1": 1}
        figure["layout"]["shapes"] = [{**upright, "line": {"color": _RED, "width": 2}}]
    return figure


def _figure(trace: dict[str, Any], x_label: str, y_label: str, height: int) -> Figure:
    """Lay a figure out for a light and for a dark page."""
    axis = {"gridcolor": "rgba(122,133,148,0.25)", "zeroline": False, "automargin": True}
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": _GREY},
        "showlegend": False,
        "xaxis": {**axis, "title": {"text": escape(x_label)}},
        "yaxis": {**axis, "title": {"text": escape(y_label)}},
    }
    if not len(trace["x"]):
        where = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
        layout["annotations"] = [{"text": "nothing to show", **where}]
    return {"data": [trace], "layout": layout}


def _thinned(finite: NDArray[np.bool_], marked: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return the places of what is drawn."""
    kept = np.flatnonzero(finite)
    if len(kept) <= MAX_POINTS:
        return kept
    thin = kept[np.unique(np.linspace(0, len(kept) - 1, MAX_POINTS).astype(np.int64))]
    return thin if marked is None else np.union1d(thin, kept[marked[kept]])
