"""Strategies as columns: conditions, prices and weights for all bars at once, traded by the engine.

The columns have the names of the slots of rules: `enter`, `exit`, `enter_short`, `exit_short` (true or false),
`entry` and `entry_short` (`{"limit": prices}` or `{"stop": prices}`), `weights`. Each is an array with a value a
bar, a Polars expression over the columns of the bars, or one value for all. Every other slot of rules (`size`,
`stop_loss`, `max_bars`, ...) may stand beside them. The engine trades them as it trades rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.specs.strategy import RulesSpec
from akq_dist.specs.suggest import did_you_mean
from akq_dist.strategy.base import Strategy
from akq_dist.strategy.params import declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

CONDITIONS: Final = ("enter", "exit", "enter_short", "exit_short")
PRICES: Final = ("entry_limit", "entry_stop", "entry_short_limit", "entry_short_stop")
COLUMNS: Final = (*CONDITIONS, *PRICES, "weights")
_ENTRIES: Final = ("entry", "entry_short")
SETTINGS: Final = tuple(
    name for name in RulesSpec.model_fields if name not in (*CONDITIONS, *_ENTRIES, "weights")
)


class SignalStrategy(Strategy):
    """What to do at every bar, as columns for all bars at once.

    A subclass declares its parameters as any Strategy and overrides `signals`::

        class SmaCross(SignalStrategy):
            fast: int = Param(10, low=2, high=60)
            slow: int = Param(50, low=20, high=250)

            def signals(self, bars: pl.DataFrame) -> Mapping[str, Any]:
                fast, slow = pl.col("close").rolling_mean(self.fast), pl.col("close").rolling_mean(self.slow)
                return {"enter": fast > slow, "exit": fast < slow, "size": {"pct_equity": 1.0}}

    Nothing keeps such columns from looking ahead (`shift(-1)`): `akq lookahead FILE` finds it.
    """

    def signals(self, bars: pl.DataFrame) -> Mapping[str, Any] | pl.DataFrame:
        """Return columns and settings for the bars of one account, by name of the slot.

        `bars` has `symbol, ts, date, open, high, low, close`, `volume` and the extra columns: one asset, or with
        `mode: portfolio` all of them, one after the other. An expression sees one asset at a time; what
        compares assets has to be computed from `bars` as a column.
        """
        if not makes_batches(type(self)):
            raise AkqStrategyError(
                f"{type(self).__name__} has neither signals() nor batch_signals(): one of them says what to trade"
            )
        params = {name: np.array([getattr(self, name)]) for name in declared(type(self))}
        return {name: _of_set(name, value, 0, 1) for name, value in self.batch_signals(bars, params).items()}

    @classmethod
    def batch_signals(cls, bars: pl.DataFrame, params: Mapping[str, NDArray[Any]]) -> Mapping[str, Any]:
        """Return the signals of many parameter sets at once; overridden in place of `signals`.

        `params` has an array for each declared parameter, with a value a set. What is returned has the slots of
        `signals`. A column may have one more axis: an array of shape (sets, bars), or a list with an array, a Series
        or an expression for each set; without it, it holds for every set. The number of a setting may be an array
        with a value a set::

            @classmethod
            def batch_signals(cls, bars, params):
                rise = bars["close"].pct_change().to_numpy()
                return {"enter": rise > params["threshold"][:, None], "stop_loss": {"pct": params["stop"]}}

        A sweep passes as many sets as fit into memory, one backtest passes one: results may not depend on which sets
        come together. There is no `rng` here.
        """
        raise NotImplementedError(f"{cls.__name__}.batch_signals")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if makes_batches(cls) and cls.signals is not SignalStrategy.signals:
            raise AkqStrategyError(
                f"{cls.__name__} has signals() and batch_signals(): keep one, a single run is a batch of one set"
            )
        for name in (
            "on_start",
            "on_day",
            "on_timer",
            "on_coarse_bar",
            "on_bar",
            "on_bars",
            "on_order",
            "on_trade",
            "on_stop",
        ):
            if getattr(cls, name) is not getattr(Strategy, name):
                raise AkqStrategyError(
                    f"{cls.__name__}.{name} would never be called: a SignalStrategy has signals() only"
                )


def makes_batches(cls: type[SignalStrategy]) -> bool:
    """Tell whether a class gives the signals of many parameter sets at once."""
    found = cls.batch_signals
    return getattr(found, "__func__", found) is not SignalStrategy.__dict__["batch_signals"].__func__


@dataclass(frozen=True, eq=False)
class SignalBars:
    """The bars of a panel as a Polars frame, with where each asset's rows begin."""

    table: pa.Table
    symbols: tuple[str, ...]
    offsets: tuple[int, ...]

    @classmethod
    def of(cls, table: pa.Table) -> SignalBars:
        """Borrow the columns of a panel table made by `akq_dist.data`."""
        from akq_dist.strategy.columns import panel_layout

        return cls(table, *panel_layout(table))

    @cached_property
    def frame(self) -> pl.DataFrame:
        """All bars, with their symbols in the first column."""
        bars = pl.from_arrow(self.table)
        assert isinstance(bars, pl.DataFrame)
        counts = np.diff(self.offsets)
        symbols = pl.Series("symbol", np.repeat(np.arange(len(counts)), counts), dtype=pl.UInt32)
        words = symbols.replace_strict(dict(enumerate(self.symbols)), return_dtype=pl.String)
        return bars.select(words, pl.exclude("symbol"))

    def asset(self, asset: int) -> pl.DataFrame:
        """Return the bars of one asset."""
        first, end = self.offsets[asset : asset + 2]
        return self.frame.slice(first, end - first)


@dataclass(frozen=True)
class Signals:
    """Columns for the engine, a row a bar of the panel, and the settings beside them."""

    columns: pl.DataFrame
    settings: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        return self.columns.columns


def read_signals(given: Any, bars: pl.DataFrame, offsets: Sequence[int]) -> Signals:
    """Evaluate what a strategy or a caller gave over some bars; `offsets` are the first rows of each asset.

    Raises AkqUsageError for an unknown slot, a column of another length or of a wrong type.
    """
    if isinstance(given, pl.DataFrame):
        given = {name: given[name] for name in given.columns}
    if not hasattr(given, "keys"):
        raise AkqUsageError(f"signals: found {type(given).__name__}, expected a mapping or a Polars frame")
    written, settings = _split(given)
    if not any(name in written for name in ("enter", "enter_short", "weights")):
        raise AkqUsageError("signals: one of enter, enter_short or weights is needed")
    evaluated = _evaluate(
        {name: value for name, value in written.items() if isinstance(value, pl.Expr)}, bars, offsets
    )
    columns = {name: _column(name, evaluated.get(name, value), bars) for name, value in written.items()}
    return Signals(pl.DataFrame(columns).rechunk(), settings)


def strategy_signals(
    cls: type[SignalStrategy], params: Mapping[str, Any], bars: SignalBars, seed: int, *, portfolio: bool
) -> Signals:
    """Ask a fresh instance for the signals of every account: of each asset, or of all at once."""

    def ask(frame: pl.DataFrame, offsets: Sequence[int]) -> Signals:
        instance = cls(**params)
        instance._seed = seed
        return read_signals(instance.signals(frame), frame, offsets)

    if portfolio or len(bars.symbols) == 1:
        return ask(bars.frame, bars.offsets)
    parts: list[Signals] = []
    for asset in range(len(bars.symbols)):
        frame = bars.asset(asset)
        part = ask(frame, (0, frame.height))
        if parts and (part.settings != parts[0].settings or part.columns.columns != parts[0].columns.columns):
            raise AkqStrategyError(
                f"{cls.__name__}.signals: {bars.symbols[asset]} has other slots or settings than "
                f"{bars.symbols[0]}; only the values of columns may differ from asset to asset"
            )
        parts.append(part)
    return Signals(pl.concat([part.columns for part in parts]).rechunk(), parts[0].settings)


@dataclass(frozen=True)
class SignalBlock:
    """Columns of many parameter sets, shape (sets, rows of the panel), and the settings beside them."""

    columns: Mapping[str, NDArray[np.uint8] | NDArray[np.float64]]
    settings: Mapping[str, Any]
    """A number that differs from set to set is the name of a column of `numbers`."""
    numbers: Mapping[str, NDArray[np.float64]]

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    def table(self) -> pa.Table:
        """Return the columns as the engine takes them, set after set, without a copy."""
        import pyarrow as pa

        def flat(values: NDArray[Any]) -> pa.Array:
            kind = pa.uint8() if values.dtype == np.uint8 else pa.float64()
            return pa.Array.from_buffers(kind, values.size, [None, pa.py_buffer(values.reshape(-1))])

        return pa.table({name: flat(values) for name, values in self.columns.items()})


def batch_signals(
    cls: type[SignalStrategy], params: Mapping[str, NDArray[Any]], bars: SignalBars, *, portfolio: bool
) -> SignalBlock:
    """Ask a class for the signals of many parameter sets, of each asset or of all at once.

    Raises AkqUsageError for an unknown slot, a column of another shape or of a wrong type.
    """
    n_sets = len(next(iter(params.values()))) if params else 1
    accounts = [(bars.frame, bars.offsets)]
    if not portfolio and len(bars.symbols) > 1:
        frames = [bars.asset(asset) for asset in range(len(bars.symbols))]
        accounts = [(frame, (0, frame.height)) for frame in frames]
    parts: list[dict[str, NDArray[Any]]] = []
    first: tuple[dict[str, Any], dict[str, NDArray[np.float64]]] | None = None
    for asset, (frame, offsets) in enumerate(accounts):
        given = cls.batch_signals(frame, params)
        if not hasattr(given, "keys"):
            raise AkqUsageError(f"signals: found {type(given).__name__}, expected a mapping")
        written, settings = _split(given)
        if not any(name in written for name in ("enter", "enter_short", "weights")):
            raise AkqUsageError("signals: one of enter, enter_short or weights is needed")
        parts.append({name: _matrix(name, value, n_sets, frame, offsets) for name, value in written.items()})
        numbers: dict[str, NDArray[np.float64]] = {}
        found = ({name: _named(value, n_sets, numbers) for name, value in settings.items()}, numbers)
        first = found if first is None else first
        same = (
            found[0] == first[0]
            and all(np.array_equal(numbers[name], known) for name, known in first[1].items())
            and list(parts[-1]) == list(parts[0])
        )
        if not same:
            raise AkqStrategyError(
                f"{cls.__name__}.batch_signals: {bars.symbols[asset]} has other slots or settings than "
                f"{bars.symbols[0]}; only the values of columns may differ from asset to asset"
            )
    assert first is not None
    columns = {
        name: parts[0][name] if len(parts) == 1 else np.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
    }
    return SignalBlock(columns, *first)


def _matrix(name: str, value: Any, n_sets: int, bars: pl.DataFrame, offsets: Sequence[int]) -> NDArray[Any]:
    """A slot as a matrix of the type that the engine takes: a row a set, a column a bar."""
    wanted = np.uint8 if name in CONDITIONS else np.float64
    if isinstance(value, np.ndarray) and value.ndim > 1:
        if value.shape != (n_sets, bars.height):
            raise AkqUsageError(
                f"signals: {name} has the shape {value.shape}, expected ({n_sets} sets, {bars.height} bars)"
            )
        kinds, expected = ("biu", "true or false") if name in CONDITIONS else ("iuf", "numbers")
        if value.dtype.kind not in kinds:
            raise AkqUsageError(f"signals: {name} has type {value.dtype}, expected {expected}")
        return np.ascontiguousarray(value != 0 if name in CONDITIONS else value, dtype=wanted)
    if _is_by_set(value):
        if len(value) != n_sets:
            raise AkqUsageError(
                f"signals: {name} has {len(value)} items, expected one for each of {n_sets} sets"
            )
        return np.concatenate([_matrix(name, item, 1, bars, offsets) for item in value])
    evaluated = _evaluate({name: value}, bars, offsets) if isinstance(value, pl.Expr) else {}
    column = _column(name, evaluated.get(name, value), bars)
    row = column.fill_null(value=False if name in CONDITIONS else np.nan).to_numpy()
    return np.ascontiguousarray(np.broadcast_to(row, (n_sets, bars.height)), dtype=wanted)


def _is_by_set(value: Any) -> bool:
    """Tell whether a slot has an item a set: a list of columns, not of numbers."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and not isinstance(value[0], bool | int | float | np.generic | type(None))
    )


def _named(value: Any, n_sets: int, numbers: dict[str, NDArray[np.float64]]) -> Any:
    """A setting in which arrays of a number a set have become names; the arrays go to `numbers`."""
    if isinstance(value, dict):
        return {key: _named(part, n_sets, numbers) for key, part in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    if value.shape != (n_sets,) or value.dtype.kind not in "iuf":
        raise AkqUsageError(
            f"signals: a setting has an array of shape {value.shape} and type {value.dtype}, "
            f"expected {n_sets} numbers"
        )
    name = f"setting{len(numbers)}"
    numbers[name] = value.astype(np.float64)
    return name


def _of_set(name: str, value: Any, ix: int, n_sets: int) -> Any:
    """What a slot is for one set."""
    if isinstance(value, dict):
        return {key: _of_set(name, part, ix, n_sets) for key, part in value.items()}
    if isinstance(value, np.ndarray) and (value.ndim > 1 or name in SETTINGS) and value.ndim > 0:
        if len(value) != n_sets:
            raise AkqUsageError(
                f"signals: {name} has {len(value)} rows, expected one for each of {n_sets} sets"
            )
        return value[ix] if value.ndim > 1 else value[ix].item()
    return value[ix] if _is_by_set(value) and len(value) == n_sets else value


def _split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell columns from settings; an entry price is a column named after its kind of order."""
    columns: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name in given.keys():  # noqa: SIM118 - what has keys() need not iterate over them
        value = given[name]
        if value is None:
            continue
        if name in COLUMNS:
            columns[name] = value
        elif name in _ENTRIES:
            columns.update(_entry(name, value))
        elif name in SETTINGS:
            settings[name] = value
        else:
            known = (*CONDITIONS, *_ENTRIES, "weights", *SETTINGS)
            raise AkqUsageError(f"signals: unknown slot {name!r}{did_you_mean(str(name), known)}")
    return columns, settings


def _entry(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value == "market":
        return {}
    kinds = list(value) if isinstance(value, dict) else []
    if len(kinds) != 1 or kinds[0] not in ("limit", "stop"):
        raise AkqUsageError(f'signals: {name} is "market", {{"limit": prices}} or {{"stop": prices}}')
    return {f"{name}_{kinds[0]}": value[kinds[0]]}


def _column(name: str, value: Any, bars: pl.DataFrame) -> pl.Series:
    """One slot as a column of the type that the engine takes."""
    if isinstance(value, bool | int | float | np.bool_ | np.number):
        column = pl.Series(name, np.full(bars.height, value))
    else:
        column = _series(name, value)
    if column.len() != bars.height:
        raise AkqUsageError(
            f"signals: {name} has {column.len()} values, expected one for each of the {bars.height} bars"
        )
    return _typed(name, column)


def _evaluate(
    expressions: Mapping[str, pl.Expr], bars: pl.DataFrame, offsets: Sequence[int]
) -> dict[str, pl.Series]:
    """Evaluate expressions over each asset alone, so that no window reaches into its neighbour."""
    if not expressions:
        return {}
    parts = [_select(expressions, bars.slice(first, end - first)) for first, end in pairwise(offsets)]
    return {name: pl.concat([part[name] for part in parts]) for name in expressions}


def _select(expressions: Mapping[str, pl.Expr], bars: pl.DataFrame) -> pl.DataFrame:
    named = [value.alias(name) for name, value in expressions.items()]
    try:
        # All at once: Polars computes what they share only once.
        found = bars.select(named)
    except pl.exceptions.PolarsError as error:
        if len(named) > 1:
            for name, value in expressions.items():
                _select({name: value}, bars)
        raise AkqUsageError(f"signals: {next(iter(expressions))}: {error}") from None
    # One value, such as that of pl.lit, holds for every bar.
    if found.height == 1 < bars.height:
        return pl.concat([found] * bars.height)
    return found


def _series(name: str, value: Any) -> pl.Series:
    if isinstance(value, pl.Series):
        return value.alias(name)
    if isinstance(value, str):
        raise AkqUsageError(
            f"signals: {name} is the text {value!r}; expected an array or a Polars expression "
            "(texts are for rules)"
        )
    try:
        if (
            isinstance(value, list | tuple)
            or hasattr(value, "__arrow_array__")
            or hasattr(value, "__arrow_c_stream__")
        ):
            return pl.Series(name, value)
        return pl.Series(name, np.asarray(value))
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise AkqUsageError(f"signals: {name}: {error}") from None


def _typed(name: str, column: pl.Series) -> pl.Series:
    if name in CONDITIONS:
        if column.dtype == pl.Null:
            return column.cast(pl.Boolean)
        if column.dtype.is_integer():
            return column != 0
        if column.dtype != pl.Boolean:
            raise AkqUsageError(f"signals: {name} has type {column.dtype}, expected true or false")
        return column
    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise AkqUsageError(f"signals: {name} has type {column.dtype}, expected numbers")
    return column.cast(pl.Float64)
