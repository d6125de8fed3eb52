"""Opening a study: a new one, or the one that the ledger holds, unless the sweep has changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from akq_dist.errors import AkqStudyError
from akq_dist.record.identity import check_resume
from akq_dist.search.feed import Feed, PointFeed
from akq_dist.search.model_feed import ModelFeed, PastTrial
from akq_dist.search.points import FilteredPoints, PinnedCandidates, grid_candidates
from akq_dist.search.prepare import ENUMERATE, spec_for_ledger
from akq_dist.search.pruner import GroupedPoints
from akq_dist.search.samplers import (
    DEFAULT_WINDOW,
    EVERYTHING,
    ModelRequest,
    ModelSampler,
    check_options,
    find_sampler,
    sampler_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from akq_dist.record.ledger import Ledger, StudyRecord
    from akq_dist.record.trials import TrialStore
    from akq_dist.search.judge import Judge
    from akq_dist.search.points import Candidates
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import Space

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedStudy:
    """A study of the ledger that is ready to run."""

    record: StudyRecord
    total: int | None
    resumed: bool


def open_study(
    ledger: Ledger,
    prepared: Prepared,
    *,
    new: bool,
    accept_build: bool,
    must_exist: bool = False,
    study: str | None = None,
    is_taken: Callable[[str], bool] = lambda _: False,
) -> OpenedStudy:
    """Find the newest study of the sweep's name, or the one called `study`, or make one.

    `is_taken` tells whether a name is used in a store of another tool, so that a new study gets a free number
    there. Raises AkqStudyError that names every difference when the study cannot be resumed.
    """
    series = prepared.spec.name
    held = None if new else ledger.latest(series) if study is None else ledger.find(study)
    if held is None:
        if must_exist:
            raise AkqStudyError(
                f"the ledger {ledger.path} has no study '{study or series}' to resume; run the sweep first."
            )
        source = prepared.new_source()
        total = prepared.total(source)
        record = ledger.create(
            series,
            name=_free_name(ledger, series, is_taken),
            base_dir=str(prepared.request.file.base_dir),
            spec=spec_for_ledger(prepared.spec),
            identity=prepared.identity(source),
            params=prepared.space.names,
            outputs=prepared.outputs,
            objectives=[(objective.output, objective.direction) for objective in prepared.judge.objectives],
            seed=prepared.spec.search.seed,
            source=source,
            budget=total,
        )
        return OpenedStudy(record, total, resumed=False)
    identity = prepared.identity(held.source)
    check_resume(held.name, held.identity, identity, accept_build=accept_build)
    total = prepared.total(held.source)
    spec = spec_for_ledger(prepared.spec)
    if (spec, identity, total) != (held.spec, held.identity, held.budget):
        ledger.update_study(held.sid, spec=spec, identity=identity, budget=total)
    return OpenedStudy(ledger.find(held.name) or held, total, resumed=True)


def make_feed(
    prepared: Prepared,
    store: TrialStore,
    total: int | None,
    on_note: Callable[[str], None] | None = None,
) -> Feed:
    """Return the feed of a study, where its earlier sessions have left it."""
    source = store.study.source
    if prepared.is_model_based(source):
        return _model_feed(prepared, store, total or 0, on_note)
    # Of a grid each point is tried once, those to try first included.
    skip = list(prepared.first) if source in (ENUMERATE, "grid") else []
    points = FilteredPoints(_candidates(prepared, source), prepared.space, prepared.where, skip=skip)
    n_asked, _ = store.numbers()
    feed = PointFeed(points, first=prepared.first, budget=total, n_asked=n_asked)
    if prepared.rungs is None:
        return feed
    return GroupedPoints(feed, prepared.pruner_group(source), store.open_trials().numbers)


def _candidates(prepared: Prepared, source: str) -> Candidates:
    search = prepared.spec.search
    if source == ENUMERATE:
        return grid_candidates(prepared.space, search.fixed)
    sampler = find_sampler(source)
    if isinstance(sampler, ModelSampler):
        raise AkqStudyError(f"internal: the sampler '{source}' needs results.")
    options = check_options(source, search.sampler_options)

    def make(space: Space) -> Candidates:
        return sampler.make(space, search.seed, options)

    return PinnedCandidates(prepared.space, search.fixed, make) if search.fixed else make(prepared.space)


def _model_feed(
    prepared: Prepared, store: TrialStore, total: int, on_note: Callable[[str], None] | None
) -> ModelFeed:
    search = prepared.spec.search
    objectives = prepared.judge.objectives
    name = sampler_for(store.study.source, prepared.space, n_objectives=len(objectives))
    sampler = find_sampler(name)
    if not isinstance(sampler, ModelSampler):
        raise AkqStudyError(f"internal: the sampler '{name}' needs no results.")
    options = check_options(name, search.sampler_options)
    window = EVERYTHING if sampler.stateful else options.pop("window", DEFAULT_WINDOW)
    model = sampler.make(
        ModelRequest(
            space=prepared.space,
            directions=tuple(objective.direction for objective in objectives),
            # Told at once, every point is worth a fit of its own.
            group=prepared.group if search.deterministic else 1,
            options=options,
            fixed=search.fixed,
        )
    )
    feed = ModelFeed(
        model,
        prepared.space,
        prepared.where,
        signs=[objective.sign for objective in objectives],
        seed=search.seed,
        group=prepared.group,
        budget=total,
        first=prepared.first,
        window=window,
        free=not search.deterministic,
        stateful=sampler.stateful,
        on_note=on_note,
    )
    feed.resume(past_trials(store, prepared.judge), store.rejected())
    return feed


def past_trials(store: TrialStore, judge: Judge) -> Iterator[PastTrial]:
    """Stream the trials of a study as a model learns them."""
    for block in store.blocks():
        violations = judge.violations(block.metrics)
        for ix, number in enumerate(block.numbers.tolist()):
            yield PastTrial(
                number=number,
                group=int(block.groups[ix]),
                point=block.points[ix],
                state=block.states[ix],
                values=tuple(block.values[ix].tolist()),
                violations=tuple(violations[ix].tolist()),
            )


def _free_name(ledger: Ledger, series: str, is_taken: Callable[[str], bool]) -> str:
    """Return the sweep's name, numbered when it has been used before."""
    name, number = series, 1
    while ledger.find(name) is not None or is_taken(name):
        number += 1
        name = f"{series[:90]}-{number}"
    return name
