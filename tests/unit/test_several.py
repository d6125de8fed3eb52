"""Several strategies in one account, from Python: the forms of a list, what comes back, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import akq_dist as akq
from akq_dist.errors import AkqUsageError
from akq_dist.specs import SweepSpec
from akq_dist.strategy.rules import Rules, close, cross_above, cross_below, sma

if TYPE_CHECKING:
    from pathlib import Path


def bars(n: int = 150, symbols: tuple[str, ...] = ("AAA", "BBB")) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    frames = []
    for symbol in symbols:
        close_ = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
        open_ = close_ * (1.0 + rng.normal(0.0, 0.003, n))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 1, 1), eager=True).head(n),
                    "open": open_,
                    "high": np.maximum(open_, close_) * 1.01,
                    "low": np.minimum(open_, close_) * 0.99,
                    "close": close_,
                    "volume": 1000.0,
                }
            )
        )
    return pl.concat(frames)


class Momentum(akq.Strategy):
    lookback: int = akq.Param(5, low=1)
    share: float = akq.Param(0.2, low=0.0)

    def on_start(self) -> None:
        self.heard: list[int] = []

    def on_bar(self, bar: akq.Bar) -> None:
        closes = self.history("close", self.lookback + 1)
        if len(closes) > self.lookback:
            self.target_pct(self.share if closes[-1] > closes[0] else 0.0)

    def on_order(self, order: akq.OrderUpdate) -> None:
        assert order.tag == "rebalance"


CROSS = Rules(
    enter=cross_above(sma(close, 3), sma(close, 8)),
    exit=cross_below(sma(close, 3), sma(close, 8)),
    size={"qty": "100"},
)
COSTS: dict[str, Any] = {"cash": 1_000_000, "commission": {"rate": 0.001}, "slippage": {"bps": 2}, "lot": 1}


def run(strategy: Any, **settings: Any) -> akq.BacktestResult:
    given = {"data": bars(), "market": COSTS, "mode": "portfolio", **settings}
    return akq.backtest(strategy=strategy, **given)


@pytest.mark.parametrize(
    "alone", [Momentum(lookback=7), CROSS, {"rust": "sma_cross"}], ids=["python", "rules", "rust"]
)
@pytest.mark.parametrize("mode", ["portfolio", "per_asset"])
def test_a_list_of_one_is_the_strategy_itself(alone: Any, mode: str) -> None:
    whole, listed = run(alone, mode=mode), run([alone], mode=mode)
    assert listed.hash == whole.hash
    for table in ("equity", "fills", "trades", "orders", "accounts"):
        found = listed.frame(table)
        if "strategy" in found.columns:
            found = found.drop("strategy")
        assert found.equals(whole.frame(table)), table


@pytest.mark.parametrize("mode", ["portfolio", "per_asset"])
def test_the_shares_of_the_strategies_add_up_to_the_account(mode: str) -> None:
    result = run([Momentum(lookback=7), CROSS, {"rust": "donchian", "params": {"qty": 50}}], mode=mode)
    shares = result.strategies
    assert shares["strategy"].unique(maintain_order=True).to_list() == ["Momentum", "rules", "donchian"]
    assert (shares["n_fills"] > 0).all()
    for table, count in (("fills", "n_fills"), ("trades", "n_trades"), ("orders", "n_orders")):
        by_strategy = result.frame(table).group_by("strategy").len(name=count)
        expected = shares.group_by("strategy").agg(pl.col(count).sum())
        assert by_strategy.sort("strategy")[count].to_list() == expected.sort("strategy")[count].to_list()
    nets = result.trades.group_by("strategy").agg(pl.col("net").sum()).sort("strategy")["net"]
    closed = shares.group_by("strategy").agg(pl.col("closed_net").sum()).sort("strategy")["closed_net"]
    np.testing.assert_allclose(nets, closed, rtol=1e-12)
    last = result.equity.group_by("symbol", maintain_order=True).agg(pl.col("equity").last())
    gain = (last["equity"] - COSTS["cash"]).to_numpy()
    earned = shares.group_by("symbol", maintain_order=True).agg(pl.col("net_profit").sum())["net_profit"]
    np.testing.assert_allclose(earned.to_numpy(), gain, rtol=0, atol=1e-6)


def test_every_way_to_write_the_list_gives_the_same_run(tmp_path: Path) -> None:
    module = tmp_path / "momentum.py"
    module.write_text(
        "import akq_dist as akq\n\n\n"
        "class Momentum(akq.Strategy):\n"
        "    lookback: int = akq.Param(5, low=1)\n"
        "    share: float = akq.Param(0.2, low=0.0)\n\n"
        "    def on_bar(self, bar):\n"
        "        closes = self.history('close', self.lookback + 1)\n"
        "        if len(closes) > self.lookback:\n"
        "            self.target_pct(self.share if closes[-1] > closes[0] else 0.0)\n"
    )
    bars().write_parquet(tmp_path / "bars.parquet")
    file = tmp_path / "two.yaml"
    file.write_text(
        "name: two\nmode: portfolio\ndata: {path: bars.parquet}\n"
        "market: {cash: 1000000, commission: {rate: 0.001}, slippage: {bps: 2}, lot: 1}\n"
        "strategy:\n"
        "  - {name: quick, python: 'momentum.py:Momentum', params: {lookback: 3}}\n"
        "  - {name: slow, python: 'momentum.py:Momentum', params: {lookback: 9, share: 0.1}}\n"
    )
    from_file = akq.backtest(file)
    objects = run(
        [
            {"name": "quick", "strategy": Momentum(lookback=3)},
            {"name": "slow", "strategy": Momentum, "params": {"lookback": 9, "share": 0.1}},
        ]
    )
    assert from_file.hash == objects.hash
    assert from_file.fills.equals(objects.fills)
    given = {"quick.lookback": 3, "slow.lookback": 9, "slow.share": 0.1}
    assert dict(from_file.params) == given
    assert dict(objects.params) == {**given, "quick.share": 0.2}  # an instance has all its values
    # The specification writes itself out and reads back.
    spec = SweepSpec.parse(
        {"name": "two", "data": {"path": "x.parquet"}, "strategy": [{"rust": "sma_cross"}] * 2}
    )
    assert SweepSpec.parse(spec.to_dict()) == spec
    assert [member.name for member in spec.strategy.members or ()] == ["sma_cross", "sma_cross_2"]


def test_the_hash_of_a_sweep_with_one_strategy_does_not_know_of_lists() -> None:
    spec = SweepSpec.parse({"name": "one", "data": {"path": "x.parquet"}, "strategy": {"rust": "sma_cross"}})
    assert "members" not in spec.to_dict()["strategy"]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ([], "strategy.members: is an empty list"),
        ([Momentum, 3], "strategy.1: found int"),
        ([{"rust": "sma_cross", "params": {"fst": 3}}], "no parameter"),
        ([{"name": "a", "rust": "sma_cross"}, {"name": "a", "rust": "donchian"}], "'a' is already used"),
        ([{"strategy": Momentum, "parms": {}}], "unknown key 'parms', did you mean 'params'"),
        ([{"strategy": Momentum, "params": {"lookbak": 3}}], "unknown parameter 'lookbak'"),
        ([{"rules": {"enter": "close > 1", "exit": "close < 1"}, "params": {"x": 1}}], "no parameter 'x'"),
        ([{"rules": {"weights": "1"}}], "needs mode: portfolio"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(strategy: Any, message: str) -> None:
    with pytest.raises(AkqUsageError) as caught:
        run(strategy, mode="per_asset")
    assert message.replace(" - did", "") in str(caught.value).replace(" - did", "").replace(";", ""), (
        caught.value
    )


def test_parameters_stand_in_the_list_and_a_sweep_takes_one_strategy() -> None:
    with pytest.raises(AkqUsageError, match="beside them"):
        akq.backtest(strategy=[CROSS], data=bars(), params={"fast": 3})
    from akq_dist.request import read_request
    from akq_dist.search.prepare import prepare

    request = read_request({"name": "x", "data": {"path": "x.parquet"}, "strategy": [{"rust": "sma_cross"}]})
    with pytest.raises(AkqUsageError, match="a sweep searches one strategy"):
        prepare(request)
