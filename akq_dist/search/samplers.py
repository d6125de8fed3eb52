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

    from akq_dist.search.model_feed import Model
    from akq_dist.specs.base import Scalar
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
class ModelRequest:
    """What a model is made for."""

    space: Space
    directions: tuple[str, ...]
    group: int
    """Points that are asked for together."""
    options: Mapping[str, Any]
    fixed: Mapping[str, Scalar]
    """Parameters that are not searched."""


@dataclass(frozen=True)
class ModelSampler:
    """A sampler that learns from results."""

    make: Callable[[ModelRequest], Model]
    options: Mapping[str, type | tuple[type, ...]]
    stateful: bool = False
    """True when it keeps notes of its own beside the results: it sees every trial, and a resume asks it again."""
    single: bool = False
    """True when it takes one objective only."""
    sees_constraints: bool = True
    packages: tuple[str, ...] = ()
    """What it needs beside Optuna."""
    stand_in: str | None = None
    """The sampler that does the work where this one cannot: several objectives, or a conditional space."""
    libraries: tuple[str, ...] = ("optuna",)
    """What the points depend on, by version."""
    revision: int = 0
    """Raised when a sampler of ours proposes other points than before."""


EVERYTHING = 2**62
"""Window of a sampler that has to see every trial."""


def _from_optuna(name: str, *, sees_constraints: bool = True) -> Callable[[ModelRequest], Model]:
    """Return a maker of an Optuna sampler as a model, quiet about what Optuna finds experimental in it."""

    def make(request: ModelRequest) -> Model:
        import warnings

        import optuna

        from akq_dist.search.optuna_model import OptunaModel

        def sampler(seed: int) -> BaseSampler:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                made: BaseSampler = getattr(optuna.samplers, name)(seed=seed, **request.options)
            return made

        return OptunaModel(
            request.space,
            request.directions,
            sampler,
            fixed=request.fixed,
            sees_constraints=sees_constraints,
        )

    return make


def _batch_tpe(request: ModelRequest) -> Model:
    from akq_dist.search.tpe import TpeSettings
    from akq_dist.search.tpe_model import TpeModel

    names = {"n_startup_trials": "n_startup", "n_ei_candidates": "n_candidates"}
    settings = TpeSettings(**{names[name]: value for name, value in request.options.items()})
    sign = -1.0 if request.directions[0] == "maximize" else 1.0
    return TpeModel(request.space, sign, group=request.group, settings=settings, fixed=request.fixed)


_NUMBER = (int, float)
_TPE: Mapping[str, type | tuple[type, ...]] = {"n_startup_trials": int, "n_ei_candidates": int}
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
    "tpe": ModelSampler(_batch_tpe, _TPE, stand_in="optuna_tpe", libraries=(), revision=2),
    "optuna_tpe": ModelSampler(
        _from_optuna("TPESampler"), {**_TPE, "multivariate": bool, "constant_liar": bool, "group": bool}
    ),
    "nsgaii": ModelSampler(_from_optuna("NSGAIISampler"), _GENETIC, stateful=True),
    "nsgaiii": ModelSampler(
        _from_optuna("NSGAIIISampler"), {**_GENETIC, "dividing_parameter": int}, stateful=True
    ),
    "cmaes": ModelSampler(
        _from_optuna("CmaEsSampler", sees_constraints=False),
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


def sampler_for(name: str, space: Space, *, n_objectives: int) -> str:
    """Return the sampler that does the work of the one that was asked for."""
    sampler = find_sampler(name)
    stand_in = sampler.stand_in if isinstance(sampler, ModelSampler) else None
    return stand_in if stand_in is not None and (n_objectives > 1 or space.conditional) else name


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
