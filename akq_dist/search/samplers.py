"""Samplers by name. A new one is a new entry of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError
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


def _tpe(seed: int, options: Mapping[str, Any]) -> BaseSampler:
    import warnings

    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, **options)


SAMPLERS: dict[str, PointSampler | ModelSampler] = {
    "grid": PointSampler(lambda space, _seed, _options: GridCandidates(space), {}, continuous=False),
    "random": PointSampler(lambda space, seed, _options: RandomCandidates(space, seed), {}),
    "qmc": PointSampler(
        lambda space, seed, options: SobolCandidates(space, seed, **options), {"scramble": bool}
    ),
    "tpe": ModelSampler(
        _tpe, {"n_startup_trials": int, "n_ei_candidates": int, "multivariate": bool, "constant_liar": bool}
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

    `window` is ours and goes for every model-based sampler: how many trials it sees.
    """
    sampler = find_sampler(name)
    known = dict(sampler.options)
    if isinstance(sampler, ModelSampler):
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


def _words(kind: type | tuple[type, ...]) -> str:
    return (
        {bool: "true or false", int: "a whole number"}.get(kind, "a number")
        if isinstance(kind, type)
        else "a number"
    )
