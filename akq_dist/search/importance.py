"""How much each parameter matters for an objective, from the trials of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from akq_dist.errors import AkqUsageError
from akq_dist.search.optuna_model import import_optuna
from akq_dist.search.storage import view_distribution
from akq_dist.specs import Space
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from akq_dist.record.trials import TrialStore

MAX_TRIALS = 20_000
"""Trials that are looked at; more would take minutes and change the third digit."""


@dataclass(frozen=True)
class Importances:
    """Shares of the parameters, the most important first; they add up to one."""

    objective: str
    shares: dict[str, float]
    n_used: int
    n_complete: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "objective": self.objective,
            "importance": self.shares,
            "n_used": self.n_used,
            "n_complete": self.n_complete,
        }


def importances(store: TrialStore, objective: str | None = None) -> Importances:
    """Return PED-ANOVA importances (Watanabe, Bansal, Hutter 2023), computed by Optuna.

    `objective` names an output of a study with several. Raises AkqUsageError when there are too few trials.
    """
    study = store.study
    names = [output for output, _ in study.objectives]
    if objective is None:
        if len(names) > 1:
            raise AkqUsageError(f"study '{study.name}' has several objectives; name one: {', '.join(names)}")
        objective = names[0]
    if objective not in names:
        raise AkqUsageError(f"--objective: unknown objective {objective!r}{did_you_mean(objective, names)}")
    optuna = import_optuna()
    space = Space.from_mapping(study.spec["space"])
    distributions = {param.name: view_distribution(param) for param in space.params}
    column = names.index(objective)
    points, values = _complete(store, column)
    if len(values) < 4 or float(values.min()) == float(values.max()):
        raise AkqUsageError(
            f"study '{study.name}' has {len(values):,} complete trials with "
            f"{'one value' if len(values) else 'no value'} of {objective}: too few to tell parameters apart"
        )
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_TRIALS)).astype(np.int64))
    memory = optuna.create_study(direction=study.objectives[column][1])
    for ix in chosen.tolist():
        params = space.decode(points[ix])
        active = space.active(params)
        memory.add_trial(
            optuna.trial.create_trial(
                params={name: params[name] for name in active},
                distributions={name: distributions[name] for name in active},
                value=float(values[ix]),
            )
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(memory, evaluator=evaluator)
    shares = {name: float(share) for name, share in found.items()}
    return Importances(objective, shares, len(chosen), len(values))


def _complete(store: TrialStore, column: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    points = [np.empty((0, len(store.study.params)))]
    values = [np.empty(0)]
    for block in store.blocks(size=20_000):
        keep = np.array([state == "complete" for state in block.states], dtype=np.bool_)
        points.append(block.points[keep])
        values.append(block.values[keep, column])
    return np.concatenate(points), np.concatenate(values)
