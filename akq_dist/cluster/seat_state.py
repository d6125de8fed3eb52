"""The driver's view of one seat: which actor sits there and which batches it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from akq_dist.cluster.actor import WorkerInfo
    from akq_dist.cluster.layout import Seat
    from akq_dist.record.protocols import Batch


@dataclass
class SeatState:
    """A seat is cold (no actor), loading, ready, or closed for good."""

    seat: Seat
    state: Literal["cold", "loading", "ready", "closed"] = "cold"
    handle: Any = None
    loading: Any = None
    """Reference of the call that loads the job."""
    info: WorkerInfo | None = None
    in_flight: dict[Any, Batch] = field(default_factory=dict)
    """Reference of a call -> its batch, in order of submission; the actor works on the first."""
    n_failed_loads: int = 0
    fault: str = ""
    """Why the last actor could not be made ready."""

    def vacate(self) -> list[Batch]:
        """Forget the actor; returns the batches that it had, the one it worked on first."""
        batches = list(self.in_flight.values())
        self.in_flight.clear()
        self.handle = None
        self.loading = None
        self.info = None
        self.state = "cold"
        return batches
