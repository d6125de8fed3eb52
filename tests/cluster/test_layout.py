"""Seats of workers: one a node for native strategies, one a CPU for Python ones, and what settings change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akq_dist.cluster.handshake import Versions, ray_is_supported, refusal
from akq_dist.cluster.layout import Count, Node, plan_seats
from akq_dist.errors import ExecutorError

TWO = [Node("a", "a", 2.0)]
MIXED = [Node("a", "a", 8.0), Node("b", "b", 4.0), Node("head", "head", 0.0)]


def shape(nodes: list[Node], workers: Count, threads: Count, *, native: bool) -> list[tuple[str, int]]:
    return [(seat.node_id, seat.n_threads) for seat in plan_seats(nodes, workers, threads, native=native)]


@pytest.mark.parametrize(
    ("nodes", "workers", "threads", "native", "expected"),
    [
        (TWO, "auto", "auto", True, [("a", 2)]),
        (TWO, 2, "auto", True, [("a", 1), ("a", 1)]),
        (TWO, "auto", "auto", False, [("a", 1), ("a", 1)]),
        (TWO, 1, "auto", False, [("a", 1)]),
        (TWO, "auto", 1, True, [("a", 1), ("a", 1)]),
        (TWO, 3, "auto", True, [("a", 1), ("a", 1), ("a", 1)]),
        (MIXED, "auto", "auto", True, [("a", 8), ("b", 4)]),
        (MIXED, 3, "auto", True, [("a", 4), ("a", 4), ("b", 4)]),
        (MIXED, 4, "auto", True, [("a", 3), ("a", 3), ("a", 2), ("b", 4)]),
        (MIXED, 1, 2, True, [("a", 2)]),
    ],
)
def test_seats(
    nodes: list[Node], workers: Count, threads: Count, native: bool, expected: list[tuple[str, int]]
) -> None:
    assert shape(nodes, workers, threads, native=native) == expected


@given(
    cpus=st.lists(st.integers(0, 70), min_size=1, max_size=6),
    workers=st.one_of(st.just("auto"), st.integers(1, 40)),
    threads=st.one_of(st.just("auto"), st.integers(1, 80)),
    native=st.booleans(),
)
def test_every_seat_can_be_had_at_once(cpus: list[int], workers: Count, threads: Count, native: bool) -> None:
    nodes = [Node(str(ix), str(ix), float(n)) for ix, n in enumerate(cpus)]
    if not any(cpus):
        with pytest.raises(ExecutorError, match="offers a CPU"):
            plan_seats(nodes, workers, threads, native=native)
        return
    seats = plan_seats(nodes, workers, threads, native=native)
    if workers != "auto":
        assert len(seats) == workers
    for node in nodes:
        asked = sum(seat.n_cpus for seat in seats if seat.node_id == node.id)
        assert asked <= node.n_cpus + 1e-9, "Ray would wait for ever for the last of them"
    for seat in seats:
        assert seat.n_threads >= 1
        assert seat.n_cpus > 0
        assert seat.n_cpus <= 1 or seat.n_cpus == int(seat.n_cpus), "Ray takes whole CPUs above one"


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ExecutorError, match=r"run\.workers is 0"):
        plan_seats(TWO, 0, "auto", native=True)


HERE = Versions("here", "3.11.7", "2.60.0", "b1", "2.4.6", "2.1.0")


@pytest.mark.parametrize(
    ("worker", "python_strategy", "expected"),
    [
        (HERE, True, None),
        (Versions("w", "3.11.9", "2.60.0", "b1", "2.4.0", "2.0.0"), False, None),
        (
            Versions("w", "3.11.9", "2.60.0", "b1", "2.4.6", "2.1.0"),
            True,
            "Python 3.11.9, the driver has 3.11.7",
        ),
        (
            Versions("w", "3.11.7", "2.60.0", "b1", "2.4.0", "2.1.0"),
            True,
            "NumPy 2.4.0, the driver has 2.4.6",
        ),
        (Versions("w", "3.12.1", "2.60.0", "b1", "2.4.6", "2.1.0"), False, "Python 3.12.1"),
        (
            Versions("w", "3.11.7", "2.59.0", "b1", "2.4.6", "2.1.0"),
            False,
            "Ray 2.59.0, the driver has 2.60.0",
        ),
        (Versions("w", "3.11.7", "2.60.0", "b2", "2.4.6", "2.1.0"), False, "build b2, the driver has b1"),
        (Versions("w", "3.11.7", "2.60.0", None, "2.4.6", "2.1.0", "no _core"), False, "no _core"),
    ],
)
def test_handshake(worker: Versions, python_strategy: bool, expected: str | None) -> None:
    said = refusal(HERE, worker, "b1", python_strategy=python_strategy)
    assert said is None if expected is None else said is not None and expected in said


@pytest.mark.parametrize(
    ("version", "supported"),
    [("2.51.9", False), ("2.52.0", True), ("2.60.0rc1", True), ("3.0", True), ("1.13", False)],
)
def test_oldest_ray(version: str, supported: bool) -> None:
    assert ray_is_supported(version) is supported
