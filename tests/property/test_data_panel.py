"""Properties of panels: what does not matter does not matter, and no defect passes."""

from __future__ import annotations

import datetime as dt
import math
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.data import panel_from_frame
from akq_dist.errors import AkqDataError
from akq_dist.specs import DataSpec

_PRICES = st.floats(1e-6, 1e9, allow_nan=False).filter(lambda x: x > 0)


@st.composite
def _tables(draw: st.DrawFn) -> pl.DataFrame:
    rows: list[dict[str, object]] = []
    for symbol in draw(
        st.lists(st.sampled_from(["AAA", "BBB", "C.C", "000651.SZ"]), min_size=1, max_size=4, unique=True)
    ):
        days = sorted(draw(st.sets(st.integers(0, 400), min_size=1, max_size=8)))
        for day in days:
            four = sorted(draw(st.lists(_PRICES, min_size=4, max_size=4)))
            inner = draw(st.permutations(four[1:3]))
            rows.append(
                {
                    "symbol": symbol,
                    "date": dt.date(2020, 1, 1) + dt.timedelta(days=day),
                    "open": inner[0],
                    "high": four[3],
                    "low": four[0],
                    "close": inner[1],
                    "volume": draw(st.floats(0, 1e9)),
                }
            )
    return pl.DataFrame(rows)


def _spec(on_bad: str = "refuse") -> DataSpec:
    return DataSpec.parse({"source": "frame", "on_bad": on_bad})


@settings(max_examples=50, deadline=None)
@given(_tables(), st.integers(0, 2**32))
def test_how_symbols_are_mixed_does_not_matter(frame: pl.DataFrame, seed: int) -> None:
    rng = random.Random(seed)
    queues = {
        symbol: list(rows.iter_rows(named=True))
        for (symbol,), rows in frame.group_by("symbol", maintain_order=True)
    }
    mixed = []
    while queues:
        symbol = rng.choice(sorted(queues, key=str))
        mixed.append(queues[symbol].pop(0))
        if not queues[symbol]:
            del queues[symbol]
    one, other = panel_from_frame(frame, _spec()), panel_from_frame(pl.DataFrame(mixed), _spec())
    assert other.table.equals(one.table)
    assert other.digest == one.digest


@settings(max_examples=80, deadline=None)
@given(
    _tables(),
    st.sampled_from(["open", "high", "low", "close", "volume"]),
    st.sampled_from([None, math.nan, math.inf, -math.inf, -1.0, 1e300]),
    st.integers(0, 10**6),
)
def test_no_damaged_cell_passes_and_the_row_is_named(
    frame: pl.DataFrame, column: str, value: float | None, pick: int
) -> None:
    row = pick % frame.height
    symbol = frame["symbol"][row]
    alone = frame.filter(pl.col("symbol") == symbol).height == 1
    # A huge volume is odd, but not impossible; one asset may lack volume altogether.
    harmless = column == "volume" and (value == 1e300 or (alone and (value is None or math.isnan(value))))
    values = frame[column].to_list()
    values[row] = value
    bad = frame.with_columns(pl.Series(column, values, dtype=pl.Float64))
    if harmless:
        panel_from_frame(bad, _spec())
        return
    with pytest.raises(AkqDataError) as caught:
        panel_from_frame(bad, _spec(), label="bars")
    assert f"(row {row} of bars)" in str(caught.value)
    assert str(symbol) in str(caught.value)
    if frame.height > 1:
        kept = panel_from_frame(bad, _spec("drop_rows"))
        assert kept.table.num_rows == frame.height - 1
        assert kept.table.equals(
            panel_from_frame(
                frame.with_row_index().filter(pl.col("index") != row).drop("index"), _spec()
            ).table
        )


@settings(max_examples=40, deadline=None)
@given(_tables(), st.integers(0, 2**32))
def test_dropping_rows_leaves_a_panel_that_passes_every_check(frame: pl.DataFrame, seed: int) -> None:
    rng = random.Random(seed)
    rows = list(frame.iter_rows(named=True))
    messed = [dict(rng.choice(rows)) for _ in range(len(rows) * 2)]
    for row in rng.sample(messed, max(1, len(messed) // 4)):
        row[rng.choice(["open", "high", "close"])] = rng.choice([None, 0.0, 5.0, 1e15])
    try:
        made = panel_from_frame(pl.DataFrame(messed, schema=frame.schema), _spec("drop_rows"))
    except AkqDataError:
        return  # nothing was left
    lengths = [int(x) for x in made.table.schema.metadata[b"akq.offsets"].decode().strip("[]").split(",")]
    symbols = [
        s for s, a, b in zip(made.symbols, lengths[:-1], lengths[1:], strict=True) for _ in range(b - a)
    ]
    again = panel_from_frame(
        made.table.drop_columns(["date"]).replace_schema_metadata(None).append_column("symbol", [symbols]),
        _spec(),
    )
    assert again.report.is_clean
    assert again.table.equals(made.table)
