"""Executor on Ray: persistent actors, the panel once per node, one call a batch."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import akq_dist
from akq_dist.cluster.actor import WorkerInfo, shipped_actor
from akq_dist.cluster.handshake import Versions, refusal, versions_here
from akq_dist.cluster.layout import Count, Node, Seat, plan_seats
from akq_dist.cluster.machine import usable_cpus
from akq_dist.cluster.seat_state import SeatState
from akq_dist.cluster.session import RaySession
from akq_dist.cluster.warden import BEATS_A_LEASE, NODE_SHARE
from akq_dist.cluster.wardens import Wardens
from akq_dist.errors import AkqError, ExecutorError
from akq_dist.record.protocols import Batch, BatchLost, BatchResult, TrialDetail, WorkerLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from akq_dist.record.protocols import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayOptions:
    """Settings beside address, workers and threads; the defaults suit everybody."""

    depth: int = 2
    """Batches that an actor holds: one that runs and one that waits, so that it never idles between calls."""
    start_timeout_s: float = 120.0
    max_failed_loads: int = 3
    """Actors in a row that may die at one seat before they are ready."""
    worker: str = "akq_dist.record.worker:Worker"
    """Class that runs batches inside an actor, made from (job, panel)."""
    build: str = "akq_dist._core:BUILD"
    """Where a worker finds the build of its engine."""
    look_for_nodes_s: float = 5.0
    """Pause between two looks for nodes that have joined."""
    wait_for_nodes_s: float = 60.0
    """How long a sweep that has lost its last worker waits for a node."""
    node_share: float = NODE_SHARE
    """Share of the memory of a node above which the worker that has taken most of it is ended."""


class RayExecutor:
    """Runs batches in Ray actors, on this machine or on a cluster.

    Without an address it starts a local Ray, or uses the one that the process is connected to already; it
    shuts down only what it started. Not thread-safe, except that `prepare` may be called from anywhere.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: Count = "auto",
        threads: Count = "auto",
        options: RayOptions | None = None,
        limits: WorkerLimits | None = None,
    ) -> None:
        self._limits = limits or WorkerLimits()
        self._workers = workers
        self._threads = threads
        self._options = options or RayOptions()
        self._session = RaySession(address)
        self._ray: Any = None
        self._job: Job | None = None
        self._panel_ref: Any = None
        self._native = True
        self._here: Versions | None = None
        self._actor_class: Any = None
        self._seats: list[SeatState] = []
        self._backlog: deque[Batch] = deque()
        self._reports: list[BatchResult | BatchLost] = []
        self._wardens: Wardens | None = None
        self._known_nodes: set[str] = set()
        self._silent: set[str] = set()
        """Nodes without a sign of life, which Ray may still take for alive."""
        self._looked_s = 0.0
        self._alone_since_s: float | None = None
        """When the last worker went."""

    def prepare(self) -> None:
        """Begin to start or join Ray in the background, while data are still being read."""
        self._session.begin()

    @property
    def n_workers(self) -> int:
        """Workers in use; before the start, those that a local Ray would get."""
        return len(self._expected_seats())

    @property
    def n_threads(self) -> int:
        """Engine threads over all workers."""
        return sum(seat.n_threads for seat in self._expected_seats())

    def workers(self) -> list[WorkerInfo]:
        """Return the actors that are ready."""
        return [seat.info for seat in self._seats if seat.state == "ready" and seat.info is not None]

    def start(self, job: Job, panel: pa.Table) -> None:
        """Place the panel and make every worker ready; refuse workers that would compute something else."""
        self._vacate_all()
        self._ray = self._session.ray(self._options.start_timeout_s)
        self._job = job
        self._native = job.strategy is None
        self._here = versions_here(self._options.build)
        self._actor_class = self._ray.remote(shipped_actor(str(Path(akq_dist.__file__).parents[1])))
        nodes = self._nodes()
        self._known_nodes = {node.id for node in nodes}
        self._wardens = Wardens(
            self._ray, self._limits, self._options.node_share, str(Path(akq_dist.__file__).parents[1])
        )
        self._seats = [
            SeatState(seat) for seat in plan_seats(nodes, self._workers, self._threads, native=self._native)
        ]
        self._panel_ref = self._ray.put(panel)
        for seat in self._seats:
            self._spawn(seat)
        self._await_first_workers(nodes)

    def submit(self, batch: Batch) -> None:
        """Queue a batch for the worker that has the fewest."""
        if self._job is None:
            raise ExecutorError("internal: a batch was submitted before the executor was started")
        self._backlog.append(batch)
        self._dispatch()

    def collect(self, timeout_s: float) -> list[BatchResult | BatchLost]:
        """Wait for results and losses; those of batches that were cancelled or lost are never among them."""
        deadline = time.monotonic() + timeout_s
        self._look_for_nodes()
        while not self._reports:
            self._dispatch()
            refs = self._watched()
            if not refs:
                if self._backlog:
                    self._wait_for_a_node(deadline)
                break
            self._alone_since_s = None
            # With nothing in flight, only look whether a worker that is being made has come up.
            waited_s = max(0.0, deadline - time.monotonic()) if self._has_work() else 0.0
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=waited_s)
            if not ready:
                break
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            self._take(set(ready))
        self._dispatch()
        reports, self._reports = self._reports, []
        return reports

    def detail(self, batch: Batch) -> list[TrialDetail]:
        """Run trials again with every table kept, one trial a call, over all workers."""
        pending = deque(_singles(batch))
        order = {int(number): position for position, number in enumerate(batch.numbers)}
        found: dict[int, TrialDetail] = {}
        running: dict[Any, tuple[SeatState, Batch]] = {}
        n_losses = 0
        while pending or running:
            self._wake()
            busy = [seat for seat, _ in running.values()]
            for seat in self._seats:
                if seat.state == "ready" and pending and seat not in busy:
                    piece = pending.popleft()
                    running[seat.handle.detail.remote(piece)] = (seat, piece)
            refs = [*running, *self._watched()]
            if not refs:
                raise self._no_workers()
            ready, _ = self._ray.wait(refs, num_returns=1)
            self._take(set(ready) - set(running))
            for ref in [ref for ref in ready if ref in running]:
                seat, piece = running.pop(ref)
                try:
                    details: list[TrialDetail] = self._ray.get(ref)
                except self._ray.exceptions.RayTaskError as error:
                    raise _cause(error) from None
                except self._ray.exceptions.RayError as error:
                    n_losses += 1
                    if n_losses > self._options.max_failed_loads:
                        raise ExecutorError(
                            f"workers die while trial {piece.numbers[0]} is run again: {_line(error)}"
                        ) from None
                    self._lose(seat, _line(error))
                    pending.appendleft(piece)
                else:
                    found |= {detail.number: detail for detail in details}
        return sorted(found.values(), key=lambda detail: order[detail.number])

    def cancel(self) -> None:
        """Give up everything in flight at once; workers are made anew when a batch comes."""
        self._backlog.clear()
        self._reports.clear()
        for seat in self._seats:
            if seat.in_flight:
                self._kill(seat)
                seat.vacate()

    def close(self) -> None:
        """Stop the workers, and Ray where this executor started it."""
        self._vacate_all()
        if self._wardens is not None:
            self._wardens.close()
            self._wardens = None
        self._seats = []
        self._job = None
        self._panel_ref = None
        self._session.close()

    # Seats

    def _expected_seats(self) -> list[Seat]:
        if self._seats:
            return [seat.seat for seat in self._seats if seat.state != "closed"]
        nodes = [Node("here", "here", usable_cpus())]
        return list(plan_seats(nodes, self._workers, self._threads, native=self._native))

    def _spawn(self, seat: SeatState) -> None:
        """Make an actor and send it the job; nothing here waits."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        assert self._wardens is not None
        # A seat that has moved may be the first of its node.
        self._wardens.post([seat.seat.node_id])
        options: dict[str, Any] = {
            "num_cpus": seat.seat.n_cpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(seat.seat.node_id, soft=False),
        }
        if self._limits.resources:
            options["resources"] = dict(self._limits.resources)
        if self._limits.runtime_env:
            options["runtime_env"] = dict(self._limits.runtime_env)
        seat.handle = self._actor_class.options(**options).remote(
            self._options.worker,
            self._options.build,
            seat.seat.node_id,
            seat.seat.n_threads,
            str(self._wardens.folder),
            self._limits.lease_s / BEATS_A_LEASE,
        )
        seat.info = None
        seat.loading = seat.handle.hello.remote()
        seat.state = "loading"

    def _wake(self) -> None:
        for seat in self._seats:
            if seat.state == "cold":
                self._spawn(seat)

    def _await_first_workers(self, nodes: list[Node]) -> None:
        deadline = time.monotonic() + self._options.start_timeout_s
        while loading := [seat.loading for seat in self._seats if seat.state == "loading"]:
            ready, _ = self._ray.wait(loading, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            self._take(set(ready))
        n_ready = len(self.workers())
        if n_ready == 0:
            raise self._no_workers()
        late = [seat for seat in self._seats if seat.state == "loading"]
        if late:
            hosts = {node.id: node.host for node in nodes}
            where = ", ".join(sorted({hosts.get(seat.seat.node_id, seat.seat.node_id) for seat in late}))
            log.warning(
                "%d of %d workers are up; no free CPU yet for the others on %s",
                n_ready,
                len(self._seats),
                where,
            )

    def _loaded(self, seat: SeatState, value: Any) -> None:
        """Advance a seat: a greeting is answered with the job, a loaded job makes it ready."""
        if isinstance(value, WorkerInfo):
            assert self._job is not None
            assert self._here is not None
            refused = refusal(self._here, value.versions, self._job.build, python_strategy=not self._native)
            if refused is not None:
                raise ExecutorError(refused)
            seat.info = value
            seat.loading = seat.handle.load.remote(
                replace(self._job, threads=seat.seat.n_threads), self._panel_ref
            )
        else:
            seat.loading = None
            seat.state = "ready"
            seat.n_failed_loads = 0

    def _load_failed(self, seat: SeatState, reason: str) -> None:
        self._kill(seat)
        seat.vacate()
        seat.n_failed_loads += 1
        seat.fault = reason
        if seat.n_failed_loads >= self._options.max_failed_loads:
            seat.state = "closed"
            log.warning(
                "a worker could not be made ready %d times in a row and is given up: %s",
                seat.n_failed_loads,
                reason,
            )
        else:
            self._reseat(seat)
            if seat.state == "cold":
                self._spawn(seat)

    def _lose(self, seat: SeatState, reason: str) -> None:
        """Give up an actor: the batch that it worked on is lost, those behind it go elsewhere."""
        known_node = seat.seat.node_id
        pid = None if seat.info is None else seat.info.pid
        self._kill(seat)
        batches = seat.vacate()
        log.info("worker on node %s lost with %d batches: %s", known_node[:8], len(batches), reason)
        if batches:
            self._reports.append(self._explain_loss(batches[0], known_node, pid, reason))
            self._backlog.extendleft(reversed(batches[1:]))
        self._reseat(seat)
        if seat.state == "cold":
            self._spawn(seat)

    def _explain_loss(self, batch: Batch, node_id: str, pid: int | None, reason: str) -> BatchLost:
        """Say which trial was running and why its worker is gone, as far as its node can tell."""
        assert self._wardens is not None
        if self._wardens.is_quiet(node_id):
            # Not worth waiting for: the whole machine is frozen or cut off.
            return BatchLost(batch.id, reason, cause="node")
        found = None if pid is None else self._wardens.post_mortem(node_id, pid)
        if found is None:
            gone = node_id not in {node.id for node in self._session.nodes()}
            return BatchLost(batch.id, reason, cause="node" if gone else "died")
        cause = "memory" if found.cause == "died" and "OutOfMemory" in reason else found.cause
        return BatchLost(batch.id, found.text or reason, found.number, cause)

    def _nodes(self) -> list[Node]:
        """List the nodes that can have a worker."""
        nodes = self._session.nodes()
        fit = [node for node in nodes if node.offers(self._limits.resources)]
        if nodes and not fit:
            wanted = ", ".join(f"{name}: {amount:g}" for name, amount in self._limits.resources.items())
            raise ExecutorError(f"run.resources: no node of the Ray cluster offers {wanted}")
        return fit

    def _look_for_nodes(self) -> None:
        """Give workers to nodes that have joined; a number of workers that was asked for stays as it is."""
        now_s = time.monotonic()
        if now_s - self._looked_s < self._options.look_for_nodes_s or self._job is None:
            return
        self._looked_s = now_s
        self._give_up_silent_nodes()
        alive = self._fit_nodes()
        fresh = [node for node in alive if node.id not in self._known_nodes and node.n_cpus >= 1]
        self._known_nodes |= {node.id for node in fresh}
        if not fresh:
            return
        if self._workers == "auto":
            added = [
                SeatState(seat) for seat in plan_seats(fresh, "auto", self._threads, native=self._native)
            ]
            self._seats += added
        else:
            added = [seat for seat in self._seats if seat.state == "closed"]
            for seat in added:
                seat.state, seat.fault = "cold", ""
                self._reseat(seat)
            added = [seat for seat in added if seat.state == "cold"]
        if added:
            log.warning("%d workers on %d nodes that have joined", len(added), len(fresh))
        for seat in added:
            self._spawn(seat)

    def _give_up_silent_nodes(self) -> None:
        """Move the work of nodes that are frozen or cut off; they are used again when they answer."""
        assert self._wardens is not None
        silent = self._wardens.silent({seat.seat.node_id for seat in self._seats if seat.state == "ready"})
        for node_id in silent - self._silent:
            log.warning("node %s has given no sign of life for %g s", node_id[:8], self._limits.lease_s)
        # What a node took part in comes back as one that has joined.
        self._known_nodes -= self._silent - silent
        self._silent = silent
        for seat in self._seats:
            if seat.handle is not None and seat.seat.node_id in silent:
                self._lose(seat, f"no sign of life from its node for {self._limits.lease_s:g} s")

    def _fit_nodes(self) -> list[Node]:
        """List the nodes that are alive and have what a worker needs."""
        return [
            node
            for node in self._session.nodes()
            if node.id not in self._silent and node.offers(self._limits.resources)
        ]

    def _wait_for_a_node(self, deadline_s: float) -> None:
        """Without any worker, wait for a node that joins; raise when none has come for too long."""
        now_s = time.monotonic()
        if self._alone_since_s is None:
            self._alone_since_s = now_s
            if any(seat.fault == _NODE_LEFT for seat in self._seats):
                log.warning(
                    "the last worker is gone with its node; waiting %.0f s for another node",
                    self._options.wait_for_nodes_s,
                )
        left_s = self._alone_since_s + self._options.wait_for_nodes_s - now_s
        if left_s <= 0.0 or not any(seat.fault == _NODE_LEFT for seat in self._seats):
            raise self._no_workers()
        time.sleep(max(0.0, min(left_s, deadline_s - now_s)))

    def _reseat(self, seat: SeatState) -> None:
        """Keep the seat where its node lives; otherwise move it to a node with room, or give it up."""
        nodes = {node.id: node for node in self._fit_nodes()}
        if seat.seat.node_id in nodes:
            return
        taken = dict.fromkeys(nodes, 0.0)
        for other in self._seats:
            if other is not seat and other.state != "closed" and other.seat.node_id in taken:
                taken[other.seat.node_id] += other.seat.n_cpus
        room = [node for node in nodes.values() if node.n_cpus - taken[node.id] >= seat.seat.n_cpus]
        if room:
            seat.seat = replace(
                seat.seat, node_id=max(room, key=lambda node: (node.n_cpus - taken[node.id], node.id)).id
            )
        else:
            seat.state = "closed"
            seat.fault = _NODE_LEFT

    def _kill(self, seat: SeatState) -> None:
        if seat.handle is not None and self._ray is not None and self._ray.is_initialized():
            self._ray.kill(seat.handle)

    def _vacate_all(self) -> None:
        for seat in self._seats:
            self._kill(seat)
            seat.vacate()
        self._backlog.clear()
        self._reports.clear()

    # Batches

    def _dispatch(self) -> None:
        if not self._backlog:
            return
        self._wake()
        while self._backlog:
            free = self._free_seats(alone=self._backlog[0].alone)
            if not free:
                return
            seat = min(free, key=lambda candidate: len(candidate.in_flight))
            batch = self._backlog.popleft()
            seat.in_flight[seat.handle.run.remote(batch)] = batch

    def _free_seats(self, *, alone: bool) -> list[SeatState]:
        """List the seats that can take a batch; one that runs alone has a node for itself."""
        closed = {
            seat.seat.node_id
            for seat in self._seats
            if any(alone or batch.alone for batch in seat.in_flight.values())
        }
        return [
            seat
            for seat in self._seats
            if seat.state == "ready"
            and len(seat.in_flight) < self._options.depth
            and seat.seat.node_id not in closed
        ]

    def _has_work(self) -> bool:
        return bool(self._backlog) or any(seat.in_flight for seat in self._seats)

    def _watched(self) -> list[Any]:
        refs = [ref for seat in self._seats for ref in seat.in_flight]
        return refs + [seat.loading for seat in self._seats if seat.loading is not None]

    def _take(self, ready: set[Any]) -> None:
        """Read calls that have ended, in the order in which each actor got them."""
        for seat in self._seats:
            if seat.loading in ready:
                self._take_loading(seat)
            for ref in [ref for ref in seat.in_flight if ref in ready]:
                if ref in seat.in_flight:  # not swept away with its actor meanwhile
                    self._take_result(seat, ref)

    def _take_loading(self, seat: SeatState) -> None:
        try:
            value = self._ray.get(seat.loading)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._load_failed(seat, _line(error))
        else:
            self._loaded(seat, value)

    def _take_result(self, seat: SeatState, ref: Any) -> None:
        try:
            result: BatchResult = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            # The worker reports faults of trials inside a result; what escapes it is a fault of the batch.
            self._reports.append(BatchLost(seat.in_flight.pop(ref).id, str(error.cause)[:2_000]))
        except self._ray.exceptions.RayError as error:
            self._lose(seat, _line(error))
        else:
            batch = seat.in_flight.pop(ref)
            if result.id != batch.id or result.table.num_rows != len(batch.numbers):
                self._reports.append(BatchLost(batch.id, "internal: the worker answered another batch"))
            else:
                self._reports.append(result)

    def _no_workers(self) -> ExecutorError:
        faults = sorted({seat.fault for seat in self._seats if seat.fault})
        why = faults[0] if faults else f"no CPU became free within {self._options.start_timeout_s:.0f} s"
        return ExecutorError(f"no Ray worker is available: {why}")


def _singles(batch: Batch) -> Iterable[Batch]:
    for row in range(len(batch.numbers)):
        yield Batch(id=batch.id, numbers=batch.numbers[row : row + 1], params=batch.params[row : row + 1])


def _cause(error: Any) -> Exception:
    """Return what a worker raised, as an error of this package."""
    cause = error.cause
    if isinstance(cause, AkqError):
        return cause
    return ExecutorError(f"a worker failed: {type(cause).__name__}: {str(cause)[:2_000]}")


_NODE_LEFT = "its node left the cluster"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"[\w.]*(Error|Exception|Interrupt|Exit)\b.*")


def _line(error: BaseException) -> str:
    """Return what a Ray error is about in one line: what the worker raised at last, else Ray's first line."""
    lines = [line.strip() for line in _ESCAPES.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "No module named 'akq_dist'" in lines[-1]:
        return "a node cannot import akq_dist: install the same akq_dist on every node"
    said = lines[-1] if _RAISED.fullmatch(lines[-1]) else lines[0]
    return f"{type(error).__name__}: {said[:500]}"
