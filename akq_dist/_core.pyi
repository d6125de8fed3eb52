"""The Rust engine. Tables cross as Arrow through the PyCapsule interface, without a copy.

Times are int64 nanoseconds UTC, trading dates int32 days since 1970-01-01, prices and cash float64.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, final

from akq_dist.errors import AkqDataError, AkqError, AkqUsageError

__all__ = [
    "BUILD",
    "FEATURES",
    "PROFILE",
    "ArrowTable",
    "Bar",
    "BatchResult",
    "EngineError",
    "IndicatorStep",
    "Panel",
    "PanelError",
    "PaperSession",
    "Parzen",
    "Plan",
    "RuleError",
    "RunResult",
    "SpecError",
    "StrategyContext",
    "Tick",
    "__version__",
    "adjustment_factors",
    "aggregate",
    "aggregate_bars",
    "check_order",
    "function_reference",
    "indicator",
    "market_profile",
    "market_profiles",
    "metric_names",
    "metric_reference",
    "price_band",
    "session_dates",
    "strategy_reference",
    "summarize_returns",
    "tpe_suggest",
]

__version__: Final[str]
BUILD: Final[str]
"""Version, profile and a digest of the engine's sources: two workers with the same build give the same numbers."""
PROFILE: Final[Literal["debug", "release"]]
FEATURES: Final[list[str]]

class EngineError(AkqError):
    """A run that could not go on."""

class PanelError(AkqDataError):
    """Data that do not make a panel; the message names symbol, column and row."""

class RuleError(AkqUsageError):
    """A rule text or parameter value that the rule language refuses."""

class SpecError(AkqUsageError):
    """A plan that cannot be read or does not fit the panel."""

@final
class ArrowTable:
    """Rows on their way out: `pyarrow.table(x)` and `polars.DataFrame(x)` take it without a copy."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __len__(self) -> int: ...

@final
class Panel:
    """Bars of many assets, each asset's rows contiguous and in time order."""

    @staticmethod
    def from_arrow(table: Any) -> Panel:
        """Borrow the columns of an Arrow table; see `akq_dist.data.panel` for the layout.

        Raises PanelError when a column is missing or has another type, or a value breaks a bar.
        """
    @property
    def symbols(self) -> list[str]: ...
    @property
    def columns(self) -> list[str]:
        """Names of the series that rules can use: the five of a bar, then the extra columns."""
    @property
    def n_assets(self) -> int: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def n_steps(self) -> int:
        """Number of distinct timestamps."""
    def rows(self, asset: int) -> tuple[int, int]:
        """First row and end row of an asset in the table."""

@final
class Plan:
    """A strategy, a market, a window and the wanted outputs, checked and compiled once.

    Picklable: it travels as its JSON text.
    """

    def __new__(cls, spec: str) -> Plan: ...
    @property
    def spec(self) -> str: ...
    @property
    def canonical_rules(self) -> str | None:
        """The rules in a form that does not depend on white space; None for any other strategy."""
    @property
    def unused_params(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]:
        """Names of the values of a trial in the order of a result row: `sharpe.median`, or `sharpe` for one account."""
    def check(self, panel: Panel) -> None:
        """Raise RuleError or SpecError when a name of the plan is not in the panel."""
    def run_batch(self, panel: Panel, params: Any, *, threads: int) -> ArrowTable:
        """Run one backtest a trial and asset, under rayon with `threads` threads; the interpreter is released.

        `params` is a C-contiguous float64 buffer of shape (n trials, n parameters). The table has one row a trial:
        `error` (utf8, null when it ran), `hash` (utf8), `n_bars` (int64), `n_defined` (int64, assets whose first
        output is defined), then a float64 column an output; undefined is NaN.
        Raises KeyboardInterrupt on Ctrl-C.
        """
    def explore(
        self,
        panel: Panel,
        params: Any,
        *,
        threads: int,
        assets: Sequence[int] | None = None,
        accounts: bool = False,
        returns: bool = False,
    ) -> BatchResult:
        """As `run_batch`, over some assets and with more to come back: values by account, returns by date."""
    def run_signals(self, panel: Panel, params: Any, signals: Any, *, threads: int) -> ArrowTable:
        """As `run_batch`, for a plan with the strategy `signals`: `params` are those of its settings.

        `signals` is a table as that of `run_one`, with the rows of all trials, one trial after another; conditions
        may be uint8 (0 or 1), which is not copied.
        """
    def run_staged(
        self,
        panel: Panel,
        params: Any,
        look: Callable[[int, list[int], BatchResult], Sequence[bool]],
        *,
        threads: int,
        assets: Sequence[Sequence[int]] | None = None,
        dates: Sequence[int] | None = None,
        reference: Sequence[float] | None = None,
    ) -> ArrowTable:
        """As `run_batch`, with looks on the way after which trials may be stopped; nothing is run twice. For rules.

        `assets` are positions in the panel, each list holding the one before it; `dates` are trading dates in days
        since 1970-01-01. At each of them `look(stage, trials, found)` hears the rows of `params` under way and what
        they came to so far (over these assets; or up to the end of this date, over all assets), and says of each
        whether it is stopped. `reference` is one more row, shown behind the others for comparison and never stopped.

        A row that was stopped has NaN for values and no hash, and the bars that it was run over; any other is that
        of `run_batch`. What `look` raises ends the call.
        """
    def run_one(
        self,
        panel: Panel,
        params: Sequence[float],
        *,
        strategy: Callable[[], Any] | Sequence[Callable[[], Any] | None] | None = None,
        signals: Any | None = None,
        assets: Sequence[int] | None = None,
        details: bool = True,
    ) -> RunResult:
        """Run one parameter set; `strategy` makes a fresh callback strategy for every account.

        For a plan with several strategies it is a list: one for each of them, None for those that the plan has.

        `signals` is an Arrow table with a row a bar of the panel, for a plan with the strategy `signals`: boolean
        `enter, exit, enter_short, exit_short`, float64 `entry_limit, entry_stop, entry_short_limit,
        entry_short_stop, weights`, as many of them as the strategy has.

        `assets` limits the run to some assets. An exception of the strategy passes through unchanged.
        """

@final
class PaperSession:
    """A callback strategy that trades steps as they are handed in; see `akq_dist.paper`.

    The engine runs in a thread of its own; every method may be called from any thread and releases the interpreter
    while it waits. An event that comes too late raises EngineError.
    """

    def __new__(
        cls,
        plan: Plan,
        symbols: Sequence[str],
        strategy: Callable[[], Any],
        *,
        columns: Sequence[str] = ...,
        has_volume: bool = True,
        ticks: bool = False,
        bar_times: str | None = None,
    ) -> PaperSession:
        """`columns` are further series of a bar; `bar_times` is that of the schema of a panel."""
    def step(
        self,
        ts: int,
        date: int,
        bars: Sequence[tuple[int, tuple[float, float, float, float], float, Sequence[float], bool]],
        *,
        ends_date: bool = False,
        ends_run: bool = False,
    ) -> None:
        """Hand in bars: asset, four prices, volume (NaN where there is none), the further columns, ends its date."""
    def submit(
        self, asset: int, side: int, qty: float, *, limit: float | None = None, stop: float | None = None
    ) -> None: ...
    def cancel(self, order: int) -> None: ...
    def cancel_all(self) -> None: ...
    def halt(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...
    def finish(self) -> None: ...
    def result(self) -> RunResult:
        """Wait for the end and return what the session did, once; raises what the strategy raised."""

@final
class BatchResult:
    """What many parameter sets came to."""

    def __len__(self) -> int:
        """Number of trials."""
    def trials(self) -> ArrowTable:
        """One row a trial, as `Plan.run_batch` gives them."""
    def accounts(self) -> ArrowTable:
        """`trial, symbol` (empty for a shared account), then each metric of the outputs before it is aggregated.

        One row an account of a trial; NaN for a trial that failed. Empty unless `accounts` was asked for.
        """
    def returns(self) -> ArrowTable:
        """`date`, then a column a trial (`0`, `1`, ...): the return of each trading date after the first.

        Returns of all accounts of the trial together, from the sum of their last equities at or before the date; NaN
        for a trial that failed. No dates unless `returns` was asked for.
        """

@final
class RunResult:
    """What one parameter set did: tables of all its accounts."""

    @property
    def values(self) -> list[float]:
        """One number an output of the plan."""
    @property
    def n_defined(self) -> int: ...
    @property
    def n_bars(self) -> int: ...
    @property
    def hash(self) -> str:
        """Digest of every metric of every account: equal bits, equal hash."""
    def metrics(self) -> ArrowTable:
        """One row an account: `symbol` (empty for a shared account), then every metric."""
    def equity(self) -> ArrowTable:
        """`symbol, ts, date, equity, cash, exposure, long, short, traded`, one row a step and account.

        `exposure` is the sum of the absolute values of all positions, `long` and `short` (negative) are its parts;
        `traded` is the notional traded so far, both sides. What follows `equity` is there with `details` only.
        """
    def positions(self) -> ArrowTable:
        """`ts, date, symbol, qty, price, value, equity`: what was held at the end of each trading date.

        `equity` is that of the account at the same step. Needs `details`.
        """
    def orders(self) -> ArrowTable:
        """`symbol, id, submitted, side, kind, price, qty, tag, status, reason`."""
    def rejects(self) -> ArrowTable:
        """`symbol, reason, n`: orders refused by account (empty symbol for a shared one) and reason."""
    def fills(self) -> ArrowTable:
        """`symbol, order, ts, row, side, qty, price, fees, slippage_cost, tag`; `row` counts the asset's own bars."""
    def trades(self) -> ArrowTable:
        """Closed round trips, first-in-first-out."""
    def strategies(self) -> ArrowTable | None:
        """What each of several strategies did, one row an account and strategy; None for a single one.

        `orders`, `fills` and `trades` then have a column `strategy` too.
        """

@final
class Bar:
    """A bar of one asset. One that a strategy keeps stays what it is; times and dates are those of the panel."""

    @property
    def symbol(self) -> str: ...
    @property
    def asset(self) -> int: ...
    @property
    def index(self) -> int:
        """Index of the bar in the asset's own series."""
    @property
    def ts(self) -> int:
        """Nanoseconds since 1970 in UTC, as the data label the bar."""
    @property
    def date(self) -> int:
        """Trading date in days since 1970-01-01."""
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def volume(self) -> float:
        """NaN where the series has no volume."""
    def get(self, column: str) -> float:
        """Any column of the panel by name; raises KeyError."""

@final
class Tick:
    """The trade of one asset that `on_tick` is called for; a value of its own, it may be kept."""

    @property
    def symbol(self) -> str: ...
    @property
    def asset(self) -> int: ...
    @property
    def index(self) -> int:
        """Index of the tick in the asset's own series."""
    @property
    def ts(self) -> int: ...
    @property
    def date(self) -> int: ...
    @property
    def price(self) -> float: ...
    @property
    def size(self) -> float:
        """NaN where the series has no size."""
    @property
    def bid(self) -> float | None: ...
    @property
    def ask(self) -> float | None: ...

@final
class StrategyContext:
    """What a callback strategy may see and do. All of it is as of the current step."""

    @property
    def asset(self) -> int:
        """Asset of the bar being handled; in `on_bars` the first asset with a bar."""
    @property
    def index(self) -> int:
        """Index of that bar in the asset's own series, -1 before the first."""
    @property
    def ts(self) -> int:
        """Time of the step, nanoseconds since 1970 in UTC."""
    @property
    def date(self) -> int:
        """Trading date of the step, days since 1970-01-01."""
    @property
    def step(self) -> int:
        """Number of the step, from 0."""
    @property
    def cash(self) -> float:
        """Cash of the account now."""
    @property
    def equity(self) -> float:
        """At the last mark: after the fills of this bar, at its close."""
    @property
    def symbols(self) -> list[str]:
        """Of the panel, in panel order: an asset is a position in this list."""
    @property
    def universe(self) -> list[int]:
        """Assets of this account, ascending; others have no bar and no position here."""
    def bar(self, asset: int) -> Bar | None:
        """The bar of an asset at this step, None where it has none."""
    def last_index(self, asset: int) -> int:
        """Index of the newest bar of an asset at or before this step, -1 before its first."""
    def last_close(self, asset: int) -> float:
        """Close of the newest bar of an asset, NaN before its first."""
    def tail(self, column: str, asset: int, n: int) -> list[float]:
        """Return the last n values of a column of an asset up to this step; raises KeyError."""
    def position(self, asset: int) -> float:
        """Units held, negative when short."""
    def avg_price(self, asset: int) -> float:
        """Average cost of the position, NaN when flat."""
    def working(self, asset: int | None = None) -> list[int]:
        """Numbers of the orders that still work, in order of submission."""
    def submit(
        self,
        asset: int,
        side: int,
        qty: float,
        size: Literal["qty", "value", "pct_equity", "budget_at_fill"] = "qty",
        limit: float | None = None,
        stop: float | None = None,
        valid_bars: int | None = None,
        day: bool = False,
        oco: int | None = None,
        tag: str = "",
        protection: dict[str, Any] | None = None,
        trail: dict[str, Any] | None = None,
        on_close: bool = False,
        tif: Literal["gtc", "day", "ioc", "fok"] | None = None,
        good_till: int | None = None,
        parent: int | None = None,
    ) -> int:
        """Ask for an order; `side` is +1 or -1. Returns its number; a refusal comes back through `on_order`.

        `limit` and `stop` together make a stop-limit order; `trail` (`pct` or `abs`, `on`) a trailing stop from this
        close; `on_close` a fill at the close of the next trading date. `good_till` is the last trading date, in days
        since 1970-01-01. An order with a `parent` is handed in when that order ends with a fill.
        """
    def amend(
        self, order: int, limit: float | None = None, stop: float | None = None, qty: float | None = None
    ) -> None:
        """Change a working order from the next bar on; a refusal comes back through `on_order` and changes nothing."""
    def cancel(self, order: int) -> None: ...
    def n_coarse(self, frequency: int, asset: int) -> int:
        """Number of complete coarse bars of an asset; `frequency` is a place in those of the strategy."""
    @property
    def now(self) -> int | None:
        """When the bars of this step are over, as far as is known; None before the first step."""
    @property
    def time_zone(self) -> str | None:
        """Of the market, where it is known."""
    @property
    def is_session_open(self) -> bool | None:
        """Whether `now` lies in a session; None where the market has none."""
    @property
    def timers(self) -> list[str]:
        """Names of the timers that are set."""
    def schedule(self, name: str, when: str, priority: int = 0) -> None:
        """Set a timer; `when` is JSON such as `{"every_day_at": "14:55"}`. ValueError for one that cannot be."""
    def cancel_timer(self, name: str) -> None:
        """Take a timer back; ValueError for a name that is not set."""
    def target(
        self, asset: int, value: float, kind: Literal["qty", "value", "pct"], tag: str = "rebalance"
    ) -> None:
        """Move the position to a target, resolved at this close when the callback returns, reductions first."""

def market_profiles() -> list[str]:
    """Names of the market profiles, `simple` first."""

def market_profile(name: str) -> str:
    """Every item of a market profile as a JSON mapping. Raises SpecError for an unknown one."""

def adjustment_factors(
    dates: Sequence[int], close: Sequence[float], actions: str, symbol: str
) -> list[float]:
    """One factor a bar that makes prices go on across ex-dates, from nothing later than the bar.

    `dates` are days since 1970, ascending; `actions` is a JSON list of corporate actions.
    """

def price_band(reference: float, rate: float, tick: float) -> tuple[float, float]:
    """Lowest and highest price around a reference, rounded to the tick half up in decimal."""

def aggregate_bars(
    panel: Panel,
    frequency: str,
    *,
    time_zone: str | None = None,
    sessions: Sequence[Sequence[str]] | None = None,
) -> ArrowTable:
    """`asset, ts, date, open, high, low, close, volume`, the extra columns and `complete`, one row a coarse bar."""

def session_dates(
    ts: Any, time_zone: str, sessions: Sequence[Sequence[str]], stamp: Literal["open", "close"]
) -> ArrowTable:
    """`date, inside`, one row a bar: its trading date under the sessions of an exchange, and whether it is in one.

    `ts` is an int64 buffer of the times of all bars of the exchange.
    """

def metric_names() -> list[str]: ...
def metric_reference() -> ArrowTable:
    """`name, unit, natural, definition, source`, one row a metric."""

def function_reference() -> ArrowTable:
    """`name, arguments, signature, definition, source, reads, kinds`, one row a function of the rule language.

    `reads` are the columns of a bar that it takes without being given them, `kinds` those of its arguments.
    """

def strategy_reference() -> ArrowTable:
    """`strategy, definition, parameter, kind, default, meaning`, one row a parameter of a strategy of the engine."""

def indicator(name: str, columns: Any, n_reads: int, args: Sequence[float | None]) -> ArrowTable:
    """Call a function of the rule language over the float64 columns of a table; see `akq_dist.indicator`.

    The first `n_reads` columns are what it reads without being given them; each None among `args` stands for the
    next of the others.
    """

@final
class IndicatorStep:
    """The step form of a function of the rule language; see `akq_dist.indicator`."""

    def __new__(cls, name: str, numbers: Sequence[float]) -> IndicatorStep: ...
    @property
    def inputs(self) -> list[str]: ...
    @property
    def is_condition(self) -> bool: ...
    def update(self, *values: float) -> float: ...
    def reset(self) -> None: ...

def summarize_returns(
    returns: Any,
    periods_per_year: float,
    risk_free: float = 0.0,
    mar: float = 0.0,
    benchmark: Any | None = None,
) -> dict[str, float]:
    """The metrics of section 8 for a plain series of period returns (float64 buffer); wealth starts at 1."""

def aggregate(values: Any, how: str, min_defined: float) -> tuple[float, int]:
    """Aggregate over assets: (value, number of defined values)."""

def check_order(question: str) -> tuple[float, str | None]:
    """Ask the checks of risk about an order that is not placed; see `akq_dist.risk`.

    `question` is JSON with `market` and `risk` as in a plan, `account` (`cash`, `holdings`, `peak_equity`,
    `date_equity`) and `order`. Returns its units and the reason of a refusal. Raises SpecError for a question
    without sense.
    """

@final
class Parzen:
    """A Parzen estimator: the density of some points, a kernel each, and a wide one that stands for not knowing.

    An axis is `(low, high, step, log, n_choices)`: a number between `low` and `high` at multiples of `step` above
    `low` (0: everywhere), spread over the logarithm with `log`; or a choice, where `n_choices` is above 0.
    `points` is a C-contiguous float64 buffer of shape (n, axes), in the order of asking: the later, the more a
    point weighs.
    """

    def __new__(cls, axes: Sequence[tuple[float, float, float, bool, int]], points: Any) -> Parzen: ...
    def ln_density(self, points: Any) -> list[float]:
        """Return logarithms: of a probability for choices and steps, of a density over [0, 1] for other numbers."""
    def sample(self, n: int, seed: int) -> list[list[float]]:
        """Draw n points; a seed has 64 bits and gives the same points on every machine."""

def tpe_suggest(
    axes: Sequence[tuple[float, float, float, bool, int]],
    points: Any,
    losses: Any,
    depths: Any,
    violations: Any,
    running: Any,
    *,
    n: int,
    n_startup: int,
    n_candidates: int,
    seed: int,
) -> list[list[float]]:
    """Return n points from one fit; the interpreter is released. See `akq_dist.search.tpe` and `Parzen`.

    Buffers: `points` float64 of shape (k, axes), `losses`, `depths` and `violations` float64, `running` uint8.
    Raises SpecError for an axis that cannot be searched and columns that differ in length.
    """
