"""The indicators of the rule language for Python: the same kernels, the same bits.

    from akq_dist import indicator

    indicator.sma(close, 20)                 # a column: NumPy, Polars, Arrow, pandas or a list
    indicator.atr(high, low, close, 14)      # what rules read by themselves is given here
    indicator.atr(bars, 14)                  # or taken from a frame by name
    frame.with_columns(indicator.ema(pl.col("close"), 20).over("symbol"))

    step = indicator.Sma(20)                 # value by value, for live bars
    step.update(101.5)

Every function of the rule language but `rank` is here under its name, with the arguments that `signature` shows;
every indicator has a step form under the same name in capitals (`bbands_upper`, `BbandsUpper`). What comes out has
the kind of what went in; an undefined value is NaN (null in Polars, whose NaN is greater than every number), a
condition that is undefined does not hold.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

from akq_dist.errors import AkqUsageError
from akq_dist.specs.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_SCALARS: Final = ("period", "lag", "constant")
_NOT_HERE: Final = ("rank",)
"""Compares assets, which one series does not have."""


@dataclass(frozen=True)
class Argument:
    """One argument of an indicator."""

    name: str
    kind: str
    """`series`, `number` (a series or one number), `condition`, `period`, `lag` or `constant`."""
    default: float | None = None

    @property
    def is_scalar(self) -> bool:
        return self.kind in _SCALARS


@dataclass(frozen=True)
class Indicator:
    """A function of the rule language over whole columns."""

    name: str
    reads: tuple[Argument, ...]
    """Columns of a bar that rules take by themselves; they come first here."""
    arguments: tuple[Argument, ...]
    definition: str
    source: str
    is_variadic: bool = False

    @cached_property
    def signature(self) -> inspect.Signature:
        """How it is called."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        empty = inspect.Parameter.empty
        found = [
            inspect.Parameter(
                argument.name, kind, default=empty if argument.default is None else argument.default
            )
            for argument in (*self.reads, *self.arguments)
        ]
        if self.is_variadic:
            found.append(inspect.Parameter("more", inspect.Parameter.VAR_POSITIONAL))
        return inspect.Signature(found)

    @property
    def __signature__(self) -> inspect.Signature:
        return self.signature

    def __repr__(self) -> str:
        return f"{self.name}{self.signature}: {self.definition} ({self.source})."

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Return the values for whole columns; raises AkqUsageError for arguments that do not fit."""
        values = self._bind(given, named)
        names = [argument.name for argument in (*self.reads, *self.arguments)]
        names += [f"{self.name} argument {ix + 1}" for ix in range(len(names), len(values))]
        expressions = [ix for ix, value in enumerate(values) if _is_expression(value)]
        if expressions:
            return self._expression(values, expressions)
        columns: dict[str, Any] = {}
        args: list[float | None] = []
        for ix, value in enumerate(values):
            number = _number(value)
            if ix < len(self.reads) and number is not None:
                raise AkqUsageError(f"{self.name}: {names[ix]} is one number, expected a column")
            if number is None:
                columns[f"c{ix}"] = _floats(f"{self.name}: {names[ix]}", value)
            if ix >= len(self.reads):
                args.append(number)
        if not columns:
            raise AkqUsageError(f"{self.name}: at least one argument has to be a column")
        lengths = [len(column) for column in columns.values()]
        if len(set(lengths)) > 1:
            raise AkqUsageError(f"{self.name}: columns of one length are needed, got {lengths}")
        like = next(value for value in values if _number(value) is None)
        return _like(self._call(columns, args), like)

    def _call(self, columns: Mapping[str, Any], args: Sequence[float | None]) -> Any:
        import pyarrow as pa

        from akq_dist import _core

        made = pa.table(dict(columns))
        result = _core.indicator(self.name, made, len(self.reads), list(args))
        return pa.table(result).column(0).chunk(0)

    def _bind(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> list[Any]:
        """All values in order, those of a frame's columns and the defaults filled in."""
        if given and self.reads and _is_frame(given[0]):
            frame, *rest = given
            given = (*(_frame_column(self.name, frame, argument.name) for argument in self.reads), *rest)
        try:
            bound = self.signature.bind(*given, **named)
        except TypeError as error:
            raise AkqUsageError(f"{self.name}{self.signature}: {error}") from None
        bound.apply_defaults()
        more = bound.arguments.pop("more", ())
        for argument in self.arguments:
            value = bound.arguments[argument.name]
            if argument.is_scalar and _number(value) is None:
                raise AkqUsageError(f"{self.name}: {argument.name} is {value!r}, expected one number")
        return [*bound.arguments.values(), *more]

    def _expression(self, values: list[Any], where: list[int]) -> pl.Expr:
        import polars as pl

        for ix, value in enumerate(values):
            if ix not in where and _number(value) is None:
                raise AkqUsageError(f"{self.name}: give all columns as Polars expressions, or none")

        def run(series: Sequence[pl.Series]) -> pl.Series:
            filled = list(values)
            n_rows = max(column.len() for column in series)
            for ix, column in zip(where, series, strict=True):
                # One value, such as that of first(), holds for every row.
                filled[ix] = column.new_from_index(0, n_rows) if column.len() == 1 else column
            found = self(*filled)
            assert isinstance(found, pl.Series)
            return found

        dtype = pl.Boolean if self.name in _CONDITIONS else pl.Float64
        return pl.map_batches([values[ix] for ix in where], run, return_dtype=dtype)


_CONDITIONS: Final = ("cross_above", "cross_below")


class Step:
    """An indicator that takes the values of one bar at a time."""

    __slots__ = ("_step", "name")

    def __init__(self, name: str, numbers: Sequence[float]) -> None:
        from akq_dist import _core

        self.name = name
        self._step = _core.IndicatorStep(name, list(numbers))

    @property
    def inputs(self) -> list[str]:
        """Names of what `update` takes, in order."""
        return self._step.inputs

    def update(self, *values: float) -> float:
        """Take the next bar's values and return the indicator's; NaN while it is undefined.

        A condition is 1.0 where it holds and 0.0 where it does not.
        """
        return self._step.update(*values)

    def reset(self) -> None:
        """Forget all values."""
        self._step.reset()


@cache
def indicators() -> Mapping[str, Indicator]:
    """Return every indicator by name, as the engine lists them."""
    import pyarrow as pa

    from akq_dist import _core

    found = {}
    for row in pa.table(_core.function_reference()).to_pylist():
        if row["name"] not in _NOT_HERE:
            found[row["name"]] = _indicator(row)
    return found


def _indicator(row: Mapping[str, str]) -> Indicator:
    shown = row["signature"].partition("(")[2].removesuffix(")")
    parts = [part.strip() for part in shown.split(",") if part.strip()]
    arguments = []
    for part, kind in zip([p for p in parts if p != "..."], _words(row["kinds"]), strict=True):
        name, equals, default = part.partition("=")
        arguments.append(Argument(name, kind, float(default) if equals else None))
    reads = tuple(Argument(name, "series") for name in _words(row["reads"]))
    return Indicator(row["name"], reads, tuple(arguments), row["definition"], row["source"], "..." in parts)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _step_class(name: str) -> Callable[..., Step] | None:
    """Return what makes the step form of `Sma`, None for a name that is none."""
    if not name[:1].isupper() or "_" in name:
        return None
    lower = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
    indicator = indicators().get(lower)
    if indicator is None:
        return None
    numbers = [argument for argument in indicator.arguments if argument.is_scalar]
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    signature = inspect.Signature(
        [inspect.Parameter(a.name, kind, default=empty if a.default is None else a.default) for a in numbers]
    )

    def make(*given: float, **named: float) -> Step:
        try:
            bound = signature.bind(*given, **named)
        except TypeError as error:
            raise AkqUsageError(f"{name}{signature}: {error}") from None
        bound.apply_defaults()
        return Step(lower, [float(value) for value in bound.arguments.values()])

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"Step form: {indicator.definition} ({indicator.source})."
    make.__signature__ = signature  # type: ignore[attr-defined]
    return make


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    found = indicators().get(name) or _step_class(name)
    if found is None:
        raise AttributeError(f"there is no indicator {name!r}{did_you_mean(name, indicators())}")
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *indicators()])


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and not _is_expression(value)


def _frame_column(name: str, frame: Any, column: str) -> Any:
    try:
        return frame[column]
    except (KeyError, IndexError, ValueError):
        pass
    except Exception as error:
        # Polars has an exception of its own for this; anything else is the caller's.
        if type(error).__name__ != "ColumnNotFoundError":
            raise
    raise AkqUsageError(f"{name}: the frame has no column {column!r}")


def _is_expression(value: Any) -> bool:
    # Asked by name: a caller without expressions need not have imported Polars.
    return type(value).__module__.partition(".")[0] == "polars" and type(value).__name__ == "Expr"


def _number(value: Any) -> float | None:
    """Return the value where it is one number."""
    import numpy as np

    if isinstance(value, bool | int | float | np.number | np.bool_):
        return float(value)
    return None


def _floats(what: str, value: Any) -> NDArray[np.float64]:
    """Bring a column into the one form that the engine takes; float64 without gaps is not copied."""
    import numpy as np

    if hasattr(value, "to_numpy"):
        # An Arrow array refuses to copy unless told that it may.
        is_array = type(value).__module__.startswith("pyarrow") and not hasattr(value, "chunks")
        value = value.to_numpy(zero_copy_only=False) if is_array else value.to_numpy()
    try:
        column = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AkqUsageError(f"{what}: {error}") from None
    if column.ndim != 1:
        raise AkqUsageError(f"{what} has {column.ndim} dimensions, expected one column")
    return np.ascontiguousarray(column)


def _like(result: Any, given: Any) -> Any:
    """Return the values in the kind of a column that was given."""
    package = type(given).__module__.partition(".")[0]
    if package == "pyarrow":
        return result
    values = result.to_numpy(zero_copy_only=False)
    if package == "polars":
        import polars as pl

        # Polars holds NaN for greater than every number, so that `close < NaN` would be true.
        return (
            pl.Series(given.name, values).fill_nan(None)
            if values.dtype != bool
            else pl.Series(given.name, values)
        )
    if package == "pandas":
        import pandas as pd

        return pd.Series(values, index=given.index, name=given.name)
    return values
