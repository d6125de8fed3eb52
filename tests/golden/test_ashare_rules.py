"""Every entry of the oracle's A-share rules, run through the engine on the profiles cn_stock and cn_fund."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import akq_dist as akq
from akq_dist import _core
from akq_dist.strategy import Param, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from akq_dist._core import Bar
    from akq_dist.result import BacktestResult

ORACLE = os.environ.get("AKQ_ORACLE")
CASES: list[dict[str, Any]] = (
    json.loads((Path(ORACLE) / "ashare_rules.json").read_text())["cases"] if ORACLE else []
)
needs_oracle = pytest.mark.skipif(
    not ORACLE, reason="AKQ_ORACLE does not name the folder of expected results"
)

DAY = dt.date(2024, 3, 4)
SYMBOL = "600000.SH"
Actions = list[list[Any]]


class Script(Strategy):
    """Places orders `[bar index, side, quantity, limit]` at the close of their bars."""

    orders: str = Param("[]")

    def on_bar(self, bar: Bar) -> None:
        for at, side, qty, limit in json.loads(self.orders):
            if at == bar.index:
                (self.buy if side == "buy" else self.sell)(qty, limit=limit)


def bars(rows: list[list[float]], first: dt.date = DAY, **columns: list[float]) -> pl.DataFrame:
    """Bars `[open, high, low, close]` on consecutive days, with a volume."""
    days = [first + dt.timedelta(days=ix) for ix in range(len(rows))]
    frame = pl.DataFrame(rows, schema=["open", "high", "low", "close"], orient="row")
    extra = {"volume": [1e6] * len(rows), **columns}
    return frame.with_columns(
        pl.Series("date", days), pl.lit(SYMBOL).alias("symbol"), *(pl.Series(k, v) for k, v in extra.items())
    )


def flat(price: float) -> list[float]:
    return [price] * 4


def run(frame: pl.DataFrame, orders: Actions, **market: Any) -> BacktestResult:
    return akq.backtest(
        strategy=Script,
        params={"orders": json.dumps(orders)},
        data={"table": frame, "tz": "Asia/Shanghai"},
        mode="portfolio",
        market={"profile": "cn_stock", "cash": 1e6, **market},
    )


def filled(result: BacktestResult) -> list[float]:
    """Quantity that filled of every order, in order of submission."""
    done = {row["order"]: row["qty"] for row in result.fills.to_dicts()}
    return [done.get(row["id"], 0.0) for row in result.orders.to_dicts()]


BOARDS = {"stock": "main", "star": "star", "main": "main", "bse": "bse", "chinext": "chinext"}
FREE: dict[str, Any] = {"price_limit": []}
"""Entries about something else than price limits name prices that no band would allow."""


def fees(case: dict[str, Any]) -> None:
    given, do, want = case["given"], case["do"], case["expected"]
    board = BOARDS[given["security"]]
    commission = {"rate": given["commission_rate"], "minimum": given["commission_min"]}
    day = dt.date.fromisoformat(given["date"])
    price, qty = do["price"], do["qty"]
    # A holding to sell is bought at the first open; the fee under test falls on the day of the second or last fill.
    orders: Actions = [[0, "buy", qty, None]]
    if do["side"] == "sell":
        orders.append([1, "sell", qty, None])
    n_before = len(orders)
    frame = bars([flat(price)] * 4, day - dt.timedelta(days=n_before))
    result = run(frame, orders, board=board, commission=commission, **FREE)
    fill = result.fills.to_dicts()[-1]
    assert fill["qty"] == qty
    total = want["commission"] + want["stamp_duty"] + want["transfer_fee"]
    assert fill["fees"] == pytest.approx(total, rel=1e-12)
    cash = result.equity["cash"].to_list()
    assert cash[n_before] - cash[n_before - 1] == pytest.approx(want["cash_change"], abs=1e-6)


def lot_size(case: dict[str, Any]) -> None:
    given, do = case["given"], case["do"]
    orders: Actions = [[2, do["side"], do["qty"], None]]
    held = given["sellable"]
    frame = bars([flat(10.0)] * 5)
    market: dict[str, Any] = {"board": BOARDS[given["board"]], **FREE}
    if held:
        # A holding that no purchase gives comes from a bonus issue: a whole lot that grew.
        step = {"main": 100, "star": 200, "bse": 100}[given["board"]]
        bought = max(step, held // step * step)
        orders.insert(0, [0, "buy", bought, None])
        if bought != held:
            bonus = held / bought - 1.0
            market["corporate_actions"] = [
                {"symbol": SYMBOL, "ex_date": str(frame["date"][2]), "bonus": bonus}
            ]
    result = run(frame, orders, **market)
    assert filled(result)[-1] == case["expected"]["accepted_qty"]


def settlement(case: dict[str, Any]) -> None:
    profile = {"profile": "cn_fund", "board": "etf_t0"} if case["rule"] == "T+0" else {"board": "main"}
    steps = case["do"]["steps"]
    # Four bars a day, so that a sell can follow a buy on the same day.
    stamps: list[dt.datetime] = []
    at: dict[str, int] = {}
    for day in range(3):
        for hour in (10, 11, 14, 15):
            at.setdefault(f"D{day + 1}", len(stamps))
            stamps.append(dt.datetime(2024, 3, 4 + day, hour) - dt.timedelta(hours=8))
    frame = pl.DataFrame([flat(10.0)] * len(stamps), schema=["open", "high", "low", "close"], orient="row")
    frame = frame.with_columns(
        pl.Series("ts", stamps).dt.replace_time_zone("UTC"), pl.lit(SYMBOL).alias("symbol"), volume=1e6
    ).with_columns(date=pl.col("ts").dt.convert_time_zone("Asia/Shanghai").dt.date())
    orders: Actions = []
    for ix, (day, what, qty) in enumerate(steps):
        same_day = sum(1 for earlier in steps[:ix] if earlier[0] == day)
        limit = 10.9 if what == "limit_sell_unfilled" else None
        orders.append([at[day] + same_day, "buy" if what == "buy" else "sell", qty, limit])
    result = akq.backtest(
        strategy=Script,
        params={"orders": json.dumps(orders)},
        data={"table": frame.drop("date"), "tz": "Asia/Shanghai"},
        mode="portfolio",
        market={"cash": 1e6, "profile": "cn_stock", **profile, **FREE},
    )
    want = case["expected"]
    assert filled(result) in want.get("filled_any_of", [want.get("filled")])


def price_band(case: dict[str, Any]) -> None:
    down, up = _core.price_band(case["given"]["prev_close"], case["given"]["ratio"], 0.01)
    assert (up, down) == (case["expected"]["limit_up"], case["expected"]["limit_down"])


def limits(case: dict[str, Any]) -> None:
    given, (kind, side, qty), want = case["given"], case["do"]["order"], case["expected"]
    bar = given["bar"]
    row = [bar[name] for name in ("open", "high", "low", "close")]
    frame = bars(
        [flat(given["prev_close"]), flat(given["prev_close"]), row, flat(given["prev_close"])],
        volume=[1e6, 1e6, bar["volume"], 1e6],
        is_st=[float(given.get("ratio") == 0.05)] * 4,
    )
    orders: Actions = [] if side == "buy" else [[0, "buy", qty, None]]
    at, limit, fill = 1, None, "next_open"
    if kind == "market_close":
        at, fill = 2, "close"
    elif kind.startswith("limit"):
        limit = float(kind.split()[1])
    orders.append([at, side, qty, limit])
    result = run(frame, orders, fill=fill)
    day = frame["date"][2]
    fills = [f for f in result.fills.to_dicts() if f["row"] == 2 and f["side"] == side]
    assert sum(f["qty"] for f in fills) == want["filled"], day
    if want["filled"] and "price" in want:
        assert fills[0]["price"] == pytest.approx(want["price"], rel=1e-12)


def order_value(case: dict[str, Any]) -> None:
    given, do = case["given"], case["do"]

    class Value(Strategy):
        def on_bar(self, bar: Bar) -> None:
            if bar.index == 0:
                self.buy(value=do["order_value"])

    commission = {"rate": given["commission_rate"], "minimum": given["commission_min"]}
    result = akq.backtest(
        strategy=Value,
        data={"table": bars([flat(do["price"])] * 3), "tz": "Asia/Shanghai"},
        mode="portfolio",
        market={
            "profile": "cn_stock",
            "cash": given["cash"],
            "commission": commission,
            "transfer_fee": given["transfer_fee"],
        },
    )
    assert sum(result.fills["qty"].to_list()) == case["expected"]["qty"]


def per_ten(plan: str) -> float:
    return float(plan.split()[0]) / 10.0


def corporate_action(case: dict[str, Any]) -> None:
    given, do, want = case["given"], case["do"], case["expected"]
    close, position = given["prev_close"], given.get("position", 100)
    is_cash = "CNY" in do["plan"]
    reference = want.get("reference_price_D2", round(close / (1.0 + per_ten(do["plan"])), 2))
    frame = bars([flat(close)] * 2 + [flat(reference)] * 2)
    action = {
        "symbol": SYMBOL,
        "ex_date": str(frame["date"][2]),
        "cash" if is_cash else "bonus": per_ten(do["plan"]),
    }
    market: dict[str, Any] = {
        "corporate_actions": [action],
        "commission": {"rate": 0.0, "minimum": 0.0},
        "transfer_fee": 0.0,
        "stamp_duty": 0.0,
    }
    buy = [0, "buy", position, None]
    if "limit_up_D2" in want:
        # The band is that of the ex-right reference: at its limits one side finds nobody.
        for limit, side in (("limit_up_D2", "buy"), ("limit_down_D2", "sell")):
            for beyond, expected in ((0.0, 0.0), (0.01 if side == "sell" else -0.01, position)):
                price = want[limit] + beyond
                moved = bars([flat(close)] * 2 + [flat(price)] + [flat(price)])
                last = [1, side, position, None]
                result = run(moved, [buy, last], **market)
                fills = [f for f in result.fills.to_dicts() if f["row"] == 2]
                assert sum(f["qty"] for f in fills) == expected * (1.5 if side == "sell" else 1.0), (
                    limit,
                    beyond,
                )
        return
    result = run(frame, [buy], **market)
    equity = result.equity["equity"].to_list()
    assert equity[2] == pytest.approx(equity[1], abs=0.05 * position / 10), "equity is continuous"
    if is_cash:
        assert equity[2] == equity[1]
        cash = result.equity["cash"].to_list()
        assert cash[2] - cash[1] == want["cash_D4"]
    for name in ("then_sell_130_allowed", "then_sell_100_allowed", "then_sell_30_allowed"):
        if name in want:
            qty = float(name.split("_")[2])
            sold = run(frame, [buy, [2, "sell", qty, None]], **market)
            assert (filled(sold)[-1] == qty) is want[name]


TAX = [{"months": 1, "rate": 0.2}, {"months": 12, "rate": 0.1}]


def taxed(position: float, dividend: float, held_days: int, sold: float) -> float:
    """Tax on a dividend of the second date, when `sold` units are sold so many calendar days after they were bought."""
    frame = bars([flat(20.0)] * 2 + [flat(20.0 - dividend)] * held_days)
    action = {"symbol": SYMBOL, "ex_date": str(frame["date"][2]), "cash": dividend}
    # Bought at the open of the second bar, sold at that of a later one.
    orders: Actions = [[0, "buy", position, None], [held_days, "sell", sold, None]]
    market = {"corporate_actions": [action], **FREE}
    plain, less = (run(frame, orders, **market, **extra) for extra in ({}, {"dividend_tax": TAX}))
    paid = less.accounts["financing"][0] - plain.accounts["financing"][0]
    assert plain.equity["equity"][-1] - less.equity["equity"][-1] == pytest.approx(paid, abs=1e-6)
    return float(paid)


def dividend_tax(case: dict[str, Any]) -> None:
    given, do, want = case["given"], case["do"], case["expected"]
    days = int(given["held_at_sale"].split()[0])
    position = given["position"]
    sold = do.get("sell", position)
    paid = taxed(position, given["dividend_per_share"], days, sold)
    assert paid == pytest.approx(want["dividend_tax"], rel=1e-9)


@pytest.mark.parametrize(
    ("held_days", "sold", "tax"),
    [
        (31, 1000.0, 100.0),  # bought on 2024-03-05, sold on 04-05: one month, 1000 * 0.5 * 0.2
        (32, 1000.0, 50.0),  # a day more: 1000 * 0.5 * 0.1
        (20, 400.0, 40.0),  # 400 * 0.5 * 0.2
        (365, 1000.0, 50.0),  # 2025-03-05: twelve months
        (366, 1000.0, 0.0),
    ],
)
def test_tax_on_dividends_goes_by_calendar_months(held_days: int, sold: float, tax: float) -> None:
    assert taxed(1000.0, 0.5, held_days, sold) == pytest.approx(tax, rel=1e-9)


RULES: dict[str, Callable[[dict[str, Any]], None]] = {
    "fees": fees,
    "lot size": lot_size,
    "T+1": settlement,
    "T+0": settlement,
    "price band": price_band,
    "limit and suspension": limits,
    "order by value": order_value,
    "corporate action": corporate_action,
    "dividend tax": dividend_tax,
}


@needs_oracle
def test_every_rule_is_known() -> None:
    assert CASES
    assert {case["rule"] for case in CASES} <= set(RULES)


@needs_oracle
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_ashare_rule(case: dict[str, Any]) -> None:
    RULES[case["rule"]](case)
