//! A batch gives the bits of its trials run alone, on any number of threads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::batch::{AccountResult, Extras, RunOutcome, TrialOutcome, run_batch, run_batch_on, run_rules};
use akq_core::data::Panel;
use akq_core::engine::Keep;
use akq_core::plan::Plan;
use common::{panel_of, random_series};
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;

const RULES: [&str; 6] = [
    r#"{"enter": "cross_above(sma(close, fast), sma(close, slow))",
        "exit": "cross_below(sma(close, fast), sma(close, slow))", "size": {"kind": "qty", "value": "10"}}"#,
    r#"{"enter": "ema(close, fast) > ema(close, slow)", "enter_short": "ema(close, fast) < ema(close, slow)",
        "on_opposite": "reverse", "size": {"kind": "pct_equity", "value": "0.5"}, "stop_loss":
        {"kind": "pct", "value": "fast / 200"}, "take_profit": {"kind": "pct", "value": "slow / 200"}}"#,
    r#"{"enter": "rsi(close, fast) < 40", "exit": "rsi(close, fast) > 60", "entry": {"limit": "low"}, "valid_bars": "2",
        "size": {"kind": "value", "value": "20000"}, "trailing": {"kind": "pct", "value": "0.05"}, "max_bars": "slow"}"#,
    r#"{"enter": "close > shift(highest(high, fast), 1)", "exit": "close < shift(lowest(low, slow), 1)",
        "entry": {"stop": "high"}}"#,
    r#"{"weights": "if_else(rank(-roc(close, fast)) <= 2, 0.4, 0)", "rebalance": {"every": "slow"}}"#,
    r#"{"weights": "1 / atr(fast)", "rebalance": {"every": "5", "top": "2", "offset": "3"}}"#,
];

fn plan(rules: &str, mode: &str) -> Plan {
    let outputs =
        r#"[["sharpe", "median"], ["final_equity", "mean"], ["n_trades", "sum"], ["max_drawdown", "min"]]"#;
    Plan::from_json(&format!(
        r#"{{"strategy": {{"rules": {rules}}}, "params": ["fast", "slow"], "mode": "{mode}", "outputs": {outputs},
            "min_defined": 0.0, "market": {{"commission": {{"rate": 0.001}}, "slippage_bps": 3}}}}"#
    ))
    .unwrap()
}

fn panel(n_assets: u64, seed: u64) -> Panel {
    let series: Vec<_> = (0..n_assets).map(|ix| random_series(&format!("S{ix}"), 150, seed + ix)).collect();
    panel_of(&series, 1)
}

fn batch(plan: &Plan, panel: &Panel, rows: &[[f64; 2]], n_threads: usize) -> Vec<TrialOutcome> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let rows: Vec<&[f64]> = rows.iter().map(<[f64; 2]>::as_slice).collect();
    pool.install(|| run_batch(plan, panel, &rows, &AtomicBool::new(false)).unwrap())
}

/// Outcomes with their values as bits, so that undefined equals undefined.
fn bits(outcomes: &[TrialOutcome]) -> Vec<(Option<String>, String, Vec<u64>)> {
    let one =
        |o: &TrialOutcome| (o.error.clone(), o.hash.clone(), o.values.iter().map(|v| v.to_bits()).collect());
    outcomes.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batch_is_single_and_threads_do_not_matter(
        seed in 0u64..1_000_000, n_assets in 1u64..5, shared in any::<bool>(), rules in 0usize..RULES.len(),
        fast in prop::collection::vec(1u32..12, 1..7), slow in 8u32..30,
    ) {
        let needs_shared = RULES[rules].contains("rank");
        let plan = plan(RULES[rules], if shared || needs_shared { "portfolio" } else { "per_asset" });
        let panel = panel(n_assets, seed);
        let mut rows: Vec<[f64; 2]> = fast.iter().map(|&f| [f64::from(f), f64::from(slow)]).collect();
        rows.push([0.0, f64::from(slow)]); // a bad parameter fails alone
        let together = batch(&plan, &panel, &rows, 1);
        prop_assert_eq!(bits(&together), bits(&batch(&plan, &panel, &rows, 2)));
        prop_assert_eq!(bits(&together), bits(&batch(&plan, &panel, &rows, 8)));
        let assets: Vec<usize> = (0..panel.n_assets()).collect();
        for (row, outcome) in rows.iter().zip(&together) {
            match run_rules(&plan, &panel, row, &assets, Keep::Everything, &AtomicBool::new(false)) {
                Ok(alone) => prop_assert_eq!(bits(&[alone.outcome]), bits(std::slice::from_ref(outcome))),
                Err(error) => prop_assert_eq!(Some(error.to_string()), outcome.error.clone()),
            }
        }
        prop_assert!(together.last().is_some_and(|o| o.error.is_some()) || rules >= 4);
    }
}

#[test]
fn ranking_needs_one_account_for_all_assets() {
    let text = r#"{"strategy": {"rules": {"enter": "rank(close) == 1"}}, "outputs": [["sharpe", null]]}"#;
    assert!(Plan::from_json(text).unwrap_err().to_string().contains("set mode to portfolio"));
}

#[test]
fn a_cancelled_batch_stops() {
    let plan = plan(RULES[0], "per_asset");
    let cancelled = run_batch(&plan, &panel(2, 1), &[&[3.0, 9.0]], &AtomicBool::new(true));
    assert!(matches!(cancelled, Err(akq_core::error::EngineError::Cancelled)));
}

#[test]
fn plans_refuse_what_they_do_not_know() {
    let message = |text: &str| Plan::from_json(text).unwrap_err().to_string();
    assert!(message("{").starts_with("plan: "));
    let unknown =
        r#"{"strategy": {"rules": {"enter": "close > 1"}}, "outputs": [["sharpe", null]], "extra": 1}"#;
    assert!(message(unknown).contains("unknown field `extra`"));
    let metric = r#"{"strategy": {"rules": {"enter": "close > 1"}}, "outputs": [["sharp", null]]}"#;
    assert!(message(metric).contains(r#"unknown metric "sharp""#));
    let short = r#"{"strategy": {"rules": {"enter": "close > 1", "exit_short": "close < 1"}}, "outputs": [["sharpe", null]]}"#;
    assert!(message(short).contains("exit_short without enter_short"));
}

/// Returns of the accounts of a run together, date by date, from their equity.
fn pooled_returns(run: &RunOutcome, dates: &[i32], cash: f64) -> Vec<f64> {
    let equity_on = |date: i32| -> f64 {
        let last = |account: &AccountResult| {
            let steps = account.timeline.dates().partition_point(|&on| on <= date);
            if steps == 0 { cash } else { account.record.equity[steps - 1] }
        };
        run.accounts.iter().map(last).fold(0.0, |sum, equity| sum + equity)
    };
    let equity: Vec<f64> = dates.iter().map(|&date| equity_on(date)).collect();
    equity.windows(2).map(|pair| (pair[1] - pair[0]) / pair[0]).collect()
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()))
}

#[test]
fn values_by_account_and_returns_are_those_of_the_runs() {
    let cancel = AtomicBool::new(false);
    for (mode, rules) in [("per_asset", RULES[1]), ("portfolio", RULES[1]), ("portfolio", RULES[4])] {
        let plan = plan(rules, mode);
        let panel = panel(4, 77);
        let rows: Vec<&[f64]> = vec![&[3.0, 9.0], &[0.0, 9.0], &[5.0, 12.0]];
        let assets = [0, 2, 3];
        let extras = Extras { by_account: true, returns: true };
        let found = run_batch_on(&plan, &panel, &rows, &assets, extras, &cancel).unwrap();
        let (n_values, n_returns) = (found.by_account.len() / rows.len(), found.dates.len() - 1);
        assert_eq!(n_values, if mode == "portfolio" { 4 } else { 12 });
        assert!(found.dates.windows(2).all(|pair| pair[0] < pair[1]));
        let mut n_failed = 0;
        for (ix, row) in rows.iter().enumerate() {
            let values = &found.by_account[ix * n_values..][..n_values];
            let returns = &found.returns[ix * n_returns..][..n_returns];
            match run_rules(&plan, &panel, row, &assets, Keep::Metrics, &cancel) {
                Ok(alone) => {
                    assert_eq!(bits(std::slice::from_ref(&alone.outcome)), bits(&found.trials[ix..=ix]));
                    let one = |account: &AccountResult| -> Vec<f64> {
                        plan.outputs().iter().map(|output| account.metrics[output.metric_ix]).collect()
                    };
                    let expected: Vec<f64> = alone.accounts.iter().flat_map(one).collect();
                    assert!(same_bits(values, &expected), "{mode}: {values:?} {expected:?}");
                    assert!(same_bits(returns, &pooled_returns(&alone, &found.dates, plan.market().cash)));
                }
                Err(error) => {
                    n_failed += 1;
                    assert_eq!(found.trials[ix].error, Some(error.to_string()));
                    assert!(values.iter().chain(returns).all(|value| value.is_nan()));
                }
            }
        }
        assert_eq!(n_failed, 1, "{mode}");
    }
}

#[test]
fn blocks_of_assets_change_nothing() {
    // More values than are held at once: 130 assets x 600 trials.
    let series: Vec<_> = (0..130).map(|ix| random_series(&format!("S{ix:03}"), 24, ix)).collect();
    let panel = panel_of(&series, 1);
    let plan = plan(RULES[0], "per_asset");
    let rows: Vec<[f64; 2]> = (0..600).map(|ix| [f64::from(1 + ix % 5), f64::from(6 + ix % 3)]).collect();
    let together = batch(&plan, &panel, &rows, 2);
    let assets: Vec<usize> = (0..panel.n_assets()).collect();
    for ix in [0, 7, 599] {
        let alone =
            run_rules(&plan, &panel, &rows[ix], &assets, Keep::Metrics, &AtomicBool::new(false)).unwrap();
        assert_eq!(bits(&[alone.outcome]), bits(&together[ix..=ix]));
    }
}
