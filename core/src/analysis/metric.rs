//! The table of metrics: the one list of names, units, definitions and sources.

use super::Aggregate;
use Aggregate::{Max, Mean, Median, Min, Sum};

/// One metric. `natural` is the aggregate over assets that is used when none is named.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricDef {
    pub name: &'static str,
    pub unit: &'static str,
    pub natural: Aggregate,
    pub definition: &'static str,
    pub source: &'static str,
}

/// Position of the metric in a row of metrics; none for a name that does not exist.
pub fn metric_ix(name: &str) -> Option<usize> {
    METRICS.iter().position(|metric| metric.name == name)
}

/// A growth rate of a year says nothing about a few days: two good ones annualise to hundreds of percent.
pub const MIN_DAILY_RETURNS_TO_RANK: usize = 21;

/// Whether runs over so many daily returns may be ranked by the metric; the value itself is computed for any length.
pub fn is_rankable(metric_ix: usize, n_daily_returns: usize) -> bool {
    let annualises_growth = metric_ix == Ix::Cagr as usize || metric_ix == Ix::Calmar as usize;
    !annualises_growth || n_daily_returns >= MIN_DAILY_RETURNS_TO_RANK
}

macro_rules! metrics {
    ($($ix:ident $name:literal $unit:literal $natural:ident $definition:literal $source:literal;)*) => {
        /// Positions in a row of metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Ix { $($ix),* }

        /// Every metric, in the order of a row.
        pub const METRICS: &[MetricDef] = &[$(MetricDef {
            name: $name,
            unit: $unit,
            natural: $natural,
            definition: $definition,
            source: $source,
        }),*];
    };
}

/// Length of a row of metrics.
pub const N_METRICS: usize = METRICS.len();

metrics! {
    TotalReturn "total_return" "fraction" Median "E_n / C - 1" "definition";
    Cagr "cagr" "fraction per year" Median "(E_n / E_0)^(A/n) - 1" "definition";
    Volatility "volatility" "fraction per year" Median "std(r) sqrt(A)" "definition";
    Sharpe "sharpe" "ratio" Median "mean(r - rf/A) / std(r) sqrt(A)" "Sharpe 1994";
    Sortino "sortino" "ratio" Median "mean(r - mar/A) / sqrt(mean(min(r - mar/A, 0)^2)) sqrt(A)" "Sortino and Price 1994";
    MaxDrawdown "max_drawdown" "fraction" Median "min(E / cummax(E) - 1) over every step" "definition";
    MaxDrawdownBars "max_drawdown_bars" "steps" Median "longest way from a peak to the step that regains it, or to the last step" "definition";
    Calmar "calmar" "ratio" Median "cagr / abs(max_drawdown)" "Young 1991, over the whole window";
    Var95 "var_95" "fraction" Median "5 % quantile of r, linear interpolation" "historical simulation";
    Cvar95 "cvar_95" "fraction" Median "mean of the r at or below var_95" "Rockafellar and Uryasev 2000";
    Omega "omega" "ratio" Median "sum(max(r - mar/A, 0)) / sum(max(mar/A - r, 0))" "Keating and Shadwick 2002";
    TailRatio "tail_ratio" "ratio" Median "abs(95 % quantile of r) / abs(5 % quantile of r)" "empyrical";
    Skew "skew" "ratio" Median "m3 / m2^1.5, m_k = mean((r - mean(r))^k)" "population moments";
    Kurtosis "kurtosis" "ratio" Median "m4 / m2^2, raw: 3 for a normal distribution" "population moments";
    UlcerIndex "ulcer_index" "fraction" Median "sqrt(mean((E / cummax(E) - 1)^2)) over every step" "Martin and McCann 1989";
    KRatio "k_ratio" "ratio" Median "slope / standard_error(slope) sqrt(A) / n of ln(E_i / E_0) on i, i = 1..n" "Kestner 2013";
    Stability "stability" "fraction" Median "R^2 of ln(E_i / E_0) on i, i = 1..n" "empyrical";
    WinRate "win_rate" "fraction" Median "share of round trips with net > 0" "definition";
    ProfitFactor "profit_factor" "ratio" Median "sum(net of wins) / abs(sum(net of losses))" "definition";
    Expectancy "expectancy" "money" Mean "mean(net)" "definition";
    Payoff "payoff" "ratio" Median "avg_win / abs(avg_loss)" "definition";
    Sqn "sqn" "ratio" Median "mean(net) / std(net) sqrt(n_trades)" "Tharp 2008, on net profit";
    Kelly "kelly" "fraction" Median "win_rate - (1 - win_rate) / payoff" "Kelly 1956";
    AvgWin "avg_win" "money" Mean "mean(net of wins)" "definition";
    AvgLoss "avg_loss" "money" Mean "mean(net of losses), negative" "definition";
    MaxWin "max_win" "money" Max "largest net of a win" "definition";
    MaxLoss "max_loss" "money" Min "smallest net of a loss, negative" "definition";
    AvgHoldingBars "avg_holding_bars" "bars" Mean "mean(exit_row - entry_row)" "definition";
    AvgMae "avg_mae" "fraction" Mean "mean(largest move against the trip / entry price)" "Sweeney 1996";
    AvgMfe "avg_mfe" "fraction" Mean "mean(largest move in favour of the trip / entry price)" "Sweeney 1996";
    MaxWinStreak "max_win_streak" "count" Max "most wins in a row" "definition";
    MaxLossStreak "max_loss_streak" "count" Max "most losses in a row" "definition";
    Exposure "exposure" "fraction" Mean "steps that end with a position / steps" "definition";
    Turnover "turnover" "per year" Mean "traded notional / mean(E) A/n; buying and selling all of the account once is 2" "definition";
    NTrades "n_trades" "count" Sum "closed round trips" "definition";
    NOrders "n_orders" "count" Sum "orders submitted" "definition";
    NFills "n_fills" "count" Sum "executions" "definition";
    NRejects "n_rejects" "count" Sum "orders refused" "definition";
    Fees "fees" "money" Sum "fees paid" "definition";
    SlippageCost "slippage_cost" "money" Sum "cost of slippage, not negative" "definition";
    FinalEquity "final_equity" "money" Sum "E_n" "definition";
    Alpha "alpha" "fraction per year" Median "A mean((r - rf/A) - beta (b - rf/A))" "Jensen 1968";
    Beta "beta" "ratio" Median "cov(r, b) / var(b)" "definition";
    InformationRatio "information_ratio" "ratio" Median "mean(r - b) / std(r - b) sqrt(A)" "Grinold 1989";
    TrackingError "tracking_error" "fraction per year" Median "std(r - b) sqrt(A)" "definition";
    UpCapture "up_capture" "ratio" Median "g(r) / g(b) where b > 0; g is the geometric mean return" "Morningstar";
    DownCapture "down_capture" "ratio" Median "g(r) / g(b) where b < 0; g is the geometric mean return" "Morningstar";
}

/// A row of metrics being filled in. What is not finite is stored as NaN.
pub(super) struct Row<'a>(pub &'a mut [f64; N_METRICS]);

impl Row<'_> {
    #[inline]
    pub fn set(&mut self, ix: Ix, value: f64) {
        // The enum has one variant per element of the array.
        self.0[ix as usize] = if value.is_finite() { value } else { f64::NAN };
    }

    #[inline]
    pub fn get(&self, ix: Ix) -> f64 {
        self.0[ix as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (ix, metric) in METRICS.iter().enumerate() {
            assert_eq!(metric_ix(metric.name), Some(ix), "{}", metric.name);
        }
        assert_eq!(metric_ix("sharp"), None);
        assert_eq!(METRICS[Ix::Sharpe as usize].name, "sharpe");
        assert_eq!(METRICS[Ix::DownCapture as usize].name, "down_capture");
        assert_eq!(Ix::DownCapture as usize + 1, N_METRICS);
    }

    /// `METRICS.md` lists what is here: same names, order, units, definitions, aggregates and sources.
    #[test]
    fn the_reference_page_is_current() {
        let page = include_str!("../../METRICS.md");
        let table = page.split("## 3.").nth(1).and_then(|rest| rest.split("## 4.").next()).unwrap();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| name "))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        assert_eq!(rows.len(), N_METRICS);
        for (metric, row) in METRICS.iter().zip(rows) {
            let natural = metric.natural.to_string();
            let expected = [metric.name, metric.unit, metric.definition, row[3], &natural, metric.source];
            assert_eq!(row, expected);
            assert!(!row[3].is_empty(), "{}: undefined when?", metric.name);
        }
    }

    #[test]
    fn a_row_holds_no_infinity() {
        let mut values = [0.0; N_METRICS];
        let mut row = Row(&mut values);
        row.set(Ix::Sharpe, f64::INFINITY);
        row.set(Ix::Beta, f64::NEG_INFINITY);
        assert!(row.get(Ix::Sharpe).is_nan() && row.get(Ix::Beta).is_nan());
    }
}
