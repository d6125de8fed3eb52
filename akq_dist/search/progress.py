"""How far a sweep has come, as a value for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Progress:
    """A moment of a sweep."""

    phase: str
    """`search` while trials run; then the view that is catching up: `optuna`, `tracking`, `artifacts`."""
    done: int
    total: int | None
    """Trials of the whole study; None when the number of points is not known."""
    trials_per_s: float
    """Since this session started; trials answered from the ledger included."""
    bars_per_s: float
    eta_s: float | None
    best_number: int | None
    best_values: tuple[float, ...]
    best_params: Mapping[str, Any] = field(default_factory=dict)
    complete: int = 0
    failed: int = 0
    undefined: int = 0
    """Of the failed ones, those whose objective has no value."""
    pruned: int = 0
    cached: int = 0
    in_flight: int = 0
    elapsed_s: float = 0.0


class OnProgress(Protocol):
    """Called from the thread of the search, at most a few times a second and once at the end.

    Must not block.
    """

    def __call__(self, progress: Progress, /) -> None: ...
