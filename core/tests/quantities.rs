//! Smallest cases of quantities that were wrong once: what protects a position, what rounding leaves of one, what is
//! reserved by orders that wait.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use akq_core::market::{BuyingPower, ExecutionSpec, Market};
use akq_core::model::{
    CloseReason, OrderKind, OrderRequest, OrderStatus, Protection, ProtectionLevel, Reject, Side, Size,
    TimeInForce, TrailOn, TrailingSpec,
};
use akq_core::units::{InstrumentIx, TradingDate};
use common::{Ohlc, Outcome, script, script_volume};

fn flat(price: f64) -> Ohlc {
    [price; 4]
}

fn order(side: Side, qty: f64) -> OrderRequest {
    OrderRequest::market(InstrumentIx(0), side, Size::Qty(qty))
}

fn bracket(request: OrderRequest, stop: f64, target: f64) -> OrderRequest {
    let protection = Protection {
        stop_loss: Some((ProtectionLevel::Abs(stop), None)),
        take_profit: Some((ProtectionLevel::Abs(target), None)),
        ..Protection::default()
    };
    OrderRequest { protection, ..request }
}

/// Row, side and quantity of every fill.
fn fills(outcome: &Outcome) -> Vec<(u32, Side, f64)> {
    outcome.record.fills.iter().map(|f| (f.row, f.side, f.qty)).collect()
}

#[test]
fn the_legs_of_an_entry_trade_no_more_than_the_entry_together() {
    // Two entries of 10. On bar 2 the stop of the first is reached and 4 units trade; on bar 3 its target is.
    let bars = [
        (flat(100.0), 1_000.0),
        (flat(100.0), 1_000.0),
        ([100.0, 100.0, 95.0, 100.0], 4.0),
        ([100.0, 110.0, 100.0, 105.0], 1_000.0),
        (flat(105.0), 1_000.0),
    ];
    let execution = ExecutionSpec { max_participation: Some(1.0), ..ExecutionSpec::default() };
    let market = Market { execution, ..Market::default() };
    let outcome = script_volume(&bars, 1, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(bracket(order(Side::Buy, 10.0), 5.0, 10.0));
            ctx.submit(order(Side::Buy, 10.0));
        }
    });
    let expected = [(1, Side::Buy, 10.0), (1, Side::Buy, 10.0), (2, Side::Sell, 4.0), (3, Side::Sell, 6.0)];
    assert_eq!(fills(&outcome), expected);
}

#[test]
fn an_order_that_closes_a_position_protects_nothing() {
    // Bought at 100, sold with a stop above: nothing is left for that stop, neither now nor for a later short.
    let bars =
        [flat(100.0), flat(100.0), flat(100.0), flat(100.0), [100.0, 120.0, 100.0, 120.0], flat(120.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(order(Side::Buy, 10.0));
        }
        1 => {
            ctx.submit(bracket(order(Side::Sell, 10.0), 5.0, 50.0));
        }
        2 => {
            ctx.submit(order(Side::Sell, 10.0));
        }
        _ => {}
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 10.0), (2, Side::Sell, 10.0), (3, Side::Sell, 10.0)]);
    assert_eq!(outcome.orders.len(), 3);
}

#[test]
fn an_order_through_zero_protects_what_it_opens() {
    let bars = [flat(100.0), flat(100.0), flat(100.0), [100.0, 106.0, 100.0, 106.0], flat(106.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(order(Side::Buy, 10.0));
        }
        1 => {
            ctx.submit(bracket(order(Side::Sell, 25.0), 5.0, 50.0));
        }
        _ => {}
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 10.0), (2, Side::Sell, 25.0), (3, Side::Buy, 15.0)]);
    assert_eq!(outcome.orders[2].qty, 15.0);
}

#[test]
fn fractions_that_add_up_to_a_position_close_it() {
    // 0.1 + 0.2 is more than 0.3, and 8 times 0.1 is less than 0.8.
    let market = Market { lot: 0.0, shorts: false, ..Market::default() };
    let bars = [flat(10.0); 6];
    for (buys, sell) in [(vec![0.1, 0.2], 0.3), (vec![0.1; 8], 0.8)] {
        let outcome = script(&bars, &market, |ctx, bar| {
            if bar.row == 0 {
                for &qty in &buys {
                    ctx.submit(order(Side::Buy, qty));
                }
            }
            if bar.row == 2 {
                ctx.submit(order(Side::Sell, sell));
            }
            if bar.row == 4 {
                assert_eq!(ctx.position(InstrumentIx(0)), 0.0);
            }
        });
        assert_eq!(outcome.record.n_rejects, 0);
        assert_eq!(outcome.record.trips.len(), buys.len());
    }
}

#[test]
fn a_child_that_waits_neither_reserves_cash_nor_hides_the_lack_of_it() {
    // A trailing child has no level before it is handed in; the last buy costs more than there is.
    let market = Market { cash: 1_000.0, buying_power: BuyingPower::Cash, ..Market::default() };
    let outcome = script(&[flat(100.0), flat(100.0), flat(100.0)], &market, |ctx, bar| {
        if bar.row == 0 {
            let parent = ctx.submit(OrderRequest { kind: OrderKind::Limit(50.0), ..order(Side::Buy, 2.0) });
            let trailing = Some(TrailingSpec { level: ProtectionLevel::Pct(0.1), on: TrailOn::Close });
            let kind = OrderKind::Stop(f64::NAN);
            ctx.submit(OrderRequest { kind, trailing, parent: Some(parent), ..order(Side::Sell, 2.0) });
            ctx.submit(order(Side::Buy, 9.0));
            ctx.submit(order(Side::Buy, 10.0));
        }
    });
    let statuses: Vec<OrderStatus> = outcome.orders.iter().map(|o| o.status).collect();
    assert_eq!(statuses[2], OrderStatus::Filled);
    assert_eq!(statuses[3], OrderStatus::Rejected(Reject::InsufficientCash));
}

#[test]
fn an_order_good_till_a_date_that_is_over_never_works() {
    let late = OrderRequest { tif: TimeInForce::Gtd(TradingDate(-1)), ..order(Side::Buy, 1.0) };
    let outcome = script(&[flat(100.0), flat(100.0), flat(100.0)], &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(late);
        }
    });
    assert_eq!(outcome.orders[0].status, OrderStatus::Expired(CloseReason::TimeInForce));
    assert_eq!(outcome.record.n_fills, 0);
}
