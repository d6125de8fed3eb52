"""Groups: whatever the order of results and wherever the driver dies, the model sees the same."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from akq_dist.search.judge import Verdict
from akq_dist.search.model_feed import ModelFeed, PastTrial
from akq_dist.specs import Space, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from akq_dist.search.memory import Entry

SPACE = Space.from_mapping({"a": {"int": [0, 30]}, "b": {"int": [0, 30]}})


class HashModel:
    """Its next point is a hash of everything it has been told, so any difference in that shows at once."""

    def __init__(self) -> None:
        self._entries: list[Any] = []
        self._seed = 0

    def load(self, entries: Sequence[Entry]) -> None:
        self._entries = [self._facts(entry) for entry in entries]

    def reseed(self, seed: int) -> None:
        self._seed = seed

    def propose(self) -> NDArray[np.float64]:
        raw = hashlib.sha256(repr((self._seed, self._entries)).encode()).digest()
        point = np.array([raw[0] % 31, raw[1] % 31], dtype=np.float64)
        self.give(point)
        return point

    def give(self, point: NDArray[np.float64]) -> None:
        self._entries.append((point.tobytes(), "running", (), ()))

    def settle(self, entry_ix: int, entry: Entry) -> None:
        assert self._entries[entry_ix][0] == entry.point.tobytes()
        assert self._entries[entry_ix][1] == "running"
        self._entries[entry_ix] = self._facts(entry)

    @staticmethod
    def _facts(entry: Entry) -> Any:
        return entry.point.tobytes(), entry.state, entry.values, entry.violations


class Driver:
    """A loop around a feed that finishes trials in a random order, and can be stopped anywhere."""

    def __init__(self, group: int, budget: int, window: int, n_first: int) -> None:
        self._settings: dict[str, Any] = {
            "signs": [1.0],
            "seed": 5,
            "group": group,
            "window": window,
            "first": np.array([[float(i), 9.0] for i in range(n_first)]).reshape(n_first, 2),
        }
        self._where = Where.compile(["a + b != 25", "a > 3 or b > 5"], SPACE)
        self.past: list[PastTrial] = []
        self.rejected: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
        self.largest_gap = 0
        self.budget = budget

    def run(self, rng: random.Random, stop_at: int | None = None, budget: int | None = None) -> None:
        feed = ModelFeed(HashModel(), SPACE, self._where, budget=budget or self.budget, **self._settings)
        feed.resume(list(self.past), self.rejected)
        n_steps = 0
        while True:
            ask = feed.next(rng.randint(1, 50))
            if ask is not None:
                for group, seq, point in ask.rejected:
                    held = self.rejected.setdefault(group, [])
                    if seq not in dict(held):
                        held.append((seq, point))
                self.past += [
                    PastTrial(int(n), int(g), p, "asked", (), ())
                    for n, g, p in zip(ask.numbers, ask.groups, ask.points, strict=True)
                ]
                self._note_gap()
            running = [trial for trial in self.past if trial.state == "asked"]
            if not running:
                if feed.exhausted:
                    return
                continue
            for trial in rng.sample(running, rng.randint(0, len(running))):
                self._finish(feed, trial)
            n_steps += 1
            if stop_at is not None and n_steps >= stop_at:
                return

    def points(self) -> list[bytes]:
        assert [trial.number for trial in self.past] == list(range(len(self.past)))
        return [trial.point.tobytes() for trial in self.past]

    def _finish(self, feed: ModelFeed, trial: PastTrial) -> None:
        value = float(trial.point[0] * 31 + trial.point[1])
        state = "fail" if value % 7 == 0 else "complete"
        broken = float(value % 5 == 0)
        metrics = np.array([[value]])
        verdict = Verdict([state], metrics, [None], metrics, np.array([[broken]]))
        feed.tell(np.array([trial.number]), verdict)
        done = state == "complete"
        self.past[trial.number] = replace(
            trial, state=state, values=(value,) if done else (), violations=(broken,) if done else ()
        )

    def _note_gap(self) -> None:
        groups = [trial.group for trial in self.past if trial.state == "asked"]
        if groups:
            self.largest_gap = max(self.largest_gap, max(groups) - min(groups))


@settings(deadline=None, max_examples=120)
@given(
    group=st.integers(1, 9),
    budget=st.integers(1, 80),
    window=st.integers(20, 60),
    n_first=st.integers(0, 12),
    seed=st.integers(0, 2**32),
    stops=st.lists(st.integers(1, 12), max_size=6),
    shorter=st.integers(1, 80),
)
def test_the_questions_depend_on_nothing_but_the_results(
    group: int, budget: int, window: int, n_first: int, seed: int, stops: list[int], shorter: int
) -> None:
    n_first = min(n_first, budget)
    calm = Driver(group, budget, window, n_first)
    calm.run(random.Random(0))
    assert calm.largest_gap <= 1, "at most two groups are in flight"
    torn = Driver(group, budget, window, n_first)
    rng = random.Random(seed)
    for stop_at in stops:
        torn.run(rng, stop_at)
    torn.run(rng)
    assert torn.points() == calm.points()
    grown = Driver(group, budget, window, n_first)
    grown.run(rng, budget=min(shorter, budget))
    grown.run(rng)
    assert grown.points() == calm.points()
