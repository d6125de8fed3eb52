"""Bars that are loaded once and describe themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from akq_dist.data.panel import PanelData, load_panel, panel_from_frame
from akq_dist.errors import AkqUsageError
from akq_dist.specs.data import IN_MEMORY, DataSpec
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    import datetime as dt

    import pandas as pd
    import pyarrow as pa

    from akq_dist.data.quality import QualityReport


class DataFeed:
    """Checked bars of one or many assets: `DataFeed.from_parquet("us.parquet", symbols=["AAPL"])`.

    The keyword arguments of every constructor are the settings of `data:` in a sweep file: `symbols`, `start`,
    `end`, `columns`, `tz`, `on_bad`, `priority`, `align`. Bars before `start` warm the indicators. Raises
    AkqDataError for data that cannot be used, AkqUsageError for settings that make no sense. Immutable and
    picklable; `backtest`, `Engine` and `sweep` take it as `data`.
    """

    __slots__ = ("_panel", "_spec")

    def __init__(self, panel: PanelData, spec: DataSpec) -> None:
        """Wrap a panel that is ready; the constructors below make one."""
        self._panel = panel
        self._spec = spec

    @classmethod
    def from_parquet(cls, path: str | Path, **settings: Any) -> DataFeed:
        """Read a Parquet file with a row a bar and symbol."""
        return cls._from_spec({"source": "parquet", "path": str(path), **settings})

    @classmethod
    def from_csv(cls, path: str | Path, **settings: Any) -> DataFeed:
        """Read a CSV file with a row a bar and symbol; without a symbol column the file's stem is the symbol."""
        return cls._from_spec({"source": "csv", "path": str(path), **settings})

    @classmethod
    def embedded(cls, name: str = "sp500", **settings: Any) -> DataFeed:
        """Take a series that comes with the package: sp500, nasdaq or all."""
        return cls._from_spec({"source": "embedded", "name": name, **settings})

    @classmethod
    def from_polars(cls, frame: pl.DataFrame | pl.LazyFrame, **settings: Any) -> DataFeed:
        """Take a Polars frame with a row a bar and symbol."""
        return cls._from_table(frame, settings)

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, **settings: Any) -> DataFeed:
        """Take a pandas frame with a row a bar and symbol; an index of times becomes a column."""
        return cls._from_table(frame, settings)

    @classmethod
    def from_arrow(cls, table: pa.Table, **settings: Any) -> DataFeed:
        """Take an Arrow table with a row a bar and symbol."""
        return cls._from_table(table, settings)

    @classmethod
    def _from_spec(cls, section: dict[str, Any]) -> DataFeed:
        spec = DataSpec.parse(section)
        return cls(load_panel(spec, Path.cwd()), spec)

    @classmethod
    def _from_table(cls, table: Any, settings: dict[str, Any]) -> DataFeed:
        spec = DataSpec.parse({"source": IN_MEMORY, **settings})
        return cls(panel_from_frame(table, spec), spec)

    @property
    def panel(self) -> PanelData:
        """The bars as the engine takes them."""
        return self._panel

    @property
    def spec(self) -> DataSpec:
        """Source and settings."""
        return self._spec

    @property
    def symbols(self) -> list[str]:
        """Symbols in panel order: by name, those of `priority` first."""
        return list(self._panel.symbols)

    @property
    def columns(self) -> list[str]:
        """Series that strategies can use: `open high low close`, `volume` where there is one, and extra columns."""
        return [name for name in self._panel.table.column_names if name not in ("ts", "date")]

    @property
    def first_date(self) -> dt.date:
        """First trading date with a bar."""
        return self._dates()[0]

    @property
    def last_date(self) -> dt.date:
        """Last trading date with a bar."""
        return self._dates()[1]

    @property
    def digest(self) -> str:
        """SHA-256 of the content: equal bars, equal digest."""
        return self._panel.digest

    @property
    def report(self) -> QualityReport:
        """What was found and dropped."""
        return self._panel.report

    def __len__(self) -> int:
        """Return the number of bars of all assets."""
        return int(self._panel.table.num_rows)

    def __repr__(self) -> str:
        names = self.symbols
        shown = ", ".join(names[:3]) + (f", ... {len(names)} symbols" if len(names) > 3 else "")
        return f"DataFeed({shown}; {len(self):,} bars, {self.first_date} to {self.last_date})"

    def bars(self, symbol: str | None = None) -> pl.DataFrame:
        """Return the bars as a frame with a `symbol` column, of one symbol or of all; raises AkqUsageError."""
        frame = pl.from_arrow(self._panel.table)
        assert isinstance(frame, pl.DataFrame)
        offsets = self._offsets()
        if symbol is None:
            ranks = np.repeat(np.arange(len(self.symbols)), np.diff(offsets))
            return frame.select(pl.Series("symbol", self.symbols).gather(ranks), pl.all())
        if symbol not in self.symbols:
            raise AkqUsageError(f"no bars of {symbol!r}{did_you_mean(symbol, self.symbols)}")
        asset = self.symbols.index(symbol)
        rows = frame.slice(offsets[asset], offsets[asset + 1] - offsets[asset])
        return rows.select(pl.lit(symbol).alias("symbol"), pl.all())

    def describe(self) -> pl.DataFrame:
        """Return `symbol, n_bars, first, last, low, high`, one row a symbol; the prices are its extremes."""
        return (
            self.bars()
            .group_by("symbol", maintain_order=True)
            .agg(
                pl.len().alias("n_bars"),
                pl.col("date").first().alias("first"),
                pl.col("date").last().alias("last"),
                pl.col("low").min(),
                pl.col("high").max(),
            )
        )

    def _offsets(self) -> list[int]:
        import json

        metadata = self._panel.table.schema.metadata or {}
        offsets: list[int] = json.loads(metadata[b"akq.offsets"])
        return offsets

    def _dates(self) -> tuple[dt.date, dt.date]:
        import pyarrow.compute as pc

        found = pc.min_max(self._panel.table.column("date")).as_py()
        return found["min"], found["max"]
