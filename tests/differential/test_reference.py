"""The engine against a slow simulator that was written from SEMANTICS: the same orders, fills, cash and equity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.differential.reference import Reference
from tests.differential.worlds import play, random_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.differential.worlds import World

SEEDS = st.integers(0, 2**32 - 1)


def close(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float):
        return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-7)
    return bool(ours == theirs)


def first_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> str | None:
    for at, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
        if not all(close(x, y) for x, y in pairs):
            return f"number {at}: {a} and {b}"
    return None if len(ours) == len(theirs) else f"{len(ours)} and {len(theirs)}"


def compare(world: World) -> int:
    """Assert that engine and reference agree on a world; return the number of fills."""
    run, reference = play(world), Reference(world)
    what: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
        "fills": (run.fills, reference.fills),
        "orders": (
            [(id_, status, reason, tag) for id_, _, status, reason, tag in run.orders],
            [(order.id, order.status, order.reason, order.tag) for order in reference.orders],
        ),
        "cash": (run.cash, reference.cashes),
        "equity": (run.equity, reference.equity),
        "round trips": (
            run.trades.select("qty", "entry_price", "exit_price", "gross", "fees", "net").rows(),
            [(*trip[1:], trip[4] - trip[5]) for trip in reference.trips],
        ),
    }
    for name, (ours, theirs) in what.items():
        found = first_difference(ours, theirs)
        assert found is None, f"seed {world.seed}, {name}: {found}; {world.settings}"
    return len(run.fills)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_random_orders_on_random_markets_end_as_the_written_rules_say(seed: int) -> None:
    compare(random_world(seed))


@pytest.mark.slow
@pytest.mark.timeout(1_500)
@settings(max_examples=5_000, deadline=None, print_blob=True)
@given(seed=SEEDS, n_steps=st.sampled_from([5, 60, 200]))
def test_many_more_random_orders_end_as_the_written_rules_say(seed: int, n_steps: int) -> None:
    compare(random_world(seed, n_steps=n_steps))


@pytest.mark.parametrize("fill", ["next_open", "close"])
@pytest.mark.parametrize("on_insufficient_cash", ["reject", "reduce"])
@settings(max_examples=25, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_an_account_that_is_often_short_of_cash_agrees(
    seed: int, fill: str, on_insufficient_cash: str
) -> None:
    world = random_world(
        seed,
        fill=fill,
        on_insufficient_cash=on_insufficient_cash,
        buying_power="cash",
        cash=6_000.0,
        minimum=5.0,
        slippage=("bps", 20.0),
        shorts=False,
    )
    compare(world)


def test_the_worlds_meet_every_kind_of_order_and_every_way_to_end() -> None:
    """What no world meets, no comparison proves."""
    kinds, ends = set(), set()
    for seed in range(120):
        for _, kind, status, reason, tag in play(random_world(seed)).orders:
            ends.add((status, reason))
            if status == "filled":
                kinds.add((kind, tag))
    assert kinds == {
        *(
            (kind, "")
            for kind in ("market", "limit", "stop", "stop_limit", "trailing_stop", "market_on_close")
        ),
        ("stop", "stop_loss"),
        ("limit", "take_profit"),
        ("stop", "trailing_stop"),
    }
    assert ends == {
        ("filled", ""),
        *(
            ("cancelled", reason)
            for reason in ("oco", "parent", "position_closed", "request", "time_in_force")
        ),
        *(("expired", reason) for reason in ("end_of_data", "time_in_force")),
        *(
            ("rejected", reason)
            for reason in ("bad_quantity", "insufficient_cash", "short_not_allowed", "zero_quantity")
        ),
    }
