//! One row of metrics from one run.

use super::drawdown::{Drawdown, drawdown, drawdown_of};
use super::metric::{Ix, METRICS, N_METRICS, Row};
use super::relative::Relative;
use super::returns::{
    FirstSums, Origin, ReturnStats, is_solvent, n_date_changes, period_returns, to_daily, wealth_of,
};
use super::tails::Tails;
use super::trend::Trend;
use super::trips::trip_stats;
use crate::model::RoundTrip;
use crate::wide::{Kernel, Plain, Quad, dispatch};
use serde::{Deserialize, Serialize};

/// What one return stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnBasis {
    /// From the last equity of each trading date.
    #[default]
    Daily,
    /// From every step.
    Bar,
}

/// How returns are counted and annualised. A year without a positive finite number of periods makes every
/// annualised metric undefined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSettings {
    pub basis: ReturnBasis,
    pub periods_per_year: f64,
    /// A year's return without risk.
    pub risk_free: f64,
    /// The minimum acceptable return of a year.
    pub mar: f64,
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self { basis: ReturnBasis::Daily, periods_per_year: 252.0, risk_free: 0.0, mar: 0.0 }
    }
}

impl MetricSettings {
    /// Periods a year, or NaN, which makes what depends on it undefined.
    fn year(&self) -> f64 {
        let a = self.periods_per_year;
        if a > 0.0 && a.is_finite() { a } else { f64::NAN }
    }

    fn mar_per_period(&self) -> f64 {
        self.mar / self.year()
    }
}

/// What a run counts as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    pub n_orders: u64,
    pub n_fills: u64,
    pub n_rejects: u64,
    pub fees: f64,
    pub slippage_cost: f64,
    pub traded_notional: f64,
    /// Steps that ended with any position.
    pub exposed_steps: u64,
    pub n_steps: u64,
}

/// What one run hands over. `equity` and `dates` have one value per step, from the first step of the window.
#[derive(Debug, Clone, Copy)]
pub struct RunSummary<'a> {
    pub initial_cash: f64,
    pub equity: &'a [f64],
    pub dates: &'a [i32],
    /// In the order they closed.
    pub trips: &'a [RoundTrip],
    pub counts: Counts,
    pub settings: &'a MetricSettings,
    /// Returns of the benchmark over the same periods as the returns of the run.
    pub benchmark: Option<&'a [f64]>,
}

/// Buffers that are kept from run to run.
#[derive(Debug, Default)]
pub struct Scratch {
    wealth: Vec<f64>,
    returns: Vec<f64>,
    spare: Vec<f64>,
    n_daily_returns: usize,
}

impl Scratch {
    pub fn n_bytes(&self) -> usize {
        let values = self.wealth.capacity() + self.returns.capacity() + self.spare.capacity();
        values * size_of::<f64>()
    }

    /// Changes of the trading date within the last run that was summarised; see [`super::is_rankable`].
    pub fn n_daily_returns(&self) -> usize {
        self.n_daily_returns
    }
}

/// Fills a row of [`METRICS`]; undefined is NaN. A row of another length is filled with NaN.
pub fn summarize(run: &RunSummary<'_>, scratch: &mut Scratch, out: &mut [f64]) {
    dispatch(FillRow(run, scratch, out));
}

struct FillRow<'a>(&'a RunSummary<'a>, &'a mut Scratch, &'a mut [f64]);

impl Kernel for FillRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<Q: Quad>(self, machine: Q::Machine) {
        fill_row::<Q>(machine, self.0, self.1, self.2);
    }
}

#[inline(always)]
fn fill_row<Q: Quad>(machine: Q::Machine, run: &RunSummary<'_>, scratch: &mut Scratch, out: &mut [f64]) {
    out.fill(f64::NAN);
    let Ok(out) = <&mut [f64; N_METRICS]>::try_from(out) else {
        return;
    };
    let mut row = Row(out);
    counts(run, &mut row);
    trips(run.trips, &mut row);
    let fall = drawdown_of::<Q>(machine, run.equity);
    steps(run, &fall, &mut row);
    let Scratch { wealth, returns, spare, n_daily_returns } = scratch;
    *n_daily_returns = n_date_changes(run.dates);
    // Where every step has its own date the daily series is the series itself.
    let is_daily = *n_daily_returns + 1 >= run.equity.len() && run.dates.len() == run.equity.len();
    let points = match run.settings.basis {
        ReturnBasis::Daily if !is_daily => {
            to_daily(run.equity, run.dates, wealth);
            wealth.as_slice()
        }
        ReturnBasis::Daily | ReturnBasis::Bar => run.equity,
    };
    let growth = period_returns::<Q>(machine, points, run.settings.mar_per_period(), returns);
    let Some(growth) = growth.filter(|_| points.len() > 1) else {
        return;
    };
    let series =
        Series { wealth: points, first: &growth.returns, origin: Origin::Equity, settings: run.settings };
    series.metrics::<Q>(machine, returns, run.benchmark, spare, &mut row);
    let years = returns.len() as f64 / run.settings.year();
    row.set(Ix::Turnover, run.counts.traded_notional / growth.mean_wealth / years);
}

/// The metrics of a plain series of returns, by the same functions; wealth starts at 1, and that start counts as
/// a peak. Those that need trades, orders or money are left out; those that need a benchmark stand there when one
/// is given.
pub fn summarize_returns(
    r: &[f64],
    settings: &MetricSettings,
    benchmark: Option<&[f64]>,
) -> Vec<(&'static str, f64)> {
    let mut values = [f64::NAN; N_METRICS];
    let mut row = Row(&mut values);
    let (mut wealth, mut spare) = (Vec::new(), Vec::new());
    wealth_of(r, &mut wealth);
    if !r.is_empty() {
        let fall = drawdown(&wealth);
        row.set(Ix::TotalReturn, wealth.last().map_or(f64::NAN, |last| last - 1.0));
        fall_metrics(&fall, &mut row);
        if is_solvent(&wealth) {
            let first = FirstSums::of(r, settings.mar_per_period());
            let series = Series { wealth: &wealth, first: &first, origin: Origin::Given, settings };
            series.metrics::<Plain>((), r, benchmark, &mut spare, &mut row);
        }
    }
    let shown = OF_RETURNS.iter().chain(if benchmark.is_some() { OF_BENCHMARK } else { &[] });
    shown.map(|&ix| (METRICS[ix as usize].name, row.get(ix))).collect()
}

const OF_RETURNS: &[Ix] = &[
    Ix::TotalReturn,
    Ix::Cagr,
    Ix::Volatility,
    Ix::Sharpe,
    Ix::Sortino,
    Ix::MaxDrawdown,
    Ix::MaxDrawdownBars,
    Ix::Calmar,
    Ix::Var95,
    Ix::Cvar95,
    Ix::Omega,
    Ix::TailRatio,
    Ix::Skew,
    Ix::Kurtosis,
    Ix::UlcerIndex,
    Ix::KRatio,
    Ix::Stability,
];

const OF_BENCHMARK: &[Ix] =
    &[Ix::Alpha, Ix::Beta, Ix::InformationRatio, Ix::TrackingError, Ix::UpCapture, Ix::DownCapture];

/// Wealth above zero at the start and after each return.
struct Series<'a> {
    wealth: &'a [f64],
    first: &'a FirstSums,
    origin: Origin,
    settings: &'a MetricSettings,
}

impl Series<'_> {
    /// Expects the drawdown in the row already.
    #[inline(always)]
    fn metrics<Q: Quad>(
        &self,
        machine: Q::Machine,
        returns: &[f64],
        benchmark: Option<&[f64]>,
        spare: &mut Vec<f64>,
        row: &mut Row<'_>,
    ) {
        let a = self.settings.year();
        let n = returns.len() as f64;
        let (risk_free, mar) = (self.settings.risk_free / a, self.settings.mar_per_period());
        let stats = ReturnStats::of::<Q>(machine, returns, self.first, self.origin);
        row.set(Ix::Volatility, stats.std * a.sqrt());
        row.set(Ix::Sharpe, (stats.mean - risk_free) / positive(stats.std) * a.sqrt());
        row.set(Ix::Sortino, (stats.mean - mar) / positive(stats.downside) * a.sqrt());
        row.set(Ix::Omega, stats.gain / positive(stats.loss));
        row.set(Ix::Skew, stats.skew);
        row.set(Ix::Kurtosis, stats.kurtosis);
        if let (Some(first), Some(last)) = (self.wealth.first(), self.wealth.last()) {
            let growth = ((last - first) / first).ln_1p();
            row.set(Ix::Cagr, (growth * a / n).exp_m1());
            row.set(Ix::Calmar, row.get(Ix::Cagr) / positive(-row.get(Ix::MaxDrawdown)));
        }
        let trend = Trend::of::<Q>(machine, self.wealth, spare);
        row.set(Ix::Stability, trend.r_squared);
        row.set(Ix::KRatio, trend.slope_t * a.sqrt() / n);
        if let Some(benchmark) = benchmark {
            let found = Relative::of(returns, benchmark, risk_free, self.origin.noise(), spare);
            row.set(Ix::Beta, found.beta);
            row.set(Ix::Alpha, found.alpha * a);
            row.set(Ix::TrackingError, found.active_std * a.sqrt());
            row.set(Ix::InformationRatio, found.active_mean / positive(found.active_std) * a.sqrt());
            row.set(Ix::UpCapture, found.up_capture);
            row.set(Ix::DownCapture, found.down_capture);
        }
        let tails = Tails::of::<Q>(machine, returns, stats.mean, stats.std, spare);
        row.set(Ix::Var95, tails.q05);
        row.set(Ix::Cvar95, tails.mean_at_or_below_q05);
        row.set(Ix::TailRatio, tails.q95.abs() / positive(tails.q05.abs()));
    }
}

/// The value itself if it is above zero and finite, otherwise NaN: what is divided by it is then undefined.
#[inline]
fn positive(value: f64) -> f64 {
    if value > 0.0 && value < f64::INFINITY { value } else { f64::NAN }
}

fn counts(run: &RunSummary<'_>, row: &mut Row<'_>) {
    let counts = &run.counts;
    row.set(Ix::NTrades, run.trips.len() as f64);
    row.set(Ix::NOrders, counts.n_orders as f64);
    row.set(Ix::NFills, counts.n_fills as f64);
    row.set(Ix::NRejects, counts.n_rejects as f64);
    row.set(Ix::Fees, counts.fees);
    row.set(Ix::SlippageCost, counts.slippage_cost);
    row.set(Ix::Exposure, counts.exposed_steps as f64 / counts.n_steps as f64);
}

fn trips(trips: &[RoundTrip], row: &mut Row<'_>) {
    let stats = trip_stats(trips);
    row.set(Ix::WinRate, stats.win_rate);
    row.set(Ix::ProfitFactor, stats.profit_factor);
    row.set(Ix::Expectancy, stats.expectancy);
    row.set(Ix::Payoff, stats.payoff);
    row.set(Ix::Sqn, stats.sqn);
    row.set(Ix::Kelly, stats.kelly);
    row.set(Ix::AvgWin, stats.avg_win);
    row.set(Ix::AvgLoss, stats.avg_loss);
    row.set(Ix::MaxWin, stats.max_win);
    row.set(Ix::MaxLoss, stats.max_loss);
    row.set(Ix::AvgHoldingBars, stats.avg_holding_bars);
    row.set(Ix::AvgMae, stats.avg_mae);
    row.set(Ix::AvgMfe, stats.avg_mfe);
    row.set(Ix::MaxWinStreak, stats.max_win_streak);
    row.set(Ix::MaxLossStreak, stats.max_loss_streak);
}

/// What every step counts for, whatever the basis of returns.
fn steps(run: &RunSummary<'_>, fall: &Drawdown, row: &mut Row<'_>) {
    if let Some(&last) = run.equity.last() {
        row.set(Ix::FinalEquity, last);
        row.set(Ix::TotalReturn, (last - run.initial_cash) / positive(run.initial_cash));
    }
    fall_metrics(fall, row);
}

fn fall_metrics(fall: &Drawdown, row: &mut Row<'_>) {
    row.set(Ix::MaxDrawdown, fall.depth);
    row.set(Ix::UlcerIndex, fall.ulcer_index);
    let longest = if fall.depth.is_nan() { f64::NAN } else { fall.longest_steps as f64 };
    row.set(Ix::MaxDrawdownBars, longest);
}

#[cfg(test)]
mod tests;
