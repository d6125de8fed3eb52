"""Market data: sources, checks, and the panel that the engine borrows.

`load_panel` turns a `DataSpec` into a `PanelData`; `panel_from_frame` does it for a table in memory. `DataFeed`
is both for users.
"""

from akq_dist.data.aggregate import aggregate
from akq_dist.data.feed import DataFeed
from akq_dist.data.ipc import map_panel, write_panel
from akq_dist.data.panel import PanelData, build_panel, load_panel, panel_from_frame
from akq_dist.data.quality import Finding, QualityReport
from akq_dist.data.source import BarSource, RawBars, open_source, register_source, source_names

__all__ = [
    "BarSource",
    "DataFeed",
    "Finding",
    "PanelData",
    "QualityReport",
    "RawBars",
    "aggregate",
    "build_panel",
    "load_panel",
    "map_panel",
    "open_source",
    "panel_from_frame",
    "register_source",
    "source_names",
    "write_panel",
]
