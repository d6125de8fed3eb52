"""Metrics of a run by name, with what each of them means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class MetricInfo:
    """One line of `core/METRICS.md`."""

    name: str
    unit: str
    natural: str
    """How it is aggregated over assets unless another way is named."""
    definition: str
    source: str


class Metrics(Mapping[str, float]):
    """Values by name: `sharpe`, or `sharpe.median` over many accounts; NaN where undefined.

    A name that is not there raises KeyError with the nearest one.
    """

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> float:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(f"no metric {name!r}{did_you_mean(name, self._values)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value:.6g}" for name, value in list(self._values.items())[:6])
        return f"Metrics({shown}, ... {len(self)} in all)"

    @property
    def defined(self) -> dict[str, float]:
        """Those that are not NaN."""
        return {name: value for name, value in self._values.items() if not math.isnan(value)}

    def plain(self) -> dict[str, float | None]:
        """Return the values for JSON: None where undefined or not finite."""
        return {name: value if math.isfinite(value) else None for name, value in self._values.items()}

    def info(self, name: str) -> MetricInfo:
        """Return unit and definition of a metric, with or without its aggregate."""
        known = _reference()
        metric = name.partition(".")[0]
        if metric not in known:
            raise KeyError(f"no metric {metric!r}{did_you_mean(metric, known)}")
        return known[metric]

    def unit(self, name: str) -> str:
        """Return the unit: `fraction`, `ratio`, `money`, ..."""
        return self.info(name).unit

    def frame(self) -> pl.DataFrame:
        """Return `metric, aggregate, value, unit, definition`; what is undefined is null, as in any table."""
        import polars as pl

        rows = [
            (
                *_parts(name),
                value if math.isfinite(value) else None,
                self.unit(name),
                self.info(name).definition,
            )
            for name, value in self._values.items()
        ]
        schema = {
            "metric": pl.String, "aggregate": pl.String, "value": pl.Float64, "unit": pl.String,
            "definition": pl.String,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")


def _parts(name: str) -> tuple[str, str | None]:
    metric, _, aggregate = name.partition(".")
    return metric, aggregate or None


@cache
def _reference() -> dict[str, MetricInfo]:
    import pyarrow as pa

    from akq_dist import _core

    return {row["name"]: MetricInfo(**row) for row in pa.table(_core.metric_reference()).to_pylist()}
