"""The driver's side of the wardens: one on every node that has workers."""

from __future__ import annotations

import contextlib
import logging
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
