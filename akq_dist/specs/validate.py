"""How a sweep is validated: windows of time to learn from and to judge by, and what stays sealed."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from akq_dist.specs.base import Int, InvalidPartsError, Spec
from akq_dist.validate import anchored, combinatorial, purged_kfold, rolling
from akq_dist.validate.span import Span, parse_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akq_dist.validate import Fold


def _to_span(value: Any) -> Span | None:
    return None if value is None else parse_span(value)


CalendarSpan = Annotated[
    Span | None,
    BeforeValidator(_to_span),
    PlainSerializer(lambda span: None if span is None else str(span)),
    WithJsonSchema({"type": ["string", "null"]}),
]


class HoldoutSpec(Spec):
    """Time that no trial of the search sees."""

    from_: dt.date = Field(alias="from")
    """First date of it; everything from there on is sealed."""


class ValidateSpec(Spec):
    """Walk-forward, k folds or combinatorial folds; the search learns from train windows only."""

    scheme: Literal["walk_forward", "kfold", "combinatorial"]
    train: CalendarSpan = None
    """Length of a train window of a walk-forward."""
    test: CalendarSpan = None
    step: CalendarSpan = None
    """From one test to the next; the length of the test when absent."""
    anchored: bool = False
    """Whether every train window begins at the first date."""
    folds: Annotated[Int, Field(ge=2, le=100)] | None = None
    groups: Annotated[Int, Field(ge=2, le=100)] | None = None
    test_groups: Annotated[Int, Field(ge=1, le=50)] | None = None
    embargo: CalendarSpan = None
    """Time between a train window and a test, or after a test of k folds."""
    holdout: HoldoutSpec | None = None

    @model_validator(mode="after")
    def _settings_of_the_scheme(self) -> Self:
        uses = {
            "walk_forward": (("train", "test"), ("step", "anchored")),
            "kfold": (("folds",), ()),
            "combinatorial": (("groups", "test_groups"), ()),
        }
        needed, optional = uses[self.scheme]
        found: list[tuple[tuple[str | int, ...], str]] = [
            ((name,), f"is required by {self.scheme}") for name in needed if getattr(self, name) is None
        ]
        known = ("train", "test", "step", "anchored", "folds", "groups", "test_groups")
        found += [
            ((name,), f"is not used by {self.scheme}")
            for name in known
            if name not in (*needed, *optional) and getattr(self, name) not in (None, False)
        ]
        if found:
            raise InvalidPartsError(found)
        return self

    def make_folds(self, dates: Sequence[dt.date]) -> list[Fold]:
        """Return the folds over the trading dates before the holdout. Raises AkqUsageError when there is none."""
        embargo = self.embargo or Span()
        if self.scheme == "kfold":
            return purged_kfold(dates, folds=self.folds or 0, embargo=embargo)
        if self.scheme == "combinatorial":
            return combinatorial(
                dates, groups=self.groups or 0, test_groups=self.test_groups or 0, embargo=embargo
            )
        walk = anchored if self.anchored else rolling
        return walk(
            dates, train=self.train or Span(), test=self.test or Span(), step=self.step, embargo=embargo
        )
