"""What one backtest did."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from akq_dist import _core


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """Metrics and tables of one run; picklable, and nothing in it borrows from the engine.

    `equity`, `fills`, `trades`, `orders`, `rejects` and `accounts` are Polars frames; `to_pandas` gives any of them to
    pandas.
    """

    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    """Metrics of the account, or `metric.aggregate` over many; NaN where undefined."""
    symbols: tuple[str, ...]
    data_digest: str
    build: str
    hash: str
    """Digest of every metric of every account: equal bits, equal hash."""
    n_bars: int
    wall_s: float
    tables: Mapping[str, pa.Table] = field(repr=False)

    @classmethod
    def of(cls, run: _core.RunResult, outputs: list[str], **facts: Any) -> BacktestResult:
        """Take over what the engine hands out."""
        import pyarrow as pa

        tables = {
            "equity": pa.table(run.equity()),
            "fills": pa.table(run.fills()),
            "trades": pa.table(run.trades()),
            "orders": pa.table(run.orders()),
            "rejects": pa.table(run.rejects()),
            "accounts": pa.table(run.metrics()),
        }
        metrics = dict(zip(outputs, run.values, strict=True))
        return cls(metrics=metrics, hash=run.hash, n_bars=run.n_bars, tables=tables, **facts)

    @property
    def equity(self) -> pl.DataFrame:
        """`symbol, ts, date, equity, cash, exposure`, one row a step and account."""
        return self.frame("equity")

    @property
    def fills(self) -> pl.DataFrame:
        """Executions, in order."""
        return self.frame("fills")

    @property
    def trades(self) -> pl.DataFrame:
        """Closed round trips, first-in-first-out."""
        return self.frame("trades")

    @property
    def orders(self) -> pl.DataFrame:
        """Every order with what became of it."""
        return self.frame("orders")

    @property
    def rejects(self) -> pl.DataFrame:
        """`symbol, reason, n`: refused orders by account (empty symbol for a shared one) and reason."""
        return self.frame("rejects")

    @property
    def accounts(self) -> pl.DataFrame:
        """All metrics, one row an account."""
        return self.frame("accounts")

    def frame(self, table: str) -> pl.DataFrame:
        """Return a table by name as a Polars frame, without a copy."""
        import polars as pl

        if table not in self.tables:
            raise AkqUsageError(f"unknown table {table!r}{did_you_mean(table, self.tables)}")
        made = pl.from_arrow(self.tables[table])
        assert isinstance(made, pl.DataFrame)
        return made

    def to_pandas(self, table: str) -> pd.DataFrame:
        """Return a table by name as a pandas frame."""
        return self.frame(table).to_pandas()

    def summary(self) -> dict[str, Any]:
        """Return everything but the tables as plain data; an undefined metric is None."""
        return {
            "name": self.name,
            "params": dict(self.params),
            "metrics": {
                name: value if math.isfinite(value) else None for name, value in self.metrics.items()
            },
            "symbols": len(self.symbols),
            "n_bars": self.n_bars,
            "data_digest": self.data_digest,
            "build": self.build,
            "result_hash": self.hash,
            "wall_s": round(self.wall_s, 6),
        }

    def save(self, folder: str | Path) -> Path:
        """Write `metrics.json` and one Parquet file a table into a folder and return it.

        Each file is complete or not there: it is written under another name first. Raises AkqUsageError when
        the folder cannot be written.
        """
        import pyarrow.parquet as pq

        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name, table in self.tables.items():
                _replace(target / f"{name}.parquet", lambda path, table=table: pq.write_table(table, path))
            text = json.dumps(self.summary(), indent=2, default=str) + "\n"
            _replace(target / "metrics.json", lambda path: path.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise AkqUsageError(f"cannot write the result to {target}: {error.strerror or error}") from None
        return target

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value:.6g}" for name, value in list(self.metrics.items())[:6])
        return f"BacktestResult({self.name}, {len(self.symbols)} symbols, {shown}, ...)"


def _replace(path: Path, write: Any) -> None:
    """Write a file by a temporary name, so that no half file is ever read."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
