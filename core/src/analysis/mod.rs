//! Pure functions of results: returns, drawdown, round trips, summary metrics, aggregation over assets.
//!
//! `core/METRICS.md` is the reference of every metric. An undefined value is NaN; infinity never leaves this
//! module; no input panics.

mod metric;

mod numeric;

mod ln;

mod returns;

mod drawdown;

mod tails;

mod trend;

mod relative;

mod trips;

mod summary;

mod aggregate;

pub use aggregate::{Aggregate, ParseAggregateError, aggregate};
pub use drawdown::{Drawdown, drawdown};
pub use metric::{METRICS, MIN_DAILY_RETURNS_TO_RANK, MetricDef, N_METRICS, is_rankable, metric_ix};
pub use returns::to_daily;
pub use summary::{Counts, MetricSettings, ReturnBasis, RunSummary, Scratch, summarize, summarize_returns};
pub use trips::{TripStats, trip_stats};
