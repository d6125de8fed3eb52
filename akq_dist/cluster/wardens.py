"""The driver's side of the wardens: one on every node that has workers."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from akq_dist.cluster.beacon import beacon_folder
from akq_dist.cluster.warden import WatchLimits, shipped_warden

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from akq_dist.cluster.warden import PostMortem
    from akq_dist.record.protocols import WorkerLimits

log = logging.getLogger(__name__)

_ANSWER_S = 10.0


class Wardens:
    """Starts wardens, asks them about workers that are gone, and ends them."""

    def __init__(self, ray: Any, limits: WorkerLimits, node_share: float, package_folder: str) -> None:
        self._ray = ray
        self._class = ray.remote(shipped_warden(package_folder))
        self._limits = WatchLimits(limits.lease_s, limits.trial_timeout_s, limits.memory_bytes, node_share)
        self.folder: Path = beacon_folder(uuid.uuid4().hex[:12])
        self._handles: dict[str, Any] = {}
        self._asked: dict[str, tuple[Any, float]] = {}
        """For each node the call that its warden has yet to answer, and when it was made."""

    def silent(self, with_workers: set[str]) -> set[str]:
        """Return the nodes that have given no sign of life for as long as the lease; nothing here waits.

        Ray itself takes up to a minute to give up a machine that is frozen or cut off. Nodes are asked from the
        time on when they first have a worker that is up: a warden is started before it.
        """
        now_s = time.monotonic()
        for node_id in with_workers | set(self._asked):
            call, _ = self._asked.get(node_id, (None, now_s))
            # An error is an answer as well: Ray knows about this node then.
            if call is None or self._ray.wait([call], timeout=0)[0]:
                self._asked[node_id] = (self._handles[node_id].ready.remote(), now_s)
        # Under a short lease of workers a machine may still be busy for a moment.
        lease_s = max(self._limits.lease_s, _ANSWER_S)
        return {node_id for node_id, (_, asked_s) in self._asked.items() if now_s - asked_s > lease_s}

    def is_quiet(self, node_id: str) -> bool:
        """Tell whether the warden of a node has left a call unanswered for longer than an answer takes."""
        call, asked_s = self._asked.get(node_id, (None, 0.0))
        if call is None or time.monotonic() - asked_s <= _ANSWER_S:
            return False
        return not self._ray.wait([call], timeout=0)[0]

    def post(self, node_ids: Iterable[str]) -> None:
        """Start a warden on every node that has none; nothing here waits."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for node_id in node_ids:
            if node_id in self._handles:
                continue
            # A warden that dies comes back: what it needs to know is in the workers' files.
            self._handles[node_id] = self._class.options(
                num_cpus=0,
                max_restarts=-1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            ).remote(str(self.folder), self._limits)

    def post_mortem(self, node_id: str, pid: int) -> PostMortem | None:
        """Return what the node knows about a worker that is gone; None when the node does not answer."""
        handle = self._handles.get(node_id)
        if handle is None:
            return None
        try:
            found: PostMortem = self._ray.get(handle.post_mortem.remote(pid), timeout=_ANSWER_S)
        except self._ray.exceptions.RayError as error:
            log.info("the warden of node %s does not answer: %s", node_id[:8], type(error).__name__)
            return None
        return found

    def close(self) -> None:
        """End the wardens and remove their files; safe when Ray is gone."""
        if not self._ray.is_initialized():
            return
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.get([handle.clear.remote() for handle in self._handles.values()], timeout=_ANSWER_S)
        for handle in self._handles.values():
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(handle)
        self._handles.clear()
        self._asked.clear()
