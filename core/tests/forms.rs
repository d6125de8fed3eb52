//! The same decisions as rules, as signals and as a strategy of the engine give the same run.
#![allow(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

mod common;

use akq_core::batch::{RunOutcome, run_batch, run_named, run_rules, run_signals};
use akq_core::data::Panel;
use akq_core::engine::Keep;
use akq_core::plan::Plan;
use akq_core::signals::SignalTable;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};
use common::{panel_of, random_series};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const RULES: &str = r#"{"rules": {
    "enter": "close > shift(highest(high, entry), 1)", "exit": "close < shift(lowest(low, leave), 1)",
    "size": {"kind": "qty", "value": "10"}, "stop_loss": {"kind": "pct", "value": "0.04"}}}"#;
const SIGNALS: &str = r#"{"signals": {
    "size": {"kind": "qty", "value": "10"}, "stop_loss": {"kind": "pct", "value": "0.04"}}}"#;
const RUST: &str = r#"{"rust": "donchian"}"#;

fn plan(strategy: &str, params: &str, constants: &str, mode: &str, fill: &str, start: i32) -> Plan {
    let market = format!(r#"{{"fill": "{fill}", "slippage_bps": 2.0, "commission": {{"rate": 0.0005}}}}"#);
    let output = if mode == "portfolio" { r#"["sharpe", null]"# } else { r#"["sharpe", "median"]"# };
    Plan::from_json(&format!(
        r#"{{"strategy": {strategy}, "params": {params}, "constants": {constants}, "market": {market},
             "mode": "{mode}", "window": {{"start": {start}}}, "outputs": [{output}]}}"#
    ))
    .unwrap()
}

fn panel(seed: u64) -> Panel {
    panel_of(&[random_series("A", 150, seed), random_series("B", 120, seed + 1)], 1)
}

/// The signals of the rules above, made by hand.
fn signals(panel: &Panel, entry: usize, leave: usize) -> SignalTable {
    let (mut enter, mut exit) = (Vec::new(), Vec::new());
    for asset in 0..panel.n_assets() {
        let view = panel.asset(asset);
        for row in 0..view.len() {
            let top = (row >= entry).then(|| view.high[row - entry..row].iter().copied().fold(0.0, f64::max));
            let low = (row >= leave).then(|| view.low[row - leave..row].iter().copied().fold(1e9, f64::min));
            enter.push(top.map(|top| view.close[row] > top));
            exit.push(low.map(|low| view.close[row] < low));
        }
    }
    let columns: [(&str, ArrayRef); 2] =
        [("enter", Arc::new(BooleanArray::from(enter))), ("exit", Arc::new(BooleanArray::from(exit)))];
    SignalTable::new(&RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap())
        .unwrap()
}

fn same(a: &RunOutcome, b: &RunOutcome, what: &str) {
    assert_eq!(a.outcome.hash, b.outcome.hash, "{what}");
    for (a, b) in a.accounts.iter().zip(&b.accounts) {
        assert_eq!(a.record.fills, b.record.fills, "{what}");
        assert_eq!(a.record.equity, b.record.equity, "{what}");
        assert_eq!(a.orders, b.orders, "{what}");
    }
}

#[test]
fn rules_signals_and_rust_agree_to_the_bit() {
    let cancel = AtomicBool::new(false);
    let mut n_fills = 0;
    for seed in 0..12 {
        let panel = panel(seed * 10);
        let (entry, leave) = (3 + seed as usize, 2 + (seed as usize) / 2);
        for (mode, fill, start) in
            [("per_asset", "next_open", 0), ("portfolio", "next_open", 25), ("per_asset", "close", 25)]
        {
            let row = [entry as f64, leave as f64];
            let assets = [0, 1];
            let params = r#"["entry", "leave"]"#;
            let by_rules = plan(RULES, params, "{}", mode, fill, start);
            let rules = run_rules(&by_rules, &panel, &row, &assets, Keep::Everything, &cancel).unwrap();
            let by_signals = plan(SIGNALS, "[]", "{}", mode, fill, start);
            let table = signals(&panel, entry, leave);
            let given =
                run_signals(&by_signals, &panel, &[], &table, &assets, Keep::Everything, &cancel).unwrap();
            let by_name = plan(RUST, params, r#"{"qty": 10, "stop": 0.04}"#, mode, fill, start);
            let named = run_named(&by_name, &panel, &row, &assets, Keep::Everything, &cancel).unwrap();
            let what = format!("seed {seed}, {mode}, {fill}, from {start}");
            same(&rules, &given, &what);
            same(&rules, &named, &what);
            n_fills += rules.accounts.iter().map(|a| a.record.fills.len()).sum::<usize>();
            let batch = run_batch(&by_name, &panel, &[&row, &[entry as f64, 9.0]], &cancel).unwrap();
            assert_eq!(batch[0].hash, rules.outcome.hash, "{what}");
        }
    }
    assert!(n_fills > 300, "{n_fills}");
}

#[test]
fn the_sma_cross_is_the_rule_of_its_name() {
    let cancel = AtomicBool::new(false);
    let rules = r#"{"rules": {"enter": "cross_above(sma(close, fast), sma(close, slow))",
                              "exit": "cross_below(sma(close, fast), sma(close, slow))"}}"#;
    for seed in 0..10 {
        let panel = panel(1000 + seed * 10);
        let params = r#"["fast", "slow"]"#;
        let by_rules = plan(rules, params, "{}", "per_asset", "next_open", 15);
        let by_name = plan(r#"{"rust": "sma_cross"}"#, params, "{}", "per_asset", "next_open", 15);
        let row = [3.0 + seed as f64 / 2.0, 9.0].map(f64::floor);
        let a = run_rules(&by_rules, &panel, &row, &[0, 1], Keep::Everything, &cancel).unwrap();
        let b = run_named(&by_name, &panel, &row, &[0, 1], Keep::Everything, &cancel).unwrap();
        assert!(!a.accounts[0].record.fills.is_empty());
        same(&a, &b, &format!("seed {seed}"));
    }
}

#[test]
fn a_bad_parameter_is_the_error_of_its_own_trial() {
    let panel = panel(1);
    let plan = plan(RUST, r#"["entry"]"#, "{}", "per_asset", "next_open", 0);
    let outcomes = run_batch(&plan, &panel, &[&[5.0], &[0.0], &[2.5]], &AtomicBool::new(false)).unwrap();
    assert!(outcomes[0].error.is_none());
    for bad in &outcomes[1..] {
        assert!(
            bad.error.as_deref().unwrap_or("").contains("donchian.entry must be a whole number"),
            "{bad:?}"
        );
    }
}

fn refused(strategy: &str, params: &str) -> String {
    let text =
        format!(r#"{{"strategy": {strategy}, "params": {params}, "outputs": [["sharpe", "median"]]}}"#);
    Plan::from_json(&text).unwrap_err().to_string()
}

#[test]
fn plans_that_mean_nothing_are_refused() {
    assert!(refused(r#"{"rust": "sma"}"#, "[]").contains("known are donchian, sma_cross"));
    assert!(refused(RUST, r#"["entri"]"#).contains("donchian has no parameter \"entri\", it has entry"));
    assert!(refused(r#"{"signals": {"enter": "close > 1"}}"#, "[]").contains("enter comes as a column"));
    assert!(refused(r#"{"signals": {"max_bars": "n"}}"#, "[]").contains('n'));
}

#[test]
fn tables_that_mean_nothing_are_refused() {
    let panel = panel(3);
    let plan = plan(SIGNALS, "[]", "{}", "per_asset", "next_open", 0);
    let n = panel.n_rows();
    let yes = || -> ArrayRef { Arc::new(BooleanArray::from(vec![true; n])) };
    let price = || -> ArrayRef { Arc::new(Float64Array::from(vec![f64::NAN; n])) };
    let short = || -> ArrayRef { Arc::new(BooleanArray::from(vec![true; n - 1])) };
    let whole = || -> ArrayRef { Arc::new(Int64Array::from(vec![1; n])) };
    let run = |columns: Vec<(&str, ArrayRef)>| {
        let table = SignalTable::new(&RecordBatch::try_from_iter(columns).unwrap())?;
        run_signals(&plan, &panel, &[], &table, &[0, 1], Keep::Metrics, &AtomicBool::new(false))
    };
    let message = |columns| run(columns).unwrap_err().to_string();
    assert!(message(vec![("entry", yes())]).contains("unknown column \"entry\""));
    assert!(message(vec![("enter", whole())]).contains("enter has type Int64, expected boolean"));
    assert!(message(vec![("enter", yes()), ("entry_stop", yes())]).contains("expected float64"));
    assert!(message(vec![("enter", short())]).contains("expected one for each of the"));
    assert!(message(vec![("exit", yes())]).contains("one of enter, enter_short or weights is needed"));
    let both = vec![("enter", yes()), ("entry_limit", price()), ("entry_stop", price())];
    assert!(message(both).contains("a limit and a stop"));
    // An undefined price is no entry.
    let run = run(vec![("enter", yes()), ("entry_limit", price())]).unwrap();
    assert!(run.accounts.iter().all(|account| account.record.n_orders == 0));
}
