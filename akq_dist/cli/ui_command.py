"""`akq ui`: the recorded runs in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import say
from akq_dist.cli.study_commands import find_study, locate, opened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def serve(target: str | None, ledger: Path, port: int) -> int:
    """Serve until Ctrl-C."""
    from akq_dist.track.ui import serve_ui

    spec = _spec(target, ledger)
    tracking = (spec.get("track") or {}).get("mlflow")
    optuna = (spec.get("storage") or {}).get("optuna")
    serve_ui(tracking, optuna, port, announce=say)
    return 0


def _spec(target: str | None, ledger: Path) -> Mapping[str, Any]:
    """Return what the study recorded about its stores; without a target, what the newest study did."""
    from akq_dist.specs import StorageSpec, TrackSpec

    if target is not None:
        name, ledger = locate(target, ledger)
        with opened(ledger) as book:
            return find_study(book, name).spec
    if ledger.is_file():
        with opened(ledger) as book:
            studies = book.studies()
        if studies:
            return studies[-1].spec
    return {"track": TrackSpec().to_dict(), "storage": StorageSpec().to_dict()}
