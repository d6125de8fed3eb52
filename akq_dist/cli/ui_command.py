"""`akq ui`: the recorded runs in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import say
from akq_dist.cli.study_commands import find_study, locate, opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from akq_dist.record.ledger import StudyRecord

_SQLITE = "sqlite:///"


def serve(target: str | None, ledger: Path, port: int) -> int:
    """Serve until Ctrl-C."""
    from akq_dist.specs import StorageSpec, TrackSpec
    from akq_dist.track.ui import Study, serve_ui

    chosen: Study | None = None
    stores = (TrackSpec().mlflow, StorageSpec().optuna)
    if target is not None or ledger.is_file():
        name = ""
        if target is not None:
            name, ledger = locate(target, ledger)
        with opened(ledger) as book:
            studies = book.studies()
            record = find_study(book, name) if name else studies[-1] if studies else None
        if record is not None:
            stores = _stores(record.spec, ledger)
            if name:
                chosen = Study(record.id, record.name)
            else:
                _say_others(record, studies, ledger)
    serve_ui(*stores, port, study=chosen, announce=say)
    return 0


def _stores(spec: Mapping[str, Any], ledger: Path) -> tuple[str | None, str | None]:
    """Return the tracking URI and the Optuna URL of a study, from the folder that its ledger was made from."""
    found = ((spec.get("track") or {}).get("mlflow"), (spec.get("storage") or {}).get("optuna"))
    own = Path((spec.get("storage") or {}).get("ledger") or ledger)
    folder = ledger.absolute()
    for part in reversed(own.parts):
        if own.is_absolute() or folder.name != part:
            return found
        folder = folder.parent
    mlflow, optuna = (_rooted(url, folder) for url in found)
    return mlflow, optuna


def _rooted(url: str | None, folder: Path) -> str | None:
    """Give a SQLite URL with a relative path the folder that it is relative to."""
    if url is None or not url.startswith(_SQLITE) or ":memory:" in url:
        return url
    return f"{_SQLITE}{folder / url.removeprefix(_SQLITE)}"


def _say_others(record: StudyRecord, studies: list[StudyRecord], ledger: Path) -> None:
    """Name a study of each store that is not shown."""
    shown = {_stores(record.spec, ledger)}
    for study in reversed(studies):
        stores = _stores(study.spec, ledger)
        if stores not in shown and any(stores):
            shown.add(stores)
            say(f"{study.name} is recorded elsewhere: akq ui {study.name} shows it")
