"""The work that is timed: prices, pairs of windows, and what every engine has to make of them.

One strategy for all: the average of `fast` closes crosses that of `slow`; 100 units are bought at the next open and
sold at the next open after the cross back, 3 bps of the value a fill. Names NumPy alone, because it is imported in
environments that hold another engine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

QTY = 100
COMMISSION = 0.0003
COLUMNS = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Work:
    """Backtests of `n_pairs` pairs of windows over `n_assets` series of `n_rows` bars."""

    name: str
    n_assets: int
    n_rows: int
    bars_a_day: int
    n_pairs: int
    """0 for a callback that does nothing."""
    shared_cash: bool = False
    cash: float = 1_000_000.0

    @property
    def n_backtests(self) -> int:
        return max(self.n_pairs, 1) * (1 if self.shared_cash else self.n_assets)

    @property
    def n_bars(self) -> int:
        """Bars that are evaluated: those of each asset once a pair."""
        return max(self.n_pairs, 1) * self.n_assets * self.n_rows

    def cut(self, n_assets: int | None = None, n_rows: int | None = None, n_pairs: int | None = None) -> Work:
        """The same with fewer assets, bars or pairs: the first of them."""
        return replace(
            self,
            n_assets=min(n_assets or self.n_assets, self.n_assets),
            n_rows=min(n_rows or self.n_rows, self.n_rows),
            n_pairs=min(n_pairs or self.n_pairs, self.n_pairs),
        )


WORKS = {
    work.name: work
    for work in (
        Work("W1", 1, 1_000_000, 390, 1),
        Work("W2", 1, 2_520, 1, 1_000),
        Work("W3", 500, 1_260, 1, 100),
        Work("W3p", 500, 1_260, 1, 20, shared_cash=True, cash=10_000_000.0),  # never short of cash
        Work("W4", 1, 1_000_000, 390, 0),
    )
}


def quick(work: Work) -> Work:
    """A tenth of the work, or less."""
    return work.cut(max(work.n_assets // 10, 1), max(work.n_rows // 10, 1_000), max(work.n_pairs // 10, 1))


def prices(work: Work) -> Any:
    """Random walks, float64 of shape (open high low close, assets, bars); the same for the same shape."""
    rng = np.random.default_rng(7)
    shape = (work.n_assets, work.n_rows)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, shape), axis=1))
    opening = np.concatenate([np.full((work.n_assets, 1), 100.0), close[:, :-1]], axis=1)
    high = np.maximum(opening, close) * 1.001
    low = np.minimum(opening, close) * 0.999
    return np.stack([opening, high, low, close])


def pairs(work: Work) -> Any:
    """Distinct windows, float64 of shape (pairs, 2), fast below slow; (10, 30) where one pair is asked for."""
    if work.n_pairs <= 1:
        return np.array([[10.0, 30.0]])
    every = np.array([(fast, slow) for fast in range(2, 50) for slow in range(51, 200)], dtype=float)
    return every[np.random.default_rng(1).permutation(len(every))[: work.n_pairs]]


@dataclass(frozen=True)
class Outcome:
    """What a run came to: one number a pair, over all of its assets."""

    equity: list[float]
    """Sum of the final equities."""
    trades: list[int]
    """Round trips that were closed."""

    def differs(self, other: Outcome, tolerance: float, trades: int = 0) -> str:
        """What differs by more than a relative `tolerance` of equity or `trades` round trips; empty if nothing."""
        equity = max(abs(a / b - 1.0) for a, b in zip(self.equity, other.equity, strict=True))
        closed = max(abs(a - b) for a, b in zip(self.trades, other.trades, strict=True))
        far = [f"final equity by {equity:.1e}"] * (equity > tolerance)
        return ", ".join(far + [f"trades by {closed}"] * (closed > trades))


def save(work: Work, folder: Path) -> Path:
    """Write the description of the work and, beside it, its bars and pairs as little-endian float64."""
    path = folder / f"{work.name}.json"
    path.write_text(json.dumps(asdict(work)))
    prices(work).astype("<f8").tofile(bars_file(path))
    pairs(work).astype("<f8").tofile(pairs_file(path))
    return path


def load(path: Path) -> tuple[Work, Any, Any]:
    """The work, its bars of shape (open high low close, assets, bars) and its pairs, as `save` wrote them."""
    work = Work(**json.loads(path.read_text()))
    bars = np.fromfile(bars_file(path), "<f8").reshape(len(COLUMNS), work.n_assets, work.n_rows)
    return work, bars, np.fromfile(pairs_file(path), "<f8").reshape(-1, 2)


def bars_file(path: Path) -> Path:
    return path.with_suffix(".bars")


def pairs_file(path: Path) -> Path:
    return path.with_suffix(".pairs")
