"""An Optuna sampler behind the model interface: an in-memory study that holds the remembered entries."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import Trial

    from akq_dist.search.memory import Entry
    from akq_dist.specs import ParamDef, Space
    from akq_dist.specs.base import Scalar


class OptunaModel:
    """Proposes points by ask; entry i of the memory is trial i of the study.

    Parameters with steps are searched by their index and choices by their position, so that what the model
    sees is exactly what the ledger holds, and a rebuilt study equals the one that grew.
    """

    def __init__(
        self,
        space: Space,
        directions: Sequence[str],
        make_sampler: Callable[[int], BaseSampler],
        *,
        fixed: Mapping[str, Scalar] | None = None,
        sees_constraints: bool = True,
    ) -> None:
        """`make_sampler` takes the seed; `fixed` values are never searched."""
        self._fixed = {
            name: _to_model(space[name], space[name].encode(v)) for name, v in (fixed or {}).items()
        }
        self._space = space
        self._directions = list(directions)
        self._make_sampler = make_sampler
        self._sees_constraints = sees_constraints
        self._distributions: dict[str, BaseDistribution] = {
            p.name: model_distribution(p) for p in space.params
        }
        self._study: Study | None = None
        self._running: dict[int, Trial] = {}

    def load(self, entries: Sequence[Entry]) -> None:
        optuna = import_optuna()
        self._study = optuna.create_study(
            directions=self._directions, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        self._running = {}
        finished: list[Any] = []
        for entry in entries:
            if entry.state == "running":
                self._study.add_trials(finished)
                finished = []
                self.give(entry.point)
            else:
                finished.append(self._frozen(entry))
        self._study.add_trials(finished)

    def reseed(self, seed: int) -> None:
        sampler = self._make_sampler(seed)
        if self._fixed:
            optuna = import_optuna()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.PartialFixedSampler(self._fixed, sampler)
        self._open_study().sampler = sampler

    def propose(self) -> NDArray[np.float64]:
        trial = self._ask()
        self._running[trial.number] = trial
        return self._point(trial.params)

    def give(self, point: NDArray[np.float64]) -> None:
        study = self._open_study()
        sampler = study.sampler
        # The point is fixed, so the sampler must neither work for it nor use up random numbers.
        study.sampler = import_optuna().samplers.RandomSampler(seed=0)
        study.enqueue_trial(self._params(point))
        trial = self._ask()
        study.sampler = sampler
        self._running[trial.number] = trial

    def settle(self, entry_ix: int, entry: Entry) -> None:
        from optuna.trial import TrialState

        study = self._open_study()
        trial = self._running.pop(entry_ix)
        for name, violation in self._violations(entry).items():
            trial.set_constraint(name, violation)
        if entry.state == "complete":
            study.tell(trial, list(entry.values))
        else:
            study.tell(trial, state=TrialState.FAIL if entry.state == "fail" else TrialState.PRUNED)

    def _frozen(self, entry: Entry) -> Any:
        from optuna.trial import TrialState, create_trial

        states = {"complete": TrialState.COMPLETE, "fail": TrialState.FAIL}
        return create_trial(
            state=states.get(entry.state, TrialState.PRUNED),
            values=list(entry.values) if entry.state == "complete" else None,
            params=self._params(entry.point),
            distributions={name: self._distributions[name] for name in self._params(entry.point)},
            constraints=self._violations(entry) or None,
        )

    def _violations(self, entry: Entry) -> dict[str, float]:
        if not self._sees_constraints:
            return {}
        if entry.state == "rejected":
            # A refused point has no value; a broken constraint puts it among the bad ones.
            return {"where": 1.0}
        return {f"c{ix}": violation for ix, violation in enumerate(entry.violations)}

    def _ask(self) -> Trial:
        """Ask for a trial; of a conditional space only for the parameters that matter, one after another."""
        study = self._open_study()
        if not self._space.conditional:
            return study.ask(self._distributions)
        trial = study.ask()
        values: dict[str, Any] = {}
        for column, param in enumerate(self._space.params):
            row_value = param.idle
            if self._space.matters(column, values):
                row_value = _from_model(param, _suggest(trial, param.name, self._distributions[param.name]))
            values[param.name] = param.decode(row_value)
        return trial

    def _params(self, point: NDArray[np.float64]) -> dict[str, Any]:
        """Return what the model knows of a point: the parameters that matter, in its units."""
        active = (
            self._space.active(self._space.decode(point)) if self._space.conditional else self._space.names
        )
        return {
            param.name: _to_model(param, value)
            for param, value in zip(self._space.params, point.tolist(), strict=True)
            if param.name in active
        }

    def _point(self, params: Mapping[str, Any]) -> NDArray[np.float64]:
        return np.array(
            [
                _from_model(param, params[param.name]) if param.name in params else param.idle
                for param in self._space.params
            ],
            dtype=np.float64,
        )

    def _open_study(self) -> Study:
        if self._study is None:
            self.load(())
        assert self._study is not None
        return self._study


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> float | int:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        index: int = trial.suggest_categorical(name, distribution.choices)  # type: ignore[assignment]
        return index
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def model_distribution(param: ParamDef) -> BaseDistribution:
    """Return the distribution that the model searches for a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    n = param.n_values()
    if param.kind == "choice":
        return CategoricalDistribution(tuple(range(len(param.values))))
    if param.kind == "int" and param.log:
        return IntDistribution(int(param.low), int(param.high), log=True)
    if n is not None:
        return IntDistribution(0, n - 1)
    return FloatDistribution(param.low, param.high, log=param.log)


def import_optuna() -> Any:
    """Import Optuna, quiet: what it says about its own studies would confuse beside a sweep's progress."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "the search needs the package 'optuna'; install it with: pip install optuna."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _to_model(param: ParamDef, value: float) -> float | int:
    if param.kind == "choice" or (param.kind == "int" and param.log):
        return int(value)
    if param.n_values() is not None:
        return 0 if param.step is None else round((value - param.low) / param.step)
    return value


def _from_model(param: ParamDef, value: float) -> float:
    if param.kind == "choice" or (param.kind == "int" and param.log) or param.n_values() is None:
        return float(value)
    return param.value_at(int(value))
