//! Rules turned into orders, with the arithmetic shown (core/SEMANTICS.md sections 4 and 9).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::batch::{AccountResult, run_rules};
use akq_core::engine::Keep;
use akq_core::model::Side;
use akq_core::plan::Plan;
use common::{Ohlc, Series, panel_of};
use std::sync::atomic::AtomicBool;

fn run(series: &[Series], rules: &str, market: &str, mode: &str) -> AccountResult {
    let plan = Plan::from_json(&format!(
        r#"{{"strategy": {{"rules": {rules}}}, "outputs": [["final_equity", "sum"]], "mode": "{mode}", "market": {market}}}"#
    ))
    .unwrap();
    let panel = panel_of(series, 1);
    let assets: Vec<usize> = (0..panel.n_assets()).collect();
    let run = run_rules(&plan, &panel, &[], &assets, Keep::Everything, &AtomicBool::new(false)).unwrap();
    run.accounts.into_iter().next().unwrap()
}

fn closes(prices: &[f64]) -> Vec<Series> {
    let bars: Vec<Ohlc> = prices.iter().map(|&p| [p; 4]).collect();
    vec![Series::dense("A", &bars)]
}

fn fills(account: &AccountResult) -> Vec<(u32, Side, f64, f64)> {
    account.record.fills.iter().map(|f| (f.row, f.side, f.qty, f.price)).collect()
}

#[test]
fn exit_beats_enter_on_one_bar_and_an_entry_needs_a_flat_position() {
    let rules = r#"{"enter": "close > 10", "exit": "close > 12", "size": {"kind": "qty", "value": "5"}}"#;
    // Row 1 enters; row 2 (13) exits; row 3 (13) both hold while flat: nothing; row 4 (11) enters again.
    let account = run(&closes(&[10.0, 11.0, 13.0, 13.0, 11.0, 11.0, 11.0]), rules, "{}", "per_asset");
    let expected = [(2, Side::Buy, 5.0, 13.0), (3, Side::Sell, 5.0, 13.0), (5, Side::Buy, 5.0, 11.0)];
    assert_eq!(fills(&account), expected);
}

#[test]
fn a_reversal_is_two_orders_each_with_its_own_commission() {
    let rules = r#"{"enter": "close > 10", "enter_short": "close < 10", "on_opposite": "reverse",
                    "size": {"kind": "qty", "value": "5"}}"#;
    let market = r#"{"commission": {"minimum": 2}}"#;
    let account = run(&closes(&[11.0, 11.0, 9.0, 9.0, 9.0]), rules, market, "per_asset");
    let expected = [(1, Side::Buy, 5.0, 11.0), (3, Side::Sell, 5.0, 9.0), (3, Side::Sell, 5.0, 9.0)];
    assert_eq!(fills(&account), expected);
    assert_eq!(account.record.fees, 6.0);
}

#[test]
fn opposite_signals_do_nothing_or_close_as_asked() {
    let with = |on_opposite: &str| {
        let rules = format!(
            r#"{{"enter": "close > 10", "enter_short": "close < 10", "on_opposite": {on_opposite},
                 "size": {{"kind": "qty", "value": "5"}}}}"#
        );
        run(&closes(&[11.0, 11.0, 9.0, 11.0, 11.0]), &rules, "{}", "per_asset").record.fills.len()
    };
    assert_eq!(with("null"), 1);
    assert_eq!(with(r#""close""#), 3); // bought, closed at row 3, bought again at row 4
}

#[test]
fn a_share_of_equity_is_floored_to_the_lot_at_the_decision() {
    // 0.5 x 10,000 / 33 = 151.5 -> 151; with a lot of 100 -> 100.
    let rules = r#"{"enter": "bar_index == 0", "size": {"kind": "pct_equity", "value": "0.5"}}"#;
    let prices = [33.0, 40.0, 40.0];
    let one = run(&closes(&prices), rules, r#"{"cash": 10000}"#, "per_asset");
    assert_eq!(fills(&one), [(1, Side::Buy, 151.0, 40.0)]);
    let lots = run(&closes(&prices), rules, r#"{"cash": 10000, "lot": 100}"#, "per_asset");
    assert_eq!(fills(&lots), [(1, Side::Buy, 100.0, 40.0)]);
}

#[test]
fn a_multiplier_counts_in_sizing() {
    // 0.5 x 100,000 / (100 x 10) = 50 contracts.
    let rules = r#"{"enter": "bar_index == 0", "size": {"kind": "pct_equity", "value": "0.5"}}"#;
    let account =
        run(&closes(&[100.0, 100.0, 101.0]), rules, r#"{"cash": 100000, "multiplier": 10}"#, "per_asset");
    assert_eq!(fills(&account), [(1, Side::Buy, 50.0, 100.0)]);
    assert_eq!(account.record.equity[2], 100_000.0 + 50.0 * 1.0 * 10.0);
}

#[test]
fn max_bars_closes_after_that_many_bars() {
    // Enters at row 1; with max_bars 2 the exit is decided at row 3 and fills at row 4.
    let rules = r#"{"enter": "bar_index == 0", "max_bars": "2", "size": {"kind": "qty", "value": "1"}}"#;
    let account = run(&closes(&[10.0, 10.0, 10.0, 10.0, 12.0, 12.0]), rules, "{}", "per_asset");
    assert_eq!(fills(&account)[1], (4, Side::Sell, 1.0, 12.0));
}

#[test]
fn a_limit_entry_waits_for_its_bars_and_is_not_doubled() {
    // The signal holds on every bar; the limit at 90 % rests for 2 bars, then a new one at the new close.
    let rules = r#"{"enter": "close > 50", "entry": {"limit": "close * 0.9"}, "valid_bars": "2",
                    "size": {"kind": "qty", "value": "1"}}"#;
    let account = run(&closes(&[100.0, 100.0, 110.0, 99.5, 99.0, 99.0]), rules, "{}", "per_asset");
    // Placed at row 0 (90), expires after row 2; placed at row 2 (99); row 3 is 99.5, row 4 reaches it.
    assert_eq!(fills(&account), [(4, Side::Buy, 1.0, 99.0)]);
}

#[test]
fn undefined_is_no_signal_and_not_a_false_one_either() {
    // sma(3) is undefined on rows 0 and 1: neither the condition nor its negation holds.
    let rules = r#"{"enter": "not (sma(close, 3) > 100)", "size": {"kind": "qty", "value": "1"}}"#;
    let account = run(&closes(&[10.0, 10.0, 10.0, 11.0, 11.0]), rules, "{}", "per_asset");
    assert_eq!(fills(&account), [(3, Side::Buy, 1.0, 11.0)]);
}

#[test]
fn weights_rebalance_reductions_first_at_one_close() {
    let a = Series::dense("A", &[[10.0; 4], [10.0; 4], [20.0; 4], [20.0; 4], [20.0; 4]]);
    let b = Series::dense("B", &[[10.0; 4], [10.0; 4], [10.0; 4], [10.0; 4], [10.0; 4]]);
    let rules = r#"{"weights": "0.5", "rebalance": {"every": "2"}}"#;
    let market = r#"{"cash": 1000, "buying_power": "cash"}"#;
    let account = run(&[b, a], rules, market, "portfolio");
    // Row 0: 50 of each at 10. Row 2: equity 50 x 20 + 50 x 10 = 1,500; A down to floor(750 / 20) = 37, B up to 75.
    // B stands first in the panel, yet A's sale pays for it.
    let by_row: Vec<_> =
        account.record.fills.iter().map(|f| (f.row, f.instrument.0, f.side, f.qty)).collect();
    let expected =
        [(1, 0, Side::Buy, 50.0), (1, 1, Side::Buy, 50.0), (3, 1, Side::Sell, 13.0), (3, 0, Side::Buy, 25.0)];
    assert_eq!(by_row, expected);
}

#[test]
fn top_keeps_the_largest_weights_with_ties_in_panel_order() {
    let series: Vec<Series> = ["A", "B", "C"].iter().map(|s| Series::dense(s, &[[10.0; 4]; 3])).collect();
    let rules = r#"{"weights": "0.2", "rebalance": {"every": "10", "top": "2"}}"#;
    let account = run(&series, rules, r#"{"cash": 1000}"#, "portfolio");
    let bought: Vec<u32> = account.record.fills.iter().map(|f| f.instrument.0).collect();
    assert_eq!(bought, [0, 1]);
}

#[test]
fn bars_before_the_window_warm_indicators_and_are_not_traded() {
    let plan = Plan::from_json(
        r#"{"strategy": {"rules": {"enter": "close > sma(close, 3)", "size": {"kind": "qty", "value": "1"}}},
            "outputs": [["final_equity", null]], "window": {"start": 3, "end": 5}}"#,
    )
    .unwrap();
    let bars: Vec<Ohlc> = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0].iter().map(|&p| [p; 4]).collect();
    let panel = panel_of(&[Series::dense("A", &bars)], 1);
    let run = run_rules(&plan, &panel, &[], &[0], Keep::Everything, &AtomicBool::new(false)).unwrap();
    let account = &run.accounts[0];
    assert_eq!(account.timeline.dates(), [3, 4, 5]);
    assert_eq!(fills(account), [(4, Side::Buy, 1.0, 14.0)]);
}
