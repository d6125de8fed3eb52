"""Facts about a sweep and where it runs, for the record."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from akq_dist.record.protocols import REPLAY_FILE, STRATEGY_FOLDER, SweepInfo
from akq_dist.search.storage import shown_metrics
from akq_dist.specs import to_yaml
from akq_dist.specs.units import redact_url

if TYPE_CHECKING:
    from pathlib import Path

    from akq_dist.record.ledger import StudyRecord
    from akq_dist.search.prepare import Prepared

_PACKAGES = ("numpy", "polars", "pyarrow", "optuna", "scipy", "ray", "mlflow")


def environment() -> dict[str, str]:
    """Return what a person needs to set up the same environment: versions, platform, number of cores."""
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count() or 1),
    }
    for name in _PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts


def git_commit(folder: Path) -> str | None:
    """Return the commit that a folder is at, with `+` when files under it are changed.

    None outside a repository.
    """
    git = shutil.which("git")
    if git is None:
        return None
    try:
        head = subprocess.run(
            [git, "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=True
        )
        changed = subprocess.run(
            [git, "status", "--porcelain", "--untracked-files=no", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def sweep_info(prepared: Prepared, study: StudyRecord) -> SweepInfo:
    """Return what a tracker is told about a sweep; no secret is in it."""
    shown = shown_metrics(study, prepared.judge)
    return SweepInfo(
        study=study.name,
        study_id=study.id,
        spec_yaml=to_yaml(prepared.spec),
        data_digest=prepared.data.digest,
        data_source=redact_url(prepared.data.source),
        n_rows=prepared.data.table.num_rows,
        symbols=tuple(prepared.data.symbols),
        build=prepared.build,
        seed=study.seed,
        objectives=study.objectives,
        outputs=study.outputs,
        environment=environment(),
        git_commit=git_commit(prepared.request.file.base_dir),
        files=_replay_files(prepared),
        params=study.params,
        shown_metrics=[name for name in study.outputs if name in shown],
    )


def _replay_files(prepared: Prepared) -> dict[str, str]:
    """Return what running a trial again takes beside the sweep file, as texts by file name."""
    source = prepared.source
    facts = {
        "folder": str(prepared.request.file.base_dir),
        "python": None if source is None else f"{source.entry}:{source.class_name}",
        "fixed": prepared.fixed,
    }
    modules = () if source is None else source.modules
    return {
        REPLAY_FILE: json.dumps(facts, indent=2, sort_keys=True, default=str),
        **{f"{STRATEGY_FOLDER}/{module.path}": module.text for module in modules},
    }
