"""Where the loop gets its points from: the interface, and the feed of points that depend on no result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from akq_dist.search.judge import Verdict
    from akq_dist.search.points import FilteredPoints


@dataclass(frozen=True)
class Ask:
    """New points with their numbers, and the points that `where` refused on the way."""

    numbers: NDArray[np.int64]
    groups: NDArray[np.int64]
    points: NDArray[np.float64]
    rejected: list[tuple[int, int, NDArray[np.float64]]] = field(default_factory=list)
    """(group, position in the order of asking, point)."""


class Feed(Protocol):
    """Proposes points in number order. Called from one thread."""

    model_based: bool

    @property
    def n_asked(self) -> int:
        """Trials of the study so far, those of earlier sessions included."""
        ...

    @property
    def exhausted(self) -> bool:
        """True when there will be no further point."""
        ...

    def next(self, limit: int) -> Ask | None:
        """Return new points, about `limit`; None when results have to come in first or nothing is left."""
        ...

    def tell(self, numbers: NDArray[np.int64], verdict: Verdict) -> None:
        """Take note of trials that ended."""
        ...


class PointFeed:
    """Points to try first, then a filtered sequence, up to a number of trials."""

    model_based = False

    def __init__(
        self,
        points: FilteredPoints,
        *,
        first: NDArray[np.float64],
        budget: int | None,
        n_asked: int,
    ) -> None:
        """`first` are the enqueued points; `n_asked` is where an earlier session stopped."""
        self._points = points
        self._first = first
        self._budget = budget
        self._n_asked = n_asked
        self._ended = False
        points.skip_to(max(0, n_asked - len(first)))

    @property
    def n_asked(self) -> int:
        return self._n_asked

    @property
    def exhausted(self) -> bool:
        return self._ended or (self._budget is not None and self._n_asked >= self._budget)

    def next(self, limit: int) -> Ask | None:
        n = limit if self._budget is None else min(limit, self._budget - self._n_asked)
        if n <= 0 or self._ended:
            return None
        head = self._first[self._n_asked : self._n_asked + n]
        tail = self._points.take(n - len(head))
        points = np.concatenate([head, tail])
        self._ended = len(points) < n
        if not len(points):
            return None
        start = self._n_asked
        self._n_asked += len(points)
        return Ask(
            numbers=np.arange(start, self._n_asked, dtype=np.int64),
            groups=np.full(len(points), -1, dtype=np.int64),
            points=np.ascontiguousarray(points),
        )

    def tell(self, numbers: NDArray[np.int64], verdict: Verdict) -> None:
        """Ignore it: these points depend on no result."""
