"""What a Python call asks for, brought into the form of a sweep file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akq_dist.errors import AkqUsageError
from akq_dist.several import Members, read_list, read_strategy
from akq_dist.specs import SweepFile, SweepSpec, load_sweep, parse_sweep
from akq_dist.specs.data import IN_MEMORY
from akq_dist.specs.suggest import did_you_mean
from akq_dist.strategy import PythonSource, Strategy
from akq_dist.strategy.rules import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from akq_dist.data import PanelData
    from akq_dist.several import Given


@dataclass(frozen=True)
class Request:
    """A validated sweep, with the strategy class or the table of bars where the caller gave an object."""

    file: SweepFile
    strategy: type[Strategy] | None = None
    table: Any = None
    """A table of bars, or a `DataFeed`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Values of the strategy instance that was given."""
    given: Sequence[Given] = ()
    """What the items of a list of strategies brought."""
    recorded: PythonSource | None = None
    """The strategy as a study recorded it, where the file or notebook that it came from has it no more."""

    @property
    def spec(self) -> SweepSpec:
        return self.file.spec

    def strategy_class(self) -> type[Strategy] | None:
        """Return the Python strategy, None for rules."""
        if self.strategy is not None:
            return self.strategy
        source = self.source()
        return None if source is None else source.load()

    def members(self) -> Members | None:
        """Return the strategies that share an account, None for a single one."""
        members = self.spec.strategy.members
        return None if members is None else Members.of(members, self.given, self.file.base_dir)

    def source(self) -> PythonSource | None:
        """Return the Python strategy as it travels to workers, None for rules."""
        if self.strategy is not None:
            return PythonSource.from_class(self.strategy)
        if self.recorded is not None:
            return self.recorded
        reference = self.spec.strategy.python
        return None if reference is None else PythonSource.from_reference(reference, self.file.base_dir)

    def load_data(self) -> PanelData:
        """Load the bars, or make a panel of the table that was given; a feed has one already."""
        from akq_dist.data.feed import DataFeed

        if isinstance(self.table, DataFeed):
            return self.table.panel
        if self.table is not None:
            from akq_dist.data import panel_from_frame

            return panel_from_frame(self.table, self.spec.data)
        from akq_dist.data import load_panel

        return load_panel(self.spec.data, self.file.base_dir)


def read_request(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None,
    *,
    strategy: Any = None,
    data: Any = None,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Request:
    """Join a sweep file, or its content, with what a call replaces.

    `settings` are sections of a sweep file by name. Raises AkqUsageError for what makes no sense.
    """
    changes = _settings(settings or {})
    cls: type[Strategy] | None = None
    params: Mapping[str, Any] = {}
    given: list[Given] = []
    if isinstance(strategy, list | tuple):
        changes["strategy"], given = read_list(strategy)
    elif strategy is not None:
        changes["strategy"], (cls, params) = read_strategy(strategy, "strategy")
    table = None
    if data is not None:
        changes["data"], table = _data(data)
    if isinstance(spec, SweepFile) and not changes and not overrides:
        return Request(spec, cls, table, params, given)
    content, base_dir = _content(spec, changes, overrides)
    if content is None:
        assert isinstance(spec, str | Path)
        return Request(load_sweep(spec, overrides), cls, table, params, given)
    file = parse_sweep({**content, **changes}, overrides, base_dir=base_dir)
    return Request(file, cls, table, params, given)


def _content(
    spec: SweepSpec | SweepFile | str | Path | Mapping[str, Any] | None,
    changes: Mapping[str, Any],
    overrides: Sequence[str],
) -> tuple[dict[str, Any] | None, Path | None]:
    """Plain data and the folder of its paths; None where the file itself is to be read."""
    if spec is None:
        return {"name": "backtest"}, None
    if isinstance(spec, SweepSpec):
        return _unset_defaults(spec), None
    if isinstance(spec, SweepFile):
        return _unset_defaults(spec.spec), spec.base_dir
    if isinstance(spec, str | Path):
        if not changes:
            return None, None
        file = load_sweep(spec, overrides)
        return _unset_defaults(file.spec), file.base_dir
    return dict(spec), None


def _unset_defaults(spec: SweepSpec) -> dict[str, Any]:
    """Plain data of what was given; defaults that were filled in could contradict a replaced section."""
    data: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return data


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.alias or name for name, field in SweepSpec.model_fields.items()]
    for name in settings:
        if name not in known:
            raise AkqUsageError(f"unknown argument {name!r}{did_you_mean(name, known)}")
    return {name: _plain(value) for name, value in settings.items() if value is not None}


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else plain(value)


def _data(given: Any) -> tuple[dict[str, Any], Any]:
    """Tell a section of a sweep file from a table of bars; a section may hold a table under `table`."""
    if isinstance(given, str | Path):
        return {"path": str(given)}, None
    if hasattr(given, "content_hash"):
        return given.to_dict(), None
    if isinstance(given, dict):
        section = dict(given)
        table = section.pop("table", None)
        return section if table is None else {"source": IN_MEMORY, **section}, table
    from akq_dist.data.feed import DataFeed

    return (given.spec.to_dict() if isinstance(given, DataFeed) else {"source": IN_MEMORY}), given
