"""All trials of a study as one Arrow table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from akq_dist.errors import AkqUsageError
from akq_dist.record.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from akq_dist.record.trials import TrialBlock, TrialStore


def results_table(store: TrialStore) -> pa.Table:
    """Return one row a trial in number order.

    An undefined metric or the value of a trial without one is null.
    """
    study = store.study
    tables = [
        _table(block, study.params, study.outputs, len(study.objectives))
        for block in store.blocks(size=20_000)
    ]
    if not tables:
        return pa.table({"number": pa.array([], pa.int64()), "state": pa.array([], pa.string())})
    # A parameter that is a whole number in one block and a float in the next becomes a float.
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def write_results(store: TrialStore, path: Path) -> int:
    """Write all trials to a `.parquet`, `.csv` or `.arrow` file; return their number.

    The file appears when it is complete. Raises AkqUsageError for another ending, AkqStudyError when it cannot
    be written.
    """
    kind = path.suffix.lower()
    if kind not in _WRITERS:
        raise AkqUsageError(f"{path}: write {', '.join(_WRITERS)}; the ending says which")
    table = results_table(store)
    with whole_file(path, "the trials") as partial:
        _WRITERS[kind](table, partial)
    return int(table.num_rows)


def _write_parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


def _write_csv(table: pa.Table, path: Path) -> None:
    import pyarrow.csv as pc

    pc.write_csv(table, path)


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


_WRITERS: Final[dict[str, Callable[[pa.Table, Path], None]]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".arrow": _write_arrow,
}


def _table(block: TrialBlock, params: tuple[str, ...], outputs: tuple[str, ...], n_values: int) -> pa.Table:
    decoded: list[dict[str, Any]] = [json.loads(text) for text in block.params]
    columns: dict[str, pa.Array] = {
        "number": pa.array(block.numbers),
        "state": pa.array(block.states, pa.string()),
    }
    for ix in range(n_values):
        columns["value" if n_values == 1 else f"values_{ix}"] = _floats(block.values[:, ix])
    for name in params:
        columns[f"params_{name}"] = pa.array([row[name] for row in decoded])
    for ix, name in enumerate(outputs):
        columns[name] = _floats(block.metrics[:, ix])
    columns["reason"] = pa.array(block.reasons, pa.string())
    columns["hash"] = pa.array(block.hashes, pa.string())
    columns["key"] = pa.array(block.keys, pa.string())
    columns["n_bars"] = pa.array(block.n_bars)
    columns["cached"] = pa.array(block.cached)
    columns["started_ms"] = pa.array(block.started_ms)
    columns["ended_ms"] = pa.array(block.ended_ms)
    return pa.table(columns)


def _floats(values: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
