"""Points that depend on no result: grid, random, quasi-random; made in blocks, filtered, then numbered."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from akq_dist.errors import AkqUsageError, MissingDependencyError
from akq_dist.specs import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.specs.base import Scalar
    from akq_dist.specs.where import Where

    Make = Callable[[int, int], NDArray[np.float64]]

COUNT_LIMIT = 5_000_000
"""Largest grid whose points are all looked at to count those that `where` allows."""

_BLOCK = 4096
_REFUSED_LIMIT = 100_000
_GRID_REFUSED_LIMIT = 200_000_000


class Candidates(Protocol):
    """A numbered sequence of points; point i never depends on how it was asked for."""

    total: int | None
    """Number of points; None for an endless sequence."""

    def rows(self, start: int, stop: int) -> NDArray[np.float64]: ...


class GridCandidates:
    """Every combination, the last parameter fastest; nothing is kept."""

    def __init__(self, space: Space) -> None:
        total = space.cardinality()
        if total is None:
            # The space names the parameter that has no steps.
            space.grid_rows(0, 0)
        self.total: int | None = total
        self._space = space

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        return self._space.grid_rows(start, stop)


class RandomCandidates:
    """Independent uniform points.

    Point i is a function of (seed, i) alone: a counter-based generator is set to i.
    """

    total: int | None = None

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        # One step of the counter gives four numbers, so a point takes a whole number of steps.
        self._n_steps = max(1, -(-len(space) // 4))

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        n = stop - start
        generator = np.random.Philox(key=self._seed, counter=start * self._n_steps)
        raw = generator.random_raw(n * self._n_steps * 4)
        unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return self._space.unit_to_rows(unit.reshape(n, self._n_steps * 4)[:, : len(self._space)])


class SobolCandidates:
    """A Sobol sequence, scrambled with the seed: covers the space more evenly than random points."""

    total: int | None = 2**30
    """The sequence ends here: it is made of 30-bit numbers."""

    def __init__(self, space: Space, seed: int, *, scramble: bool = True) -> None:
        try:
            from scipy.stats import qmc
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "search.sampler: 'qmc' needs the package 'scipy'; install it with: pip install scipy."
            ) from error
        self._space = space
        self._engine = qmc.Sobol(len(space), scramble=scramble, rng=np.random.default_rng(seed))
        self._next = 0

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        if start < self._next:
            self._engine.reset()
            self._next = 0
        if start > self._next:
            self._engine.fast_forward(start - self._next)
        self._next = stop
        unit = np.minimum(self._draw(stop - start), np.nextafter(1.0, 0.0))
        return self._space.unit_to_rows(unit)

    def _draw(self, n: int) -> NDArray[np.float64]:
        import warnings

        with warnings.catch_warnings():
            # A block is part of one long sequence; the advice to draw powers of two is about whole ones.
            warnings.simplefilter("ignore", UserWarning)
            drawn: NDArray[np.float64] = self._engine.random(n)
        return drawn


class PinnedCandidates:
    """Candidates in which some parameters keep one value; the others are a space of their own."""

    def __init__(
        self, space: Space, fixed: Mapping[str, Scalar], make: Callable[[Space], Candidates]
    ) -> None:
        self._free = [ix for ix, param in enumerate(space.params) if param.name not in fixed]
        self._row = np.array(
            [param.encode(fixed[param.name]) if param.name in fixed else 0.0 for param in space.params]
        )
        # Conditions are about the whole space, which filters what comes out of here.
        part = Space(tuple(replace(space.params[ix], when=None, otherwise=None) for ix in self._free))
        self._candidates = make(part)
        self.total = self._candidates.total
        self.is_grid = is_grid(self._candidates)

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        rows = np.tile(self._row, (stop - start, 1))
        rows[:, self._free] = self._candidates.rows(start, stop)
        return rows


def is_grid(candidates: Candidates) -> bool:
    """Tell whether the candidates are a grid, in which no point comes twice."""
    return isinstance(candidates, GridCandidates) or getattr(candidates, "is_grid", False)


class FilteredPoints:
    """The candidates that `where` allows, numbered without gaps, read once from front to back."""

    def __init__(
        self,
        candidates: Candidates,
        space: Space,
        where: Where,
        *,
        skip: Sequence[NDArray[np.float64]] = (),
    ) -> None:
        """`skip` are points that have been tried already and are left out."""
        self._candidates = candidates
        self._space = space
        self._where = where
        self._skip = {point.tobytes() for point in skip}
        self._next = 0
        self._held = np.empty((0, len(space)))

    def skip_to(self, number: int) -> None:
        """Drop the first points, as far as an earlier session has come."""
        while number > 0:
            dropped = len(self.take(min(number, 65_536)))
            if dropped == 0:
                return
            number -= dropped

    def take(self, n: int) -> NDArray[np.float64]:
        """Return the next n points, fewer only at the end of the sequence.

        Raises AkqUsageError that names the conditions when none of very many candidates meets them.
        """
        parts: list[NDArray[np.float64]] = []
        n_taken = 0
        n_refused = 0
        while n_taken < n:
            if not len(self._held):
                found = self._read(max(_BLOCK, n - n_taken))
                if found is None:
                    break
                self._held = found
                n_refused = n_refused + _BLOCK if not len(found) else 0
                self._check(n_refused)
                continue
            part, self._held = self._held[: n - n_taken], self._held[n - n_taken :]
            parts.append(part)
            n_taken += len(part)
        return np.concatenate(parts) if parts else np.empty((0, len(self._space)))

    def _read(self, n: int) -> NDArray[np.float64] | None:
        total = self._candidates.total
        stop = self._next + n if total is None else min(self._next + n, total)
        if stop == self._next:
            return None
        rows = self._candidates.rows(self._next, stop)
        self._next = stop
        rows = distinct(self._space, rows, grid=is_grid(self._candidates))
        if self._where.texts:
            rows = rows[self._where.mask(self._space, rows)]
        if self._skip:
            rows = rows[[row.tobytes() not in self._skip for row in rows]]
        return rows

    def _check(self, n_refused: int) -> None:
        limit = _GRID_REFUSED_LIMIT if is_grid(self._candidates) else _REFUSED_LIMIT
        if n_refused >= limit:
            raise nothing_allowed(self._where, f"none of {n_refused:,} points in a row")


def distinct(space: Space, rows: NDArray[np.float64], *, grid: bool) -> NDArray[np.float64]:
    """Put points of a conditional space into canonical form; of a grid only one of equal points stays."""
    if not space.conditional:
        return rows
    canonical = space.canonical(rows)
    return rows[(rows == canonical).all(axis=1)] if grid else canonical


def count_points(
    space: Space, where: Where, limit: int = COUNT_LIMIT, fixed: Mapping[str, Scalar] | None = None
) -> int | None:
    """Return the number of different points that meet the conditions and have the `fixed` values.

    None when there are too many to look at or a continuum.

    Raises AkqUsageError when there is none at all.
    """
    pinned = fixed or {}
    sizes = [param.n_values() for param in space.params if param.name not in pinned]
    if any(size is None for size in sizes):
        return None
    total = math.prod(size or 1 for size in sizes)
    if not where.texts and not space.conditional:
        return total
    if total > limit:
        return None
    grid = grid_candidates(space, pinned)
    n = 0
    for start in range(0, total, 65_536):
        rows = distinct(space, grid.rows(start, min(start + 65_536, total)), grid=True)
        n += int(where.mask(space, rows).sum())
    if n == 0:
        raise nothing_allowed(where, f"none of the {total:,} points of the space")
    return n


def grid_candidates(space: Space, fixed: Mapping[str, Scalar]) -> Candidates:
    """Return the grid of a space, or the part of it that has the `fixed` values."""
    return PinnedCandidates(space, fixed, GridCandidates) if fixed else GridCandidates(space)


def nothing_allowed(where: Where, what: str) -> AkqUsageError:
    """Return the error for conditions that leave nothing to try."""
    conditions = " and ".join(repr(text) for text in where.texts)
    return AkqUsageError(f"where: {what} meets {conditions}. Widen the space or change the conditions.")
