"""Samplers by name. A new one is a new entry of the table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError, MissingDependencyError
from akq_dist.search.points import Candidates, GridCandidates, RandomCandidates, SobolCandidates
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optuna.samplers import BaseSampler

    from akq_dist.specs.space import Space

DEFAULT_GROUP = 16
DEFAULT_WINDOW = 1_000


@dataclass(frozen=True)
class PointSampler:
    """A sampler whose points depend on no result."""

    make: Callable[[Space, int, Mapping[str, Any]], Candidates]
    options: Mapping[str, type | tuple[type, ...]]
    continuous: bool = True
    """False when every parameter needs steps."""


@dataclass(frozen=True)
class ModelSampler:
    """A sampler that learns from results."""

    make: Callable[[int, Mapping[str, Any]], BaseSampler]
    """From the seed of a group and the options."""
    options: Mapping[str, type | tuple[type, ...]]
    stateful: bool = False
    """True when it keeps notes of its own beside the results: it sees every trial, and a resume asks it again."""
    single: bool = False
    """True when it takes one objective only."""
    sees_constraints: bool = True
    packages: tuple[str, ...] = ()
    """What it needs beside Optuna."""


EVERYTHING = 2**62
"""Window of a sampler that has to see every trial."""


def _from_optuna(name: str) -> Callable[[int, Mapping[str, Any]], BaseSampler]:
    """Return a maker of an Optuna sampler, quiet about what Optuna finds experimental in it."""

    def make(seed: int, options: Mapping[str, Any]) -> BaseSampler:
        import warnings

        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler: BaseSampler = getattr(optuna.samplers, name)(seed=seed, **options)
        return sampler

    return make


_NUMBER = (int, float)
_GENETIC: Mapping[str, type | tuple[type, ...]] = {
    "population_size": int,
    "mutation_prob": _NUMBER,
    "crossover_prob": _NUMBER,
    "swapping_prob": _NUMBER,
}


SAMPLERS: dict[str, PointSampler | ModelSampler] = {
    "grid": PointSampler(lambda space, _seed, _options: GridCandidates(space), {}, continuous=False),
    "random": PointSampler(lambda space, seed, _options: RandomCandidates(space, seed), {}),
    "qmc": PointSampler(
        lambda space, seed, options: SobolCandidates(space, seed, **options), {"scramble": bool}
    ),
    "tpe": ModelSampler(
        _from_optuna("TPESampler"),
        {
            "n_startup_trials": int,
            "n_ei_candidates": int,
            "multivariate": bool,
            "constant_liar": bool,
            "group": bool,
        },
    ),
    "nsgaii": ModelSampler(_from_optuna("NSGAIISampler"), _GENETIC, stateful=True),
    "nsgaiii": ModelSampler(
        _from_optuna("NSGAIIISampler"), {**_GENETIC, "dividing_parameter": int}, stateful=True
    ),
    "cmaes": ModelSampler(
        _from_optuna("CmaEsSampler"),
        {
            "n_startup_trials": int,
            "popsize": int,
            "use_separable_cma": bool,
            "with_margin": bool,
            "lr_adapt": bool,
        },
        stateful=True,
        single=True,
        sees_constraints=False,
        packages=("cmaes",),
    ),
    "gp": ModelSampler(
        _from_optuna("GPSampler"),
        {"n_startup_trials": int, "deterministic_objective": bool},
        packages=("torch", "scipy"),
    ),
}


def find_sampler(name: str) -> PointSampler | ModelSampler:
    """Return a sampler. Raises AkqUsageError for an unknown name, with the nearest known one."""
    found = SAMPLERS.get(name)
    if found is None:
        raise AkqUsageError(f"search.sampler: unknown sampler {name!r}{did_you_mean(name, list(SAMPLERS))}")
    return found


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a sampler. Raises AkqUsageError for an unknown one or one of another type.

    `window` is ours: how many trials a model-based sampler sees. One with a state of its own sees them all.
    """
    sampler = find_sampler(name)
    known = dict(sampler.options)
    if isinstance(sampler, ModelSampler) and not sampler.stateful:
        known["window"] = int
    for option, value in options.items():
        if option not in known:
            hint = did_you_mean(option, list(known)) if known else f"; {name} has none"
            raise AkqUsageError(f"search.sampler_options.{option}: unknown option of {name}{hint}")
        kind = known[option]
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
            raise AkqUsageError(f"search.sampler_options.{option}: found {value!r}, expected {_words(kind)}")
        if isinstance(value, int) and kind is int and value < (20 if option == "window" else 1):
            raise AkqUsageError(f"search.sampler_options.{option}: found {value!r}, which is too small")
    return dict(options)


def check_fit(name: str, space: Space, *, n_objectives: int) -> None:
    """Raise AkqUsageError when a sampler cannot search this, MissingDependencyError when it is not installed."""
    sampler = find_sampler(name)
    if not isinstance(sampler, ModelSampler):
        return
    for package in sampler.packages:
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"search.sampler: '{name}' needs the package '{package}'; install it with: pip install {package}."
            )
    if sampler.single and n_objectives > 1:
        several = ", ".join(
            other for other, s in SAMPLERS.items() if isinstance(s, ModelSampler) and not s.single
        )
        raise AkqUsageError(
            f"search.sampler: {name} takes one objective, the sweep has {n_objectives}; use one of {several}"
        )
    if (
        name == "cmaes"
        and sum(param.kind != "choice" and param.n_values() != 1 for param in space.params) < 2
    ):
        raise AkqUsageError("search.sampler: cmaes needs at least two parameters that are numbers; use tpe")


def _words(kind: type | tuple[type, ...]) -> str:
    return (
        {bool: "true or false", int: "a whole number"}.get(kind, "a number")
        if isinstance(kind, type)
        else "a number"
    )
