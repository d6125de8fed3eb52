use super::super::trips::tests::trip;
use super::super::{is_rankable, metric_ix};
use super::*;
use proptest::prelude::*;

const DAILY: MetricSettings =
    MetricSettings { basis: ReturnBasis::Daily, periods_per_year: 252.0, risk_free: 0.0, mar: 0.0 };
const BAR: MetricSettings =
    MetricSettings { basis: ReturnBasis::Bar, periods_per_year: 252.0, risk_free: 0.0, mar: 0.0 };

/// A row with access by name.
struct Named(Vec<f64>);

impl Named {
    fn get(&self, name: &str) -> f64 {
        self.0[metric_ix(name).unwrap()]
    }

    fn assert_near(&self, name: &str, expected: f64) {
        let found = self.get(name);
        assert!(
            (found - expected).abs() <= 1e-12 * expected.abs().max(1e-3),
            "{name}: {found}, expected {expected}"
        );
    }

    fn assert_undefined(&self, names: &[&str]) {
        for name in names {
            assert!(self.get(name).is_nan(), "{name}: {}", self.get(name));
        }
    }
}

fn run<'a>(equity: &'a [f64], dates: &'a [i32], settings: &'a MetricSettings) -> RunSummary<'a> {
    RunSummary {
        initial_cash: 100.0,
        equity,
        dates,
        trips: &[],
        counts: Counts::default(),
        settings,
        benchmark: None,
    }
}

fn row(run: &RunSummary<'_>) -> Named {
    let mut out = vec![0.0; N_METRICS];
    summarize(run, &mut Scratch::default(), &mut out);
    Named(out)
}

fn days(n: usize) -> Vec<i32> {
    (0..n as i32).collect()
}

const RETURN_METRICS: &[&str] = &[
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "var_95",
    "cvar_95",
    "omega",
    "tail_ratio",
    "skew",
    "kurtosis",
    "k_ratio",
    "stability",
    "turnover",
];

#[test]
fn three_returns() {
    // E = 80 110 99 108.9: r = 37.5 %, -10 %, 10 %; C = 100; mean 12.5 %; d = 25, -22.5, -2.5 %
    let equity = [80.0, 110.0, 99.0, 108.9];
    let found = row(&run(&equity, &days(4), &DAILY));
    found.assert_near("final_equity", 108.9);
    found.assert_near("total_return", 0.089);
    found.assert_near("cagr", (108.9_f64 / 80.0).powf(84.0) - 1.0);
    let std = ((0.0625 + 0.050625 + 0.000625) / 2.0_f64).sqrt();
    found.assert_near("volatility", std * 252.0_f64.sqrt());
    found.assert_near("sharpe", 0.125 / std * 252.0_f64.sqrt());
    found.assert_near("sortino", 0.125 / (0.01 / 3.0_f64).sqrt() * 252.0_f64.sqrt());
    found.assert_near("max_drawdown", -0.1);
    found.assert_near("max_drawdown_bars", 2.0);
    found.assert_near("calmar", found.get("cagr") / 0.1);
    // sorted -10, 10, 37.5: q05 at 0.1, q95 at 1.9
    found.assert_near("var_95", -0.1 + 0.1 * 0.2);
    found.assert_near("cvar_95", -0.1);
    found.assert_near("tail_ratio", (0.1 + 0.9 * 0.275) / 0.08);
    found.assert_near("omega", 4.75);
    found.assert_near("ulcer_index", ((0.01 + 0.01 * 0.01) / 4.0_f64).sqrt());
}

#[test]
fn risk_free_and_minimum_return_are_spread_over_the_year() {
    let equity = [100.0, 110.0, 99.0, 108.9];
    let settings = MetricSettings { risk_free: 2.52, mar: 5.04, ..DAILY };
    let found = row(&run(&equity, &days(4), &settings));
    // rf 1 %, mar 2 % a day; r = 10, -10, 10 %: mean 10/3; std = sqrt((2 (20/3)^2 + (40/3)^2) / 2) %
    let std = ((2.0 * 400.0 / 9.0 + 1600.0 / 9.0) / 2.0_f64).sqrt();
    found.assert_near("sharpe", (10.0 / 3.0 - 1.0) / std * 252.0_f64.sqrt());
    found.assert_near("sortino", (10.0 / 3.0 - 2.0) / (144.0 / 3.0_f64).sqrt() * 252.0_f64.sqrt());
    found.assert_near("omega", 16.0 / 12.0);
}

#[test]
fn activity_and_trips() {
    let equity = [100.0, 120.0, 80.0];
    let trips = [trip(10.0, 1.0, 2), trip(-3.0, 1.0, 4)];
    let counts = Counts {
        n_orders: 7,
        n_fills: 4,
        n_rejects: 1,
        fees: 2.5,
        slippage_cost: 0.5,
        traded_notional: 400.0,
        exposed_steps: 1,
        n_steps: 4,
    };
    let found = row(&RunSummary { trips: &trips, counts, ..run(&equity, &days(3), &DAILY) });
    for (name, expected) in [
        ("n_trades", 2.0),
        ("n_orders", 7.0),
        ("n_fills", 4.0),
        ("n_rejects", 1.0),
        ("fees", 2.5),
        ("slippage_cost", 0.5),
        ("exposure", 0.25),
        ("turnover", 4.0 * 126.0),
        ("win_rate", 0.5),
        ("expectancy", 2.5),
        ("profit_factor", 2.25),
        ("avg_holding_bars", 3.0),
    ] {
        found.assert_near(name, expected);
    }
}

/// Pitfall 16: minute bars with 252 periods a year give the Sharpe ratio of the days.
#[test]
fn intraday_bars_are_annualised_by_days() {
    // Four bars a day; the last of each day carries the daily curve, the others wander.
    let closes = [100.0, 101.0, 99.0, 102.0, 103.0, 101.0];
    let (mut equity, mut dates) = (Vec::new(), Vec::new());
    for (date, close) in (0..).zip(closes) {
        for wander in [0.999, 1.001, 1.0, 1.0] {
            equity.push(close * wander);
            dates.push(date);
        }
    }
    let intraday = row(&run(&equity, &dates, &DAILY));
    let daily = row(&run(&closes, &days(6), &DAILY));
    for name in RETURN_METRICS {
        if !["calmar", "turnover"].contains(name) {
            assert_eq!(intraday.get(name).to_bits(), daily.get(name).to_bits(), "{name}");
        }
    }
    // Drawdown sees every step: from 101 * 1.001 down to 99 * 0.999.
    intraday.assert_near("max_drawdown", 99.0 * 0.999 / (101.0 * 1.001) - 1.0);
    intraday.assert_near("calmar", daily.get("cagr") / -intraday.get("max_drawdown"));
    let per_bar = row(&run(&equity, &dates, &BAR));
    assert!(per_bar.get("sharpe") < 0.6 * daily.get("sharpe"));
}

/// Pitfall 33: two days of profit annualise to 400 % a year, so they do not take part in a ranking.
#[test]
fn a_few_days_do_not_rank_by_growth() {
    let mut equity = vec![100.0, 100.65, 101.305];
    let mut scratch = Scratch::default();
    let mut out = vec![0.0; N_METRICS];
    let cagr = metric_ix("cagr").unwrap();
    summarize(&run(&equity, &days(3), &DAILY), &mut scratch, &mut out);
    assert!(out[cagr] > 4.0);
    assert_eq!(scratch.n_daily_returns(), 2);
    for name in ["cagr", "calmar"] {
        assert!(!is_rankable(metric_ix(name).unwrap(), scratch.n_daily_returns()), "{name}");
    }
    assert!(is_rankable(metric_ix("sharpe").unwrap(), 2));
    equity.extend((0..19).map(|i| 102.0 + f64::from(i)));
    summarize(&run(&equity, &days(22), &DAILY), &mut scratch, &mut out);
    assert!(is_rankable(cagr, scratch.n_daily_returns()));
    // 22 bars within one day are no daily return at all.
    summarize(&run(&equity, &[5; 22], &BAR), &mut scratch, &mut out);
    assert!(!is_rankable(cagr, scratch.n_daily_returns()));
}

/// Pitfall 34: constant returns have no Sharpe ratio, neither an infinite one nor one of 10^16.
#[test]
fn constant_returns_have_no_ratios() {
    for growth in [1.0, 1.000_001, 1.0001, 1.001, 0.999, 1.05] {
        let mut equity = vec![987_654.321];
        for i in 0..400 {
            equity.push(equity[i] * growth);
        }
        let found = row(&run(&equity, &days(401), &DAILY));
        found.assert_undefined(&["sharpe", "skew", "kurtosis", "k_ratio"]);
        assert_eq!(found.get("volatility"), 0.0, "growth {growth}");
        if growth >= 1.0 {
            found.assert_undefined(&["sortino", "omega", "calmar"]);
        }
        let given = summarize_returns(&vec![growth - 1.0; 400], &DAILY, None);
        let sharpe = given.iter().find(|(name, _)| *name == "sharpe").unwrap().1;
        assert!(sharpe.is_nan(), "growth {growth}: {sharpe}");
    }
}

#[test]
fn an_account_that_never_trades() {
    let found = row(&run(&[100.0; 30], &days(30), &DAILY));
    for name in [
        "total_return",
        "cagr",
        "volatility",
        "max_drawdown",
        "max_drawdown_bars",
        "var_95",
        "cvar_95",
        "turnover",
    ] {
        assert_eq!(found.get(name), 0.0, "{name}");
    }
    found.assert_undefined(&[
        "sharpe",
        "sortino",
        "calmar",
        "omega",
        "tail_ratio",
        "skew",
        "kurtosis",
        "k_ratio",
        "stability",
        "win_rate",
        "profit_factor",
        "expectancy",
        "alpha",
        "beta",
    ]);
}

#[test]
fn bankruptcy_leaves_only_what_still_means_something() {
    for low in [0.0, -5.0] {
        let found = row(&run(&[100.0, low, 50.0, 60.0], &days(4), &DAILY));
        found.assert_undefined(RETURN_METRICS);
        found.assert_near("total_return", -0.4);
        found.assert_near("final_equity", 60.0);
        found.assert_near("max_drawdown", low / 100.0 - 1.0);
    }
    // Negative within a day, positive at its end: the days have returns.
    let found = row(&run(&[100.0, -5.0, 50.0, 60.0], &[1, 2, 2, 3], &DAILY));
    found.assert_near("volatility", (0.7 / 2.0_f64.sqrt()) * 252.0_f64.sqrt());
    found.assert_near("max_drawdown", -1.05);
}

#[test]
fn short_and_broken_inputs() {
    let empty = row(&run(&[], &[], &DAILY));
    empty.assert_undefined(RETURN_METRICS);
    empty.assert_undefined(&["total_return", "final_equity", "max_drawdown", "exposure"]);
    assert_eq!(empty.get("n_trades"), 0.0);
    let one = row(&run(&[90.0], &[1], &DAILY));
    one.assert_undefined(RETURN_METRICS);
    one.assert_near("total_return", -0.1);
    one.assert_near("max_drawdown", 0.0);
    let two = row(&run(&[90.0, 99.0], &days(2), &DAILY));
    two.assert_undefined(&["volatility", "sharpe", "skew", "k_ratio", "stability"]);
    two.assert_near("var_95", 0.1);
    for year in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let settings = MetricSettings { periods_per_year: year, ..DAILY };
        let found = row(&run(&[90.0, 99.0, 80.0], &days(3), &settings));
        found.assert_undefined(&["cagr", "volatility", "sharpe", "sortino", "calmar", "turnover", "k_ratio"]);
        found.assert_near("max_drawdown", 80.0 / 99.0 - 1.0);
    }
    let mut wrong_length = vec![7.0; N_METRICS + 1];
    summarize(&run(&[90.0, 99.0], &days(2), &DAILY), &mut Scratch::default(), &mut wrong_length);
    assert!(wrong_length.iter().all(|value| value.is_nan()));
}

#[test]
fn a_benchmark_of_the_same_periods() {
    let b = [0.01, -0.02, 0.03];
    let mut equity = vec![100.0];
    for (i, y) in b.iter().enumerate() {
        equity.push(equity[i] * (1.0 + 2.0 * y + 0.001));
    }
    let dates = days(4);
    let found = row(&RunSummary { benchmark: Some(&b), ..run(&equity, &dates, &DAILY) });
    assert!((found.get("beta") - 2.0).abs() < 1e-12);
    assert!((found.get("alpha") - 0.252).abs() < 1e-12);
    // r - b = b + 0.001: mean 0.02/3 + 0.001
    let std = found.get("tracking_error") / 252.0_f64.sqrt();
    assert!((found.get("information_ratio") - (0.02 / 3.0 + 0.001) / std * 252.0_f64.sqrt()).abs() < 1e-9);
    // Equal returns: the active return is flat.
    let same: Vec<f64> = equity.windows(2).map(|w| w[1] / w[0] - 1.0).collect();
    let found = row(&RunSummary { benchmark: Some(&same), ..run(&equity, &dates, &DAILY) });
    assert_eq!(found.get("tracking_error"), 0.0);
    found.assert_undefined(&["information_ratio"]);
    assert!((found.get("up_capture") - 1.0).abs() < 1e-12);
    // One period too few, or a hole.
    for broken in [&b[..2], &[0.01, f64::NAN, 0.03]] {
        let found = row(&RunSummary { benchmark: Some(broken), ..run(&equity, &dates, &DAILY) });
        found.assert_undefined(&[
            "alpha",
            "beta",
            "information_ratio",
            "tracking_error",
            "up_capture",
            "down_capture",
        ]);
        assert!(found.get("sharpe").is_finite());
    }
}

#[test]
fn a_plain_series_starts_at_one() {
    let found = summarize_returns(&[-0.1, 0.05], &DAILY, None);
    let get = |name: &str| found.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    // The first return already falls below the start.
    assert!((get("max_drawdown").unwrap() - -0.1).abs() < 1e-15);
    assert!((get("total_return").unwrap() - (0.9 * 1.05 - 1.0)).abs() < 1e-15);
    assert_eq!(get("n_trades"), None);
    assert_eq!(get("beta"), None);
    let with = summarize_returns(&[-0.1, 0.05], &DAILY, Some(&[-0.05, 0.025]));
    let beta = with.iter().find(|(name, _)| *name == "beta").unwrap().1;
    assert!((beta - 2.0).abs() < 1e-12);
    assert!(summarize_returns(&[], &DAILY, Some(&[])).iter().all(|(_, value)| value.is_nan()));
    let bankrupt = summarize_returns(&[0.1, -1.5, 0.2], &DAILY, None);
    assert!(bankrupt.iter().find(|(name, _)| *name == "sharpe").unwrap().1.is_nan());
}

#[test]
fn settings_read_as_written() {
    let text = r#"{"basis": "bar", "periods_per_year": 25704.0, "risk_free": 0.0, "mar": 0.01}"#;
    let settings: MetricSettings = serde_json::from_str(text).unwrap();
    assert_eq!((settings.basis, settings.periods_per_year, settings.mar), (ReturnBasis::Bar, 25704.0, 0.01));
    assert_eq!(serde_json::to_string(&ReturnBasis::Daily).unwrap(), "\"daily\"");
}

/// A curve from returns, with at least three points and some variation.
fn curves() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-0.08..0.09_f64, 3..400).prop_map(|r| {
        let mut equity = vec![1000.0];
        for x in r {
            equity.push(equity[equity.len() - 1] * (1.0 + x));
        }
        equity
    })
}

fn near(a: f64, b: f64, rel: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= rel * a.abs().max(b.abs()).max(1e-6)
}

proptest! {
    /// Wide registers give the row of plain arithmetic: with flat stretches, falls, ruin and numbers that are none.
    #[test]
    fn registers_do_not_change_a_row(
        steps in prop::collection::vec((0..6u8, -0.03..0.03_f64), 0..90), at in 0..90usize, odd in 0..40u8,
        steps_a_day in 1..4i32, mar in prop::sample::select(vec![0.0, 0.04]),
    ) {
        let mut equity = vec![1e5];
        for (kind, change) in steps {
            let last = equity[equity.len() - 1];
            equity.push(if kind < 3 { last } else { last * (1.0 + change) });
        }
        let at = at % equity.len();
        equity[at] = match odd {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -1.0,
            3 => 0.0,
            _ => equity[at],
        };
        let dates: Vec<i32> = (0..equity.len() as i32).map(|step| step / steps_a_day).collect();
        for basis in [ReturnBasis::Daily, ReturnBasis::Bar] {
            let settings = MetricSettings { basis, mar, ..DAILY };
            let run = run(&equity, &dates, &settings);
            let (mut wide, mut plain) = ([0.0; N_METRICS], [0.0; N_METRICS]);
            summarize(&run, &mut Scratch::default(), &mut wide);
            fill_row::<Plain>((), &run, &mut Scratch::default(), &mut plain);
            prop_assert_eq!(wide.map(f64::to_bits), plain.map(f64::to_bits));
        }
    }
}

proptest! {
    /// Every metric of returns against its definition, written the slow way.
    #[test]
    fn definitions_hold(equity in curves(), rf in 0.0..0.1_f64, mar in 0.0..0.1_f64) {
        let settings = MetricSettings { risk_free: rf, mar, ..DAILY };
        let dates = days(equity.len());
        let found = row(&run(&equity, &dates, &settings));
        let r: Vec<f64> = equity.windows(2).map(|w| w[1] / w[0] - 1.0).collect();
        let (n, a) = (r.len() as f64, 252.0_f64);
        let mean = r.iter().sum::<f64>() / n;
        let moment = |k: i32| r.iter().map(|x| (x - mean).powi(k)).sum::<f64>() / n;
        let std = (moment(2) * n / (n - 1.0)).sqrt();
        let short = (r.iter().map(|x| (x - mar / a).min(0.0).powi(2)).sum::<f64>() / n).sqrt();
        let mut sorted = r.clone();
        sorted.sort_by(f64::total_cmp);
        let q = |share: f64| {
            let at = share * (n - 1.0);
            let low = sorted[at as usize];
            low + (sorted[(at as usize + 1).min(r.len() - 1)] - low) * at.fract()
        };
        let worst: Vec<f64> = r.iter().copied().filter(|x| *x <= q(0.05)).collect();
        let falls: Vec<f64> = (0..equity.len())
            .map(|i| equity[i] / equity[..=i].iter().copied().fold(0.0, f64::max) - 1.0).collect();
        let depth = falls.iter().copied().fold(0.0, f64::min);
        let cagr = (equity[equity.len() - 1] / equity[0]).powf(a / n) - 1.0;
        let logs: Vec<f64> = equity[1..].iter().map(|e| (e / equity[0]).ln()).collect();
        let (mx, my) = ((n - 1.0) / 2.0, logs.iter().sum::<f64>() / n);
        let sxy: f64 = logs.iter().enumerate().map(|(i, y)| (i as f64 - mx) * (y - my)).sum();
        let sxx: f64 = (0..logs.len()).map(|i| (i as f64 - mx).powi(2)).sum();
        let syy: f64 = logs.iter().map(|y| (y - my).powi(2)).sum();
        let slope = sxy / sxx;
        let sse: f64 = logs.iter().enumerate().map(|(i, y)| (y - my - slope * (i as f64 - mx)).powi(2)).sum();
        let positive = |x: f64| if x > 0.0 { x } else { f64::NAN };
        for (name, expected) in [
            ("cagr", cagr),
            ("volatility", std * a.sqrt()),
            ("sharpe", (mean - rf / a) / std * a.sqrt()),
            ("sortino", (mean - mar / a) / positive(short) * a.sqrt()),
            ("max_drawdown", depth),
            ("calmar", cagr / positive(-depth)),
            ("var_95", q(0.05)),
            ("cvar_95", worst.iter().sum::<f64>() / worst.len() as f64),
            ("tail_ratio", q(0.95).abs() / q(0.05).abs()),
            ("omega", r.iter().map(|x| (x - mar / a).max(0.0)).sum::<f64>()
                / positive(r.iter().map(|x| (mar / a - x).max(0.0)).sum::<f64>())),
            ("skew", moment(3) / moment(2).powf(1.5)),
            ("kurtosis", moment(4) / moment(2).powi(2)),
            ("ulcer_index", (falls.iter().map(|f| f * f).sum::<f64>() / equity.len() as f64).sqrt()),
            ("stability", 1.0 - sse / syy),
            ("k_ratio", slope / (sse / (n - 2.0) / sxx).sqrt() * a.sqrt() / n),
        ] {
            prop_assert!(near(found.get(name), expected, 1e-8), "{name}: {} {expected}", found.get(name));
        }
    }

    /// Money scales, everything else stays, to the last bit for a power of two.
    #[test]
    fn scale_invariance(equity in curves(), power in -20..20_i32, nets in prop::collection::vec(-50.0..60.0_f64, 0..20)) {
        let scale = 2.0_f64.powi(power);
        let dates = days(equity.len());
        let trips: Vec<RoundTrip> = nets.iter().map(|&net| trip(net, 0.5, 3)).collect();
        let counts = Counts { fees: 3.0, slippage_cost: 1.0, traded_notional: 5e3, n_steps: 9, exposed_steps: 4, ..Counts::default() };
        let base = RunSummary { initial_cash: 1000.0, trips: &trips, counts, ..run(&equity, &dates, &DAILY) };
        let large_equity: Vec<f64> = equity.iter().map(|e| e * scale).collect();
        let large_trips: Vec<RoundTrip> = trips.iter().map(|t| RoundTrip { net: t.net * scale, ..*t }).collect();
        let large_counts = Counts {
            fees: 3.0 * scale, slippage_cost: scale, traded_notional: 5e3 * scale, ..counts
        };
        let large = RunSummary {
            initial_cash: 1000.0 * scale, equity: &large_equity, trips: &large_trips, counts: large_counts, ..base
        };
        let (one, other) = (row(&base), row(&large));
        for (metric, (x, y)) in METRICS.iter().zip(one.0.iter().zip(&other.0)) {
            let expected = if metric.unit == "money" { x * scale } else { *x };
            prop_assert!(expected.to_bits() == y.to_bits() || (expected.is_nan() && y.is_nan()), "{}: {expected} {y}", metric.name);
        }
    }

    /// The order of returns matters to drawdown and trend only.
    #[test]
    fn permutation_of_returns(r in prop::collection::vec(-0.05..0.05_f64, 2..200), turn in any::<usize>()) {
        let mut other = r.clone();
        let n = other.len();
        other.rotate_left(turn % n);
        other.reverse();
        let (a, b) = (summarize_returns(&r, &DAILY, None), summarize_returns(&other, &DAILY, None));
        for ((name, x), (_, y)) in a.into_iter().zip(b) {
            if !["max_drawdown", "max_drawdown_bars", "calmar", "ulcer_index", "k_ratio", "stability"].contains(&name) {
                prop_assert!(near(x, y, 1e-8), "{name}: {x} {y}");
            }
        }
    }

    /// Buffers of an earlier run leave no trace.
    #[test]
    fn a_used_scratch_changes_nothing(first in curves(), second in curves(), per_day in 1..5_i32) {
        let dates: Vec<i32> = (0..second.len() as i32).map(|i| i / per_day).collect();
        let (first_dates, mut used) = (days(first.len()), Scratch::default());
        let mut out = vec![0.0; N_METRICS];
        summarize(&run(&first, &first_dates, &BAR), &mut used, &mut out);
        summarize(&run(&second, &dates, &DAILY), &mut used, &mut out);
        let fresh = row(&run(&second, &dates, &DAILY));
        prop_assert!(out.iter().zip(&fresh.0).all(|(x, y)| x.to_bits() == y.to_bits()));
    }

    /// Whatever goes in: no panic, no infinity.
    #[test]
    fn anything_goes_in(
        equity in prop::collection::vec(prop_oneof![any::<f64>(), -10.0..1e6_f64], 0..30),
        dates in prop::collection::vec(-3..3_i32, 0..30),
        nets in prop::collection::vec(any::<f64>(), 0..5),
        benchmark in prop::collection::vec(prop_oneof![any::<f64>(), -0.1..0.1_f64], 0..30),
        cash in any::<f64>(), year in any::<f64>(), rf in any::<f64>(), mar in any::<f64>(), bar in any::<bool>(),
    ) {
        let basis = if bar { ReturnBasis::Bar } else { ReturnBasis::Daily };
        let settings = MetricSettings { basis, periods_per_year: year, risk_free: rf, mar };
        let trips: Vec<RoundTrip> = nets.iter().map(|&net| RoundTrip { mae: net, exit_row: 0, ..trip(net, 0.0, 1) }).collect();
        let counts = Counts { fees: cash, n_steps: 0, exposed_steps: u64::MAX, traded_notional: year, ..Counts::default() };
        for benchmark in [None, Some(benchmark.as_slice())] {
            let found = row(&RunSummary {
                initial_cash: cash, equity: &equity, dates: &dates, trips: &trips, counts, settings: &settings, benchmark,
            });
            prop_assert!(found.0.iter().all(|value| !value.is_infinite()));
            let plain = summarize_returns(&equity, &settings, benchmark);
            prop_assert!(plain.iter().all(|(_, value)| !value.is_infinite()));
        }
    }
}
