"""An Optuna sampler behind the model interface: an in-memory study that holds the remembered entries."""

from __future__ import annotations

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
        constraints: int,
    ) -> None:
        """`make_sampler` takes the seed; `constraints` is their number."""
        self._space = space
        self._directions = list(directions)
        self._make_sampler = make_sampler
        self._n_constraints = constraints
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
        self._open_study().sampler = self._make_sampler(seed)

    def propose(self) -> NDArray[np.float64]:
        trial = self._open_study().ask(self._distributions)
        self._running[trial.number] = trial
        return self._point(trial.params)

    def give(self, point: NDArray[np.float64]) -> None:
        study = self._open_study()
        sampler = study.sampler
        # The point is fixed, so the sampler must neither work for it nor use up random numbers.
        study.sampler = import_optuna().samplers.RandomSampler(seed=0)
        study.enqueue_trial(self._params(point))
        trial = study.ask(self._distributions)
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
            distributions=self._distributions,
            constraints=self._violations(entry) or None,
        )

    def _violations(self, entry: Entry) -> dict[str, float]:
        if entry.state == "rejected":
            # A refused point has no value; a broken constraint puts it among the bad ones.
            return {"where": 1.0}
        return {f"c{ix}": violation for ix, violation in enumerate(entry.violations)}

    def _params(self, point: NDArray[np.float64]) -> dict[str, Any]:
        return {
            param.name: _to_model(param, value)
            for param, value in zip(self._space.params, point.tolist(), strict=True)
        }

    def _point(self, params: Mapping[str, Any]) -> NDArray[np.float64]:
        return np.array(
            [_from_model(param, params[param.name]) for param in self._space.params], dtype=np.float64
        )

    def _open_study(self) -> Study:
        if self._study is None:
            self.load(())
        assert self._study is not None
        return self._study


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
