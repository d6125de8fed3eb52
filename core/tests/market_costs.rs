//! What profiles cost and allow, one golden run each with its arithmetic; financing, currencies, options, ex-dates.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::{Context, Target};
use akq_core::data::{BarAt, Panel};
use akq_core::market::{Market, read_market};
use akq_core::model::{OrderKind, OrderRequest, OrderStatus, OrderTag, Reject, Side, Size};
use akq_core::units::InstrumentIx;
use common::{Ohlc, Outcome, Script, Series, panel_columns, panel_of, run_on};

const A: InstrumentIx = InstrumentIx(0);

fn market(json: &str) -> Market {
    let market = read_market(&mut serde_json::Deserializer::from_str(json)).unwrap();
    market.check().unwrap();
    market
}

fn flat(price: f64) -> Ohlc {
    [price; 4]
}

fn order(side: Side, qty: f64) -> OrderRequest {
    OrderRequest::market(A, side, Size::Qty(qty))
}

/// Buys at the close of the first bar and sells at that of the third.
fn round_trip(panel: &Panel, market: &Market, qty: f64) -> Outcome {
    let plan = |ctx: &mut Context<'_>, bar: BarAt| match bar.row {
        0 => {
            ctx.submit(order(Side::Buy, qty));
        }
        2 => {
            ctx.submit(order(Side::Sell, qty));
        }
        _ => {}
    };
    run_on(panel, market, &mut Script(plan)).unwrap()
}

/// Fees of the executions of a round trip at a price on a date.
fn fees_of(profile: &str, symbol: &str, from_date: i64, price: f64, qty: f64) -> Vec<f64> {
    let mut series = Series::dense(symbol, &[flat(price); 5]);
    for (step, _) in &mut series.bars {
        *step += from_date;
    }
    let outcome = round_trip(&panel_of(&[series], 1), &market(profile), qty);
    outcome.record.fills.iter().map(|fill| fill.fees).collect()
}

fn assert_near(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{found:?} and {wanted:?}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{found:?} and {wanted:?}");
    }
}

/// Days since 1970 of 2024-01-02.
const Y2024: i64 = 19_724;

#[test]
fn cn_stock_pays_duty_on_sells_and_transfer_on_both() {
    // 1,000 x 10 = 10,000: commission max(3, 5) = 5; transfer 0.001 % = 0.1; duty on the sell 0.05 % = 5.
    assert_near(&fees_of(r#"{"profile": "cn_stock"}"#, "600000.SH", Y2024, 10.0, 1_000.0), &[5.1, 10.1]);
}

#[test]
fn cn_fund_pays_no_duty() {
    // 10,000 x 4 = 40,000 at 0.03 % = 12.
    assert_near(&fees_of(r#"{"profile": "cn_fund"}"#, "510300.SH", Y2024, 4.0, 10_000.0), &[12.0, 12.0]);
}

#[test]
fn hk_stock_pays_duty_on_both_sides_by_date() {
    let fees = |date| fees_of(r#"{"profile": "hk_stock"}"#, "00700.HK", date, 300.0, 1_000.0);
    // 300,000: commission 0.03 % = 90, levies 0.0085 % = 25.5, duty 0.1 % = 300 (2024) or 0.13 % = 390 (2022).
    assert_near(&fees(Y2024), &[415.5, 415.5]);
    assert_near(&fees(Y2024 - 730), &[505.5, 505.5]);
}

#[test]
fn us_stock_pays_by_share() {
    // 100 x 0.005 = 0.5, at least 1; 1,000 x 0.005 = 5.
    assert_near(&fees_of(r#"{"profile": "us_stock"}"#, "AAPL", Y2024, 50.0, 100.0), &[1.0, 1.0]);
    assert_near(&fees_of(r#"{"profile": "us_stock"}"#, "AAPL", Y2024, 50.0, 1_000.0), &[5.0, 5.0]);
}

#[test]
fn us_stock_carries_twice_the_equity_and_is_closed_below_a_quarter() {
    let profile = r#"{"profile": "us_stock", "cash": 10000, "borrow_rate": 0, "commission": {"per_share": 0, "minimum": 0}}"#;
    let bars = [flat(100.0), flat(100.0), flat(70.0), flat(66.0), flat(65.0)];
    let outcome = run_on(
        &panel_of(&[Series::dense("AAPL", &bars)], 1),
        &market(profile),
        &mut Script(|ctx: &mut Context<'_>, bar: BarAt| {
            if bar.row == 0 {
                ctx.submit(order(Side::Buy, 201.0)); // 20,100 x 0.5 = 10,050 is more than there is
                ctx.submit(order(Side::Buy, 200.0));
            }
        }),
    )
    .unwrap();
    assert_eq!(outcome.orders[0].status, OrderStatus::Rejected(Reject::InsufficientMargin));
    // At 70: equity 14,000 - 10,000 = 4,000 of 14,000, above 0.5 x 0.5 = a quarter (3,500).
    // At 66: 3,200 of 13,200, below 3,300: closed at the next open, 65: 13,000 - 10,000 = 3,000.
    assert_eq!(outcome.record.equity, [10_000.0, 10_000.0, 4_000.0, 3_200.0, 3_000.0]);
    assert_eq!(outcome.record.fills[1].tag, OrderTag::Liquidation);
}

#[test]
fn crypto_takes_fractions() {
    // 0.25 x 40,000 = 10,000 at 0.1 % = 10.
    assert_near(&fees_of(r#"{"profile": "crypto"}"#, "BTC", Y2024, 40_000.0, 0.25), &[10.0, 10.0]);
}

#[test]
fn fx_carries_thirty_times_the_equity() {
    let bars = [flat(1.1); 3];
    let outcome = run_on(
        &panel_of(&[Series::dense("EURUSD", &bars)], 1),
        &market(r#"{"profile": "fx", "cash": 1000}"#),
        &mut Script(|ctx: &mut Context<'_>, bar: BarAt| {
            if bar.row == 0 {
                ctx.submit(order(Side::Buy, 28_000.0)); // 30,800 x 0.0333 = 1,025.64
                ctx.submit(order(Side::Buy, 27_000.0)); // 29,700 x 0.0333 = 989.01
            }
        }),
    )
    .unwrap();
    assert_eq!(outcome.orders[0].status, OrderStatus::Rejected(Reject::InsufficientMargin));
    assert_eq!(outcome.record.fills[0].qty, 27_000.0);
}

#[test]
fn cn_future_settles_at_the_settlement_price() {
    let profile = r#"{"profile": "cn_future", "cash": 1000000, "commission": {"rate": 0}}"#;
    let settlement = vec![4_000.0, 4_010.0, 4_030.0, 4_020.0];
    let bars = [flat(4_000.0), flat(4_000.0), flat(4_040.0), flat(4_050.0)];
    let panel = panel_columns(&[Series::dense("rb2410", &bars)], 1, &[("settlement", settlement)]);
    let outcome = run_on(
        &panel,
        &market(profile),
        &mut Script(|ctx: &mut Context<'_>, bar: BarAt| {
            if bar.row == 0 {
                ctx.submit(order(Side::Buy, 1.0));
            }
        }),
    )
    .unwrap();
    // Bought at 4,000, ten units a contract; each date ends at its settlement, not at its close.
    assert_eq!(outcome.record.equity, [1e6, 1e6 + 100.0, 1e6 + 300.0, 1e6 + 200.0]);
    assert_eq!(outcome.record.cash, outcome.record.equity);
}

#[test]
fn the_band_of_a_future_is_taken_around_the_settlement() {
    let profile = r#"{"profile": "cn_future", "commission": {"rate": 0}, "price_limit": [{"from": "1970-01-01", "rate": 0.1}]}"#;
    // Close 4,000 and settlement 4,200: the limit is 4,620, not 4,400.
    for (open, n_fills) in [(4_500.0, 1), (4_620.0, 0)] {
        let bars = [flat(4_000.0), flat(open)];
        let panel =
            panel_columns(&[Series::dense("rb2410", &bars)], 1, &[("settlement", vec![4_200.0, f64::NAN])]);
        let outcome = run_on(
            &panel,
            &market(profile),
            &mut Script(|ctx: &mut Context<'_>, bar: BarAt| {
                if bar.row == 0 {
                    ctx.submit(order(Side::Buy, 1.0));
                }
            }),
        )
        .unwrap();
        assert_eq!(outcome.record.fills.len(), n_fills, "{open}");
    }
}

fn option_run(right: &str, underlying: [f64; 4], side: Side) -> Outcome {
    let profile = format!(
        r#"{{"profile": "cn_option", "cash": 100000, "shorts": true, "buying_power": "unlimited", "options": [{{"symbol": "10006000", "right": "{right}",
            "strike": 2.5, "expiry": "1970-01-03"}}]}}"#
    );
    let bars = [flat(0.1), flat(0.1), flat(0.05), flat(0.01)];
    let panel =
        panel_columns(&[Series::dense("10006000", &bars)], 1, &[("underlying_close", underlying.to_vec())]);
    let plan = |ctx: &mut Context<'_>, bar: BarAt| match bar.row {
        0 => {
            ctx.submit(order(side, 2.0));
        }
        1 => {
            ctx.submit(OrderRequest { kind: OrderKind::Limit(0.001), ..order(Side::Buy, 1.0) });
        }
        2 | 3 => {
            ctx.submit(order(Side::Buy, 1.0)); // after the last date
        }
        _ => {}
    };
    run_on(&panel, &market(&profile), &mut Script(plan)).unwrap()
}

#[test]
fn an_option_is_exercised_in_cash_or_ends_worthless() {
    // Two contracts of 10,000 at 0.1 = 2,000 and 5 a contract; at expiry the underlying decides, not the last close.
    for (right, underlying, worth) in
        [("call", 2.7, 2.0 * 10_000.0 * 0.2), ("call", 2.4, 0.0), ("put", 2.4, 2_000.0)]
    {
        let outcome = option_run(right, [2.5, 2.5, underlying, 9.0], Side::Buy);
        let wanted = 100_000.0 - 2_000.0 - 10.0 + worth;
        assert_near(&outcome.record.equity[2..], &[wanted, wanted]);
        assert_eq!(outcome.record.fills[1].tag, OrderTag::Expiry);
        assert_eq!(outcome.record.trips.len(), 1);
        assert!(
            matches!(outcome.orders[1].status, OrderStatus::Expired(_)),
            "the limit ends with the contract"
        );
        assert_eq!(outcome.orders[2].status, OrderStatus::Rejected(Reject::NotTradable));
    }
    // The writer pays what the holder gets.
    let written = option_run("call", [2.5, 2.5, 2.7, 9.0], Side::Sell);
    assert_near(&written.record.equity[2..3], &[100_000.0 + 2_000.0 - 10.0 - 4_000.0]);
}

#[test]
fn borrowed_cash_pays_interest_by_calendar_day() {
    let mut series = Series::dense("AAPL", &[flat(100.0); 4]);
    series.bars[3].0 = 5; // a weekend
    let profile = r#"{"profile": "us_stock", "cash": 10000, "commission": {"per_share": 0, "minimum": 0},
        "borrow_rate": 0, "interest_rate": 0.0365}"#;
    let outcome = run_on(
        &panel_of(&[series], 1),
        &market(profile),
        &mut Script(|ctx: &mut Context<'_>, bar: BarAt| {
            if bar.row == 0 {
                ctx.submit(order(Side::Buy, 150.0)); // 5,000 of it borrowed
            }
        }),
    )
    .unwrap();
    // 0.0365 / 365 = 0.01 % a day: 0.5 for one day, then 5,000.5 x 0.0001 x 3.
    let second = 9_999.5 - 5_000.5 * 0.0003;
    assert_near(&outcome.record.equity, &[10_000.0, 10_000.0, 9_999.5, second]);
    assert_near(&[outcome.record.financing], &[10_000.0 - second]);
    assert_eq!(outcome.record.fees, 0.0);
}

#[test]
fn funding_is_paid_by_the_holder_on_the_bars_that_carry_it() {
    let rates = vec![0.001, 0.002, 0.001, f64::NAN, -0.001];
    for (side, sign) in [(Side::Buy, 1.0), (Side::Sell, -1.0)] {
        let panel =
            panel_columns(&[Series::dense("BTC", &[flat(100.0); 5])], 1, &[("funding_rate", rates.clone())]);
        let market = market(r#"{"cash": 10000, "funding_column": "funding_rate"}"#);
        let outcome = run_on(
            &panel,
            &market,
            &mut Script(|ctx: &mut Context<'_>, bar: BarAt| {
                if bar.row == 0 {
                    ctx.submit(order(side, 10.0));
                }
            }),
        )
        .unwrap();
        // Opened on bar 1, so first held when bar 2 begins: 1,000 x 0.1 %, nothing, 1,000 x -0.1 %.
        let paid = 10_000.0 - sign;
        assert_near(&outcome.record.equity, &[10_000.0, 10_000.0, paid, paid, 10_000.0]);
        assert_near(&[outcome.record.financing], &[0.0]);
    }
}

#[test]
fn another_currency_counts_at_its_rate() {
    let bars = [flat(50.0), flat(50.0), flat(60.0), flat(60.0)];
    let panel = panel_columns(&[Series::dense("0005.HK", &bars)], 1, &[("fx", vec![0.9, 0.9, 0.8, 0.8])]);
    let market = market(r#"{"cash": 100000, "fx_column": "fx", "commission": {"rate": 0.001}}"#);
    let plan = |ctx: &mut Context<'_>, bar: BarAt| match bar.row {
        0 => ctx.target(A, Target::Pct(0.45), OrderTag::Entry),
        2 => ctx.target(A, Target::Qty(0.0), OrderTag::Exit),
        _ => {}
    };
    let outcome = run_on(&panel, &market, &mut Script(plan)).unwrap();
    // 45,000 / (50 x 0.9) = 1,000 units; bought for 45,000 and 45 of fees, then worth 60 x 0.8 = 48 a unit.
    assert_eq!(outcome.record.fills[0].qty, 1_000.0);
    assert_near(&outcome.record.equity, &[100_000.0, 99_955.0, 102_955.0, 102_907.0]);
    let trip = outcome.record.trips[0];
    assert_near(&[trip.gross, trip.fees, trip.notional], &[3_000.0, 93.0, 45_000.0]);
}

#[test]
fn a_missing_column_or_rate_is_named() {
    let panel = panel_of(&[Series::dense("A", &[flat(50.0); 3])], 1);
    let run = |panel: &Panel, json: &str| {
        let error =
            run_on(panel, &market(json), &mut Script(|_: &mut Context<'_>, _: BarAt| {})).unwrap_err();
        error.to_string()
    };
    for item in ["funding_column", "fx_column"] {
        let message = run(&panel, &format!(r#"{{"{item}": "rate"}}"#));
        assert!(message.contains(item) && message.contains("\"rate\""), "{message}");
    }
    let late =
        panel_columns(&[Series::dense("A", &[flat(50.0); 3])], 1, &[("rate", vec![f64::NAN, 1.0, 1.0])]);
    let message = run(&late, r#"{"fx_column": "rate"}"#);
    assert!(message.contains("first bar of \"A\""), "{message}");
}

#[test]
fn the_worst_price_of_a_trip_is_carried_over_an_ex_date() {
    let profile = r#"{"corporate_actions": [{"symbol": "A", "ex_date": "1970-01-04", "bonus": 1}]}"#;
    // Bought at 30; low 24 before the split of two for one, 15 x 0.9 = 13.5 after: 24 is 12 now.
    let bars = [flat(30.0), flat(30.0), [30.0, 33.0, 24.0, 30.0], [15.0, 15.0, 13.5, 15.0], flat(15.0)];
    let outcome = run_on(
        &panel_of(&[Series::dense("A", &bars)], 1),
        &market(profile),
        &mut Script(|ctx: &mut Context<'_>, bar: BarAt| match bar.row {
            0 => {
                ctx.submit(order(Side::Buy, 10.0));
            }
            3 => {
                ctx.submit(order(Side::Sell, 20.0));
            }
            _ => {}
        }),
    )
    .unwrap();
    let trip = outcome.record.trips[0];
    assert_eq!((trip.qty, trip.entry_price, trip.exit_price), (20.0, 15.0, 15.0));
    assert_near(&[trip.mae, trip.mfe], &[3.0 / 15.0, 1.5 / 15.0]);
}
