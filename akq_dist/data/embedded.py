"""Index series that come with the `arch` package: daily bars of the S&P 500 and the NASDAQ, 1999 to 2018."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from akq_dist.data.source import RawBars
from akq_dist.errors import AkqDataError, AkqUsageError, MissingDependencyError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from akq_dist.specs.data import DataSpec

SERIES = {"sp500": "SP500", "nasdaq": "NASDAQ"}
"""Name in a sweep file, and symbol in the panel."""

_COLUMNS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}


class EmbeddedSource:
    """Reads installed sample data: no file of the user and no network are needed. Prices are not adjusted."""

    def read(self, spec: DataSpec, base_dir: Path) -> RawBars:  # noqa: ARG002 - the protocol has it
        """Read one series, or all of them."""
        name = spec.name or "all"
        if name != "all" and name not in SERIES:
            raise AkqUsageError(f"data.name: unknown series {name!r}{did_you_mean(name, [*SERIES, 'all'])}")
        folder = _folder()
        chosen = list(SERIES) if name == "all" else [name]
        frame = pl.concat([_load(folder, series) for series in chosen])
        return RawBars(frame, f"embedded {name}", None, f"embedded {name}")


def _folder() -> Path:
    """Return where the package keeps its data; importing it would take a second, for SciPy."""
    package = find_spec("arch")
    if package is None or not package.submodule_search_locations:
        raise MissingDependencyError(
            "the embedded series come with the package arch, which is not installed; "
            "install arch, or choose another data.source"
        )
    return Path(next(iter(package.submodule_search_locations))) / "data"


def _load(folder: Path, name: str) -> pl.DataFrame:
    file = folder / name / f"{name}.csv.gz"
    try:
        frame = pl.read_csv(gzip.decompress(file.read_bytes()), infer_schema=False)
        return frame.select(
            pl.lit(SERIES[name]).alias("symbol"),
            pl.col("Date").str.to_date("%m/%d/%Y").alias("date"),
            *(pl.col(column).cast(pl.Float64).alias(word) for word, column in _COLUMNS.items()),
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0][:200].replace(str(folder), "arch")
        raise AkqDataError(f"embedded {name}: the installed arch has no such series: {reason}") from None
