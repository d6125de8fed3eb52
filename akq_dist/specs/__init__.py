"""What a user asks for, as frozen validated values with a content hash.

Unknown keys are refused with the nearest known name. `load_sweep` reads a file, `parse_sweep` plain data.
"""

from akq_dist.specs.base import Scalar, Spec
from akq_dist.specs.constraint import MetricConstraint
from akq_dist.specs.data import DataSpec
from akq_dist.specs.execution import ExecutionSpec, ImpactSpec, SlippageSpec
from akq_dist.specs.load import SweepFile, load_sweep, parse_sweep, to_yaml
from akq_dist.specs.market import MarketSpec
from akq_dist.specs.market_rules import CommissionSpec
from akq_dist.specs.param import ParamDef
from akq_dist.specs.risk import RiskSpec
from akq_dist.specs.space import Space
from akq_dist.specs.strategy import (
    EntrySpec,
    ProtectionSpec,
    RebalanceSpec,
    RulesSpec,
    SizeSpec,
    StrategySpec,
    TrailingSpec,
)
from akq_dist.specs.sweep import (
    MetricsSpec,
    ObjectiveSpec,
    RunSpec,
    SearchSpec,
    StorageSpec,
    SweepSpec,
    TrackSpec,
)
from akq_dist.specs.units import duration, percent, redact_url
from akq_dist.specs.where import Where

__all__ = [
    "CommissionSpec",
    "DataSpec",
    "EntrySpec",
    "ExecutionSpec",
    "ImpactSpec",
    "MarketSpec",
    "MetricConstraint",
    "MetricsSpec",
    "ObjectiveSpec",
    "ParamDef",
    "ProtectionSpec",
    "RebalanceSpec",
    "RiskSpec",
    "RulesSpec",
    "RunSpec",
    "Scalar",
    "SearchSpec",
    "SizeSpec",
    "SlippageSpec",
    "Space",
    "Spec",
    "StorageSpec",
    "StrategySpec",
    "SweepFile",
    "SweepSpec",
    "TrackSpec",
    "TrailingSpec",
    "Where",
    "duration",
    "load_sweep",
    "parse_sweep",
    "percent",
    "redact_url",
    "to_yaml",
]
