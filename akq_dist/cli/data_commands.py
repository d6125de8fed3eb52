"""`akq data ...`: look at market data without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.cli.console import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akq_dist.data import PanelData
    from akq_dist.specs import DataSpec


def check(file: Path, overrides: Sequence[str], *, as_json: bool) -> int:
    """Load data and report; bad data end the command with exit code 3."""
    found = _load(file, overrides)
    facts = _facts(found)
    if as_json:
        print_json(facts)
        return 0
    say(f"{facts['source']}, {facts['first']} to {facts['last']}")
    say(found.report.summary())
    say(f"digest {found.digest}")
    return 0


def digest(file: Path, overrides: Sequence[str], *, as_json: bool) -> int:
    """Print the digest alone on stdout."""
    found = _load(file, overrides)
    if as_json:
        print_json({"digest": found.digest, "source": found.source})
    else:
        print(found.digest)
    return 0


def _load(file: Path, overrides: Sequence[str]) -> PanelData:
    from akq_dist.data import load_panel

    spec, base_dir = _data_spec(file, overrides)
    return load_panel(spec, base_dir)


def _data_spec(file: Path, overrides: Sequence[str]) -> tuple[DataSpec, Path]:
    """Return the data part of a sweep file; a data file stands for itself, `--set on_bad=...` changes it."""
    from akq_dist.specs import DataSpec, load_sweep
    from akq_dist.specs.load import apply_override

    if file.suffix.lower() in (".yaml", ".yml", ".toml"):
        loaded = load_sweep(file, overrides)
        return loaded.spec.data, loaded.base_dir
    content: dict[str, Any] = {"path": str(file.absolute())}
    for text in overrides:
        apply_override(content, text.removeprefix("data."))
    return DataSpec.parse(content), Path.cwd()


def _facts(found: PanelData) -> dict[str, Any]:
    import pyarrow.compute as pc

    dates = found.table["date"]
    bounds = pc.min_max(dates).as_py()
    return {
        "source": found.source,
        "rows": found.table.num_rows,
        "symbols": len(found.symbols),
        "first": str(bounds["min"]),
        "last": str(bounds["max"]),
        "columns": [name for name in found.table.column_names if name not in ("ts", "date")],
        "digest": found.digest,
        "report": found.report.to_dict(),
    }
