"""The seams of a sweep: what an executor runs and what a tracker records.

One process, the driver, calls all of these from one thread. Messages are small frozen values; a batch crosses
as one matrix each way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from akq_dist.record.pruning import PruneRule, Rungs
    from akq_dist.specs.space import Space
    from akq_dist.strategy.source import PythonSource
    from akq_dist.validate import WindowSet

TrialState = Literal["complete", "fail", "pruned"]
LossCause = Literal["died", "timeout", "memory", "frozen", "node"]
"""Why a worker is gone: by itself, ended for a limit, without a sign of life, or with its whole machine."""

REPLAY_FILE: Final = "replay.json"
STRATEGY_FOLDER: Final = "strategy"
"""Names under which a tracker keeps what running a trial again takes beside the sweep file."""
NO_TRIAL: Final = -1
"""In place of the number of a trial: none runs."""


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs, sent once."""

    plan: str
    """JSON of `akq_dist._core.Plan`."""
    space: Space
    """How a row of the parameter matrix is decoded."""
    strategy: PythonSource | None
    """Source of a Python strategy; None for rules."""
    panel_digest: str
    seed: int
    threads: int
    """Rayon threads of one worker."""
    build: str
    """`akq_dist._core.BUILD` of the driver; a worker of another build refuses."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of a Python strategy that are not searched; rules have theirs in the plan."""
    windows: WindowSet | None = None
    """Windows that each trial runs in, in place of the plan's own."""
    rungs: Rungs | None = None
    """Parts of the assets, of the time or of the windows after which a trial may be stopped."""


@dataclass(frozen=True)
class Batch:
    """Trials on their way out: one row of the matrix a trial."""

    id: int
    numbers: NDArray[np.int64]
    params: NDArray[np.float64]
    """Shape (n trials, n parameters), C order, columns as in `Space.names`."""
    rule: PruneRule | None = None
    """When to stop a trial; None runs every trial to its end."""
    alone: bool = False
    """Whether nothing else is to run on the same machine meanwhile, because memory was short."""

    def part(self, start: int, stop: int) -> Batch:
        """Return the trials from one position to another."""
        return replace(self, numbers=self.numbers[start:stop], params=self.params[start:stop])


@dataclass(frozen=True)
class BatchResult:
    """Trials on their way back, in the order of their batch.

    `table` has the columns `number` (int64), `error` (utf8, null when the trial ran), `hash` (utf8), `n_bars`
    and
    `n_defined` (int64) and one float64 column an output of the plan. Where trials may be stopped early there is
    a column `pruned` (bool).
    """

    id: int
    table: pa.Table
    wall_s: float
    worker: str


@dataclass(frozen=True)
class BatchLost:
    """A batch whose worker is gone; its trials have no result and are not to blame by themselves."""

    id: int
    reason: str
    number: int | None = None
    """The trial that was running, where it is known; the others of the batch are not to blame."""
    cause: LossCause = "died"


@dataclass(frozen=True)
class TrialDetail:
    """Everything one trial did, as tables: `metrics, equity, orders, fills, trades`."""

    number: int
    hash: str
    tables: Mapping[str, pa.Table]


@dataclass(frozen=True)
class WorkerLimits:
    """What workers may take, and what they need; none of it changes a result."""

    trial_timeout_s: float | None = None
    memory_bytes: int | None = None
    """Memory that the trials of one worker may add to what it holds before."""
    lease_s: float = 30.0
    """A worker without a sign of life for so long is given up."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Resources of Ray that each worker reserves on its node."""
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    """Environment of Ray that workers are started in."""


class Executor(Protocol):
    """Runs batches somewhere.

    Not thread-safe; every submitted batch comes back exactly once, as result or as lost.
    """

    name: str

    @property
    def n_workers(self) -> int: ...

    @property
    def n_threads(self) -> int:
        """Engine threads over all workers."""
        ...

    def start(self, job: Job, panel: pa.Table) -> None:
        """Place the panel and make the workers ready. Raises ExecutorError when that is impossible."""
        ...

    def submit(self, batch: Batch) -> None:
        """Queue a batch; returns at once unless the executor runs it in the calling thread."""
        ...

    def collect(self, timeout_s: float) -> list[BatchResult | BatchLost]:
        """Return what has come back, at least one item unless the timeout passes or nothing is in flight."""
        ...

    def detail(self, batch: Batch) -> list[TrialDetail]:
        """Run trials again with every table kept. Blocks."""
        ...

    def cancel(self) -> None:
        """Give up everything in flight; what was running is lost without a report."""
        ...

    def close(self) -> None:
        """Stop the workers. Safe to call twice."""
        ...


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial as the ledger holds it."""

    number: int
    key: str
    params: Mapping[str, Any]
    state: TrialState
    values: tuple[float, ...]
    """One a direction; empty unless complete."""
    metrics: Mapping[str, float]
    """Defined outputs only: an undefined value is absent, never invented."""
    reason: str | None = None
    hash: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    n_bars: int = 0
    cached: bool = False
    seed: int = 0


@dataclass(frozen=True)
class SweepInfo:
    """What a tracker needs to know about the sweep as a whole."""

    study: str
    study_id: str
    """Unique for ever; also when a study of the same name is started anew."""
    spec_yaml: str
    """The sweep file as resolved, without secrets."""
    data_digest: str
    data_source: str
    n_rows: int
    symbols: Sequence[str]
    build: str
    seed: int
    objectives: Sequence[tuple[str, str]]
    """(output name, "maximize" | "minimize")."""
    environment: Mapping[str, str]
    git_commit: str | None
    outputs: Sequence[str] = ()
    """Names of everything that a complete trial has a value for, unless it is undefined."""
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts by file name that are kept with the sweep: what running a trial again takes beside the sweep file."""
    params: Sequence[str] = ()
    """Names of the parameters that are searched."""
    shown_metrics: Sequence[str] = ()
    """Metrics that a person looks at first."""


@dataclass(frozen=True)
class TrackerLinks:
    """Where the record of a sweep can be looked at."""

    tracking_uri: str
    experiment_id: str
    run_id: str


class Tracker(Protocol):
    """A view of the ledger in another tool, written by one thread.

    Every call is idempotent: recording a trial twice changes nothing. A tracker that cannot reach its store
    raises TrackerError; the caller keeps the records and tries again later.
    """

    def open(self, info: SweepInfo) -> TrackerLinks:
        """Find or make the parent of the sweep."""
        ...

    @property
    def block(self) -> int:
        """Number of trials that are worth one call of `record`; they take about a second at most."""
        ...

    def record(self, trials: Sequence[TrialRecord]) -> None:
        """Record finished trials, in number order."""
        ...

    def progress(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of the sweep as it evolves; `step` is the number of finished trials."""
        ...

    def detail(self, details: Sequence[TrialDetail]) -> None:
        """Attach the tables of chosen trials."""
        ...

    def finish(
        self,
        status: Literal["finished", "failed", "interrupted"],
        trials: pa.Table,
        summary: Mapping[str, float],
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Close the parent with the table of all trials, and texts to keep with it by file name."""
        ...

    def promote(self, trial: TrialRecord) -> None:
        """Mark a recorded trial as the winner of the sweep."""
        ...

    def interrupt(self) -> None:
        """Have `record` end soon with TrackerError, whole runs made and the others not begun; from any thread.

        Only `close` follows.
        """
        ...

    def close(self) -> None: ...
