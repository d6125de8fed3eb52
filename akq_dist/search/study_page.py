"""What the page of a study says: the result with its doubts first, where it came from last."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from akq_dist.errors import AkqError
from akq_dist.record.files import whole_file
from akq_dist.record.trials import UNDEFINED
from akq_dist.report import charts, page
from akq_dist.search.best import feasible_rows, front, rank_best
from akq_dist.search.ranking import judge_of
from akq_dist.search.returns import returns_of
from akq_dist.search.validation import validation
from akq_dist.specs import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from akq_dist.record.ledger import StudyRecord
    from akq_dist.record.trials import TrialBlock, TrialStore
    from akq_dist.report.page import Part
    from akq_dist.search.judge import Judge
    from akq_dist.search.prepare import Prepared

N_BEST: Final = 20
"""Trials of the table of the best."""
_N_REASONS: Final = 10
_REASON_CHARS: Final = 200


@dataclass(frozen=True)
class Report:
    """A study as one HTML document; a notebook shows it."""

    study: str
    html: str = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all; return its path. Raises AkqStudyError when it cannot be written."""
        target = Path(path)
        with whole_file(target, "the report") as partial:
            partial.write_text(self.html, encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        from html import escape

        # A frame of its own: neither the page nor the notebook changes how the other looks.
        return f'<iframe srcdoc="{escape(self.html)}" style="width:100%;height:900px;border:0"></iframe>'


def make_report(store: TrialStore, prepare: Callable[[], Prepared]) -> Report:
    """Return the page of a study.

    `prepare` gives the sweep with its data, from which the winner's equity and the folds of a validation are run
    again; an AkqError of it is told on the page.
    """
    found = _Findings.of(store)
    parts: list[Part] = [*_opening(found), *_search(found)]
    try:
        parts += _run_again(found, prepare)
    except AkqError as error:
        parts.append(page.paragraph(f"Nothing could be run again for this page: {error}", "note"))
    parts += [*_best_table(found), *_failures(found), *_origin(found)]
    return Report(store.study.name, page.page(f"{store.study.name} - sweep report", parts))


@dataclass(frozen=True)
class _Findings:
    """The trials of a study as columns, in number order."""

    store: TrialStore
    judge: Judge
    counts: dict[str, int]
    numbers: NDArray[np.int64]
    values: NDArray[np.float64]
    """Shape (trials, objectives); NaN unless complete."""
    points: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    reasons: Counter[str]
    """Last lines of the errors of failed trials."""
    best: list[int]
    """Numbers of the best trials, best first."""

    @property
    def study(self) -> StudyRecord:
        return self.store.study

    @property
    def objectives(self) -> tuple[tuple[str, str], ...]:
        return self.study.objectives

    @staticmethod
    def of(store: TrialStore) -> _Findings:
        judge = judge_of(store.study)
        n_values = len(store.study.objectives)
        numbers, values, points = [np.empty(0, np.int64)], [np.empty((0, n_values))], []
        feasible = [np.empty(0, np.bool_)]
        points.append(np.empty((0, len(store.study.params))))
        reasons: Counter[str] = Counter()
        for block in store.blocks(size=20_000):
            numbers.append(block.numbers)
            values.append(np.where(_is(block, "complete")[:, np.newaxis], block.values, np.nan))
            points.append(block.points)
            feasible.append(_is(block, "complete") & feasible_rows(judge.violations(block.metrics)))
            reasons.update(_last_line(reason) for reason in block.reasons if reason and reason != UNDEFINED)
        all_numbers, all_values, ok = (
            np.concatenate(numbers),
            np.concatenate(values),
            np.concatenate(feasible),
        )
        best = rank_best(judge, all_numbers[ok], all_values[ok], N_BEST)
        return _Findings(
            store, judge, store.counts(), all_numbers, all_values, np.concatenate(points), ok, reasons, best
        )

    def winners(self) -> list[int]:
        """Return the numbers that no other trial beats: one, or a front of several objectives."""
        if not self.feasible.any():
            return []
        signed = self.values[self.feasible] * np.array(
            [objective.sign for objective in self.judge.objectives]
        )
        kept = front(signed, self.numbers[self.feasible])
        return sorted(self.numbers[self.feasible][kept].tolist())


def _opening(found: _Findings) -> Iterator[Part]:
    study, counts = found.study, found.counts
    made = dt.datetime.fromtimestamp(study.created_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield page.title(study.name)
    wanted = ", ".join(f"{way} {name}" for name, way in study.objectives)
    yield page.paragraph(f"{wanted} · points from {study.source}, seed {study.seed} · begun {made}", "soft")
    yield page.paragraph(
        f"{counts['total']:,} trials: {counts['complete']:,} complete, {counts['fail']:,} failed "
        f"({counts['undefined']:,} of them without a value), {counts['pruned']:,} pruned, "
        f"{counts['cached']:,} answered from earlier results, {counts['asked']:,} open."
    )
    n_done, budget = counts["total"] - counts["asked"], study.budget
    if counts["asked"] or (budget is not None and n_done < budget):
        of = "" if budget is None else f" of {budget:,}"
        yield page.paragraph(f"The study is not finished: {n_done:,}{of} trials have ended.", "note")
    if not found.best:
        yield page.paragraph("No trial is complete and meets the constraints.", "note")
        return
    if len(study.objectives) > 1:
        yield page.paragraph(f"{len(found.winners()):,} trials are not dominated by any other.")
        return
    yield from _winner(found)


def _winner(found: _Findings) -> Iterator[Part]:
    """Say who won, and why that is not yet what to expect."""
    record = found.store.record(found.store.take(found.best[:1]), 0)
    name, value = found.objectives[0][0], record.values[0]
    params = "  ".join(f"{key} = {page.cell(item)}" for key, item in record.params.items())
    yield page.paragraph(f"Best: trial {record.number} with {name} = {page.cell(value)} at {params}")
    held = found.values[found.feasible, 0]
    low, middle, high = np.quantile(held, [0.05, 0.5, 0.95]).tolist()
    yield page.paragraph(
        f"It is the best of {len(held):,}: half of the trials that meet the constraints are below {page.cell(middle)}, "
        f"nine in ten lie between {page.cell(low)} and {page.cell(high)}. The best of many is better than what it "
        "will earn; judge it by time that the search has not seen.",
        "note",
    )


def _search(found: _Findings) -> Iterator[Part]:
    if not np.isfinite(found.values).any():
        return
    yield page.heading("Search")
    for ix, (name, _) in enumerate(found.objectives):
        values = np.where(found.feasible, found.values[:, ix], np.nan)
        sign = found.judge.objectives[ix].sign
        so_far = np.fmin.accumulate(values * sign) * sign if len(values) else values
        top = values[np.isin(found.numbers, found.best[:1])]
        yield [
            charts.line(found.numbers, so_far, x_label="trial", y_label=f"best {name} so far"),
            charts.histogram(values, x_label=name, mark=float(top[0]) if len(top) else None),
        ]
    marked = np.isin(found.numbers, found.winners())
    if len(found.objectives) > 1:
        (first, _), (second, _) = found.objectives[:2]
        x, y = found.values[:, 0], found.values[:, 1]
        front = charts.scatter(x, y, x_label=first, y_label=second, numbers=found.numbers, marked=marked)
        yield [front]
    yield page.heading("Parameters")
    yield page.paragraph(
        "Every complete trial; the best is marked. A good value without good neighbours is likely luck.",
        "soft",
    )
    name = found.objectives[0][0]
    space = Space.from_mapping(found.study.spec["space"])
    yield [
        charts.scatter(
            np.array([param.values[int(at)] for at in found.points[:, ix]], dtype=object)
            if param.kind == "choice"
            else found.points[:, ix],
            found.values[:, 0],
            x_label=param.name,
            y_label=name,
            numbers=found.numbers,
            marked=marked,
            log=param.log,
        )
        for ix, param in enumerate(space.params)
    ]


def _run_again(found: _Findings, prepare: Callable[[], Prepared]) -> Iterator[Part]:
    """Show the winner's equity, and the folds of a validation."""
    if not found.best:
        return
    prepared = prepare()
    number = found.best[0]
    returns = returns_of(prepared, found.store, [number])
    equity = np.cumprod(1.0 + np.nan_to_num(returns[str(number)].to_numpy()))
    fall = equity / np.maximum.accumulate(np.maximum(equity, 1.0)) - 1.0
    dates = returns["date"].to_numpy()
    yield page.heading(f"Equity of trial {number}")
    yield page.paragraph(
        "All accounts together, as a multiple of the cash; the trial was run again for this.", "soft"
    )
    yield [charts.line(dates, equity, y_label="equity")]
    yield [charts.line(dates, fall, y_label="below its peak", height=170)]
    if prepared.windows is not None:
        yield from _folds(found, prepared)


def _folds(found: _Findings, prepared: Prepared) -> Iterator[Part]:
    if len(found.objectives) > 1:
        return
    judged = validation(prepared, found.store)
    yield page.heading("Out of sample")
    rows: list[list[Any]] = [
        [f.fold, str(f.test[0].start), str(f.test[-1].end), f.number, f.train_value, f.test_value]
        for f in judged.folds
    ]
    yield page.table(["fold", "test from", "to", "trial", f"train {judged.objective}", "test"], rows)
    if judged.efficiency is not None:
        yield page.paragraph(f"Mean test value over mean train value: {judged.efficiency:.2f}.")
    for curve in judged.curves[:1]:
        equity = curve["equity"].to_numpy().astype(np.float64)
        yield [charts.line(curve["date"].to_numpy(), equity, y_label="equity of the joined tests")]


def _best_table(found: _Findings) -> Iterator[Part]:
    if not found.best:
        return
    names = [name for name, _ in found.objectives]
    block = found.store.take(found.best)
    records = {
        record.number: record for record in (found.store.record(block, ix) for ix in range(len(block)))
    }
    yield page.heading("Best trials")
    yield page.table(
        ["trial", *names, *found.study.params],
        (
            [
                number,
                *records[number].values,
                *(records[number].params.get(name) for name in found.study.params),
            ]
            for number in found.best
        ),
    )
    winner = records[found.best[0]]
    yield page.heading(f"Metrics of trial {winner.number}")
    rows = [[name, winner.metrics.get(name)] for name in found.study.outputs]
    yield f"<details><summary>{len(rows)} values</summary>{page.table(['metric', 'value'], rows)}</details>"


def _failures(found: _Findings) -> Iterator[Part]:
    if not found.reasons:
        return
    yield page.heading("Failures")
    yield page.table(["trials", "reason"], ([n, text] for text, n in found.reasons.most_common(_N_REASONS)))


def _origin(found: _Findings) -> Iterator[Part]:
    import yaml

    study = found.study
    yield page.heading("Where this comes from")
    rows = [
        ["study", study.id],
        ["results", found.store.result_hash()],
        ["data", study.identity.get("data", {}).get("digest")],
        ["engine", study.identity.get("build")],
        *([name, version] for name, version in study.identity.get("versions", {}).items()),
    ]
    yield page.table(["", ""], rows)
    text = yaml.safe_dump(dict(study.spec), sort_keys=False, allow_unicode=True, width=110)
    yield f"<details><summary>sweep file as resolved</summary>{page.preformatted(text)}</details>"


def _is(block: TrialBlock, state: str) -> NDArray[np.bool_]:
    return np.array([held == state for held in block.states], dtype=np.bool_)


def _last_line(reason: str) -> str:
    lines = reason.strip().splitlines()
    return lines[-1][:_REASON_CHARS] if lines else ""
