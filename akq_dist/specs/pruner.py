"""Pruners: when a trial is stopped before it has run over all assets, or over the whole time."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from akq_dist.specs.base import Float, Int, InvalidError, InvalidPartsError, Spec

_USES: Final[dict[str, tuple[str, ...]]] = {
    "median": ("min_trials",),
    "percentile": ("min_trials", "percentile"),
    "successive_halving": ("min_trials", "eta"),
    "hyperband": ("min_trials", "eta"),
    "wilcoxon": ("min_trials", "p_threshold"),
    "patience": ("patience", "min_delta"),
    "threshold": ("lower", "upper"),
}


class PrunerSpec(Spec):
    """A pruner by name with its options: `median`, or `{percentile: {percentile: 25, rungs: [0.1, 0.5]}}`."""

    name: Literal[
        "median", "percentile", "successive_halving", "hyperband", "wilcoxon", "patience", "threshold"
    ]
    over: Literal["assets", "folds"] = "assets"
    """What a rung is a share of: the assets, or the time, which is the train windows of `validate` or else the
    trading dates from the first one on.
    """
    rungs: tuple[Annotated[Float, Field(gt=0.0, lt=1.0)], ...] = (0.1, 0.3)
    """Shares of the assets, train windows or trading dates after which a trial is looked at, ascending."""
    min_trials: Annotated[Int, Field(ge=1)] = 10
    """Earlier trials that a rung needs before anything is stopped there."""
    percentile: Annotated[Float, Field(gt=0.0, lt=100.0)] = 25.0
    """Share of the earlier trials, in percent, that a trial has to be among."""
    eta: Annotated[Int, Field(ge=2, le=100)] = 3
    """One in eta goes on from a rung."""
    p_threshold: Annotated[Float, Field(gt=0.0, lt=1.0)] = 0.1
    """Probability below which a trial is held to be worse than the best one, asset by asset or window by window."""
    patience: Annotated[Int, Field(ge=1)] = 1
    """Rungs without an improvement that are forgiven."""
    min_delta: Annotated[Float, Field(ge=0.0)] = 0.0
    lower: Float | None = None
    """Value below which a trial is stopped."""
    upper: Float | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if isinstance(data, dict) and "name" not in data and len(data) == 1:
            name, options = next(iter(data.items()))
            if options is None or isinstance(options, dict):
                return {"name": name, **(options or {})}
        return data

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)):
            raise InvalidError("expected ascending shares such as [0.1, 0.3]")
        return value

    @model_validator(mode="after")
    def _options_of_the_pruner(self) -> Self:
        known = {option for options in _USES.values() for option in options}
        found: list[tuple[tuple[str | int, ...], str]] = [
            ((option,), f"is not used by {self.name}")
            for option in sorted(self.model_fields_set & known)
            if option not in _USES[self.name]
            and getattr(self, option) != type(self).model_fields[option].default
        ]
        if self.name == "threshold" and self.lower is None and self.upper is None:
            found.append(((), "threshold needs lower or upper"))
        if found:
            raise InvalidPartsError(found)
        return self
