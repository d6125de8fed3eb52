//! Market profiles in the loop: T+1, price limits, margin and settlement, corporate actions, with the arithmetic shown.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::{Context, Target};
use akq_core::data::BarAt;
use akq_core::market::{Market, read_market};
use akq_core::model::{
    CloseReason, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel, Reject, Side,
    Size,
};
use akq_core::units::InstrumentIx;
use common::{Ohlc, Outcome, Script, Series, panel_of, run_on};

const A: InstrumentIx = InstrumentIx(0);

fn market(json: &str) -> Market {
    let market = read_market(&mut serde_json::Deserializer::from_str(json)).unwrap();
    market.check().unwrap();
    market
}

fn run(
    symbol: &str,
    bars: &[Ohlc],
    steps_a_day: i64,
    market: &Market,
    on_bar: impl FnMut(&mut Context<'_>, BarAt),
) -> Outcome {
    let panel = panel_of(&[Series::dense(symbol, bars)], steps_a_day);
    run_on(&panel, market, &mut Script(on_bar)).unwrap()
}

fn flat(price: f64) -> Ohlc {
    [price; 4]
}

fn order(side: Side, qty: f64) -> OrderRequest {
    OrderRequest::market(A, side, Size::Qty(qty))
}

fn limit(side: Side, qty: f64, price: f64) -> OrderRequest {
    OrderRequest { kind: OrderKind::Limit(price), ..order(side, qty) }
}

fn fills(outcome: &Outcome) -> Vec<(u32, Side, f64, f64)> {
    outcome.record.fills.iter().map(|f| (f.row, f.side, f.qty, f.price)).collect()
}

/// No fees and no limits; the dates of these panels lie in 1970, before any rule of today.
const PLAIN_CN: &str = r#"{"profile": "cn_stock", "commission": {"rate": 0, "minimum": 0}, "stamp_duty": 0,
    "transfer_fee": 0, "price_limit": [{"from": "1970-01-01", "rate": 0.1, "st_rate": 0.05}]}"#;

/// Pitfall 19: what is bought today is not sold today, whatever the order.
#[test]
fn pitfall_19_t_plus_one_holds() {
    let bars = [flat(10.0); 8]; // four bars a day
    let outcome = run("600000.SH", &bars, 4, &market(PLAIN_CN), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(order(Side::Buy, 1_000.0));
        }
        1 => {
            ctx.submit(order(Side::Sell, 1_000.0)); // the day of the purchase
        }
        3 => {
            ctx.submit(order(Side::Sell, 600.0)); // the last bar: fills tomorrow
            ctx.submit(order(Side::Sell, 600.0)); // 400 are left
        }
        _ => {}
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 1_000.0, 10.0), (4, Side::Sell, 600.0, 10.0)]);
    let rejected = OrderStatus::Rejected(Reject::NotSellable);
    assert_eq!(outcome.orders[1].status, rejected);
    assert_eq!(outcome.orders[3].status, rejected);
}

#[test]
fn a_stop_on_the_day_of_the_entry_waits_for_the_next_date() {
    let falls = [10.0, 10.0, 9.4, 9.4];
    let bars = [flat(10.0), falls, flat(9.4), flat(9.4)];
    let outcome = run("600000.SH", &bars, 1, &market(PLAIN_CN), |ctx, bar| {
        if bar.row == 0 {
            let protection =
                Protection { stop_loss: Some((ProtectionLevel::Pct(0.05), None)), ..Protection::default() };
            ctx.submit(OrderRequest { protection, ..order(Side::Buy, 100.0) });
        }
    });
    // Stop at 9.50 reached on the day of the purchase; sold at the open of the next, min(9.4, 9.5).
    assert_eq!(fills(&outcome), [(1, Side::Buy, 100.0, 10.0), (2, Side::Sell, 100.0, 9.4)]);
}

/// Pitfall 18: nobody sells to a buyer at limit-up; the order waits for a bar that trades.
#[test]
fn pitfall_18_no_buy_at_limit_up_and_no_sell_at_limit_down() {
    let bars = [flat(10.0), flat(11.0), [11.5, 12.1, 11.4, 12.0], flat(10.8), flat(10.8)];
    let outcome = run("600000.SH", &bars, 1, &market(PLAIN_CN), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(order(Side::Buy, 100.0));
        }
        if bar.row == 2 {
            ctx.submit(order(Side::Sell, 100.0)); // 12.00 x 0.9 = 10.80: row 3 is locked at limit-down
        }
    });
    assert_eq!(fills(&outcome), [(2, Side::Buy, 100.0, 11.5), (4, Side::Sell, 100.0, 10.8)]);
}

#[test]
fn a_limit_beyond_the_band_is_refused_and_slippage_stays_inside_it() {
    let market = market(&PLAIN_CN.replacen('{', r#"{"slippage_bps": 500, "#, 1));
    let bars = [flat(10.0), [10.8, 11.0, 10.8, 10.9], flat(10.9)];
    let outcome = run("600000.SH", &bars, 1, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(limit(Side::Buy, 100.0, 11.01));
            ctx.submit(order(Side::Buy, 100.0)); // 10.80 x 1.05 = 11.34, held at 11.00
        }
    });
    assert_eq!(outcome.orders[0].status, OrderStatus::Rejected(Reject::PriceLimit));
    assert_eq!(fills(&outcome), [(1, Side::Buy, 100.0, 11.0)]);
}

#[test]
fn boards_are_told_by_symbol_and_an_unknown_one_is_an_error() {
    let bars = [flat(10.0); 4];
    let accepted = |symbol: &str, qty: f64| {
        let outcome = run(symbol, &bars, 1, &market(PLAIN_CN), |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(order(Side::Buy, qty));
            }
        });
        outcome.record.fills.first().map_or(0.0, |fill| fill.qty)
    };
    assert_eq!(accepted("600000.SH", 1_999.0), 1_900.0);
    assert_eq!(accepted("688981.SH", 233.0), 233.0);
    assert_eq!(accepted("688981.SH", 199.0), 0.0);
    assert_eq!(accepted("830799.BJ", 101.0), 101.0);
    let panel = panel_of(&[Series::dense("AAPL", &bars)], 1);
    let error = run_on(&panel, &market(PLAIN_CN), &mut Script(|_: &mut Context<'_>, _: BarAt| {}));
    assert!(error.unwrap_err().to_string().contains("AAPL"));
}

/// Pitfall 12: a target share of equity counts the multiplier.
#[test]
fn pitfall_12_a_target_share_counts_the_multiplier() {
    let market = market(r#"{"profile": "cn_future", "cash": 5000000, "commission": {"rate": 0}}"#);
    let outcome = run("IF2406", &[flat(4_000.0); 3], 1, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.target(A, Target::Pct(1.0), OrderTag::Rebalance);
        }
    });
    // 5,000,000 / (4,000 x 300) = 4.17.
    assert_eq!(fills(&outcome), [(1, Side::Buy, 4.0, 4_000.0)]);
}

/// Pitfall 13: losses move cash every day, and an account that cannot carry its positions is closed.
#[test]
fn pitfall_13_variation_moves_cash_and_liquidation_ends_the_loss() {
    let market = market(
        r#"{"profile": "cn_future", "cash": 10000, "commission": {"rate": 0}, "margin": 0.1, "maintenance": 0.8}"#,
    );
    let bars = [flat(4_000.0), flat(4_000.0), flat(3_900.0), flat(3_700.0), flat(3_650.0), flat(3_000.0)];
    let outcome = run("rb2410", &bars, 1, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(order(Side::Buy, 2.0)); // margin 2 x 4,000 x 10 x 0.1 = 8,000
            ctx.submit(order(Side::Buy, 1.0)); // 4,000 more than there is
        }
    });
    assert_eq!(outcome.orders[1].status, OrderStatus::Rejected(Reject::InsufficientMargin));
    // 2 x 10 x -100 = -2,000, then 2 x 10 x -200 = -4,000: 4,000 left, below 0.8 x 7,400 = 5,920. Closed at 3,650.
    assert_eq!(outcome.record.equity, [10_000.0, 10_000.0, 8_000.0, 4_000.0, 3_000.0, 3_000.0]);
    assert_eq!(outcome.record.cash, outcome.record.equity);
    assert_eq!(outcome.record.fills[1].tag, OrderTag::Liquidation);
    assert_eq!(outcome.record.trips[0].gross, 2.0 * 10.0 * (3_650.0 - 4_000.0));
}

#[test]
fn closing_on_the_day_of_the_entry_has_its_own_fee() {
    let market = market(r#"{"profile": "cn_future", "cash": 1000000}"#);
    let outcome = run("IF2406", &[flat(4_000.0); 8], 4, &market, |ctx, bar| match bar.row {
        0 => {
            ctx.submit(order(Side::Buy, 1.0));
        }
        1 => {
            ctx.submit(order(Side::Sell, 1.0));
        }
        2 => {
            ctx.submit(order(Side::Sell, 1.0));
        }
        5 => {
            ctx.submit(order(Side::Buy, 1.0));
        }
        _ => {}
    });
    let paid: Vec<f64> = outcome.record.fills.iter().map(|fill| fill.fees).collect();
    let notional = 4_000.0 * 300.0;
    let (rate, today) = (notional * 0.000_023, notional * 0.000_23);
    assert_eq!(paid, [rate, today, rate, rate]); // the short of the first day is closed on the second
}

fn going_ex(action: &str) -> Market {
    let actions =
        format!(r#"{{"corporate_actions": [{{"symbol": "600000.SH", "ex_date": "1970-01-03", {action}}}], "#);
    market(&PLAIN_CN.replacen('{', &actions, 1))
}

#[test]
fn equity_is_continuous_across_ex_dates() {
    // 1,000 at 22: cash 0.5 a share, 3 for 10, rights of 3 for 10 at 5, and the price that each leaves.
    for (action, price, qty) in [
        (r#""cash": 0.5"#, 21.5, 1_000.0),
        (r#""bonus": 0.1"#, 20.0, 1_100.0),
        (r#""rights": 0.25, "rights_price": 2"#, 18.0, 1_250.0),
        (r#""cash": 2, "bonus": 0.6"#, 12.5, 1_600.0),
    ] {
        let bars = [flat(22.0), flat(22.0), flat(price), flat(price)];
        let mut held = 0.0;
        let outcome = run("600000.SH", &bars, 1, &going_ex(action), |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(order(Side::Buy, 1_000.0));
            }
            held = ctx.position(A);
        });
        assert_eq!(outcome.record.equity, [1e6; 4], "{action}");
        assert_eq!(held, qty, "{action}");
    }
}

#[test]
fn orders_that_name_a_price_are_rescaled_on_a_split_and_end_on_other_ex_dates() {
    let after = |action: &str, price: f64| {
        let bars = [flat(20.0), flat(20.0), flat(price), flat(price)];
        run("600000.SH", &bars, 1, &going_ex(action), |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(limit(Side::Buy, 1_000.0, 19.0));
            }
        })
    };
    let split = after(r#""bonus": 1"#, 9.5);
    assert_eq!(fills(&split), [(2, Side::Buy, 2_000.0, 9.5)]); // 1,000 at 19 is 2,000 at 9.50
    let dividend = after(r#""cash": 1"#, 19.0);
    assert_eq!(dividend.orders[0].status, OrderStatus::Cancelled(CloseReason::CorporateAction));
}

#[test]
fn the_band_of_an_ex_date_is_that_of_the_reference_price() {
    // 30 before, 5 for 10: reference 20, band 18 to 22. At 22 nobody sells; at 21.99 somebody does.
    for (price, n_fills) in [(22.0, 0), (21.99, 1)] {
        let bars = [flat(30.0), flat(30.0), flat(price), flat(price * 1.1)];
        let outcome = run("600000.SH", &bars, 1, &going_ex(r#""bonus": 0.5"#), |ctx, bar| {
            if bar.row == 1 {
                ctx.submit(order(Side::Buy, 100.0));
            }
        });
        let on_the_day = outcome.record.fills.iter().filter(|fill| fill.row == 2).count();
        assert_eq!(on_the_day, n_fills, "{price}");
    }
}

#[test]
fn short_positions_pay_for_what_they_borrow() {
    let market = market(
        r#"{"profile": "us_stock", "cash": 10000, "commission": {"per_share": 0, "minimum": 0}, "borrow_rate": 0.365}"#,
    );
    let outcome = run("AAPL", &[flat(100.0); 4], 1, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(order(Side::Sell, 10.0));
        }
    });
    // 1,000 short over two nights at 0.1 % a day.
    assert!((outcome.record.equity[3] - 9_998.0).abs() < 1e-9);
    assert!((outcome.record.financing - 2.0).abs() < 1e-9);
    assert_eq!(outcome.record.fees, 0.0);
}
