"""Tables of a result that follow from those of the engine."""

from __future__ import annotations

import polars as pl

ACCOUNT = "symbol"
"""Column that names an account: its symbol, or nothing where all assets share one."""


def exposure(equity: pl.DataFrame) -> pl.DataFrame:
    """Return `symbol, ts, date, long, short, gross, net, leverage` after every step.

    `long` and `short` are values at the last close, shorts negative; `gross = long - short` and
    `net = long + short`; `leverage = gross / equity`, null where the equity is not above zero.
    """
    gross, net = pl.col("long") - pl.col("short"), pl.col("long") + pl.col("short")
    return equity.select(
        ACCOUNT,
        "ts",
        "date",
        "long",
        "short",
        gross.alias("gross"),
        net.alias("net"),
        pl.when(pl.col("equity") > 0.0).then(gross / pl.col("equity")).alias("leverage"),
    )


def turnover(equity: pl.DataFrame) -> pl.DataFrame:
    """Return `symbol, date, traded, turnover` by trading date.

    `traded` is the notional of the executions of the date, both sides; `turnover` is its share of the equity
    at the end of the date, null where that is not above zero. Selling all and buying it back is 2.
    """
    ends = (
        equity.select(ACCOUNT, "date", "equity", "traded")
        .group_by(ACCOUNT, "date", maintain_order=True)
        .last()
    )
    so_far = pl.col("traded")
    of_date = (so_far - so_far.shift(1, fill_value=0.0).over(ACCOUNT)).alias("traded")
    return ends.with_columns(of_date).select(
        ACCOUNT,
        "date",
        "traded",
        pl.when(pl.col("equity") > 0.0).then(pl.col("traded") / pl.col("equity")).alias("turnover"),
    )


def positions(held: pl.DataFrame) -> pl.DataFrame:
    """Return `ts, date, symbol, qty, price, value, weight` at the end of each trading date.

    `value` is quantity times last close times multiplier, `weight` its share of the account's equity at the
    same step (null where that is not above zero). What is flat has no row.
    """
    weight = pl.when(pl.col("equity") > 0.0).then(pl.col("value") / pl.col("equity")).alias("weight")
    return held.select("ts", "date", "symbol", "qty", "price", "value", weight)


def drawdowns(equity: pl.DataFrame) -> pl.DataFrame:
    """Return every fall of the equity below its peak, in order of time.

    Columns: `symbol` of the account; `start`, the last step at the peak; `trough`; `recovery`, the first step
    that regains the peak, null where none does; `peak` and `low` of the equity; `depth = low / peak - 1`;
    `n_steps` from the start to the recovery, or to the last step. The deepest and the longest are the metrics
    `max_drawdown` and `max_drawdown_bars`.
    """
    points = equity.select(ACCOUNT, "ts", "equity").with_columns(
        pl.col("equity").cum_max().over(ACCOUNT).alias("peak"),
        pl.int_range(pl.len()).over(ACCOUNT).alias("step"),
    )
    below = pl.col("equity") < pl.col("peak")
    # A step at the peak opens what follows it: the fall below it, if there is one, has the same number.
    numbered = points.with_columns(
        (~below).cum_sum().over(ACCOUNT).alias("fall"),
        pl.col("ts").shift(-1).over(ACCOUNT).alias("next"),
        pl.col("step").max().over(ACCOUNT).alias("last"),
    )
    falls = numbered.group_by(ACCOUNT, "fall", maintain_order=True).agg(
        pl.col("ts").first().alias("start"),
        pl.col("ts").get(pl.col("equity").arg_min()).alias("trough"),
        pl.col("next").last().alias("recovery"),
        pl.col("peak").first(),
        pl.col("equity").min().alias("low"),
        (pl.col("step").last() + 1).clip(upper_bound=pl.col("last").last()).alias("end"),
        pl.col("step").first().alias("begin"),
        pl.len().alias("n"),
    )
    return falls.filter(pl.col("n") > 1).select(
        ACCOUNT,
        "start",
        "trough",
        "recovery",
        "peak",
        "low",
        (pl.col("low") / pl.col("peak") - 1.0).alias("depth"),
        (pl.col("end") - pl.col("begin")).alias("n_steps"),
    )
