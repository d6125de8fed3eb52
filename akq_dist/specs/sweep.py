"""A sweep: strategy, data, market, the space to search, and how to run and record it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import Float, Int, InvalidError, InvalidPartsError, Scalar, Spec, dotted, shown
from akq_dist.specs.constraint import MetricConstraint, check_aggregate
from akq_dist.specs.data import DataSpec  # noqa: TC001 - pydantic reads the annotations
from akq_dist.specs.market import MarketSpec
from akq_dist.specs.names import check_parameter, check_study_name
from akq_dist.specs.pruner import PrunerSpec  # noqa: TC001 - pydantic reads the annotations
from akq_dist.specs.risk import RiskSpec
from akq_dist.specs.space import Space, space_from_mapping
from akq_dist.specs.strategy import StrategySpec  # noqa: TC001 - pydantic reads the annotations
from akq_dist.specs.suggest import did_you_mean
from akq_dist.specs.units import byte_count, duration, percent
from akq_dist.specs.validate import ValidateSpec  # noqa: TC001 - pydantic reads the annotations
from akq_dist.specs.where import Where

_DEFAULT_TRIALS = 100
_DURATION_SCHEMA = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]
}
_PARAMS_SCHEMA = {"type": "object", "additionalProperties": {"type": ["number", "string", "boolean"]}}


def _to_seconds(value: Any) -> float | None:
    return None if value is None else duration(value)


def _to_space(value: Any) -> Space:
    return value if isinstance(value, Space) else space_from_mapping({} if value is None else value)


def _to_params(value: Any) -> dict[str, Scalar]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidError(f"found {shown(value)}, expected a mapping of parameter values")
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, number in value.items():
        try:
            check_parameter(str(name))
        except ValueError as error:
            found.append(((str(name),), str(error)))
        if not isinstance(number, bool | int | float | str) or (
            isinstance(number, float) and number - number != 0.0
        ):
            found.append(
                ((str(name),), f"found {shown(number)}, expected a finite number, text, true or false")
            )
    if found:
        raise InvalidPartsError(found)
    return {str(name): _plain(number) for name, number in value.items()}


def _plain(value: Any) -> Any:
    """Return a copy without the marks that text from the environment carries."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else () if value is None else (value,)


def _to_auto_or_count(value: Any) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise InvalidError(f"found {shown(value)}, expected auto or a whole number from 1")
    return value


def _off(value: Any) -> Any:
    return None if value is False else value


Seconds = Annotated[float | None, BeforeValidator(_to_seconds), WithJsonSchema(_DURATION_SCHEMA)]
Bytes = Annotated[
    int | None,
    BeforeValidator(lambda value: None if value is None else byte_count(value)),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}, {"type": "null"}]}),
]
Params = Annotated[dict[str, Any], BeforeValidator(_to_params), WithJsonSchema(_PARAMS_SCHEMA)]
AutoOrCount = Annotated[
    int | Literal["auto"],
    BeforeValidator(_to_auto_or_count),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]
Url = Annotated[str | None, BeforeValidator(_off), WithJsonSchema({"type": ["string", "null", "boolean"]})]
SpaceField = Annotated[
    Space,
    BeforeValidator(_to_space),
    PlainSerializer(lambda space: space.to_mapping()),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "int": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
                    "float": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                    "choice": {
                        "type": "array",
                        "items": {"type": ["number", "string", "boolean"]},
                        "minItems": 1,
                    },
                    "step": {"type": "number", "exclusiveMinimum": 0},
                    "log": {"type": "boolean"},
                    "when": {"type": "string"},
                    "else": {"type": ["number", "string", "boolean"]},
                },
                "additionalProperties": False,
                "oneOf": [{"required": ["int"]}, {"required": ["float"]}, {"required": ["choice"]}],
            },
        }
    ),
]


class ObjectiveSpec(Spec):
    """What the search optimises: a metric, how it is aggregated over assets, and the direction."""

    metric: str
    aggregate: str | None = None
    """mean, median, sum, min, max, std or q05..q95; the natural one of the metric when absent."""
    min_defined: Float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the assets that must have a defined value."""
    direction: Literal["maximize", "minimize"] = "maximize"
    missing: Float | None = None
    """Value of an undefined objective; without it the trial fails with the reason `undefined`."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, data: Any) -> Any:
        return {"metric": data} if isinstance(data, str) else data

    @field_validator("aggregate")
    @classmethod
    def _known_aggregate(cls, value: str | None) -> str | None:
        return None if value is None else check_aggregate(value)


class SearchSpec(Spec):
    """How points are chosen, how many and in which order."""

    sampler: str = "tpe"
    """A registered sampler: grid, random, qmc, tpe (one fit a group), optuna_tpe (Optuna's own)."""
    sampler_options: Annotated[dict[str, Any], BeforeValidator(_plain)] = Field(default_factory=dict)
    trials: Annotated[Int, Field(ge=1, le=2**40)] | None = None
    """Number of trials; 100 when absent, except that a grid then has all its points (None)."""
    seed: Annotated[Int, Field(ge=0, lt=2**63)] = 0
    deterministic: bool = True
    group: Annotated[Int, Field(ge=1, le=100_000)] | None = None
    """Trials that a model-based sampler proposes together; chosen by the search when absent."""
    timeout: Seconds = None
    """Seconds after which no trial is started."""
    pruner: PrunerSpec | None = None
    """What stops a trial after a part of the assets: a name, or a name with options."""
    enqueue: tuple[Params, ...] = ()
    """Points to try first."""
    fixed: Params = Field(default_factory=dict)
    """Parameters of the space that the sampler keeps at one value."""

    @model_validator(mode="before")
    @classmethod
    def _default_trials(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("trials") is None and data.get("sampler", "tpe") != "grid":
            return {**data, "trials": _DEFAULT_TRIALS}
        return data


class RunSpec(Spec):
    """Where trials run and what a failure costs."""

    executor: Literal["auto", "ray", "serial"] = "auto"
    address: str | None = None
    """Address of a Ray cluster; giving one means Ray."""
    workers: AutoOrCount = "auto"
    threads: AutoOrCount = "auto"
    """Engine threads of one worker."""
    batch: AutoOrCount = "auto"
    """Trials in one message to a worker."""
    trial_timeout: Seconds = None
    """Seconds that one trial may take; needs worker processes (Ray)."""
    memory: Bytes = None
    """Memory that the trials of one worker process may take; needs worker processes (Ray)."""
    lease: Annotated[float, BeforeValidator(duration), WithJsonSchema({"type": ["number", "string"]})] = 30.0
    """Seconds after which a worker without a sign of life is replaced."""
    resources: dict[str, Annotated[Float, Field(gt=0.0)]] = Field(default_factory=dict)
    """Resources of the Ray cluster that every worker reserves; only nodes that have them get one."""
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    """Runtime environment of Ray for the workers; none by default."""
    retries: Annotated[Int, Field(ge=0, le=100)] = 2
    """Lost workers that one trial may cost before it fails."""
    max_failures: Annotated[int | str, WithJsonSchema({"type": ["integer", "string"]})] = "5%"
    """Failed trials that are tolerated: a number, or a share such as 5%."""

    @field_validator("max_failures", mode="before")
    @classmethod
    def _count_or_share(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value.strip().isdecimal():
                return int(value)
            percent(value)
            return value.strip()
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidError(f"found {shown(value)}, expected a whole number or a share such as '5%'")
        return value

    def failures_allowed(self, n_trials: int) -> float:
        """Return how many failed trials out of `n_trials` are tolerated."""
        return (
            percent(self.max_failures) * n_trials
            if isinstance(self.max_failures, str)
            else float(self.max_failures)
        )


class TrackSpec(Spec):
    """What MLflow gets."""

    mlflow: Url = "sqlite:///akq/mlflow.db"
    """Tracking URI; null or false switches tracking off."""
    experiment: str | None = None
    """Name of the experiment; the name of the sweep when absent (see `SweepSpec.experiment`)."""
    runs: str = "auto"
    artifacts: str = "auto"

    @field_validator("runs")
    @classmethod
    def _runs(cls, value: str) -> str:
        return _policy(value, ("auto", "all", "none"), "top")

    @field_validator("artifacts")
    @classmethod
    def _artifacts(cls, value: str) -> str:
        return _policy(value, ("auto", "all", "none"), "best")

    @field_validator("experiment")
    @classmethod
    def _experiment_name(cls, value: str | None) -> str | None:
        return None if value is None else check_study_name(value)


class StorageSpec(Spec):
    """Where the ledger is and where the Optuna study is copied to."""

    optuna: Url = "sqlite:///akq/optuna.db"
    """Storage URL; null or false switches the copy off."""
    optuna_metrics: Literal["named", "all"] = "named"
    """User attributes of a trial in Optuna: those that objective and constraints name and a few that everybody
    asks for, or every metric, with which Optuna and optuna-dashboard read a study three times as long."""
    ledger: str = "akq/ledger.db"

    @field_validator("ledger")
    @classmethod
    def _ledger_path(cls, value: str) -> str:
        if not value.strip() or "\0" in value or "://" in value:
            raise InvalidError(f"found {shown(value)}, expected the path of a file on a local disk")
        return value


class MetricsSpec(Spec):
    """Conventions of the metrics."""

    returns: Literal["daily", "bar"] = "daily"
    periods_per_year: Annotated[Float, Field(gt=0.0, le=1e9)] | None = None
    """Returns a year; that of the market when absent. Required with `returns: bar`."""
    risk_free: Float = 0.0
    """Annual rate."""
    mar: Float = 0.0
    """Minimum acceptable annual return."""

    @model_validator(mode="after")
    def _bars_a_year(self) -> Self:
        if self.returns == "bar" and self.periods_per_year is None:
            raise InvalidPartsError(
                [(("periods_per_year",), "is required with returns: bar (the number of bars a year)")]
            )
        return self


class SweepSpec(Spec):
    """Everything that a sweep file says."""

    name: str
    strategy: StrategySpec
    data: DataSpec
    market: MarketSpec = MarketSpec()
    risk: RiskSpec = Field(default=RiskSpec(), exclude_if=lambda value: value == RiskSpec())
    """Limits of every account. Left out of records where it says nothing."""
    mode: Literal["per_asset", "portfolio"] = "per_asset"
    """per_asset: each asset with its own cash, then aggregated. portfolio: one shared cash."""
    params: Params = Field(default_factory=dict)
    """Fixed values of parameters that are not searched."""
    space: SpaceField = Field(default_factory=Space)
    where: Annotated[tuple[str, ...], BeforeValidator(_one_or_many)] = ()
    """Conditions between parameters that every point meets."""
    objective: Annotated[tuple[ObjectiveSpec, ...], BeforeValidator(_one_or_many)] = (
        ObjectiveSpec(metric="sharpe"),
    )
    constraints: Annotated[tuple[MetricConstraint, ...], BeforeValidator(_one_or_many)] = ()
    metrics: MetricsSpec = MetricsSpec()
    search: SearchSpec = SearchSpec.model_validate({})
    validate_: ValidateSpec | None = Field(default=None, alias="validate")
    run: RunSpec = RunSpec()
    track: TrackSpec = TrackSpec()
    storage: StorageSpec = StorageSpec()

    @field_validator("name")
    @classmethod
    def _study_name(cls, value: str) -> str:
        return check_study_name(value)

    @field_validator("objective")
    @classmethod
    def _objectives(cls, value: tuple[ObjectiveSpec, ...]) -> tuple[ObjectiveSpec, ...]:
        if not value:
            raise InvalidError("is empty, expected a metric")
        seen = [(objective.metric, objective.aggregate) for objective in value]
        if len(set(seen)) < len(seen):
            raise InvalidError("names a metric twice")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        found: list[tuple[tuple[str | int, ...], str]] = [
            (("params", name), "is also in space; a parameter is either fixed or searched")
            for name in self.params
            if name in self.space.names
        ]
        if (
            self.mode != "portfolio"
            and self.strategy.rules is not None
            and self.strategy.rules.weights is not None
        ):
            found.append((("strategy", "rules", "weights"), "needs mode: portfolio"))
        found.extend(self._misfits_of_members())
        if self.strategy.python is None:
            found.extend(self._text_for_rules())
        for index, text in enumerate(self.where):
            try:
                Where.compile((text,), self.space, self.params)
            except AkqUsageError as error:
                found.append((("where", index), _without_prefix(str(error))))
        found.extend(self._bad_enqueued())
        found.extend(self._bad_fixed())
        found.extend(self._misfits_of_the_pruner())
        if found:
            raise InvalidPartsError(found)
        return self

    def _misfits_of_the_pruner(self) -> list[tuple[tuple[str | int, ...], str]]:
        pruner, place = self.search.pruner, ("search", "pruner")
        if pruner is None:
            return []
        found: list[tuple[tuple[str | int, ...], str]] = []
        validated = self.validate_ is not None
        if pruner.over == "assets":
            if self.mode == "portfolio":
                reason = "looks at a part of the assets, which mode: portfolio trades together; over: folds"
                found.append((place, f"{reason} looks at a part of the time"))
            if pruner.name == "wilcoxon" and validated:
                reason = "compares asset by asset, and validate has several windows for each"
                found.append((place, f"wilcoxon {reason}; over: folds compares window by window"))
        elif pruner.name == "wilcoxon" and self.mode == "portfolio" and not validated:
            reason = "wilcoxon compares asset by asset, and mode: portfolio has one account"
            found.append((place, f"{reason}; with validate it compares window by window"))
        return found

    def _misfits_of_members(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Several strategies have their parameters beside them, and weights need one account for all assets."""
        if self.strategy.members is None:
            return []
        found: list[tuple[tuple[str | int, ...], str]] = [
            ((section,), "has no effect on several strategies: give params with each of them")
            for section, names in (("space", self.space.names), ("params", self.params))
            if names
        ]
        for index, member in enumerate(self.strategy.members):
            if self.mode != "portfolio" and member.rules is not None and member.rules.weights is not None:
                place = ("strategy", "members", index, "rules", "weights")
                found.append((place, "needs mode: portfolio"))
        return found

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.track.experiment or self.name

    @property
    def periods_per_year(self) -> float:
        """Returns a year that annual figures are based on."""
        return self.metrics.periods_per_year or self.market.periods_per_year

    def conditions(self) -> Where:
        """Return the compiled `where`."""
        return Where.compile(self.where, self.space, self.params)

    def check_metrics(self, known: list[str] | tuple[str, ...]) -> None:
        """Raise AkqUsageError when an objective or a constraint names a metric that is not in `known`."""
        named = [(("objective", i, "metric"), o.metric) for i, o in enumerate(self.objective)]
        named += [(("constraints", i, "metric"), c.metric) for i, c in enumerate(self.constraints)]
        lines = [
            f"{dotted(place[:-1])}: unknown metric {metric!r}{did_you_mean(metric, known)}"
            for place, metric in named
            if metric not in known
        ]
        if lines:
            raise AkqUsageError("\n".join(lines))

    def _text_for_rules(self) -> list[tuple[tuple[str | int, ...], str]]:
        in_space = [("space", p.name) for p in self.space.params if any(isinstance(v, str) for v in p.values)]
        fixed = [("params", name) for name, value in self.params.items() if isinstance(value, str)]
        return [(place, "is text, but rules need numbers, true or false") for place in (*in_space, *fixed)]

    def _bad_fixed(self) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name, value in self.search.fixed.items():
            try:
                self.space[name].encode(value)
            except AkqUsageError as error:
                found.append((("search", "fixed", name), str(error)))
        if self.search.fixed and len(self.search.fixed) == len(self.space):
            found.append((("search", "fixed"), "leaves no parameter to search"))
        return found

    def _bad_enqueued(self) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        try:
            conditions = self.conditions()
        except AkqUsageError:
            return []  # reported where it was found
        for index, params in enumerate(self.search.enqueue):
            try:
                self.space.encode(params)
            except AkqUsageError as error:
                found.append((("search", "enqueue", index), str(error)))
                continue
            if not conditions.check(params):
                found.append((("search", "enqueue", index), "does not meet where"))
        return found


def _policy(value: str, words: tuple[str, ...], counted: str) -> str:
    text = value.strip()
    if text not in words and not re.fullmatch(rf"{counted}:[1-9][0-9]{{0,9}}", text):
        raise InvalidError(
            f"found {shown(value)}, expected {', '.join(words)} or {counted}:N such as {counted}:50"
        )
    return text


def _without_prefix(message: str) -> str:
    return message.removeprefix("where ").removeprefix("where: ")
