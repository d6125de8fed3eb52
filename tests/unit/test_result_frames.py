"""The tables of a result: positions, exposure, turnover and drawdowns agree with fills, bars and metrics."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import akq_dist as akq
from akq_dist import frames

MULTIPLIER = 2.0


def bars(n_dates: int = 30, bars_a_date: int = 1, symbols: tuple[str, ...] = ("A", "B", "C")) -> pl.DataFrame:
    """Random walks; the last symbol starts a few bars later."""
    rng = np.random.default_rng(7)
    times = [
        dt.datetime(2021, 3, 1, 10) + dt.timedelta(days=day, minutes=minute)
        for day in range(n_dates)
        for minute in range(bars_a_date)
    ]
    parts = []
    for symbol in symbols:
        late = 4 if symbol == symbols[-1] else 0
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, len(times))))
        open_ = close * (1.0 + rng.normal(0.0, 0.01, len(times)))
        columns = {
            "open": open_,
            "high": np.maximum(open_, close) * 1.01,
            "low": np.minimum(open_, close) * 0.99,
        }
        frame = pl.DataFrame({"symbol": symbol, "ts": times, **columns, "close": close})
        parts.append(frame.slice(late))
    return pl.concat(parts)


class Shuffle(akq.Strategy):
    """Random orders on both sides."""

    def on_bar(self, bar: akq.Bar) -> None:
        if self.rng.random() < 0.4:
            self.target_qty(float(self.rng.integers(-30, 60)))


def run(mode: str = "portfolio", bars_a_date: int = 3, **more: Any) -> akq.BacktestResult:
    market = {"multiplier": MULTIPLIER, "commission": {"rate": 0.001}, "cash": 50_000.0}
    data = {"table": bars(bars_a_date=bars_a_date), "tz": "UTC"}
    return akq.backtest(strategy=Shuffle, data=data, mode=mode, market=market, **more)


def test_positions_are_what_the_fills_add_up_to_at_the_last_close_of_their_date() -> None:
    result = run()
    source = bars(bars_a_date=3).with_columns(pl.col("ts").dt.date().alias("date"))
    expected = []
    for date in result.equity["date"].unique().sort():
        for symbol in ("A", "B", "C"):
            seen = source.filter((pl.col("symbol") == symbol) & (pl.col("date") <= date))
            done = result.fills.filter((pl.col("symbol") == symbol) & (pl.col("ts").dt.date() <= date))
            signed = np.where(done["side"] == "buy", done["qty"], -done["qty"])
            qty = float(np.sum(signed))
            if qty != 0.0:
                close = seen["close"][-1]
                expected.append((date, symbol, qty, close, qty * close * MULTIPLIER))
    found = result.positions.select("date", pl.col("symbol").cast(pl.String), "qty", "price", "value").rows()
    assert len(expected) > 50
    assert found == expected


@pytest.mark.parametrize("mode", ["portfolio", "per_asset"])
def test_pitfall_21_positions_carry_the_date_of_the_equity_they_are_part_of(mode: str) -> None:
    result = run(mode)
    at_end = result.equity.group_by("symbol", "date", maintain_order=True).last()
    account = pl.col("symbol") if mode == "per_asset" else pl.lit("", pl.String)
    worth = (
        result.positions.with_columns(account.cast(pl.String).alias("symbol"))
        .group_by("symbol", "date", "ts")
        .agg(pl.col("value").sum(), pl.col("weight").sum())
    )
    joined = at_end.with_columns(pl.col("symbol").cast(pl.String)).join(worth, on=["symbol", "date", "ts"])
    assert joined.height == worth.height > 20
    np.testing.assert_allclose(joined["cash"] + joined["value"], joined["equity"], rtol=1e-12)
    np.testing.assert_allclose(joined["weight"] * joined["equity"], joined["value"], rtol=1e-9)


def test_exposures_are_the_parts_of_the_equity_at_every_step() -> None:
    result = run()
    table, equity = result.exposure, result.equity
    np.testing.assert_allclose(table["gross"], equity["exposure"], rtol=1e-12)
    np.testing.assert_allclose(table["net"] + equity["cash"], equity["equity"], rtol=1e-12)
    np.testing.assert_allclose(table["leverage"] * equity["equity"], table["gross"], rtol=1e-12)
    assert (table["long"] >= 0.0).all()
    assert (table["short"] <= 0.0).all()
    assert (table["long"] > 0.0).any()
    assert (table["short"] < 0.0).any()


def test_turnover_counts_both_sides_of_the_executions_of_a_date() -> None:
    result = run("per_asset")
    traded = (
        result.fills.with_columns(
            pl.col("ts").dt.date().alias("date"),
            (pl.col("qty") * pl.col("price") * MULTIPLIER).alias("traded"),
        )
        .group_by("symbol", "date")
        .agg(pl.col("traded").sum())
    )
    joined = result.turnover.join(traded, on=["symbol", "date"], how="left", suffix="_of_fills")
    assert result.turnover.height == result.equity.select("symbol", "date").n_unique()
    np.testing.assert_allclose(joined["traded"], joined["traded_of_fills"].fill_null(0.0), atol=1e-6)
    ends = result.equity.group_by("symbol", "date", maintain_order=True).last()
    np.testing.assert_allclose(
        result.turnover["turnover"] * ends["equity"], result.turnover["traded"], atol=1e-6
    )


def falls_by_hand(equity: list[float]) -> list[tuple[int, int, int | None, float, int]]:
    """Start, trough, recovery, depth and steps, one point after the other."""
    found: list[tuple[int, int, int | None, float, int]] = []
    start = 0
    trough: int | None = None
    for ix, value in enumerate(equity[1:], 1):
        if value >= equity[start]:
            if trough is not None:
                found.append((start, trough, ix, equity[trough] / equity[start] - 1.0, ix - start))
            start, trough = ix, None
        elif trough is None or value < equity[trough]:
            trough = ix
    if trough is not None:
        last = len(equity) - 1
        found.append((start, trough, None, equity[trough] / equity[start] - 1.0, last - start))
    return found


START = dt.datetime(2021, 1, 1)


def day(ts: dt.datetime | None) -> int | None:
    return None if ts is None else (ts - START).days


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(80, 120).map(float), min_size=1, max_size=25), min_size=1, max_size=3))
def test_drawdowns_are_those_that_a_walk_over_the_points_finds(curves: list[list[float]]) -> None:
    names = [f"S{ix}" for ix in range(len(curves))]
    parts = [
        pl.DataFrame(
            {
                "symbol": name,
                "ts": [START + dt.timedelta(days=ix) for ix in range(len(curve))],
                "equity": curve,
            }
        )
        for name, curve in zip(names, curves, strict=True)
    ]
    found = frames.drawdowns(pl.concat(parts))
    for name, curve in zip(names, curves, strict=True):
        rows = found.filter(pl.col("symbol") == name)
        listed = [
            (day(row["start"]), day(row["trough"]), day(row["recovery"]), row["depth"], row["n_steps"])
            for row in rows.iter_rows(named=True)
        ]
        assert listed == falls_by_hand(curve)


def test_the_deepest_and_the_longest_drawdown_are_those_of_the_metrics() -> None:
    result = run()
    assert result.drawdowns["depth"].min() == result.metrics["max_drawdown"]
    assert result.drawdowns["n_steps"].max() == result.metrics["max_drawdown_bars"]
    each = run("per_asset")
    deepest = each.drawdowns.group_by("symbol", maintain_order=True).agg(pl.col("depth").min())
    assert deepest["depth"].to_list() == each.accounts["max_drawdown"].to_list()


def test_every_table_pickles_and_goes_to_pandas_and_to_a_file(tmp_path: Any) -> None:
    result = run()
    again = pickle.loads(pickle.dumps(result))
    folder = result.save(tmp_path / "out")
    for name in result.names:
        frame = result.frame(name)
        assert again.frame(name).equals(frame), name
        assert pl.read_parquet(folder / f"{name}.parquet").equals(frame), name
        pandas = result.to_pandas(name)
        assert list(pandas.columns) == frame.columns
        assert len(pandas) == frame.height


def test_a_run_that_trades_nothing_has_every_table_empty_or_flat() -> None:
    class Idle(akq.Strategy):
        pass

    result = akq.backtest(strategy=Idle, data={"table": bars(), "tz": "UTC"}, mode="portfolio")
    for name in ("positions", "drawdowns", "orders", "fills", "trades", "rejects"):
        assert result.frame(name).is_empty(), name
    assert result.exposure["gross"].sum() == result.turnover["traded"].sum() == 0.0


def test_a_run_without_details_says_what_it_does_not_have(tmp_path: Any) -> None:
    whole, bare = run(), run(details=False)
    assert bare.hash == whole.hash
    assert bare.equity.equals(whole.equity.select("symbol", "ts", "date", "equity"))
    assert bare.drawdowns.equals(whole.drawdowns)
    assert bare.trades.equals(whole.trades)
    for name in ("exposure", "turnover"):
        with pytest.raises(akq.AkqUsageError, match=f"a run without details has no table {name}"):
            bare.frame(name)
    assert not (bare.save(tmp_path) / "exposure.parquet").exists()


def test_metrics_are_a_mapping_that_knows_its_units() -> None:
    metrics = run("per_asset").metrics
    assert metrics["sharpe.median"] == dict(metrics)["sharpe.median"]
    assert metrics.unit("max_drawdown.median") == metrics.unit("max_drawdown") == "fraction"
    assert "cummax" in metrics.info("max_drawdown").definition
    assert np.isnan(metrics["alpha.median"])
    assert metrics.plain()["alpha.median"] is None
    assert "alpha.median" not in metrics.defined
    with pytest.raises(KeyError, match="did you mean 'sharpe"):
        metrics["sharp.median"]
    table = metrics.frame()
    assert table.height == len(metrics)
    row = table.row(by_predicate=pl.col("metric") == "alpha", named=True)
    assert row["value"] is None
    assert row["aggregate"] == "median"
    np.testing.assert_equal(dict(pickle.loads(pickle.dumps(metrics))), dict(metrics))
