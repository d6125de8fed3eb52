//! Trials that are looked at on the way: what is not stopped is what a batch gives, and a look shows what was so far.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::batch::{
    BatchOutcome, Extras, Stages, TrialOutcome, run_batch, run_batch_on, run_rules, run_staged,
};
use akq_core::data::Panel;
use akq_core::engine::Keep;
use akq_core::error::EngineError;
use akq_core::plan::Plan;
use common::{panel_of, random_series};
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;

const RULES: [&str; 7] = [
    r#"{"enter": "cross_above(sma(close, fast), sma(close, slow))",
        "exit": "cross_below(sma(close, fast), sma(close, slow))"}"#,
    r#"{"enter": "ema(close, fast) > ema(close, slow)", "enter_short": "ema(close, fast) < ema(close, slow)",
        "on_opposite": "reverse", "size": {"kind": "pct_equity", "value": "0.5"}, "stop_loss":
        {"kind": "pct", "value": "fast / 200"}, "take_profit": {"kind": "pct", "value": "slow / 200"}}"#,
    r#"{"enter": "rsi(close, fast) < 40", "exit": "rsi(close, fast) > 60", "entry": {"limit": "low"}, "valid_bars": "9",
        "size": {"kind": "value", "value": "20000"}, "trailing": {"kind": "pct", "value": "0.15"}, "max_bars": "slow"}"#,
    r#"{"enter": "close > shift(highest(high, fast), 1)", "exit": "close < shift(lowest(low, slow), 1)",
        "entry": {"stop": "high * 1.02"}, "trailing": {"kind": "abs", "value": "9", "on": "close"}}"#,
    r#"{"enter": "bar_index > fast", "exit": "bar_index > 4 * slow"}"#,
    r#"{"weights": "1 / atr(fast)", "rebalance": {"every": "5", "top": "2", "offset": "3"}}"#,
    r#"{"weights": "if_else(rank(-roc(close, fast)) <= 2, 0.4, 0)", "rebalance": {"every": "slow"}}"#,
];

const MARKETS: [&str; 3] = [
    r#"{"commission": {"rate": 0.001}, "slippage_bps": 3}"#,
    r#"{"fill": "close", "shorts": true}"#,
    r#"{"sell_after_days": 1, "lot": 10}"#,
];

fn plan(rules: &str, mode: &str, market: &str, window: &str) -> Plan {
    let outputs =
        r#"[["final_equity", "mean"], ["sharpe", "median"], ["n_trades", "sum"], ["max_drawdown", "min"]]"#;
    Plan::from_json(&format!(
        r#"{{"strategy": {{"rules": {rules}}}, "params": ["fast", "slow"], "mode": "{mode}", "outputs": {outputs},
            "min_defined": 0.0, "market": {market}, "window": {window}}}"#
    ))
    .unwrap()
}

fn bits(outcome: &TrialOutcome) -> (Option<String>, String, u64, Vec<u64>) {
    let values = outcome.values.iter().map(|v| v.to_bits()).collect();
    (outcome.error.clone(), outcome.hash.clone(), outcome.n_bars, values)
}

/// Number of a look, the rows under way, what they came to.
type Shown = (usize, Vec<usize>, BatchOutcome);

/// Runs in two threads, stopping what `stops` says of (look, row); gives what the looks showed.
fn staged(
    plan: &Plan,
    panel: &Panel,
    rows: &[&[f64]],
    reference: Option<&[f64]>,
    stages: &Stages,
    stops: impl Fn(usize, usize) -> bool + Send + Sync,
) -> (Vec<TrialOutcome>, Vec<Shown>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let mut shown = Vec::new();
    let outcomes = pool.install(|| {
        let mut look = |at: usize, trials: &[usize], found: BatchOutcome| {
            shown.push((at, trials.to_vec(), found));
            Ok(trials.iter().map(|&trial| stops(at, trial)).collect())
        };
        run_staged(plan, panel, rows, reference, stages, &AtomicBool::new(false), &mut look).unwrap()
    });
    (outcomes, shown)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_trial_that_is_not_stopped_is_that_of_a_batch(
        seed in 0u64..1_000_000, n_assets in 1usize..5, shared in any::<bool>(), rules in 0usize..RULES.len(),
        market in 0usize..MARKETS.len(), fast in prop::collection::vec(1u32..12, 1..6), slow in 8u32..30,
        dates in prop::collection::btree_set(-3i32..160, 1..4), windowed in any::<bool>(), by_assets in any::<bool>(),
        stops in any::<u64>(),
    ) {
        let is_shared = shared || RULES[rules].contains("rank");
        let mode = if is_shared { "portfolio" } else { "per_asset" };
        let window = if windowed { r#"{"start": 20, "end": 120}"# } else { "{}" };
        let plan = plan(RULES[rules], mode, MARKETS[market], window);
        let series: Vec<_> =
            (0..n_assets).map(|ix| random_series(&format!("S{ix}"), 150, seed + ix as u64)).collect();
        let panel = panel_of(&series, 1);
        let mut rows: Vec<[f64; 2]> = fast.iter().map(|&f| [f64::from(f), f64::from(slow)]).collect();
        rows.push([0.0, f64::from(slow)]); // a bad parameter fails alone
        let rows: Vec<&[f64]> = rows.iter().map(<[f64; 2]>::as_slice).collect();
        let stages = if by_assets && !is_shared {
            Stages::Assets((1..n_assets).map(|n| (n_assets - n..n_assets).collect()).collect())
        } else {
            Stages::Dates(dates.iter().copied().collect())
        };
        let is_stopped = |at: usize, row: usize| stops >> ((at * 7 + row) % 64) & 3 == 0;
        let (found, shown) = staged(&plan, &panel, &rows, Some(rows[0]), &stages, is_stopped);
        let whole = run_batch(&plan, &panel, &rows, &AtomicBool::new(false)).unwrap();
        let mut under_way: Vec<usize> = (0..rows.len()).collect();
        let all: Vec<usize> = (0..n_assets).collect();
        for (at, trials, look) in &shown {
            prop_assert_eq!(trials, &under_way);
            // Behind the trials stands the one to compare with.
            prop_assert_eq!(look.trials.len(), trials.len() + 1);
            for (trial, outcome) in trials.iter().zip(&look.trials) {
                match &stages {
                    Stages::Assets(parts) => {
                        let mut part = parts[*at].clone();
                        part.sort_unstable();
                        let cancel = AtomicBool::new(false);
                        let alone = run_batch_on(&plan, &panel, &[rows[*trial]], &part, Extras::default(), &cancel);
                        prop_assert_eq!(bits(outcome), bits(&alone.unwrap().trials[0]));
                    }
                    Stages::Dates(dates) => {
                        let alone = run_rules(&plan, &panel, rows[*trial], &all, Keep::Metrics, &AtomicBool::new(false));
                        let Ok(alone) = alone else {
                            prop_assert!(outcome.error.is_some());
                            continue;
                        };
                        let so_far = |account: &akq_core::batch::AccountResult| {
                            let n = account.timeline.dates().partition_point(|&date| date <= dates[*at]);
                            n.checked_sub(1).map(|last| account.record.equity[last])
                        };
                        let equities: Vec<f64> = alone.accounts.iter().filter_map(so_far).collect();
                        if !equities.is_empty() {
                            let mean = equities.iter().sum::<f64>() / equities.len() as f64;
                            prop_assert!((outcome.values[0] - mean).abs() <= 1e-9 * mean, "{} {mean}", outcome.values[0]);
                        }
                    }
                }
            }
            if let Some(place) = trials.iter().position(|trial| *trial == 0) {
                prop_assert_eq!(bits(&look.trials[place]), bits(&look.trials[trials.len()]));
            }
            under_way.retain(|&trial| !is_stopped(*at, trial));
        }
        for (row, (outcome, whole)) in found.iter().zip(&whole).enumerate() {
            if under_way.contains(&row) {
                prop_assert_eq!(bits(outcome), bits(whole));
            } else {
                prop_assert_eq!(&outcome.hash, "");
                prop_assert!(outcome.n_bars <= whole.n_bars || whole.error.is_some());
            }
        }
    }
}

#[test]
fn what_is_stopped_runs_no_further() {
    let plan = plan(RULES[0], "per_asset", MARKETS[0], "{}");
    let series: Vec<_> = (0..4).map(|ix| random_series(&format!("S{ix}"), 100, ix)).collect();
    let panel = panel_of(&series, 1);
    let rows: [&[f64]; 2] = [&[3.0, 9.0], &[4.0, 8.0]];
    let n_bars = |assets: &[usize], until: i32| -> u64 {
        let rows = |&asset: &usize| panel.asset(asset).date.iter().filter(|&&date| date <= until).count();
        assets.iter().map(rows).sum::<usize>() as u64
    };
    let (found, _) = staged(&plan, &panel, &rows, None, &Stages::Assets(vec![vec![2]]), |_, row| row == 1);
    assert_eq!([found[0].n_bars, found[1].n_bars], [n_bars(&[0, 1, 2, 3], 100), n_bars(&[2], 100)]);
    let (found, _) = staged(&plan, &panel, &rows, None, &Stages::Dates(vec![30, 60]), |at, row| at == row);
    assert_eq!([found[0].n_bars, found[1].n_bars], [n_bars(&[0, 1, 2, 3], 30), n_bars(&[0, 1, 2, 3], 60)]);
}

#[test]
fn looks_that_make_no_sense_are_refused() {
    let series: Vec<_> = (0..3).map(|ix| random_series(&format!("S{ix}"), 20, ix)).collect();
    let panel = panel_of(&series, 1);
    let message = |mode: &str, stages: Stages, n_answers: usize| {
        let plan = plan(RULES[0], mode, MARKETS[0], "{}");
        let mut look = |_: usize, _: &[usize], _: BatchOutcome| Ok(vec![false; n_answers]);
        run_staged(&plan, &panel, &[&[3.0, 9.0]], None, &stages, &AtomicBool::new(false), &mut look)
            .unwrap_err()
            .to_string()
    };
    assert!(message("portfolio", Stages::Assets(vec![vec![0]]), 1).contains("one account trades all assets"));
    assert!(message("per_asset", Stages::Assets(vec![vec![0], vec![1]]), 1).contains("holds the one before"));
    assert!(message("per_asset", Stages::Assets(vec![vec![3]]), 1).contains("assets of the panel"));
    assert!(message("per_asset", Stages::Dates(vec![5, 5]), 1).contains("ascending"));
    assert!(message("per_asset", Stages::Dates(vec![5]), 2).contains("gave 2 answers"));
    let plan = plan(RULES[0], "per_asset", MARKETS[0], "{}");
    let mut look = |_: usize, _: &[usize], _: BatchOutcome| Err(EngineError::Internal("stop here"));
    let stages = Stages::Dates(vec![5]);
    let told = run_staged(&plan, &panel, &[&[3.0, 9.0]], None, &stages, &AtomicBool::new(false), &mut look);
    assert!(matches!(told, Err(EngineError::Internal(_))));
}
