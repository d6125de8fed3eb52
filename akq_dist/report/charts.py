"""Charts as SVG text: pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_POINTS: Final = 1_500
"""Points that a chart draws; of more, evenly spaced ones, the last one always."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 22, 34
_N_TICKS: Final = 5
_LARGEST: Final = 1e300


@dataclass(frozen=True)
class Size:
    """Width and height of a chart in pixels, labels included."""

    width: int = 640
    height: int = 240


SMALL: Final = Size(420, 220)


def line_chart(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    x_label: str,
    y_label: str,
    x_names: Sequence[str] = (),
    size: Size = Size(),
) -> str:
    """Draw a line through the points whose y is finite; `x_names` stand at the first and the last x."""
    return _Frame(x, y, size).svg("line", x_label, y_label, x_names)


def scatter_chart(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    x_label: str,
    y_label: str,
    marked: NDArray[np.bool_] | None = None,
    x_names: Sequence[str] = (),
    size: Size = SMALL,
) -> str:
    """Draw a dot for each point whose y is finite; marked ones stand out and are never left out."""
    return _Frame(x, y, size, marked).svg("dots", x_label, y_label, x_names)


def histogram(
    values: NDArray[np.float64], *, x_label: str, mark: float | None = None, size: Size = SMALL
) -> str:
    """Draw how often values occur, in up to forty bins, with a line at `mark`."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return _nothing(size)
    n_bins = min(40, max(5, int(math.sqrt(len(finite)))))
    counts, edges = np.histogram(np.clip(finite, -_LARGEST, _LARGEST), bins=n_bins, range=_range(finite))
    frame = _Frame(edges, np.array([0.0, float(counts.max())]).repeat([len(edges) - 1, 1]), size)
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        left, right, top, floor = frame.at_x(low), frame.at_x(high), frame.at_y(count), frame.at_y(0.0)
        bars.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(0.5, right - left - 1):.1f}" '
            f'height="{floor - top:.1f}"/>'
        )
    if mark is not None:
        at = frame.at_x(mark)
        bars.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{frame.at_y(0.0):.1f}"/>'
        )
    return frame.wrap("".join(bars), x_label, "trials", ())


class _Frame:
    """The plane of a chart: scales, axes and labels."""

    def __init__(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        size: Size,
        marked: NDArray[np.bool_] | None = None,
    ) -> None:
        marks = np.zeros(len(x), dtype=np.bool_) if marked is None else marked
        keep = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if len(keep) > MAX_POINTS:
            thin = keep[np.unique(np.linspace(0, len(keep) - 1, MAX_POINTS).astype(np.int64))]
            keep = np.union1d(thin, keep[marks[keep]])
        self._x, self._y, self._marks = x[keep], y[keep], marks[keep]
        self._size = size
        self._x_range, self._y_range = _range(self._x), _range(self._y)

    def at_x(self, value: float) -> float:
        """Horizontal place of a value in pixels."""
        low, high = self._x_range
        return _LEFT + (value - low) / (high - low) * (self._size.width - _LEFT - _RIGHT)

    def at_y(self, value: float) -> float:
        """Vertical place of a value in pixels."""
        low, high = self._y_range
        floor = self._size.height - _BOTTOM
        return floor - (value - low) / (high - low) * (floor - _TOP)

    def svg(self, kind: str, x_label: str, y_label: str, x_names: Sequence[str]) -> str:
        if not len(self._x):
            return _nothing(self._size)
        places = [
            (self.at_x(a), self.at_y(b)) for a, b in zip(self._x.tolist(), self._y.tolist(), strict=True)
        ]
        if kind == "line":
            body = '<polyline points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in places) + '"/>'
        else:
            # Marked dots last: they lie on top.
            dots = sorted(zip(self._marks.tolist(), places, strict=True), key=lambda dot: dot[0])
            body = "".join(
                f'<circle class="{"best" if mark else "dot"}" cx="{a:.1f}" cy="{b:.1f}" r="{4 if mark else 2}"/>'
                for mark, (a, b) in dots
            )
        return self.wrap(body, x_label, y_label, x_names)

    def wrap(self, body: str, x_label: str, y_label: str, x_names: Sequence[str]) -> str:
        """Put axes and labels around what is drawn."""
        width, height = self._size.width, self._size.height
        floor = height - _BOTTOM
        parts = []
        for value in ticks_within(*self._y_range):
            y = self.at_y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="y" x="{_LEFT - 6}" y="{y + 4:.1f}">{number_text(value)}</text>')
        ticks = list(self._x_range) if x_names else ticks_within(*self._x_range)
        names = list(x_names) or [number_text(value) for value in ticks]
        anchors = ["start", "end"] if x_names else ["middle"] * len(ticks)
        for value, name, anchor in zip(ticks, names, anchors, strict=True):
            parts.append(
                f'<text style="text-anchor:{anchor}" x="{self.at_x(value):.1f}" y="{floor + 14}">{escape(name)}</text>'
            )
        middle = (_LEFT + width - _RIGHT) / 2
        parts.append(f'<text x="{middle:.0f}" y="{height - 4}">{escape(x_label)}</text>')
        label = escape(y_label)
        return (
            f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{label} by {escape(x_label)}"><title>{label} by {escape(x_label)}</title>'
            f'<text class="name" x="{_LEFT}" y="{_TOP - 9}">{label}</text>'
            f"{''.join(parts)}{body}</svg>"
        )


def ticks_within(low: float, high: float) -> list[float]:
    """Return round numbers between two bounds: steps of 1, 2 or 5 times a power of ten, about five of them."""
    rough = (high - low) / _N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [ix * step for ix in range(first, last + 1)]


def number_text(value: float) -> str:
    """Short form of a number for a label."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    # Farther apart than a float can tell, or closer: axes need a width that they can be divided by.
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    if high - low <= max(abs(low), abs(high)) * 1e-12 or high - low < 1e-300:
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    return low, high


def _nothing(size: Size) -> str:
    return (
        f'<svg viewBox="0 0 {size.width} {size.height}" width="{size.width}" height="{size.height}">'
        f'<text x="{size.width // 2}" y="{size.height // 2}">nothing to show</text></svg>'
    )
