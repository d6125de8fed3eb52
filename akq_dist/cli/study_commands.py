"""`akq study ...` and `akq sweep status`: what a ledger holds, read only."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import params_text, print_json, print_table, say
from akq_dist.errors import AkqStudyError, AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from akq_dist.record.ledger import Ledger, StudyRecord
    from akq_dist.record.protocols import TrialRecord
    from akq_dist.record.trials import TrialStore

_SWEEP_FILES = frozenset({".yaml", ".yml", ".toml"})


def list_studies(ledger: Path, *, as_json: bool) -> int:
    """Print one line a study."""
    with opened(ledger) as book:
        rows = [_overview(_store(book, study)) for study in book.studies()]
    if as_json:
        print_json({"studies": rows})
        return 0
    columns = ["study", "created", "complete", "failed", "pruned", "open", "of", "objective"]
    print_table(
        columns,
        (
            [
                row["study"],
                row["created"],
                *(row["trials"][name] for name in ("complete", "failed", "pruned", "open", "total")),
                ", ".join(f"{name} {way}" for name, way in row["objectives"]),
            ]
            for row in rows
        ),
    )  # fmt: skip
    return 0


def show(name: str, ledger: Path, *, as_json: bool) -> int:
    """Print what a study searched, how far it came and its best trial."""
    name, ledger = locate(name, ledger)
    with opened(ledger) as book:
        study = find_study(book, name)
        store = _store(book, study)
        facts = {
            **_overview(store),
            "id": study.id,
            "seed": study.seed,
            "points": study.source,
            "space": study.spec.get("space"),
            "data_digest": study.identity.get("data", {}).get("digest"),
            "build": study.identity.get("build"),
            "result_hash": store.result_hash(),
            "best": [_plain(record) for record in best_records(store, 1)],
        }
    if as_json:
        print_json(facts)
        return 0
    best_trials = facts.pop("best")
    trials = facts.pop("trials")
    rows: list[list[Any]] = [[key, _line(value)] for key, value in facts.items()]
    rows += [[f"trials {key}", value] for key, value in trials.items()]
    for found in best_trials:
        rows.append(
            ["best", f"trial {found['number']}: {_line(found['values'])}  {params_text(found['params'])}"]
        )
    print_table(["", ""], rows)
    return 0


def best(name: str, n: int, ledger: Path, *, as_json: bool) -> int:
    """Print the best trials of a study."""
    name, ledger = locate(name, ledger)
    with opened(ledger) as book:
        study = find_study(book, name)
        records = best_records(_store(book, study), n)
    return _print_records("best", study, records, as_json=as_json)


def pareto(name: str, ledger: Path, *, as_json: bool) -> int:
    """Print the trials that no other dominates."""
    from akq_dist.search.ranking import best_of

    name, ledger = locate(name, ledger)
    with opened(ledger) as book:
        study = find_study(book, name)
        records = best_of(_store(book, study))
    return _print_records("pareto", study, records, as_json=as_json)


def _print_records(what: str, study: StudyRecord, records: list[TrialRecord], *, as_json: bool) -> int:
    if as_json:
        print_json({"study": study.name, what: [_plain(record) for record in records]})
    elif records:
        print_best(study, records)
    else:
        say("no trial is complete and meets the constraints")
    return 0


def importance(name: str, objective: str | None, ledger: Path, *, as_json: bool) -> int:
    """Print how much each parameter matters."""
    from akq_dist.search.importance import importances

    name, ledger = locate(name, ledger)
    with opened(ledger) as book:
        study = find_study(book, name)
        found = importances(_store(book, study), objective)
    if as_json:
        print_json({"study": study.name, **found.to_dict()})
        return 0
    print_table(
        ["parameter", f"importance for {found.objective}"], [[k, f"{v:.3f}"] for k, v in found.shares.items()]
    )
    if found.n_used < found.n_complete:
        say(f"from {found.n_used:,} of {found.n_complete:,} complete trials, evenly spaced")
    return 0


def export(target: str, out: Path, ledger: Path) -> int:
    """Write the table of all trials to a file; what it replaces stays until the new one is whole."""
    from akq_dist.record.table import write_results

    name, ledger = locate(target, ledger)
    with opened(ledger) as book:
        n_rows = write_results(_store(book, find_study(book, name)), out)
    say(f"{n_rows:,} trials written to {out}")
    return 0


def status(target: str, ledger: Path, *, as_json: bool) -> int:
    """Print how far a study has come."""
    name, ledger = locate(target, ledger)
    with opened(ledger) as book:
        facts = _overview(_store(book, find_study(book, name)))
    if as_json:
        print_json(facts)
        return 0
    trials = facts["trials"]
    total = "?" if trials["total"] is None else f"{trials['total']:,}"
    done = trials["complete"] + trials["failed"] + trials["pruned"]
    say(
        f"{facts['study']}: {done:,} of {total} trials done, "
        f"{trials['complete']:,} complete, {trials['failed']:,} failed ({trials['undefined']:,} undefined), "
        f"{trials['pruned']:,} pruned, {trials['cached']:,} cached, {trials['open']:,} open"
    )
    return 0


def locate(target: str, ledger: Path) -> tuple[str, Path]:
    """Return study name and ledger of a sweep file, or take the target as the name of a study."""
    path = Path(target)
    if path.suffix.lower() in _SWEEP_FILES and not path.is_file():
        raise AkqUsageError(f"there is no sweep file {target}")
    if not path.suffix or not path.is_file():
        return target, ledger
    from akq_dist.specs import load_sweep

    spec = load_sweep(path).spec
    return spec.name, Path(spec.storage.ledger)


def find_study(book: Ledger, name: str) -> StudyRecord:
    """Return a study by its name, the name of its sweep file, or its id.

    Raises AkqStudyError with the nearest known name.
    """
    study = book.find(name) or book.latest(name)
    if study is None:
        known = [held.name for held in book.studies()]
        hint = did_you_mean(name, known) if known else "; it holds no study"
        raise AkqStudyError(f"the ledger {book.path} has no study {name!r}{hint}")
    return study


def best_records(store: TrialStore, n: int) -> list[TrialRecord]:
    """Return the n best complete trials that meet the constraints, best first."""
    from akq_dist.cli.ranking import rank

    return rank(store, n)


def print_best(study: StudyRecord, records: list[TrialRecord]) -> None:
    """Print trials as a table: number, values of the objectives, parameters."""
    values = [output for output, _ in study.objectives]
    columns = ["trial", *values, *study.params]
    print_table(
        columns, ([r.number, *r.values, *(r.params.get(name) for name in study.params)] for r in records)
    )


def opened(path: Path) -> _Opened:
    """Open a ledger for the length of a command; raises AkqStudyError where there is none."""
    return _Opened(path)


class _Opened:
    """A ledger for the length of a command."""

    def __init__(self, path: Path) -> None:
        from akq_dist.record.ledger import Ledger

        self._ledger = Ledger(path, must_exist=True)

    def __enter__(self) -> Ledger:
        return self._ledger

    def __exit__(self, *_: object) -> None:
        self._ledger.close()


def _store(book: Ledger, study: StudyRecord) -> TrialStore:
    from akq_dist.record.trials import TrialStore

    return TrialStore(book, study)


def _overview(store: TrialStore) -> dict[str, Any]:
    study, counts = store.study, store.counts()
    return {
        "study": study.name,
        "created": dt.datetime.fromtimestamp(study.created_ms / 1000).isoformat(" ", "seconds"),
        "objectives": [list(objective) for objective in study.objectives],
        "trials": {
            "complete": counts["complete"],
            "failed": counts["fail"],
            "undefined": counts["undefined"],
            "pruned": counts["pruned"],
            "cached": counts["cached"],
            "open": counts["asked"],
            "total": study.budget if study.budget is not None else counts["total"],
        },
    }


def _plain(record: TrialRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "values": list(record.values),
        "params": dict(record.params),
        "metrics": {name: value for name, value in record.metrics.items() if math.isfinite(value)},
        "hash": record.hash,
    }


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_line(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_line(item) for item in value)
    return "-" if value is None else str(value)
