"""What one backtest did."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from akq_dist.errors import AkqUsageError, free_space
from akq_dist.metrics import Metrics
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from akq_dist import _core


FRAMES: Final = (
    "equity", "exposure", "turnover", "drawdowns", "positions", "orders", "fills", "trades", "rejects",
    "accounts", "strategies",
)  # fmt: skip
"""Every table of a result; `strategies` only where several share an account."""
_DERIVED: Final = {
    "exposure": "equity",
    "turnover": "equity",
    "drawdowns": "equity",
    "positions": "positions",
}
"""Tables that follow from one of the engine; they are computed when they are asked for."""
_EQUITY: Final = ("symbol", "ts", "date", "equity", "cash", "exposure")


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """Metrics and tables of one run; picklable, and nothing in it borrows from the engine.

    Its tables are Polars frames: `equity`, `exposure`, `turnover`, `drawdowns`, `positions`, `orders`, `fills`,
    `trades` (round trips), `rejects` and `accounts`; `to_pandas` gives any of them to pandas. A column `symbol` of
    an account is empty where all assets share one. A run without details has neither `exposure`, `turnover` and
    `positions` nor orders and fills.
    """

    name: str
    params: Mapping[str, Any]
    metrics: Metrics
    """Metrics of the account, or `metric.aggregate` over many, with their units; NaN where undefined."""
    symbols: tuple[str, ...]
    data_digest: str
    build: str
    hash: str
    """Digest of every metric of every account: equal bits, equal hash."""
    n_bars: int
    wall_s: float
    tables: Mapping[str, pa.Table] = field(repr=False)
    """What the engine handed out, as Arrow."""

    @classmethod
    def of(cls, run: _core.RunResult, outputs: list[str], **facts: Any) -> BacktestResult:
        """Take over what the engine hands out."""
        import pyarrow as pa

        tables = {
            "equity": pa.table(run.equity()),
            "positions": pa.table(run.positions()),
            "orders": pa.table(run.orders()),
            "fills": pa.table(run.fills()),
            "trades": pa.table(run.trades()),
            "rejects": pa.table(run.rejects()),
            "accounts": pa.table(run.metrics()),
        }
        if (shares := run.strategies()) is not None:
            tables["strategies"] = pa.table(shares)
        metrics = Metrics(dict(zip(outputs, run.values, strict=True)))
        return cls(metrics=metrics, hash=run.hash, n_bars=run.n_bars, tables=tables, **facts)

    @property
    def equity(self) -> pl.DataFrame:
        """`symbol, ts, date, equity, cash, exposure` (gross), one row a step and account."""
        return self.frame("equity")

    @property
    def exposure(self) -> pl.DataFrame:
        """`symbol, ts, date, long, short, gross, net, leverage`, one row a step and account."""
        return self.frame("exposure")

    @property
    def turnover(self) -> pl.DataFrame:
        """`symbol, date, traded, turnover`, one row a trading date and account."""
        return self.frame("turnover")

    @property
    def drawdowns(self) -> pl.DataFrame:
        """`symbol, start, trough, recovery, peak, low, depth, n_steps`, one row a fall below the peak."""
        return self.frame("drawdowns")

    @property
    def positions(self) -> pl.DataFrame:
        """`ts, date, symbol, qty, price, value, weight` at the end of each trading date, what is held only.

        They are part of the equity of the same date.
        """
        return self.frame("positions")

    @property
    def orders(self) -> pl.DataFrame:
        """Every order with what became of it."""
        return self.frame("orders")

    @property
    def fills(self) -> pl.DataFrame:
        """Executions, in order."""
        return self.frame("fills")

    @property
    def trades(self) -> pl.DataFrame:
        """Closed round trips, first-in-first-out."""
        return self.frame("trades")

    @property
    def rejects(self) -> pl.DataFrame:
        """`symbol, reason, n`: refused orders by account and reason."""
        return self.frame("rejects")

    @property
    def strategies(self) -> pl.DataFrame:
        """What each of several strategies did, one row an account and strategy.

        `symbol, strategy, n_orders, n_fills, n_trades, fees, slippage_cost, closed_net, net_profit`: net profit
        counts open positions at the last close and adds up to the gain of the account. Raises AkqUsageError where
        one strategy had the account for itself.
        """
        return self.frame("strategies")

    @property
    def accounts(self) -> pl.DataFrame:
        """All metrics, one row an account."""
        return self.frame("accounts")

    def frame(self, table: str) -> pl.DataFrame:
        """Return a table by name as a Polars frame, those of the engine without a copy.

        Raises AkqUsageError for an unknown name, and for one that a run without details does not have.
        """
        import polars as pl

        if table not in FRAMES:
            raise AkqUsageError(f"unknown table {table!r}{did_you_mean(table, FRAMES)}")
        if table not in self.names:
            why = "a run of one strategy" if table == "strategies" else "a run without details"
            raise AkqUsageError(f"{why} has no table {table}")
        made = pl.from_arrow(self.tables[_DERIVED.get(table, table)])
        assert isinstance(made, pl.DataFrame)
        if table in _DERIVED:
            from akq_dist import frames

            derive: Callable[[pl.DataFrame], pl.DataFrame] = getattr(frames, table)
            return derive(made)
        return made.select(name for name in _EQUITY if name in made.columns) if table == "equity" else made

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tables that this result has."""
        has_details = "traded" in self.tables["equity"].column_names
        missing = () if has_details else ("exposure", "turnover")
        if "strategies" not in self.tables:
            missing = (*missing, "strategies")
        return tuple(name for name in FRAMES if name not in missing)

    def to_pandas(self, table: str) -> pd.DataFrame:
        """Return a table by name as a pandas frame."""
        return self.frame(table).to_pandas()

    def rejects_by_reason(self) -> dict[str, int]:
        """Return how many orders were refused, by reason, over all accounts."""
        counts: dict[str, int] = {}
        for reason, n in self.rejects.select("reason", "n").iter_rows():
            counts[reason] = counts.get(reason, 0) + n
        return dict(sorted(counts.items()))

    def summary(self) -> dict[str, Any]:
        """Return everything but the tables as plain data; an undefined metric is None."""
        return {
            "name": self.name,
            "params": dict(self.params),
            "metrics": self.metrics.plain(),
            "rejects": self.rejects_by_reason(),
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
            for name in self.names:
                table = self.frame(name).to_arrow()
                _replace(target / f"{name}.parquet", lambda path, table=table: pq.write_table(table, path))
            text = json.dumps(self.summary(), indent=2, default=str) + "\n"
            _replace(target / "metrics.json", lambda path: path.write_text(text, encoding="utf-8"))
        except OSError as error:
            left = free_space(target / "metrics.json")
            raise AkqUsageError(
                f"cannot write the result to {target}: {error.strerror or error} ({left})"
            ) from None
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
