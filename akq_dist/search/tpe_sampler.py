"""The batch TPE as an Optuna sampler, for studies of any kind."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import TrialState

from akq_dist.errors import AkqUsageError
from akq_dist.search.memory import Entry, Memory
from akq_dist.search.tpe import Axis, Seen, TpeSettings, fit_seed, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    _Space = dict[str, BaseDistribution]

logger = logging.getLogger(__name__)


class BatchTPESampler(BaseSampler):
    """A tree-structured Parzen estimator that suggests many points from one fit.

        import optuna
        from optuna.distributions import FloatDistribution, IntDistribution

        from akq_dist import BatchTPESampler

        space = {"x": FloatDistribution(-5.0, 5.0), "n": IntDistribution(1, 30)}
        sampler = BatchTPESampler(seed=7)
        study = optuna.create_study(sampler=sampler)
        for _ in range(10):
            for trial in sampler.ask_many(study, 16, space):
                study.tell(trial, (trial.params["x"] - 1.0) ** 2 + abs(trial.params["n"] - 12))

    It also serves `study.ask()` and `study.optimize()`, with several jobs too, a fit a trial. The densities are those
    of Optuna's multivariate TPESampler; trials that run count as bad, and so does each suggestion for those after it.
    A fit sees about `window` trials, the best half and the latest of the others, so its cost and memory stop growing
    with the study. A point that has been tried is suggested again only when nothing else is at hand: the objective
    is taken to give the same value every time. The same seed and the same results give the same points on every
    machine.

    Constraints (`Trial.set_constraint`) are respected; pruned trials rank by how far they came. A parameter that only
    some trials have is suggested on its own, from the trials that have it. With several objectives Optuna's
    TPESampler does the work.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        n_startup_trials: int = 10,
        n_ei_candidates: int = 24,
        window: int = 1_000,
    ) -> None:
        """Until `n_startup_trials` have ended, points are spread evenly; then each has `n_ei_candidates`.

        Raises AkqUsageError for a number that makes no sense.
        """
        smallest = {"n_startup_trials": (n_startup_trials, 1), "n_ei_candidates": (n_ei_candidates, 1)}
        for name, (value, least) in {**smallest, "window": (window, 20)}.items():
            if value < least:
                raise AkqUsageError(f"{name}: found {value}, expected at least {least}")
        self._settings = TpeSettings(n_startup_trials, n_ei_candidates)
        self._window = window
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._several: TPESampler | None = None
        self._forget()

    def ask_many(self, study: Study, n: int, distributions: Mapping[str, BaseDistribution]) -> list[Trial]:
        """Ask for n trials from one fit; tell them to the study as any other.

        Trials that were enqueued come first, as with `study.ask`. Raises AkqUsageError when the sampler is not
        the study's.
        """
        if study.sampler is not self:
            raise AkqUsageError("the study has another sampler; create it with this one")
        space = {name: held for name, held in distributions.items() if not held.single()}
        with self._lock:
            if space and len(study.directions) == 1:
                self._ready.extend((space, params) for params in self._suggest(study, space, n, {}))
            try:
                return [study.ask(dict(distributions)) for _ in range(n)]
            finally:
                self._ready.clear()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> _Space:
        other = self._other(study)
        if other is not None:
            return other.infer_relative_search_space(study, trial)
        if self._ready:
            return self._ready[0][0]
        with self._lock:
            self._follow(study)
            found = self._intersection.calculate(study)
        return {name: held for name, held in found.items() if not held.single()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: _Space) -> dict[str, Any]:
        other = self._other(study)
        if other is not None:
            return other.sample_relative(study, trial, search_space)
        with self._lock:
            if self._ready:
                params = self._ready.popleft()[1]
            elif search_space:
                params = self._suggest(study, search_space, 1, self._suggested)[0]
            else:
                return {}
            self._suggested[trial.number] = params
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        other = self._other(study)
        if other is not None:
            return other.sample_independent(study, trial, param_name, param_distribution)
        with self._lock:
            self._follow(study)
            if trial.number and param_name not in self._alone:
                self._alone.add(param_name)
                logger.info("%s is not in every trial: it is suggested on its own", param_name)
            return self._suggest(study, {param_name: param_distribution}, 1, {})[0][param_name]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Do nothing: a fit looks for new results itself."""

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._suggested.pop(trial.number, None)
        other = self._other(study)
        if other is not None:
            other.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        if self._several is not None:
            self._several.reseed_rng()

    def __getstate__(self) -> dict[str, Any]:
        """Keep the settings and the random numbers; what a study holds is read from it again."""
        names = ("_settings", "_window", "_seed", "_rng", "_several")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._study: Study | None = None
        self._intersection = IntersectionSearchSpace()
        self._histories: dict[tuple[str, ...], _History] = {}
        self._ready: deque[tuple[_Space, dict[str, Any]]] = deque()
        """Suggestions of `ask_many` on their way into trials."""
        self._suggested: dict[int, dict[str, Any]] = {}
        """What running trials of this process were given; the study knows only what they have read."""
        self._alone: set[str] = set()

    def _follow(self, study: Study) -> None:
        if self._study is not study:
            self._study = study
            self._intersection = IntersectionSearchSpace()
            self._histories.clear()
            self._suggested.clear()
            self._alone.clear()

    def _other(self, study: Study) -> TPESampler | None:
        """Return the sampler that takes several objectives, if the study has several."""
        if len(study.directions) == 1:
            return None
        if self._several is None:
            logger.warning("BatchTPESampler has one objective; with several TPESampler suggests, one by one")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._several = TPESampler(
                    seed=self._seed,
                    n_startup_trials=self._settings.n_startup,
                    n_ei_candidates=self._settings.n_candidates,
                )
        return self._several

    def _suggest(
        self, study: Study, space: _Space, n: int, suggested: Mapping[int, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the parameters of n points, from one fit."""
        self._follow(study)
        names = tuple(sorted(space))
        history = self._histories.get(names)
        if history is None or history.space != space:
            sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
            history = self._histories[names] = _History(space, sign, self._window)
        seen = history.read(study, suggested)
        points = suggest(history.axes, seen, n, fit_seed(self._rng), self._settings)
        return [
            {
                name: held.to_external_repr(value)
                for (name, held), value in zip(history.space.items(), row, strict=True)
            }
            for row in points.tolist()
        ]


class _History:
    """The trials of a study that have all parameters of a space; it looks at a trial again only while it runs."""

    def __init__(self, space: _Space, sign: float, window: int) -> None:
        self.space = dict(sorted(space.items()))
        self.axes = [_axis(held) for held in self.space.values()]
        self._sign = sign
        self._memory = Memory([sign], window)
        self._ended = Seen(len(self.axes))
        """Of the memory, in its order."""
        self._n_known = 0
        self._open: set[int] = set()

    def read(self, study: Study, suggested: Mapping[int, dict[str, Any]]) -> Seen:
        """Take note of what has ended, and return the window and what is running, until the next call."""
        trials = study.get_trials(deepcopy=False)
        self._open.update(range(self._n_known, len(trials)))
        self._n_known = len(trials)
        self._ended.cut(len(self._memory.entries))
        running: list[NDArray[np.float64]] = []
        for number in sorted(self._open):
            trial = trials[number]
            if trial.state.is_finished():
                self._open.discard(number)
                self._add(trial)
                continue
            row = self._row({**suggested.get(number, {}), **trial.params})
            if row is not None:
                running.append(row)
        if self._memory.compact():
            self._ended.cut(0)
            for entry in self._memory.entries:
                self._settle(entry)
        for row in running:
            self._ended.add(row)
        return self._ended

    def _add(self, trial: FrozenTrial) -> None:
        fits = all(trial.distributions.get(name) == held for name, held in self.space.items())
        row = self._row(trial.params) if fits and trial.state is not TrialState.FAIL else None
        if row is None:
            return
        if trial.state is TrialState.COMPLETE:
            state, values = "complete", tuple(trial.values or ())
        else:
            # The last step that it reached, and the value there.
            state, values = "pruned", max(trial.intermediate_values.items(), default=())
        entry = Entry(trial.number, row)
        self._memory.add(entry)
        self._memory.tell(trial.number, state, values, tuple(trial.constraints.values()))
        self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        row = self._ended.add(entry.point)
        violation = sum(violation for violation in entry.violations if violation > 0.0)
        if entry.state == "complete":
            self._ended.complete(row, self._sign * entry.values[0], violation)
        elif entry.values:
            step, value = entry.values
            self._ended.stop(row, step, math.inf if math.isnan(value) else self._sign * value, violation)
        else:
            self._ended.stop(row, -math.inf, 0.0, violation)

    def _row(self, params: Mapping[str, Any]) -> NDArray[np.float64] | None:
        if not self.space.keys() <= params.keys():
            return None
        return np.array([held.to_internal_repr(params[name]) for name, held in self.space.items()])


def _axis(distribution: Any) -> Axis:
    if isinstance(distribution, CategoricalDistribution):
        return Axis(n_choices=len(distribution.choices))
    return Axis(
        float(distribution.low), float(distribution.high), float(distribution.step or 0), distribution.log
    )
