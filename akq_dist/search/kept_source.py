"""The text of a Python strategy in the ledger: a study from a notebook can go on without the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akq_dist.strategy import PythonSource
from akq_dist.strategy.source import SourceModule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from akq_dist.record.trials import TrialStore

_VIEW = "strategy"
"""Name under which the ledger notes the text; no view of that name copies trials."""


def keep_source(store: TrialStore, source: PythonSource, values: Mapping[str, Any]) -> None:
    """Note the text of a strategy and the values of its parameters that are not searched; once a study."""
    if store.watermark(_VIEW)[1]:
        return
    modules = [[module.path, module.text] for module in source.modules]
    store.set_watermark(
        _VIEW,
        0,
        {"entry": source.entry, "class": source.class_name, "modules": modules, "values": dict(values)},
    )


def kept_source(store: TrialStore) -> tuple[PythonSource, dict[str, Any]] | None:
    """Return the text of a study's strategy and the noted values; None for rules and for old studies."""
    noted = store.watermark(_VIEW)[1]
    if not noted:
        return None
    modules = tuple(SourceModule(path, text) for path, text in noted["modules"])
    return PythonSource(noted["entry"], noted["class"], modules), dict(noted["values"])
