"""Running a recorded trial again, to see the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqStudyError
from akq_dist.record.files import whole_file
from akq_dist.record.identity import diff
from akq_dist.record.ledger import Ledger
from akq_dist.record.protocols import Batch
from akq_dist.record.pruning import PruneRule
from akq_dist.record.trials import TrialStore, canonical_nan
from akq_dist.record.worker import Worker
from akq_dist.search.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from akq_dist.record.ledger import StudyRecord
    from akq_dist.record.trials import TrialBlock
    from akq_dist.request import Request
    from akq_dist.search.judge import Judge
    from akq_dist.search.prepare import Prepared
    from akq_dist.specs import ParamDef


@dataclass(frozen=True)
class ReplayReport:
    """What a trial gave when it was run again."""

    study: str
    number: int
    params: Mapping[str, Any]
    same: bool
    """True when state, hash, values and every metric are equal bit for bit."""
    recorded_hash: str
    hash: str
    recorded_build: str
    build: str
    differences: tuple[str, ...] = ()
    """One line for each thing that is not the same."""
    files: tuple[str, ...] = field(default=())
    """Tables that were written."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            **self.__dict__,
            "params": dict(self.params),
            "differences": list(self.differences),
            "files": list(self.files),
        }


def replay_trial(
    request: Request, ledger: Path, name: str, number: int, *, artifacts: Path | None = None
) -> ReplayReport:
    """Run a recorded trial again in this process and compare.

    Raises AkqStudyError when there is no such trial or the sweep is no longer the one that was recorded.
    """
    book = Ledger(ledger, must_exist=True)
    try:
        record = book.find(name) or book.latest(name)
        if record is None:
            raise AkqStudyError(f"the ledger {ledger} has no study '{name}'.")
        store = TrialStore(book, record)
        block = store.take([number])
        if not len(block):
            raise AkqStudyError(
                f"study '{record.name}' has no trial {number}; it has {store.numbers()[0]:,} trials."
            )
        recorded = store.record(block, 0)
        session = book.session(int(block.sessions[0]))
        prepared = prepare(request)
        refuse_changes(record, prepared, f"trial {number} cannot be replayed")
        _refuse_pruned(recorded.state, number)
        worker = _worker(prepared)
        batch = Batch(0, block.numbers, np.ascontiguousarray(block.points), _whole(prepared))
        metrics, error, new_hash = _run(worker, batch, prepared.outputs)
        differences = _compare(block, prepared.judge, metrics, error, new_hash, prepared.outputs)
        files: list[str] = []
        if artifacts is not None and error is None:
            files = _write_tables(worker, batch, artifacts)
        return ReplayReport(
            study=record.name,
            number=number,
            params=recorded.params,
            same=not differences,
            recorded_hash=recorded.hash,
            hash=new_hash,
            recorded_build=session[0] if session is not None else "",
            build=prepared.build,
            differences=tuple(differences),
            files=tuple(files),
        )
    finally:
        book.close()


def refuse_changes(record: StudyRecord, prepared: Prepared, what: str) -> None:
    """Raise AkqStudyError that names the differences when a sweep is no longer the one that was recorded."""
    changes = [
        line for line in diff(record.identity, prepared.identity(record.source)) if not _is_build(line)
    ]
    if changes:
        raise AkqStudyError(f"{what}, the sweep has changed:\n  " + "\n  ".join(changes))


def replay_point(
    request: Request,
    study: str,
    number: int,
    params: Mapping[str, str],
    *,
    data_digest: str,
    state: str,
    recorded_hash: str,
    recorded_build: str,
    recorded: Callable[[str], float | None],
) -> ReplayReport:
    """Run a point again of which a record elsewhere tells `params` as text and, by output, its metrics.

    Raises AkqStudyError when the data are no longer those of the record or a parameter is not in it.
    """
    _refuse_pruned(state, number)
    prepared = prepare(request)
    if prepared.data.digest != data_digest:
        raise AkqStudyError(
            f"trial {number} cannot be replayed, the data have changed: their digest was {data_digest} and is "
            f"{prepared.data.digest}."
        )
    values = {param.name: _value(param, params) for param in prepared.space.params if param.name in params}
    point = prepared.space.encode(values)
    batch = Batch(0, np.array([number], dtype=np.int64), point[np.newaxis, :], _whole(prepared))
    metrics, error, new_hash = _run(_worker(prepared), batch, prepared.outputs)
    new_state = prepared.judge.judge(metrics, [error]).states[0]
    lines = [f"state: {state} -> {new_state}"] if new_state != state else []
    if new_hash != recorded_hash:
        lines.append(f"hash: {recorded_hash} -> {new_hash}")
    for output, found in zip(prepared.outputs, metrics[0].tolist(), strict=True):
        held = recorded(output)
        if _bits(np.nan if held is None else held) != _bits(found):
            lines.append(f"{output}: {held!r} -> {found!r}")
    return ReplayReport(
        study=study,
        number=number,
        params=prepared.space.decode(point),
        same=not lines,
        recorded_hash=recorded_hash,
        hash=new_hash,
        recorded_build=recorded_build,
        build=prepared.build,
        differences=tuple(lines),
    )


def _value(param: ParamDef, params: Mapping[str, str]) -> Any:
    """Return the value of a parameter from its text."""
    text = params[param.name]
    if param.kind == "choice":
        for value in param.values:
            if text == (str(value).lower() if isinstance(value, bool) else str(value)):
                return value
        raise AkqStudyError(f"{param.name}: the record has {text!r}, which the space does not.")
    return int(text) if param.kind == "int" else float(text)


def _refuse_pruned(state: str, number: int) -> None:
    if state == "pruned":
        raise AkqStudyError(
            f"trial {number} was stopped by the pruner, so there is no whole result to compare"
        )


def _whole(prepared: Prepared) -> PruneRule | None:
    """Return a rule that stops nothing: values at the rungs of a pruner are part of the record."""
    return None if prepared.rungs is None else PruneRule("none", 1.0)


def _worker(prepared: Prepared) -> Worker:
    # One thread and one trial: a result that depended on either would show here.
    return Worker(prepared.job(1), prepared.data.table)


def _run(
    worker: Worker, batch: Batch, outputs: tuple[str, ...]
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], str | None, str]:
    """Return metrics, error and hash of a batch of one."""
    table = worker.run(batch).table
    error = table.column("error")[0].as_py()
    metrics = np.array([[table.column(output)[0].as_py() for output in outputs]], dtype=np.float64)
    return metrics, error, "" if error is not None else table.column("hash")[0].as_py() or ""


def _compare(
    block: TrialBlock,
    judge: Judge,
    metrics: np.ndarray[Any, np.dtype[np.float64]],
    error: str | None,
    new_hash: str,
    outputs: tuple[str, ...],
) -> list[str]:
    verdict = judge.judge(metrics, [error])
    lines = []
    if verdict.states[0] != block.states[0]:
        lines.append(f"state: {block.states[0]} -> {verdict.states[0]}")
    if new_hash != block.hashes[0]:
        lines.append(f"hash: {block.hashes[0]} -> {new_hash}")
    for ix, objective in enumerate(judge.objectives):
        if _bits(block.values[0, ix]) != _bits(verdict.values[0, ix]):
            lines.append(f"value of {objective.output}: {block.values[0, ix]!r} -> {verdict.values[0, ix]!r}")
    again = canonical_nan(metrics)[0]
    for ix, output in enumerate(outputs):
        if _bits(block.metrics[0, ix]) != _bits(again[ix]):
            lines.append(f"{output}: {float(block.metrics[0, ix])!r} -> {float(again[ix])!r}")
    return lines


def _bits(value: float) -> bytes:
    return canonical_nan(np.array([value])).tobytes()


def _is_build(line: str) -> bool:
    return line.startswith(("build", "versions"))


def _write_tables(worker: Worker, batch: Batch, folder: Path) -> list[str]:
    """Write the tables of a trial as Parquet files, each complete or not there at all."""
    import pyarrow.parquet as pq

    files = []
    for name, table in worker.detail(batch)[0].tables.items():
        path = folder / f"{name}.parquet"
        with whole_file(path, f"the table {name}") as partial:
            pq.write_table(table, partial)
        files.append(str(path))
    return files
