"""What a comparison of the ledger with one of its views found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from akq_dist.record.ledger import Ledger
    from akq_dist.record.trials import TrialStore

MAX_LINES = 20
"""Differences that are spelled out; the others are counted."""


@dataclass
class ViewCheck:
    """One view compared with the ledger, or the ledger with its own rules."""

    view: str
    """`ledger`, `optuna` or `mlflow`."""
    place: str
    """Where it is, without secrets."""
    n_expected: int = 0
    n_found: int = 0
    lines: list[str] = field(default_factory=list)
    """The first differences, one line each."""
    n_differences: int = 0
    wrong: set[int] = field(default_factory=set)
    """Numbers of trials that the view has, but not as the ledger has them."""
    missing: set[int] = field(default_factory=set)
    """Numbers of trials that the view lacks."""
    surplus: list[str] = field(default_factory=list)
    """Ids of entries that stand for no trial of the ledger, or for one that has another entry."""
    foreign: bool = False
    """The entry of this name belongs to somebody else; nothing of it may be touched."""

    @property
    def ok(self) -> bool:
        return self.n_differences == 0

    def differ(self, line: str) -> None:
        """Note a difference."""
        self.n_differences += 1
        if len(self.lines) < MAX_LINES:
            self.lines.append(line)

    def compare(self, number: int, what: str, held: Any, found: Any) -> None:
        """Note when a trial of the view has another value than the ledger."""
        if held != found:
            self.wrong.add(number)
            self.differ(f"trial {number}: {what} is {_short(found)}, the ledger has {_short(held)}")

    def lacks(self, numbers: set[int]) -> None:
        """Note trials that the view does not have, as one difference."""
        self.missing |= numbers
        if numbers:
            first = ", ".join(str(number) for number in sorted(numbers)[:10])
            more = ", ..." if len(numbers) > 10 else ""
            self.differ(f"{len(numbers):,} of {self.n_expected:,} trials are missing: {first}{more}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "view": self.view,
            "place": self.place,
            "ok": self.ok,
            "expected": self.n_expected,
            "found": self.n_found,
            "n_differences": self.n_differences,
            "differences": list(self.lines),
        }


@dataclass(frozen=True)
class Agreement:
    """Whether ledger, Optuna and MLflow tell the same story about a study."""

    study: str
    trials: dict[str, int]
    """Counts of the ledger."""
    result_hash: str
    checks: tuple[ViewCheck, ...]
    repaired: bool = False
    """True when the views were rebuilt before this comparison."""

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "study": self.study,
            "ok": self.ok,
            "repaired": self.repaired,
            "trials": self.trials,
            "result_hash": self.result_hash,
            "views": [check.to_dict() for check in self.checks],
        }


def check_ledger(ledger: Ledger, store: TrialStore) -> ViewCheck:
    """Compare a study of the ledger with the rules that every writer keeps."""
    counts = store.counts()
    n_asked, _ = store.numbers()
    check = ViewCheck("ledger", str(ledger.path), n_expected=n_asked, n_found=counts["total"])
    for line in ledger.damage():
        check.differ(line)
    if counts["total"] != n_asked:
        check.differ(f"trial numbers have gaps: {counts['total']:,} trials, the last is {n_asked - 1:,}")
    if store.study.budget is not None and n_asked > store.study.budget:
        check.differ(f"{n_asked:,} trials were asked, {store.study.budget:,} were allowed")
    for block in store.blocks(size=20_000):
        complete = np.array([state == "complete" for state in block.states], dtype=np.bool_)
        bad = complete & ~np.isfinite(block.values).all(axis=1)
        for number in block.numbers[bad].tolist():
            check.wrong.add(number)
            check.differ(f"trial {number}: is complete without a finite value")
        for ix in np.flatnonzero(complete & np.array([not text for text in block.hashes])).tolist():
            check.differ(f"trial {int(block.numbers[ix])}: is complete without a result hash")
    for key, n_results in store.contradictions():
        check.differ(f"key {key}: {n_results} different results of the same computation")
    return check


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
