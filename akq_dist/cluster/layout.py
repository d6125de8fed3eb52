"""Where workers sit: pure arithmetic from nodes and settings to seats."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from akq_dist.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Count: TypeAlias = int | Literal["auto"]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster with the CPUs that it offers."""

    id: str
    host: str
    n_cpus: float
    resources: Mapping[str, float] = field(default_factory=dict)
    """Everything that Ray counts on the node, by name."""

    def offers(self, wanted: Mapping[str, float]) -> bool:
        """Tell whether the node has these resources at all."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in wanted.items())


@dataclass(frozen=True)
class Seat:
    """The place of one worker: a node, its engine threads and the CPUs that it reserves there."""

    node_id: str
    n_threads: int
    n_cpus: float


def plan_seats(nodes: Sequence[Node], workers: Count, threads: Count, *, native: bool) -> tuple[Seat, ...]:
    """Spread workers over nodes.

    A native strategy gets one worker a node with a thread for every CPU. A Python strategy gets one worker a
    CPU, because its interpreter is the limit. Counts that are given hold; more workers than CPUs share them.
    """
    usable = sorted((node for node in nodes if node.n_cpus >= 1), key=lambda node: node.id)
    if not usable:
        raise ExecutorError(f"no node of the Ray cluster offers a CPU ({len(nodes)} nodes seen)")
    for name, count in (("workers", workers), ("threads", threads)):
        if count != "auto" and count < 1:
            raise ExecutorError(f"run.{name} is {count}; give a positive number or auto")
    if workers == "auto":
        counts = {node.id: _workers_of(node, threads, native=native) for node in usable}
    else:
        counts = dict(_spread(usable, workers))
    seats: list[Seat] = []
    for node in usable:
        seats.extend(_seats_of(node, counts.get(node.id, 0), threads, native=native))
    return tuple(seats)


def _workers_of(node: Node, threads: Count, *, native: bool) -> int:
    if threads == "auto":
        return 1 if native else int(node.n_cpus)
    return max(1, int(node.n_cpus) // threads)


def _spread(nodes: Sequence[Node], n_workers: int) -> Counter[str]:
    """Give each worker to the node with the most CPUs left for it."""
    placed: Counter[str] = Counter()
    for _ in range(n_workers):
        best = max(nodes, key=lambda node: node.n_cpus / (placed[node.id] + 1))
        placed[best.id] += 1
    return placed


def _seats_of(node: Node, n_seats: int, threads: Count, *, native: bool) -> list[Seat]:
    if n_seats == 0:
        return []
    share = node.n_cpus / n_seats
    whole, extra = divmod(int(node.n_cpus), n_seats)
    seats = []
    for seat_ix in range(n_seats):
        if threads != "auto":
            n_threads = threads
        elif native:
            n_threads = max(1, whole + (1 if seat_ix < extra else 0))
        else:
            n_threads = 1
        if n_threads * n_seats <= node.n_cpus or (native and threads == "auto" and whole >= 1):
            n_cpus = float(n_threads)
        else:
            # Ray counts in ten-thousandths, and in whole CPUs above one.
            n_cpus = float(int(share)) if share >= 1 else math.floor(share * 10_000) / 10_000
        seats.append(Seat(node.id, n_threads, n_cpus))
    return seats
