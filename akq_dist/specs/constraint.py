"""Conditions on results: `sum(n_trades) >= 50`, `median(max_drawdown) >= -0.35`."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import GetJsonSchemaHandler, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue  # noqa: TC002 - pydantic reads the annotations
from pydantic_core import CoreSchema  # noqa: TC002 - pydantic reads the annotations

from akq_dist.specs.base import InvalidError, Spec, shown
from akq_dist.specs.suggest import did_you_mean

AGGREGATES = ("mean", "median", "sum", "min", "max", "std")
_QUANTILE = re.compile(r"q(0[1-9]|[1-9][0-9])")
_NUMBER = r"[+-]?(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_CONSTRAINT = re.compile(rf"\s*(?:({_NAME})\s*\(\s*({_NAME})\s*\)|({_NAME}))\s*(<=|>=|<|>)\s*({_NUMBER})\s*")
_FORM = "expected aggregate(metric) and a bound, such as sum(n_trades) >= 50, or metric >= 50 for one account"

Op = Literal["<=", ">=", "<", ">"]


def check_aggregate(name: str) -> str:
    """Return the name of an aggregate, or raise ValueError with the nearest known one."""
    if name not in AGGREGATES and not _QUANTILE.fullmatch(name):
        raise InvalidError(
            f"unknown aggregate {shown(name)}{did_you_mean(name, (*AGGREGATES, 'q05', 'q95'))}"
        )
    return name


class MetricConstraint(Spec):
    """A bound on a metric of a trial; a trial that breaks it is complete, but never the best."""

    metric: str
    aggregate: str | None
    """How the metric is aggregated over assets; None for the metric of the only account."""
    op: Op
    bound: float

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if isinstance(data, dict | MetricConstraint):
            return data
        match = _CONSTRAINT.fullmatch(data) if isinstance(data, str) and len(data) <= 500 else None
        if match is None:
            raise InvalidError(f"found {shown(data)}, {_FORM}")
        aggregate, inner, plain, op, bound = match.groups()
        number = float(bound.replace("_", ""))
        if not math.isfinite(number):
            raise InvalidError(f"found {shown(data)}, the bound is not a finite number")
        return {
            "metric": inner or plain,
            "aggregate": check_aggregate(aggregate) if aggregate else None,
            "op": op,
            "bound": number,
        }

    @property
    def text(self) -> str:
        """The constraint as it is written."""
        name = f"{self.aggregate}({self.metric})" if self.aggregate else self.metric
        return f"{name} {self.op} {self.bound!r}"

    def violation(self, value: float) -> float:
        """Return how far a value breaks the bound: zero or less when it holds, infinity when undefined."""
        if math.isnan(value):
            return math.inf
        gap = value - self.bound if self.op in ("<=", "<") else self.bound - value
        strict = self.op in ("<", ">")
        return math.ulp(0.0) if strict and gap == 0.0 else gap

    def holds(self, value: float) -> bool:
        """Tell whether a value meets the bound; an undefined one does not."""
        return self.violation(value) <= 0.0

    @model_serializer
    def _as_text(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "title": "MetricConstraint", "examples": ["sum(n_trades) >= 50"]}
