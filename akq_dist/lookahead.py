"""A proof that a strategy does not look ahead, on its own data.

The strategy runs once as it is. Then, for some times t, it runs on bars that are changed after t and on bars that
end after t: orders, fills and equity up to t have to be the same to the bit. What differs was decided with something
later than t.

    from akq_dist.lookahead import lookahead

    print(lookahead("sweeps/mine.yaml", {"fast": 10, "slow": 50}))

The proof reaches as far as the bars that the engine hands over. A strategy that reads its data from elsewhere, or has
the future written into it, decides the same whatever the engine changes: reading the data file is reported where it
shows, other files are named, and a table of known prices in the source cannot be found by any test.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from akq_dist.backtest import prepare_run
from akq_dist.errors import AkqUsageError
from akq_dist.request import read_request
from akq_dist.strategy.columns import panel_layout
from akq_dist.strategy.reads import reading_calls, watched_opens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from akq_dist.backtest import PreparedRun
    from akq_dist.request import Request
    from akq_dist.specs import SweepFile, SweepSpec

_TABLES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    # The quantity of an order may be fixed by a later fill, and its state by later bars; fills tell both in time.
    "order": ("submitted", ("symbol", "id", "side", "kind", "price", "tag")),
    "fill": ("ts", ("symbol", "order", "side", "qty", "price", "fees", "slippage_cost", "tag")),
    "equity": ("ts", ("symbol", "equity", "cash", "exposure")),
}
_WORDS: Final = {
    "changed": "bars after {t} were changed",
    "cut": "bars after {t} were taken away but for one",
    "repeat": "nothing was changed: the strategy remembers earlier runs, or is random without its seed",
    "file": "the strategy reads the data by itself",
}


@dataclass(frozen=True)
class Difference:
    """A sign that something later than t had a part in a decision."""

    kind: str
    """`changed`, `cut`, `repeat` or `file`: what was done that should have made no difference."""
    after: dt.datetime | None
    """Time t; nothing up to it may differ."""
    symbol: str
    time: dt.datetime | None
    """Time of the first difference."""
    what: str
    """`order`, `fill`, `equity`, `error` or `file`."""
    was: str
    became: str

    def __str__(self) -> str:
        if self.kind == "file":
            return f"{_WORDS['file']}: {self.was}"
        why = _WORDS[self.kind].format(t=_time(self.after))
        if self.what == "error":
            return f"{why}; the strategy failed: {self.became}"
        where = f"{self.symbol or 'the account'} at {_time(self.time)}"
        return f"{why}; {self.what} of {where} was {self.was}, became {self.became}"


@dataclass(frozen=True)
class LookaheadReport:
    """What a proof found."""

    name: str
    params: Mapping[str, Any]
    times: tuple[dt.datetime, ...]
    """Times t after which bars were changed and cut."""
    n_runs: int
    n_orders: int
    """Orders of the untouched run: a strategy that does nothing proves nothing."""
    differences: tuple[Difference, ...]
    """The first of every time and kind, the earliest first; empty when nothing was found."""
    notes: tuple[str, ...] = field(default=())
    """What the proof does not cover."""

    @property
    def clean(self) -> bool:
        """True when no look-ahead was found."""
        return not self.differences

    def summary(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "name": self.name,
            "params": dict(self.params),
            "clean": self.clean,
            "times": [_time(time) for time in self.times],
            "n_runs": self.n_runs,
            "n_orders": self.n_orders,
            "differences": [
                {**vars(found), "after": _time(found.after), "time": _time(found.time)}
                for found in self.differences
            ],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        head = f"{self.name}: {self.n_runs} runs, {len(self.times)} times, {self.n_orders} orders"
        found = [f"look-ahead: {self.differences[0]}"] if self.differences else ["no look-ahead was found"]
        return "\n".join([head, *found, *self.notes])


def lookahead(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    strategy: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    samples: int = 8,
    seed: int = 0,
    **settings: Any,
) -> LookaheadReport:
    """Run a strategy on changed and on shortened bars and report what differs before the change.

    The arguments are those of `backtest`; a searched parameter without a value gets one from the middle of its
    range. `samples` is the number of times t, half of them at which the strategy placed an order.
    """
    if samples < 1:
        raise AkqUsageError(f"samples is {samples}, it has to be at least 1")
    request = read_request(spec, strategy=strategy, data=data, overrides=overrides, settings=settings)
    with watched_opens() as opened:
        request.strategy_class()
    prepared = prepare_run(request, _completed(request, params or {}))
    with watched_opens() as running:
        proof = _Proof(prepared, samples, seed)
        differences = proof.run()
    files, notes = _reads(request, [*opened.paths, *running.paths])
    if not proof.n_orders:
        notes.append("the strategy placed no order with these parameters: nothing was proved")
    return LookaheadReport(
        request.spec.name,
        prepared.values,
        proof.times,
        proof.n_runs,
        proof.n_orders,
        (*files, *differences),
        tuple(notes),
    )


def _completed(request: Request, params: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the searched parameters that were not given: an allowed point near the middle of the space."""
    spec = request.spec
    missing = [name for name in spec.space.names if name not in {**request.params, **params}]
    if not missing:
        return dict(params)
    rng = np.random.default_rng(0)
    unit = np.vstack([np.full((1, len(spec.space)), 0.5), rng.random((4096, len(spec.space)))])
    nearest_first = np.argsort(np.abs(unit - 0.5).max(axis=1), kind="stable")
    rows = spec.space.unit_to_rows(unit[nearest_first])
    allowed = np.flatnonzero(spec.conditions().mask(spec.space, rows))
    if not len(allowed):
        raise AkqUsageError(f"no allowed point was found; give values for {', '.join(missing)}")
    values = spec.space.decode(rows[allowed[0]])
    return {**{name: values[name] for name in missing}, **params}


class _Trace:
    """What a run did, as far as it can be compared."""

    def __init__(self, run: Any) -> None:
        made = {"order": run.orders(), "fill": run.fills(), "equity": run.equity()}
        self.tables: dict[str, pl.DataFrame] = {}
        for what, (time, columns) in _TABLES.items():
            frame = pl.DataFrame(made[what]).with_columns(pl.col("symbol").cast(pl.String))
            ids = [name for name in ("id", "order") if name in columns]
            # Whole nanoseconds, which a datetime would cut.
            nanoseconds = pl.col(time).cast(pl.Int64).alias("time")
            self.tables[what] = frame.select(nanoseconds, *columns).sort(
                "time", "symbol", *ids, maintain_order=True
            )

    def first_difference(self, other: _Trace, until: int | None) -> tuple[Any, ...] | None:
        """Return time, symbol, what, was, became of the first difference up to a time."""
        found = []
        for rank, what in enumerate(self.tables):
            ours, theirs = (
                side.tables[what] if until is None else side.tables[what].filter(pl.col("time") <= until)
                for side in (self, other)
            )
            if not ours.equals(theirs, null_equal=True):
                found.append((*_first_row(ours, theirs), rank, what))
        if not found:
            return None
        time, symbol, was, became, _, what = min(found, key=lambda item: (item[0], item[4]))
        return time, symbol, what, was, became


def _first_row(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[Any, str, str, str]:
    a, b = ours.rows(named=True), theirs.rows(named=True)
    ix = next((i for i, pair in enumerate(zip(a, b, strict=False)) if not _same(*pair)), min(len(a), len(b)))
    was, became = (rows[ix] if ix < len(rows) else None for rows in (a, b))
    # Where one side has a row more, the rows that follow are shifted: the earlier of the two is the odd one.
    if was is not None and became is not None and was["time"] != became["time"]:
        was, became = (was, None) if was["time"] < became["time"] else (None, became)
    row = was if was is not None else became
    assert row is not None
    return row["time"], row["symbol"], _shown(was, became), _shown(became, was)


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(x == y or (x != x and y != y) for x, y in zip(a.values(), b.values(), strict=True))


def _shown(row: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """The columns in which a row differs, or all of one that stands alone."""
    if row is None:
        return "absent"
    names = [name for name in row if name not in ("time", "symbol")]
    if other is not None:
        names = [name for name in names if row[name] != other[name]] or names
    return ", ".join(f"{name} {row[name]}" for name in names if row[name] not in (None, ""))


class _Proof:
    """The runs of one proof."""

    def __init__(self, prepared: PreparedRun, samples: int, seed: int) -> None:
        self._prepared = prepared
        self._table = prepared.data.table
        self._ts = self._table.column("ts").cast(pa.int64()).to_numpy()
        self._seed = seed
        self._samples = samples
        self.n_runs = 0
        self.n_orders = 0
        self.times: tuple[dt.datetime, ...] = ()

    def run(self) -> list[Difference]:
        base = self._trace(self._table)
        self.n_orders = base.tables["order"].height
        again = base.first_difference(self._trace(self._table), None)
        if again is not None:
            time, symbol, what, was, became = again
            return [Difference("repeat", None, symbol, _moment(time), what, was, became)]
        chosen = self._sampled(base)
        self.times = tuple(_moment(time) for time in chosen)
        found = []
        for number, time in enumerate(chosen):
            tables = {"changed": self._changed(time, number), "cut": self._cut(time)}
            for kind, table in tables.items():
                difference = self._compare(base, kind, time, table)
                if difference is not None:
                    found.append(difference)
        return sorted(found, key=lambda d: (d.time is None, d.time or d.after))

    def _compare(self, base: _Trace, kind: str, time: int, table: pa.Table) -> Difference | None:
        try:
            other = self._trace(table)
        except Exception as error:
            # The strategy ran through the bars as they are; that it fails without the later ones tells the same.
            return Difference(kind, _moment(time), "", None, "error", "", f"{type(error).__name__}: {error}")
        found = base.first_difference(other, time)
        if found is None:
            return None
        first, symbol, what, was, became = found
        return Difference(kind, _moment(time), symbol, _moment(first), what, was, became)

    def _trace(self, table: pa.Table) -> _Trace:
        from akq_dist import _core

        self.n_runs += 1
        return _Trace(self._prepared.run(table, _core.Panel.from_arrow(table), details=True))

    def _sampled(self, base: _Trace) -> list[int]:
        """Times with a later bar to change, half of them at which an order was placed."""
        steps = base.tables["equity"]["time"].unique().sort()
        # The last step treats orders in its own way, and the cut needs one step more.
        steps = steps.head(max(0, steps.len() - 2))
        if steps.is_empty():
            raise AkqUsageError("the data have fewer than three bars to trade: nothing can be changed")
        placed = steps.filter(steps.is_in(base.tables["order"]["time"].unique().implode()))
        rng = np.random.default_rng(self._seed)
        chosen: set[int] = set()
        for pool, n in ((placed, self._samples // 2), (steps, self._samples)):
            free = [time for time in pool.to_list() if time not in chosen]
            wanted = min(len(free), n - len(chosen))
            if wanted:
                chosen.update(free[ix] for ix in rng.choice(len(free), wanted, replace=False))
        return sorted(chosen)

    def _changed(self, at: int, number: int) -> pa.Table:
        """The bars with other prices, volumes and extra values after a time, each still a possible bar."""
        later = self._ts > at
        rng = np.random.default_rng([self._seed, number])
        price = np.exp(rng.uniform(-0.7, 0.7, int(later.sum())))
        other = np.exp(rng.uniform(-0.7, 0.7, int(later.sum())))
        table = self._table
        for ix, name in enumerate(table.column_names):
            if not pa.types.is_float64(table.schema.field(ix).type):
                continue
            values = table.column(ix).to_numpy().copy()
            values[later] *= price if name in ("open", "high", "low", "close") else other
            table = table.set_column(ix, table.schema.field(ix), pa.array(values))
        return table.replace_schema_metadata(self._table.schema.metadata)

    def _cut(self, at: int) -> pa.Table:
        """The bars up to the first step after a time; an asset without any keeps its first, which is later."""
        last = self._ts[self._ts > at].min()
        symbols, offsets = panel_layout(self._table)
        keep = self._ts <= last
        keep[list(offsets[:-1])] = True
        counts = [int(keep[a:b].sum()) for a, b in pairwise(offsets)]
        metadata = {
            **(self._table.schema.metadata or {}),
            b"akq.symbols": json.dumps(list(symbols)).encode(),
            b"akq.offsets": json.dumps([0, *np.cumsum(counts).tolist()]).encode(),
        }
        return self._table.filter(pa.array(keep)).combine_chunks().replace_schema_metadata(metadata)


def _reads(request: Request, opened: Sequence[Path]) -> tuple[list[Difference], list[str]]:
    """What the strategy read by itself: the data file is a finding, any other file a note."""
    spec = request.spec
    path = None if spec.data.path is None else (request.file.base_dir / Path(spec.data.path).expanduser())
    found: dict[str, None] = {}
    notes: dict[str, None] = {}
    for file in opened:
        is_data = path is not None and file.resolve() == path.resolve()
        (found if is_data else notes)[f"{file.name} was opened while it ran"] = None
    source = request.source() if request.strategy_class() is not None else None
    for module, line, function, literal in () if source is None else reading_calls(source.modules):
        is_data = path is not None and literal is not None and Path(literal).name == path.name
        (found if is_data else notes)[f"{module} line {line} calls {function}"] = None
    differences = [Difference("file", None, "", None, "file", text, "") for text in found]
    return differences, [f"not covered, what the strategy reads by itself: {text}" for text in notes]


def _moment(nanoseconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=nanoseconds // 1000)


def _time(time: dt.datetime | None) -> str | None:
    if time is None:
        return None
    midnight = time.hour == time.minute == time.second == time.microsecond == 0
    return time.date().isoformat() if midnight else time.isoformat(sep=" ")
