//! Golden cases of the life of an order with the arithmetic shown (core/SEMANTICS.md sections 3 and 5).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::market::{Commission, ExecutionSpec, FillMode, Market};
use akq_core::model::{
    CloseReason, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel, Side, Size,
    TimeInForce,
};
use akq_core::units::{InstrumentIx, TradingDate};
use common::{Ohlc, Outcome, script, script_volume};

const A: InstrumentIx = InstrumentIx(0);

fn flat(price: f64) -> Ohlc {
    [price; 4]
}

fn buy(qty: f64) -> OrderRequest {
    OrderRequest::market(A, Side::Buy, Size::Qty(qty))
}

fn sell(qty: f64) -> OrderRequest {
    OrderRequest::market(A, Side::Sell, Size::Qty(qty))
}

fn with_kind(request: OrderRequest, kind: OrderKind) -> OrderRequest {
    OrderRequest { kind, ..request }
}

fn with_tif(request: OrderRequest, tif: TimeInForce) -> OrderRequest {
    OrderRequest { tif, ..request }
}

/// (row, side, quantity, price) of every fill.
fn fills(outcome: &Outcome) -> Vec<(u32, Side, f64, f64)> {
    outcome.record.fills.iter().map(|f| (f.row, f.side, f.qty, f.price)).collect()
}

fn statuses(outcome: &Outcome) -> Vec<OrderStatus> {
    outcome.orders.iter().map(|o| o.status).collect()
}

fn executing(execution: ExecutionSpec) -> Market {
    Market { execution, ..Market::default() }
}

fn participating(share: f64, lot: f64) -> Market {
    let execution = ExecutionSpec { max_participation: Some(share), ..ExecutionSpec::default() };
    Market { lot, ..executing(execution) }
}

/// Bars at one price with these volumes.
fn at_ten(volumes: &[f64]) -> Vec<(Ohlc, f64)> {
    volumes.iter().map(|&volume| (flat(10.0), volume)).collect()
}

/// Runs one order placed on the first bar.
fn one_order(bars: &[(Ohlc, f64)], market: &Market, request: OrderRequest) -> Outcome {
    script_volume(bars, 1, market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(request);
        }
    })
}

/// Pitfall 8: the participation cap acts, and is off only where it is not set.
#[test]
fn pitfall_8_and_9_a_capped_order_fills_in_whole_lots_over_several_bars() {
    // 25 % of 1,000 is 250: two lots of 100 a bar; the third bar has 50 left to give of its 25 % of 800.
    let bars = at_ten(&[1_000.0, 1_000.0, 1_000.0, 800.0, 1_000.0]);
    let outcome = one_order(&bars, &participating(0.25, 100.0), buy(500.0));
    let expected = [(1, Side::Buy, 200.0, 10.0), (2, Side::Buy, 200.0, 10.0), (3, Side::Buy, 100.0, 10.0)];
    assert_eq!(fills(&outcome), expected);
    assert_eq!(statuses(&outcome), [OrderStatus::Filled]);
    assert_eq!(outcome.orders[0].qty, 500.0);
    let uncapped = one_order(&bars, &Market::default(), buy(500.0));
    assert_eq!(fills(&uncapped), [(1, Side::Buy, 500.0, 10.0)]);
}

#[test]
fn the_cap_of_a_bar_is_shared_by_all_orders_of_the_account() {
    let bars = at_ten(&[100.0, 100.0, 100.0, 100.0]);
    let outcome = script_volume(&bars, 1, &participating(0.5, 1.0), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(40.0));
            ctx.submit(with_kind(buy(30.0), OrderKind::Limit(10.0)));
        }
    });
    // 50 a bar: 40 for the first, 10 for the second, its rest on the next bar.
    assert_eq!(
        fills(&outcome),
        [(1, Side::Buy, 40.0, 10.0), (1, Side::Buy, 10.0, 10.0), (2, Side::Buy, 20.0, 10.0)]
    );
}

/// Pitfall 9: the minimum commission is taken once an order and day.
#[test]
fn pitfall_9_partial_fills_share_one_minimum_commission() {
    let commission = Commission { rate: 0.001, per_share: 0.0, minimum: 5.0 };
    let market = Market { commission, ..participating(0.1, 1.0) };
    // 100 a bar at 10: 1,000 each. One date holds all of it: 5, then 0, 0, 0, then 0.001 x 6,000 - 5 = 1 on the sixth.
    let bars = at_ten(&[1_000.0; 8]);
    let place = |ctx: &mut akq_core::context::Context<'_>, bar: akq_core::data::BarAt| {
        if bar.row == 0 {
            ctx.submit(buy(600.0));
        }
    };
    let fees = |outcome: &Outcome| outcome.record.fills.iter().map(|f| f.fees).collect::<Vec<_>>();
    let one_day = script_volume(&bars, 8, &market, place);
    assert_eq!(fees(&one_day), [5.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    // Two bars a date: rows 1 | 2 3 | 4 5 | 6, each date with a minimum of its own.
    let many_days = script_volume(&bars, 2, &market, place);
    assert_eq!(fees(&many_days), [5.0, 5.0, 0.0, 5.0, 0.0, 5.0]);
}

#[test]
fn immediate_or_cancel_takes_what_the_first_bar_gives() {
    let bars = at_ten(&[100.0; 4]);
    for kind in [OrderKind::Market, OrderKind::Limit(10.0), OrderKind::Stop(10.0)] {
        let request = with_tif(with_kind(buy(80.0), kind), TimeInForce::Ioc);
        let outcome = one_order(&bars, &participating(0.5, 1.0), request);
        assert_eq!(fills(&outcome), [(1, Side::Buy, 50.0, 10.0)], "{kind:?}");
        assert_eq!(statuses(&outcome), [OrderStatus::Cancelled(CloseReason::TimeInForce)]);
        assert_eq!(outcome.orders[0].remaining(), 30.0);
    }
    let out_of_reach = with_tif(with_kind(buy(1.0), OrderKind::Limit(9.0)), TimeInForce::Ioc);
    let outcome = one_order(&bars, &Market::default(), out_of_reach);
    assert_eq!(statuses(&outcome), [OrderStatus::Cancelled(CloseReason::TimeInForce)]);
}

/// Pitfall 11: all or nothing at once, never over several bars.
#[test]
fn pitfall_11_fill_or_kill_is_all_or_nothing_at_once() {
    let bars = at_ten(&[100.0; 5]);
    for kind in [OrderKind::Market, OrderKind::Limit(10.0), OrderKind::Stop(10.0)] {
        let fok = |qty| with_tif(with_kind(buy(qty), kind), TimeInForce::Fok);
        let killed = one_order(&bars, &participating(0.5, 1.0), fok(51.0));
        assert!(killed.record.fills.is_empty(), "{kind:?}");
        assert_eq!(statuses(&killed), [OrderStatus::Cancelled(CloseReason::TimeInForce)]);
        let filled = one_order(&bars, &participating(0.5, 1.0), fok(50.0));
        assert_eq!(fills(&filled), [(1, Side::Buy, 50.0, 10.0)], "{kind:?}");
    }
}

/// Pitfall 17: an expired order is final.
#[test]
fn pitfall_17_the_rest_of_a_day_order_ends_with_its_date() {
    // Two bars a date: placed on row 1, matched on rows 2 and 3, gone on row 4.
    let bars = at_ten(&[100.0; 8]);
    for kind in [OrderKind::Market, OrderKind::Limit(10.0), OrderKind::Stop(10.0)] {
        let outcome = script_volume(&bars, 2, &participating(0.5, 1.0), |ctx, bar| {
            if bar.row == 1 {
                ctx.submit(with_tif(with_kind(buy(500.0), kind), TimeInForce::Day));
            }
        });
        assert_eq!(fills(&outcome), [(2, Side::Buy, 50.0, 10.0), (3, Side::Buy, 50.0, 10.0)], "{kind:?}");
        assert_eq!(statuses(&outcome), [OrderStatus::Expired(CloseReason::TimeInForce)]);
    }
}

#[test]
fn good_till_date_ends_with_that_date_or_before_the_next_one_that_trades() {
    // One bar a date, 0 to 5; low of 5 only on row 4.
    let mut bars = vec![flat(10.0); 6];
    bars[4] = [10.0, 10.0, 5.0, 10.0];
    let until = |last: i32| {
        script(&bars, &Market::default(), |ctx, bar| {
            if bar.row == 0 {
                let request = with_kind(buy(1.0), OrderKind::Limit(6.0));
                ctx.submit(with_tif(request, TimeInForce::Gtd(TradingDate(last))));
            }
        })
    };
    let over = OrderStatus::Expired(CloseReason::TimeInForce);
    assert_eq!(statuses(&until(3)), [over]);
    assert_eq!(statuses(&until(-1)), [over]);
    assert_eq!(fills(&until(4)), [(4, Side::Buy, 1.0, 6.0)]);
    // Date 2 does not trade: an order good till then may not match on date 3.
    let sparse = common::Series {
        symbol: "A".to_owned(),
        bars: vec![(0, flat(10.0)), (1, flat(10.0)), (3, [10.0, 10.0, 5.0, 10.0]), (4, flat(10.0))],
    };
    let mut strategy =
        common::Script(|ctx: &mut akq_core::context::Context<'_>, bar: akq_core::data::BarAt| {
            if bar.row == 0 {
                let request = with_kind(buy(1.0), OrderKind::Limit(6.0));
                ctx.submit(with_tif(request, TimeInForce::Gtd(TradingDate(2))));
            }
        });
    let panel = common::panel_of(&[sparse], 1);
    let outcome = common::run_on(&panel, &Market::default(), &mut strategy).unwrap();
    assert_eq!(statuses(&outcome), [over]);
}

#[test]
fn a_reached_stop_sells_its_rest_at_the_market() {
    // The stop at 9 is reached on row 2, which has 50 for it; the rest sells at the open of row 3, above the stop.
    let bars = [
        (flat(10.0), 1_000.0),
        (flat(10.0), 1_000.0),
        ([9.5, 9.5, 8.0, 9.4], 100.0),
        (flat(9.6), 1_000.0),
        (flat(9.6), 1_000.0),
    ];
    let outcome = script_volume(&bars, 1, &participating(0.5, 1.0), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(buy(80.0));
        }
        1 => {
            ctx.submit(with_kind(sell(80.0), OrderKind::Stop(9.0)));
        }
        _ => {}
    });
    assert_eq!(fills(&outcome)[1..], [(2, Side::Sell, 50.0, 9.0), (3, Side::Sell, 30.0, 9.6)]);
}

#[test]
fn an_entry_in_parts_is_protected_part_by_part() {
    // 60 at the open of row 1, 40 at that of row 2; the stop 10 % below each sells both parts on row 3.
    let stop = Protection { stop_loss: Some((ProtectionLevel::Pct(0.1), None)), ..Protection::default() };
    let bars = [
        (flat(10.0), 120.0),
        (flat(10.0), 120.0),
        (flat(10.0), 120.0),
        ([10.0, 10.0, 8.0, 8.0], 1_000.0),
        (flat(8.0), 1_000.0),
    ];
    let entry = OrderRequest { protection: stop, tag: OrderTag::Entry, ..buy(100.0) };
    let outcome = one_order(&bars, &participating(0.5, 1.0), entry);
    assert_eq!(
        fills(&outcome),
        [
            (1, Side::Buy, 60.0, 10.0),
            (2, Side::Buy, 40.0, 10.0),
            (3, Side::Sell, 60.0, 9.0),
            (3, Side::Sell, 40.0, 9.0)
        ]
    );
}

/// Pitfall 18: a bar of little volume does not fill a large order.
#[test]
fn pitfall_18_and_20_volume_caps_halts_and_absence_are_three_things() {
    // 1,000 asked on bars of 100: 10 a bar at 10 % participation, not 1,000.
    let thin = one_order(&at_ten(&[100.0; 4]), &participating(0.1, 1.0), buy(1_000.0));
    assert_eq!(thin.record.fills.iter().map(|f| f.qty).collect::<Vec<_>>(), [10.0; 3]);
    assert_eq!(statuses(&thin), [OrderStatus::Expired(CloseReason::EndOfData)]);
    // Zero volume: nothing with a cap, nothing with a halt, no matter by default.
    let dead = at_ten(&[100.0, 0.0, 0.0, 100.0, 100.0]);
    let halting = executing(ExecutionSpec { halt_on_zero_volume: true, ..ExecutionSpec::default() });
    assert_eq!(fills(&one_order(&dead, &halting, buy(5.0))), [(3, Side::Buy, 5.0, 10.0)]);
    assert_eq!(fills(&one_order(&dead, &participating(0.1, 1.0), buy(5.0))), [(3, Side::Buy, 5.0, 10.0)]);
    assert_eq!(fills(&one_order(&dead, &Market::default(), buy(5.0))), [(1, Side::Buy, 5.0, 10.0)]);
    // Absent volume (pitfall 20): neither caps nor halts, as a missing column and as NaN.
    let mut market = participating(0.1, 1.0);
    market.execution.halt_on_zero_volume = true;
    assert_eq!(fills(&one_order(&at_ten(&[f64::NAN; 3]), &market, buy(5.0))), [(1, Side::Buy, 5.0, 10.0)]);
    let no_column = script(&[flat(10.0); 3], &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(5.0));
        }
    });
    assert_eq!(fills(&no_column), [(1, Side::Buy, 5.0, 10.0)]);
}

#[test]
fn a_halted_bar_is_no_first_bar_of_an_order() {
    let mut market = executing(ExecutionSpec { halt_on_zero_volume: true, ..ExecutionSpec::default() });
    let bars = at_ten(&[100.0, 0.0, 100.0, 100.0]);
    for tif in [TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Day] {
        for kind in [OrderKind::Market, OrderKind::Limit(10.0)] {
            let outcome = one_order(&bars, &market, with_tif(with_kind(buy(1.0), kind), tif));
            assert_eq!(fills(&outcome), [(2, Side::Buy, 1.0, 10.0)], "{kind:?} {tif:?}");
        }
    }
    market.fill = FillMode::Close;
    let outcome = script_volume(&bars, 1, &market, |ctx, bar| {
        if bar.row == 1 {
            ctx.submit(buy(1.0)); // placed on the halted bar itself
        }
    });
    assert_eq!(fills(&outcome), [(2, Side::Buy, 1.0, 10.0)]);
}

#[test]
fn execution_settings_that_mean_nothing_are_refused() {
    for share in [0.0, -0.1, 1.1, f64::NAN] {
        assert!(participating(share, 1.0).check().is_err(), "{share}");
    }
    assert!(participating(1.0, 1.0).check().is_ok());
}
