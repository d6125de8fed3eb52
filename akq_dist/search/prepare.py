"""From a request to everything a search needs: panel, plan, outputs, judge, keys.

Whatever is wrong is found here.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.record.canonical import digest
from akq_dist.record.identity import KeyMaker, library_versions, study_identity
from akq_dist.record.pooled import dates_within
from akq_dist.record.protocols import Job
from akq_dist.record.pruning import Rungs
from akq_dist.record.windowed import with_window
from akq_dist.search.judge import Judge, Objective
from akq_dist.search.points import count_points, grid_candidates, nothing_allowed
from akq_dist.search.pruner import POINT_GROUP, Pruner
from akq_dist.search.samplers import (
    DEFAULT_GROUP,
    ModelSampler,
    check_fit,
    check_options,
    find_sampler,
    sampler_for,
)
from akq_dist.specs.suggest import did_you_mean
from akq_dist.validate import WindowSet

if TYPE_CHECKING:
    from akq_dist.data import PanelData
    from akq_dist.record.trials import TrialStore
    from akq_dist.request import Request
    from akq_dist.specs import Space, SweepSpec, Where
    from akq_dist.specs.pruner import PrunerSpec
    from akq_dist.strategy import PythonSource

ENUMERATE = "enumerate"
"""Source of points of a space that fits the budget: each point once, in grid order, whatever the sampler."""

_SEED_LIMIT = 2**63
_COMPOUNDING = ("cagr", "calmar")
_MIN_RETURNS = 21
"""Daily returns below which a growth rate a year means nothing."""
_EPOCH = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Prepared:
    """A sweep whose data are loaded and whose parts fit together; nothing has run."""

    request: Request
    data: PanelData
    source: PythonSource | None
    """Text of a Python strategy; None for rules."""
    plan: str
    outputs: tuple[str, ...]
    judge: Judge
    build: str
    canonical_rules: str | None
    where: Where
    n_points: int | None
    """Points of the space that `where` allows; None when they cannot be counted."""
    windows: WindowSet | None = None
    """Windows of a validation that each trial runs in."""
    rungs: Rungs | None = None
    """Parts of the assets, of the time or of the windows after which a trial may be stopped."""

    @property
    def spec(self) -> SweepSpec:
        return self.request.spec

    @property
    def space(self) -> Space:
        return self.spec.space

    @cached_property
    def first(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Points to try before all others."""
        rows = [self.space.encode(params) for params in self.spec.search.enqueue]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.space))

    @cached_property
    def dates(self) -> list[dt.date]:
        """Trading dates of the panel, in order."""
        return trading_dates(self.data)

    @property
    def group(self) -> int:
        return self.spec.search.group or DEFAULT_GROUP

    @property
    def fixed(self) -> dict[str, Any]:
        """Parameters of a Python strategy that are not searched."""
        return {} if self.source is None else {**self.spec.params, **self.request.params}

    @property
    def strategy_digest(self) -> str:
        """Hash of the strategy's content: the rules in canonical form, or every module that is shipped."""
        return digest(self.canonical_rules) if self.source is None else self.source.digest

    def new_source(self) -> str:
        """Return where the points of a new study come from."""
        search = self.spec.search
        if search.sampler == "grid":
            return "grid"
        if self.n_points is not None and search.trials is not None and self.n_points <= search.trials:
            return ENUMERATE
        return sampler_for(search.sampler, self.space, n_objectives=len(self.judge.objectives))

    def total(self, source: str) -> int | None:
        """Return the number of trials of the study; None when it shows only at the end."""
        trials = self.spec.search.trials
        if source in (ENUMERATE, "grid") and self.n_points is not None:
            return self.n_points if trials is None else min(trials, self.n_points)
        return trials

    def is_model_based(self, source: str) -> bool:
        return source != ENUMERATE and isinstance(find_sampler(source), ModelSampler)

    def versions(self, source: str) -> dict[str, str]:
        """Return the versions of libraries that results or points depend on."""
        versions = library_versions(python_strategy=self.source is not None)
        sampler = None if source == ENUMERATE else find_sampler(source)
        if isinstance(sampler, ModelSampler):
            from importlib.metadata import version

            versions |= {library: version(library) for library in sampler.libraries}
            if sampler.revision:
                versions[source] = str(sampler.revision)
        return versions

    def identity(self, source: str) -> dict[str, Any]:
        """Return what a resume compares."""
        spec = self.spec.to_dict()
        if self.source is not None:
            spec["strategy"] = {"python": self.source.class_name}
            spec["params"] = self.fixed
        return study_identity(
            spec,
            data_digest=self.data.digest,
            symbols=self.data.symbols,
            strategy_digest=self.strategy_digest,
            outputs=self.outputs,
            source=source,
            build=self.build,
            versions=self.versions(source),
        )

    def keys(self) -> KeyMaker:
        """Return the maker of this sweep's trial keys."""
        plan = self.plan
        if self.windows is not None:
            plan = json.dumps({**json.loads(plan), "windows": self.windows.description()})
        if self.rungs is not None:
            plan = json.dumps({**json.loads(plan), "rungs": self.rungs.description()})
        return KeyMaker(
            plan,
            data_digest=self.data.digest,
            strategy_digest="" if self.source is None else self.source.digest,
            fixed=self.fixed,
            build=self.build,
            versions=library_versions(python_strategy=self.source is not None),
            seed=self.spec.search.seed if self.source is not None else None,
            canonical_rules=self.canonical_rules,
        )

    def job(self, threads: int) -> Job:
        """Return what every worker gets; `threads` are the engine's in one worker."""
        return Job(
            plan=self.plan,
            space=self.space,
            strategy=self.source,
            panel_digest=self.data.digest,
            seed=self.spec.search.seed,
            threads=threads,
            build=self.build,
            fixed=self.fixed,
            windows=self.windows,
            rungs=self.rungs,
        )

    def pruner_group(self, source: str) -> int:
        """Return the number of trials of a group that has one rule of the pruner."""
        return self.group if self.is_model_based(source) else self.spec.search.group or POINT_GROUP

    def pruner(self, store: TrialStore) -> Pruner | None:
        """Return the pruner of a study, as its earlier sessions have left it."""
        spec = self.spec.search.pruner
        if spec is None or self.rungs is None:
            return None
        group = self.pruner_group(store.study.source)
        made = Pruner(spec, self.rungs, self.outputs, self.judge.objectives[0].sign, group)
        made.load(store)
        return made


def prepare(request: Request) -> Prepared:
    """Load the data and check everything that can be checked before the first trial.

    Raises AkqUsageError, AkqDataError or AkqStrategyError.
    """
    from akq_dist import _core
    from akq_dist.backtest import build_plan, default_outputs, output_name, output_of

    spec = request.spec
    if spec.strategy.members is not None:
        raise AkqUsageError("strategy: a sweep searches one strategy; a list of them is for a backtest")
    check_options(spec.search.sampler, spec.search.sampler_options)
    check_fit(spec.search.sampler, spec.space, n_objectives=len(spec.objective))
    source = request.source()
    where = spec.conditions()
    n_points = count_points(spec.space, where, fixed=spec.search.fixed)
    if spec.search.sampler == "grid":
        grid_candidates(spec.space, spec.search.fixed)
    _check_python(request)
    data = request.load_data()
    panel = _core.Panel.from_arrow(data.table)
    outputs = default_outputs(spec, panel.n_assets)
    plan_text = _unsealed(spec, build_plan(spec, spec.space, outputs, n_assets=panel.n_assets))
    plan = _core.Plan(plan_text)
    if source is None:
        _check_rules(spec, plan.unused_params)
    plan.check(panel)
    _check_span(spec, data)
    windows = _windows(spec, data, plan.outputs, panel.n_assets)
    names = tuple(plan.outputs) if windows is None else windows.names(plan.outputs)
    rungs = _rungs(spec, data, plan_text, windows)
    names = names if rungs is None else (*names, *rungs.names)
    objectives = []
    for part in spec.objective:
        output = output_name(output_of(spec, panel.n_assets, part.metric, part.aggregate))
        objectives.append(Objective(output, part.direction, part.missing))
    bounds = [
        (output_name(output_of(spec, panel.n_assets, b.metric, b.aggregate)), b) for b in spec.constraints
    ]
    return Prepared(
        request=request,
        data=data,
        source=source,
        plan=plan_text,
        outputs=names,
        judge=Judge(names, objectives, bounds),
        build=_core.BUILD,
        canonical_rules=plan.canonical_rules if source is None else None,
        where=where,
        n_points=n_points,
        windows=windows,
        rungs=rungs,
    )


def _rungs(spec: SweepSpec, data: PanelData, plan: str, windows: WindowSet | None) -> Rungs | None:
    from akq_dist.backtest import output_name, output_of

    pruner, first, symbols = spec.search.pruner, spec.objective[0], data.symbols
    if pruner is None:
        return None
    output = output_name(output_of(spec, len(symbols), first.metric, first.aggregate))
    if pruner.over == "assets":
        _check_enough(len(symbols), "assets", pruner)
        return Rungs.of(symbols, pruner.rungs, output, first.metric)
    if windows is not None:
        _check_enough(len(windows.train), "train windows", pruner)
        return Rungs.of_windows(windows, pruner.rungs, output, first.metric)
    window = json.loads(plan)["window"]
    inside = dates_within(data.table, window["start"], window["end"]).tolist()
    _check_enough(len(inside), "trading dates", pruner)
    return Rungs.of_time(inside, pruner.rungs, output, first.metric)


def _check_enough(n: int, what: str, pruner: PrunerSpec) -> None:
    if n < 2 * len(pruner.rungs):
        raise AkqUsageError(
            f"search.pruner: {n} {what} are too few to look {len(pruner.rungs)} times at a part of them; give fewer "
            "rungs, or remove it"
        )


def trading_dates(data: PanelData) -> list[dt.date]:
    """Return the different trading dates of a panel, in order."""
    import pyarrow.compute as pc

    found: list[dt.date] = pc.unique(data.table.column("date")).to_pylist()
    return sorted(found)


def _unsealed(spec: SweepSpec, plan: str) -> str:
    """Return the plan without the time that the holdout seals."""
    if spec.validate_ is None or spec.validate_.holdout is None:
        return plan
    window = json.loads(plan)["window"]
    last = spec.validate_.holdout.from_.toordinal() - _EPOCH - 1
    return with_window(plan, window["start"], last if window["end"] is None else min(last, window["end"]))


def _windows(spec: SweepSpec, data: PanelData, outputs: list[str], n_assets: int) -> WindowSet | None:
    from akq_dist.backtest import output_name, output_of

    if spec.validate_ is None:
        return None
    start, holdout = spec.data.start, spec.validate_.holdout
    dates = [
        date
        for date in trading_dates(data)
        if (start is None or date >= start) and (holdout is None or date < holdout.from_)
    ]
    if not dates:
        raise AkqUsageError("validate.holdout.from: no trading date is left before it")
    if holdout is not None and holdout.from_ > trading_dates(data)[-1]:
        raise AkqUsageError(
            f"validate.holdout.from: {holdout.from_} is after the last bar, so nothing is sealed"
        )
    kept = {
        outputs.index(output_name(output_of(spec, n_assets, part.metric, part.aggregate)))
        for part in spec.objective
    }
    return WindowSet.of(spec.validate_.make_folds(dates), sorted(kept))


def sample_points(prepared: Prepared, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return some allowed points, for measuring; they have nothing to do with the points of the study."""
    from akq_dist.search.points import FilteredPoints, RandomCandidates

    seed = (prepared.spec.search.seed + 1) % _SEED_LIMIT
    points = FilteredPoints(RandomCandidates(prepared.space, seed), prepared.space, prepared.where)
    return points.take(n)


def _check_rules(spec: SweepSpec, unused: list[str]) -> None:
    """Refuse a searched or fixed parameter that the rules never look at: its trials would all be the same."""
    if unused:
        used = [name for name in (*spec.space.names, *spec.params) if name not in unused]
        section = "space" if unused[0] in spec.space.names else "params"
        raise AkqUsageError(
            f"{section}.{unused[0]}: the strategy uses no such parameter{did_you_mean(unused[0], used)}"
        )
    # The space itself says which choice is text, which rules cannot take.
    spec.space.rule_values(np.zeros((0, len(spec.space))))


def _check_span(spec: SweepSpec, data: PanelData) -> None:
    """Refuse to rank by a growth rate that a few days are annualised to (SEMANTICS section 8)."""
    compounding = [part.metric for part in spec.objective if part.metric in _COMPOUNDING]
    if not compounding or spec.metrics.returns != "daily":
        return
    import pyarrow.compute as pc

    dates = pc.unique(data.table.column("date"))
    if spec.data.start is not None:
        dates = dates.filter(pc.greater_equal(dates, spec.data.start))
    n_returns = max(0, len(dates) - 1)
    if n_returns < _MIN_RETURNS:
        raise AkqUsageError(
            f"objective: {compounding[0]} annualises the growth of {n_returns} daily returns; "
            f"it is ranked from {_MIN_RETURNS} on, rank by total_return instead"
        )


def _check_python(request: Request) -> None:
    """Refuse a parameter that the strategy class does not declare, or a value it does not take."""
    cls = request.strategy_class()
    if cls is None:
        return
    from akq_dist.strategy.params import bind

    spec = request.spec
    where = spec.conditions()
    corners = np.array([[0.0] * len(spec.space), [1.0 - 2**-53] * len(spec.space)])
    for row in spec.space.unit_to_rows(corners):
        bind(cls, {**spec.params, **request.params, **spec.space.decode(row)})
    if spec.space.cardinality() == 1 and not where.mask(spec.space, spec.space.grid_rows(0, 1))[0]:
        raise nothing_allowed(where, "the only point")


def spec_for_ledger(spec: SweepSpec) -> dict[str, Any]:
    """Return a sweep as the ledger keeps it: without passwords."""
    import yaml

    from akq_dist.specs import to_yaml

    found: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(to_yaml(spec)), default=str))
    return found
