"""Points that a model proposes from earlier results, in groups: the same seed gives the same study."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from akq_dist.errors import AkqStudyError
from akq_dist.search.feed import Ask
from akq_dist.search.memory import REJECTED, Entry, Memory
from akq_dist.search.points import nothing_allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from akq_dist.search.judge import Verdict
    from akq_dist.specs.space import Space
    from akq_dist.specs.where import Where

logger = logging.getLogger(__name__)

REFUSED_LIMIT = 1_000
"""Points in a row that `where` may refuse before the search gives up."""

_TOLD_REFUSALS = 32
"""Refused points of a group that the model learns from; more would drown what it knows about values."""


class Model(Protocol):
    """A sampler over a list of entries. Its proposals depend on the entries and the seed alone."""

    def load(self, entries: Sequence[Entry]) -> None:
        """Forget everything and learn these entries."""
        ...

    def reseed(self, seed: int) -> None:
        """Start a new stream of random numbers."""
        ...

    def propose(self) -> NDArray[np.float64]:
        """Return a new point, which counts as running until `settle` is called for it."""
        ...

    def give(self, point: NDArray[np.float64]) -> None:
        """Add a point of ours as running."""
        ...

    def settle(self, entry_ix: int, entry: Entry) -> None:
        """Tell how the entry at a position of the list has ended."""
        ...


@dataclass(frozen=True)
class PastTrial:
    """A trial of an earlier session; `state` is `asked` when it has not ended."""

    number: int
    group: int
    point: NDArray[np.float64]
    state: str
    values: tuple[float, ...]
    violations: tuple[float, ...]


class ModelFeed:
    """Asks a model in groups of G: group k sees the results of groups up to k-2, told in number order.

    Group k-1 is still running then and counts as such. The model's random numbers are derived anew for each
    group, so neither the number of workers nor an interruption changes a point.
    """

    model_based = True

    def __init__(
        self,
        model: Model,
        space: Space,
        where: Where,
        *,
        signs: Sequence[float],
        seed: int,
        group: int,
        budget: int,
        first: NDArray[np.float64],
        window: int,
        free: bool = False,
        stateful: bool = False,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        """With `free` results are told as they arrive, and a repeat may give another study.

        A `stateful` model keeps notes that are not in the entries; resuming asks it for every group again.

        `on_note` hears when the window starts to act.
        """
        self._on_note = on_note or logger.info
        self._model = model
        self._space = space
        self._where = where
        self._seed = seed
        self._group = group
        self._budget = budget
        self._first = first
        self._free = free
        self._stateful = stateful
        self._memory = Memory(signs, window)
        self._window = window
        self._loaded = False
        self._n_asked = 0
        self._next_group = 0
        self._open: dict[int, int] = {}
        """Groups with trials that have not ended, and how many."""
        self._ended: dict[int, dict[int, tuple[str, tuple[float, ...], tuple[float, ...]]]] = {}
        """Results that the model has not been told, by group."""
        self._group_of: dict[int, int] = {}
        self._recorded: list[NDArray[np.float64]] = []
        """Points of a last group that an earlier, smaller budget cut short."""

    @property
    def n_asked(self) -> int:
        return self._n_asked

    @property
    def exhausted(self) -> bool:
        return self._n_asked >= self._budget

    def resume(
        self, past: Iterable[PastTrial], rejected: Mapping[int, Sequence[tuple[int, NDArray[np.float64]]]]
    ) -> None:
        """Bring the memory to where it was after these trials: all that were asked, in number order."""
        if self._free:
            self._resume_free(past, rejected)
            return
        pending: list[PastTrial] = []
        replay = self._ask_group_again if self._stateful else self._replay_group
        for trial in past:
            if pending and trial.group != pending[0].group:
                replay(pending, rejected.get(pending[0].group, ()))
                pending = []
            pending.append(trial)
        if len(pending) == self._group:
            replay(pending, rejected.get(pending[0].group, ()))
        elif pending:
            # A smaller budget ended in this group. It is asked again as a whole when there is more to do.
            self._recorded = [trial.point for trial in pending]
            self._n_asked += len(pending)
            self._register(pending[0].group, [trial.number for trial in pending])
            self._take_results(pending)

    def next(self, limit: int) -> Ask | None:
        if self.exhausted:
            return None
        if self._free:
            return self._next_free(limit)
        k = self._next_group
        if any(group <= k - 2 for group in self._open):
            return None
        self._begin(k)
        start = k * self._group
        stop = min(start + self._group, self._budget)
        ask = self._ask(k, start, stop)
        self._next_group = k + 1
        fresh = ask.numbers >= self._n_asked
        self._n_asked = stop
        self._register(k, ask.numbers[fresh].tolist())
        return Ask(ask.numbers[fresh], ask.groups[fresh], ask.points[fresh], ask.rejected)

    def tell(self, numbers: NDArray[np.int64], verdict: Verdict) -> None:
        for ix, number in enumerate(numbers.tolist()):
            self._end(
                number,
                verdict.states[ix],
                tuple(verdict.values[ix].tolist()),
                tuple(verdict.violations[ix].tolist()),
            )

    def _begin(self, k: int) -> None:
        """Tell what group k may know, and forget what the window has no room for."""
        told = self._ended.pop(k - 2, {})
        for number in sorted(told):
            self._tell_one(number, *told[number])
        self._compact()

    def _ask(self, k: int, start: int, stop: int) -> Ask:
        """Ask the model for the points of a group, in one go and always from the beginning of the group."""
        if not self._loaded:
            self._model.load(self._memory.entries)
            self._loaded = True
        self._model.reseed(group_seed(self._seed, k))
        points: list[NDArray[np.float64]] = []
        rejected: list[tuple[int, int, NDArray[np.float64]]] = []
        n_refused = 0
        seq = 0
        for number in range(start, stop):
            while True:
                if number < len(self._first):
                    point = self._first[number]
                    self._model.give(point)
                    break
                point = self._model.propose()
                if self._where.mask(self._space, point[np.newaxis, :])[0]:
                    break
                rejected.append((k, seq, point))
                self._refuse(point, len(rejected))
                seq += 1
                n_refused += 1
                if n_refused >= REFUSED_LIMIT:
                    raise nothing_allowed(
                        self._where, f"none of the last {REFUSED_LIMIT:,} points of the sampler"
                    )
            n_refused = 0
            seq += 1
            self._memory.add(Entry(number, point))
            points.append(point)
        self._check_recorded(points)
        return Ask(
            numbers=np.arange(start, stop, dtype=np.int64),
            groups=np.full(stop - start, k, dtype=np.int64),
            points=np.array(points).reshape(stop - start, len(self._space)),
            rejected=rejected,
        )

    def _refuse(self, point: NDArray[np.float64], n_in_group: int) -> None:
        entry = Entry(REJECTED, point, "rejected" if n_in_group <= _TOLD_REFUSALS else "fail")
        self._memory.add(entry)
        self._model.settle(len(self._memory.entries) - 1, entry)

    def _check_recorded(self, points: list[NDArray[np.float64]]) -> None:
        for ix, held in enumerate(self._recorded):
            if held.tobytes() != points[ix].tobytes():
                logger.warning(
                    "the sampler no longer proposes what the ledger holds (another version of it?); "
                    "going on from the ledger"
                )
                break
        self._recorded = []

    def _replay_group(
        self, trials: list[PastTrial], rejected: Sequence[tuple[int, NDArray[np.float64]]]
    ) -> None:
        k = trials[0].group
        self._begin(k)
        refused = dict(rejected)
        seq = 0
        n_refused = 0
        for trial in trials:
            while seq in refused:
                n_refused += 1
                self._memory.add(
                    Entry(REJECTED, refused[seq], "rejected" if n_refused <= _TOLD_REFUSALS else "fail")
                )
                seq += 1
            self._memory.add(Entry(trial.number, trial.point))
            seq += 1
        self._next_group = k + 1
        self._n_asked += len(trials)
        self._register(k, [trial.number for trial in trials])
        self._take_results(trials)

    def _ask_group_again(
        self, trials: list[PastTrial], rejected: Sequence[tuple[int, NDArray[np.float64]]]
    ) -> None:
        """Bring the model's own notes to where they were, by asking it what it was asked."""
        del rejected  # It proposes them again.
        k = trials[0].group
        self._begin(k)
        ask = self._ask(k, trials[0].number, trials[-1].number + 1)
        if ask.points.tobytes() != np.array([trial.point for trial in trials]).tobytes():
            raise AkqStudyError(
                f"the sampler no longer proposes what the ledger holds: group {k} (trials {trials[0].number} to "
                f"{trials[-1].number}) differs. It keeps a state that only the same version of it can rebuild: "
                "go on with the version of Optuna that the study began with, or start another study with --new."
            )
        self._next_group = k + 1
        self._n_asked += len(trials)
        self._register(k, [trial.number for trial in trials])
        self._take_results(trials)

    def _take_results(self, trials: list[PastTrial]) -> None:
        for trial in trials:
            if trial.state != "asked":
                self._end(trial.number, trial.state, trial.values, trial.violations)

    def _register(self, k: int, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._group_of[number] = k
        if numbers:
            self._open[k] = self._open.get(k, 0) + len(numbers)

    def _end(self, number: int, state: str, values: tuple[float, ...], violations: tuple[float, ...]) -> None:
        group = self._group_of.pop(number)
        self._open[group] -= 1
        if not self._open[group]:
            del self._open[group]
        if state != "complete":
            values, violations = (), ()
        self._ended.setdefault(group, {})[number] = (state, values, violations)

    def _tell_one(
        self, number: int, state: str, values: tuple[float, ...], violations: tuple[float, ...]
    ) -> None:
        entry = self._memory.tell(number, state, values, violations)
        if self._loaded:
            # Entries are in the order of asking, so the running ones are near the end.
            ix = next(
                i for i in range(len(self._memory.entries) - 1, -1, -1) if self._memory.entries[i] is entry
            )
            self._model.settle(ix, entry)

    def _compact(self) -> None:
        first_time = self._memory.n_forgotten == 0
        if self._memory.compact():
            self._loaded = False
            if first_time:
                self._on_note(
                    f"the sampler sees the best {self._window // 2:,} and the latest of the other points, "
                    f"{self._window:,} in all, from here on"
                )

    def _next_free(self, limit: int) -> Ask | None:
        room = self._group - sum(self._open.values())
        if room <= 0:
            return None
        for number, ended in self._ended.pop(-1, {}).items():
            self._tell_one(number, *ended)
        self._compact()
        start = self._n_asked
        stop = min(start + min(room, max(1, limit)), self._budget)
        ask = self._ask(-1 - start, start, stop)
        self._n_asked = stop
        self._register(-1, ask.numbers.tolist())
        rejected = [(-1, (start << 16) + seq, point) for _, seq, point in ask.rejected]
        return Ask(ask.numbers, np.full(len(ask.numbers), -1, dtype=np.int64), ask.points, rejected)

    def _resume_free(
        self, past: Iterable[PastTrial], rejected: Mapping[int, Sequence[tuple[int, NDArray[np.float64]]]]
    ) -> None:
        for trial in past:
            self._memory.add(Entry(trial.number, trial.point))
            self._n_asked += 1
            self._register(-1, [trial.number])
            self._take_results([trial])
            for number, ended in self._ended.pop(-1, {}).items():
                self._memory.tell(number, *ended)
            self._memory.compact()
        for _, point in list(rejected.get(-1, ()))[-_TOLD_REFUSALS:]:
            self._memory.add(Entry(REJECTED, point, "rejected"))


def group_seed(seed: int, group: int) -> int:
    """Return the seed of a group's random numbers: 32 bits from the seed of the study and its index."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{group}".encode()).digest()[:4], "big")
