"""Several strategies that share one account: what a list of strategies means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean
from akq_dist.strategy import PythonSource, Strategy
from akq_dist.strategy.rules import Rules, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from akq_dist.specs.strategy import MemberSpec
    from akq_dist.strategy.columns import PanelColumns

Given = tuple["type[Strategy] | None", "Mapping[str, Any]"]
"""The class and the parameter values of an item of a list, where it brought an object."""


def read_list(items: Sequence[Any]) -> tuple[list[dict[str, Any]], list[Given]]:
    """Bring a list of strategies into the form of a sweep file, with the objects that it holds beside it.

    An item is a Strategy class or instance, `Rules(...)`, `'file.py:Class'`, the name of a strategy of the engine, or a
    mapping: that of a sweep file
    (`name`, one of `python`, `rules` and `rust`, `params`), or `{"name": ..., "strategy": item, "params": ...}`.
    Raises AkqUsageError that names the place of a wrong item.
    """
    specs: list[dict[str, Any]] = []
    given: list[Given] = []
    for index, item in enumerate(items):
        spec, found = _read_item(item, f"strategy.{index}")
        specs.append(spec)
        given.append(found)
    return specs, given


def _read_item(item: Any, where: str) -> tuple[dict[str, Any], Given]:
    if isinstance(item, dict) and "strategy" in item:
        known = ("name", "strategy", "params")
        for key in item:
            if key not in known:
                raise AkqUsageError(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")
        spec, (cls, values) = _read_item(item["strategy"], where)
        extra = {key: item[key] for key in ("name", "params") if key in item}
        return {**spec, **extra}, (cls, values)
    return read_strategy(item, where)


def read_strategy(item: Any, where: str) -> tuple[dict[str, Any], Given]:
    """Bring one strategy into the form of a sweep file, with the object that it is beside it."""
    if isinstance(item, Strategy):
        return _named(type(item)), (type(item), item.params)
    if isinstance(item, type):
        if not issubclass(item, Strategy):
            raise AkqUsageError(f"{where}: {item.__name__} does not derive from akq_dist.Strategy")
        return _named(item), (item, {})
    if isinstance(item, Rules):
        return {"rules": dict(item.slots)}, (None, {})
    if isinstance(item, str):
        return ({"python": item} if ":" in item else {"rust": item}), (None, {})
    if hasattr(item, "to_dict"):
        return item.to_dict(), (None, {})
    if isinstance(item, dict):
        return plain(item), (None, {})
    raise AkqUsageError(
        f"{where}: found {type(item).__name__}, "
        "expected a Strategy class, Rules(...), 'file.py:Class', the name of a strategy of the engine, "
        "a mapping or a list of these"
    )


def _named(cls: type[Strategy]) -> dict[str, Any]:
    # The class itself goes beside the specification; the reference only names it.
    return {"python": f"{cls.__module__}.py:{cls.__name__}"}


@dataclass(frozen=True)
class Members:
    """Strategies of one account, ready to make their instances."""

    names: tuple[str, ...]
    classes: tuple[type[Strategy] | None, ...]
    """None where the engine has the strategy: rules, or one of its own."""
    values: tuple[Mapping[str, Any], ...]
    """Values of the parameters."""

    @classmethod
    def of(cls, specs: Sequence[MemberSpec], given: Sequence[Given], base_dir: Path) -> Members:
        """Find the classes and check their parameters.

        Raises AkqUsageError for a parameter that a class does not declare and for a class that decides by signals.
        """
        from akq_dist.strategy.params import bind
        from akq_dist.strategy.signals import SignalStrategy

        classes: list[type[Strategy] | None] = []
        values: list[Mapping[str, Any]] = []
        for index, spec in enumerate(specs):
            found, params = given[index] if given else (None, {})
            if found is None and spec.python is not None:
                found = PythonSource.from_reference(spec.python, base_dir).load()
            params = {**params, **spec.params}
            if found is not None:
                if issubclass(found, SignalStrategy):
                    message = (
                        "decides by signals for all bars at once and cannot be one of several strategies"
                    )
                    raise AkqUsageError(f"strategy {spec.name!r}: {found.__name__} {message}")
                bind(found, params)
            classes.append(found)
            values.append(params)
        return cls(tuple(spec.name for spec in specs), tuple(classes), tuple(values))

    def factories(self, columns: PanelColumns, seed: int) -> list[Callable[[], Strategy] | None]:
        """Return what `_core.Plan.run_one` takes as `strategy`: the member at place i is started from `seed + i`."""
        from akq_dist.strategy.factory import make_factory

        return [
            None if cls is None else make_factory(cls, values, columns, seed + index)
            for index, (cls, values) in enumerate(zip(self.classes, self.values, strict=True))
        ]
