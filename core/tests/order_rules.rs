//! Golden cases of the order rules with the arithmetic shown (core/SEMANTICS.md sections 2 to 5).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::market::{BuyingPower, Commission, FillMode, Market, OnInsufficientCash};
use akq_core::model::{
    CloseReason, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel, Reject, Side,
    Size, TimeInForce, TrailOn, TrailingSpec,
};
use akq_core::units::InstrumentIx;
use common::{Ohlc, Outcome, Series, panel_of, run_on, script};

const A: InstrumentIx = InstrumentIx(0);
const B: InstrumentIx = InstrumentIx(1);

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

/// (row, side, quantity, price) of every fill.
fn fills(outcome: &Outcome) -> Vec<(u32, Side, f64, f64)> {
    outcome.record.fills.iter().map(|f| (f.row, f.side, f.qty, f.price)).collect()
}

fn close_fills() -> Market {
    Market { fill: FillMode::Close, ..Market::default() }
}

fn cash_market(cash: f64) -> Market {
    Market { cash, buying_power: BuyingPower::Cash, ..Market::default() }
}

#[test]
fn a_market_order_fills_at_the_next_open_with_slippage_and_commission() {
    let market = Market {
        cash: 10_000.0,
        slippage_bps: 10.0,
        commission: Commission { rate: 0.001, ..Commission::default() },
        ..Market::default()
    };
    let bars = [flat(100.0), [102.0, 103.0, 101.0, 102.5], flat(104.0)];
    let outcome = script(&bars, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(10.0));
        }
    });
    let price = 102.0 * 1.001;
    assert_eq!(fills(&outcome), [(1, Side::Buy, 10.0, price)]);
    let fees = 10.0 * price * 0.001;
    assert_eq!(outcome.record.fees, fees);
    // 10,000 - 10 x 102.102 - fees, then marked at 104.
    let cash = 10_000.0 - (10.0 * price + fees);
    assert_eq!(outcome.record.equity[2], cash + 10.0 * 104.0);
}

#[test]
fn close_mode_fills_on_the_decision_bar_but_limits_and_stops_rest() {
    // The limit at 90 and the stop at 95 are inside the decision bar: neither may use it.
    let bars = [[100.0, 101.0, 88.0, 100.0], flat(100.0), [100.0, 100.0, 89.0, 99.0], flat(99.0)];
    let outcome = script(&bars, &close_fills(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(1.0));
            ctx.submit(with_kind(buy(2.0), OrderKind::Limit(90.0)));
            ctx.submit(with_kind(sell(1.0), OrderKind::Stop(95.0)));
        }
    });
    let expected = [(0, Side::Buy, 1.0, 100.0), (2, Side::Sell, 1.0, 95.0), (2, Side::Buy, 2.0, 90.0)];
    assert_eq!(fills(&outcome), expected);
}

#[test]
fn nothing_decided_at_the_last_close_fills_and_open_orders_expire() {
    for market in [Market::default(), close_fills()] {
        let outcome = script(&[flat(10.0), flat(11.0)], &market, |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(with_kind(buy(1.0), OrderKind::Limit(5.0)));
            } else {
                ctx.submit(buy(1.0));
            }
        });
        assert!(outcome.record.fills.is_empty());
        let end = OrderStatus::Expired(CloseReason::EndOfData);
        assert_eq!(outcome.orders.iter().map(|o| o.status).collect::<Vec<_>>(), [end, end]);
    }
}

#[test]
fn an_order_from_before_still_fills_on_the_last_step() {
    let outcome = script(&[flat(10.0), [12.0, 12.0, 9.0, 9.0]], &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(1.0));
        }
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 1.0, 12.0)]);
    assert_eq!(outcome.record.equity[1], 1_000_000.0 - 12.0 + 9.0);
}

#[test]
fn stops_are_matched_before_limits_whatever_the_order_of_submission() {
    let bars = [flat(100.0), [100.0, 106.0, 94.0, 100.0], flat(100.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(with_kind(buy(1.0), OrderKind::Limit(95.0)));
            ctx.submit(with_kind(buy(2.0), OrderKind::Stop(105.0)));
        }
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 2.0, 105.0), (1, Side::Buy, 1.0, 95.0)]);
}

#[test]
fn slippage_moves_stops_and_never_limits() {
    let market = Market { slippage_bps: 100.0, ..Market::default() };
    let bars = [flat(100.0), [100.0, 106.0, 94.0, 100.0], flat(100.0)];
    let outcome = script(&bars, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(with_kind(buy(1.0), OrderKind::Limit(95.0)));
            ctx.submit(with_kind(buy(1.0), OrderKind::Stop(105.0)));
        }
    });
    let prices: Vec<f64> = outcome.record.fills.iter().map(|f| f.price).collect();
    assert_eq!(prices, [105.0 * 1.01, 95.0]);
}

#[test]
fn the_stop_of_a_group_wins_a_bar_that_reaches_both_legs() {
    // Opens beyond the target, falls to the stop: pessimistic, the stop fills.
    let bars = [flat(100.0), flat(100.0), [111.0, 112.0, 94.0, 100.0], flat(100.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(1.0));
        }
        if bar.row == 1 {
            ctx.submit(OrderRequest { oco: Some(7), ..with_kind(sell(1.0), OrderKind::Limit(110.0)) });
            ctx.submit(OrderRequest { oco: Some(7), ..with_kind(sell(1.0), OrderKind::Stop(95.0)) });
        }
    });
    assert_eq!(fills(&outcome)[1], (2, Side::Sell, 1.0, 95.0));
    assert_eq!(outcome.record.fills.len(), 2);
    assert_eq!(outcome.orders[1].status, OrderStatus::Cancelled(CloseReason::Oco));
}

#[test]
fn validity_counts_the_bars_after_the_one_it_was_placed_on() {
    // Live on rows 1 and 2 only; row 3 would have filled it.
    let bars = [flat(100.0), flat(100.0), flat(100.0), [100.0, 100.0, 80.0, 90.0], flat(90.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(OrderRequest {
                tif: TimeInForce::Bars(2),
                ..with_kind(buy(1.0), OrderKind::Limit(90.0))
            });
        }
        // Gone before the strategy sees the close of its last bar: a new one may be placed there.
        assert_eq!(ctx.book.working().count(), usize::from(bar.row == 1));
    });
    assert!(outcome.record.fills.is_empty());
    assert_eq!(outcome.orders[0].status, OrderStatus::Expired(CloseReason::TimeInForce));
}

#[test]
fn a_day_order_ends_with_the_date_of_its_first_possible_match() {
    // Two steps a date: placed on the last step of day 0, live on both steps of day 1, gone on day 2.
    let mut bars = vec![flat(100.0); 6];
    bars[4] = [100.0, 100.0, 50.0, 60.0];
    let panel = panel_of(&[Series::dense("A", &bars)], 2);
    let mut strategy =
        common::Script(|ctx: &mut akq_core::context::Context<'_>, bar: akq_core::data::BarAt| {
            if bar.row == 1 {
                ctx.submit(OrderRequest {
                    tif: TimeInForce::Day,
                    ..with_kind(buy(1.0), OrderKind::Limit(90.0))
                });
            }
            if bar.row == 3 {
                assert_eq!(ctx.book.working().count(), 1);
            }
        });
    let outcome = run_on(&panel, &Market::default(), &mut strategy).unwrap();
    assert_eq!(outcome.orders[0].status, OrderStatus::Expired(CloseReason::TimeInForce));
    assert!(outcome.record.fills.is_empty());
}

#[test]
fn a_cancelled_order_never_fills() {
    let mut placed = None;
    let bars = [flat(100.0), flat(100.0), [100.0, 100.0, 50.0, 60.0], flat(60.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| match bar.row {
        0 => placed = Some(ctx.submit(with_kind(buy(1.0), OrderKind::Limit(90.0)))),
        1 => ctx.cancel(placed.unwrap()),
        _ => {}
    });
    assert!(outcome.record.fills.is_empty());
    assert_eq!(outcome.orders[0].status, OrderStatus::Cancelled(CloseReason::Request));
}

#[test]
fn an_order_on_another_symbol_waits_for_its_own_next_open() {
    // B has no bar on step 1: an order placed on A's bar of step 0 fills at B's open of step 2.
    let a = Series::dense("A", &[flat(10.0), flat(11.0), flat(12.0), flat(13.0)]);
    let b = Series { symbol: "B".to_owned(), bars: vec![(0, flat(20.0)), (2, flat(22.0)), (3, flat(23.0))] };
    let panel = panel_of(&[a, b], 1);
    let mut strategy =
        common::Script(|ctx: &mut akq_core::context::Context<'_>, bar: akq_core::data::BarAt| {
            if bar.instrument == A && bar.row == 0 {
                ctx.submit(OrderRequest::market(B, Side::Buy, Size::Qty(1.0)));
            }
        });
    let outcome = run_on(&panel, &Market::default(), &mut strategy).unwrap();
    assert_eq!(outcome.record.fills.len(), 1);
    assert_eq!((outcome.record.fills[0].instrument, outcome.record.fills[0].price), (B, 22.0));
}

fn protected(protection: Protection) -> OrderRequest {
    OrderRequest { protection, tag: OrderTag::Entry, ..buy(1.0) }
}

fn bracket(stop: f64, target: f64, reference: Option<f64>) -> Protection {
    Protection {
        stop_loss: Some((ProtectionLevel::Pct(stop), reference)),
        take_profit: Some((ProtectionLevel::Pct(target), reference)),
        trailing: None,
    }
}

#[test]
fn both_protective_legs_live_on_the_bar_of_an_entry_at_the_open() {
    // Fills at 100, target at 110 is reached in the same bar.
    let bars = [flat(100.0), [100.0, 112.0, 98.0, 105.0], flat(105.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(protected(bracket(0.05, 0.1, None)));
        }
    });
    assert_eq!(fills(&outcome)[1], (1, Side::Sell, 1.0, 100.0 + 100.0 * 0.1));
    assert_eq!(outcome.record.fills[1].tag, OrderTag::TakeProfit);
    assert_eq!(outcome.orders[1].status, OrderStatus::Cancelled(CloseReason::Oco));
}

#[test]
fn inside_the_entry_bar_only_the_stop_lives() {
    // A limit entry at 95: the bar's high of 112 may have come before it, so the target waits; its low is after or at
    // the entry, so the stop at 95 x 0.98 fills.
    let bars = [flat(100.0), [100.0, 112.0, 90.0, 105.0], flat(105.0)];
    let entry = |protection| with_kind(protected(protection), OrderKind::Limit(95.0));
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(entry(bracket(0.02, 0.1, None)));
        }
    });
    assert_eq!(fills(&outcome)[1], (1, Side::Sell, 1.0, 95.0 - 95.0 * 0.02));
    let target_only = Protection { stop_loss: None, ..bracket(0.02, 0.1, None) };
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(entry(target_only));
        }
    });
    // 104.5 from the next bar, which opens above it.
    assert_eq!(fills(&outcome)[1], (2, Side::Sell, 1.0, 105.0));
}

#[test]
fn with_close_fills_protection_lives_from_the_next_bar() {
    let bars = [[100.0, 120.0, 80.0, 100.0], [101.0, 102.0, 94.0, 96.0], flat(96.0)];
    let outcome = script(&bars, &close_fills(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(protected(bracket(0.05, 0.1, None)));
        }
    });
    assert_eq!(fills(&outcome), [(0, Side::Buy, 1.0, 100.0), (1, Side::Sell, 1.0, 95.0)]);
}

#[test]
fn protection_counts_from_the_signal_when_asked_to() {
    // Signal at 100, fill at 104: the stop stands at 95, not at 98.8.
    let bars = [flat(100.0), [104.0, 104.0, 97.0, 98.0], [98.0, 98.0, 94.0, 94.0], flat(94.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(protected(bracket(0.05, 0.5, Some(100.0))));
        }
    });
    assert_eq!(fills(&outcome)[1], (2, Side::Sell, 1.0, 95.0));
}

#[test]
fn a_trailing_stop_moves_with_completed_bars_only() {
    // Starts at 100 - 10 = 90. Bar 1 has high 130 and low 95: 130 - 10 = 120 counts from bar 2 on, which opens at 119.
    let trailing = TrailingSpec { level: ProtectionLevel::Abs(10.0), on: TrailOn::High };
    let protection = Protection { trailing: Some(trailing), ..Protection::default() };
    let bars = [flat(100.0), [100.0, 130.0, 95.0, 125.0], [119.0, 121.0, 118.0, 120.0], flat(120.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(protected(protection));
        }
    });
    assert_eq!(fills(&outcome)[1], (2, Side::Sell, 1.0, 119.0));
    // On the close: 125 - 10 = 115 is not reached on bar 2; bar 3's open of 120 neither.
    let on_close = TrailingSpec { on: TrailOn::Close, ..trailing };
    let protection = Protection { trailing: Some(on_close), ..Protection::default() };
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(protected(protection));
        }
    });
    assert_eq!(outcome.record.fills.len(), 1);
}

#[test]
fn protection_ends_with_the_position() {
    let bars = [flat(100.0), flat(100.0), flat(100.0), [100.0, 200.0, 1.0, 100.0], flat(100.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(protected(bracket(0.05, 0.1, None)));
        }
        1 => {
            ctx.submit(sell(1.0));
        }
        _ => {}
    });
    assert_eq!(outcome.record.fills.len(), 2);
    let closed = OrderStatus::Cancelled(CloseReason::PositionClosed);
    assert_eq!(outcome.orders.iter().filter(|o| o.status == closed).count(), 2);
}

#[test]
fn an_order_beyond_cash_is_refused_or_reduced_and_cash_never_goes_below_zero() {
    // 100 units at 10 were affordable at the decision; the next open at 25 is not.
    let bars = [flat(10.0), flat(25.0), flat(25.0)];
    let go = |market: &Market| {
        script(&bars, market, |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(buy(100.0));
            }
        })
    };
    let refused = go(&cash_market(1_000.0));
    assert!(refused.record.fills.is_empty());
    assert_eq!(refused.orders[0].status, OrderStatus::Rejected(Reject::InsufficientCash));
    let reduced = go(&Market { on_insufficient_cash: OnInsufficientCash::Reduce, ..cash_market(1_000.0) });
    assert_eq!(fills(&reduced), [(1, Side::Buy, 40.0, 25.0)]); // 40 x 25 = 1,000
    assert!(reduced.record.cash.iter().all(|&cash| cash >= 0.0));
}

#[test]
fn acceptance_counts_the_proceeds_of_sells_already_accepted() {
    let bars = [flat(10.0), flat(10.0), flat(10.0), flat(10.0)];
    let outcome = script(&bars, &cash_market(1_000.0), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(buy(100.0));
        }
        1 => {
            ctx.submit(sell(100.0));
            ctx.submit(buy(90.0));
        }
        _ => {}
    });
    assert_eq!(outcome.record.fills.len(), 3);
    assert_eq!(outcome.record.n_rejects, 0);
}

#[test]
fn an_all_in_budget_fits_whatever_the_gap() {
    // 10,000 at 101 with 0.1 % commission: 98 x 101 x 1.001 = 9,907.9; 99 would need 10,008.999.
    let market = Market {
        cash: 10_000.0,
        commission: Commission { rate: 0.001, ..Commission::default() },
        ..Market::default()
    };
    let bars = [flat(100.0), flat(101.0), flat(101.0)];
    let outcome = script(&bars, &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(OrderRequest::market(A, Side::Buy, Size::BudgetAtFill(ctx.equity)));
        }
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 98.0, 101.0)]);
    assert!(outcome.record.cash[2] >= 0.0);
}

#[test]
fn a_short_where_none_is_allowed_is_refused_with_its_reason() {
    let market = Market { shorts: false, ..Market::default() };
    let outcome = script(&[flat(10.0), flat(10.0), flat(10.0)], &market, |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(sell(1.0));
        }
    });
    assert_eq!(outcome.orders[0].status, OrderStatus::Rejected(Reject::ShortNotAllowed));
    assert_eq!(outcome.record.n_rejects, 1);
}

#[test]
fn nonsense_requests_are_rejected_with_typed_reasons() {
    let bars = [flat(10.0), flat(10.0), flat(10.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(buy(f64::NAN));
            ctx.submit(buy(-1.0));
            ctx.submit(buy(0.0));
            ctx.submit(with_kind(buy(1.0), OrderKind::Limit(-5.0)));
            ctx.submit(with_kind(buy(1.0), OrderKind::Stop(f64::INFINITY)));
        }
    });
    let reasons: Vec<_> = outcome.orders.iter().map(|o| o.status.reason()).collect();
    assert_eq!(reasons, ["bad_quantity", "bad_quantity", "zero_quantity", "bad_price", "bad_price"]);
    assert!(outcome.record.fills.is_empty());
}

#[test]
fn round_trips_pair_first_in_first_out_and_share_fees_by_quantity() {
    let market =
        Market { commission: Commission { per_share: 0.5, ..Commission::default() }, ..Market::default() };
    let bars = [flat(10.0), flat(10.0), flat(12.0), flat(15.0), flat(15.0)];
    let outcome = script(&bars, &market, |ctx, bar| match bar.row {
        0 => {
            ctx.submit(buy(10.0));
        }
        1 => {
            ctx.submit(buy(10.0));
        }
        2 => {
            ctx.submit(sell(15.0));
        }
        _ => {}
    });
    // Bought 10 at 10 and 10 at 12; 15 sold at 15: 10 x (15 - 10) - 10 x 1 and 5 x (15 - 12) - 5 x 1.
    let trips: Vec<_> =
        outcome.record.trips.iter().map(|t| (t.qty, t.entry_price, t.gross, t.fees, t.net)).collect();
    assert_eq!(trips, [(10.0, 10.0, 50.0, 10.0, 40.0), (5.0, 12.0, 15.0, 5.0, 10.0)]);
}

#[test]
fn a_fill_that_crosses_zero_closes_one_side_and_opens_the_other() {
    let bars = [flat(10.0), flat(10.0), flat(12.0), flat(11.0), flat(11.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| match bar.row {
        0 => {
            ctx.submit(buy(10.0));
        }
        1 => {
            ctx.submit(sell(15.0));
        }
        2 => {
            assert_eq!(ctx.position(A), -5.0);
            assert_eq!(ctx.portfolio.position(A).avg_price(), 12.0);
            ctx.submit(buy(5.0));
        }
        _ => {}
    });
    let nets: Vec<f64> = outcome.record.trips.iter().map(|t| t.net).collect();
    assert_eq!(nets, [20.0, 5.0]); // long 10 x (12 - 10), short 5 x (12 - 11)
}

#[test]
fn orders_wait_once_each_and_hooks_hear_once() {
    #[derive(Default)]
    struct Counter {
        starts: u32,
        stops: u32,
        trades: u32,
        states: Vec<&'static str>,
    }
    use akq_core::context::Context;
    use akq_core::data::BarAt;
    use akq_core::event::ExecutionReport;
    use akq_core::model::Fill;
    use akq_core::strategy::{Strategy, StrategyFailure};
    impl Strategy for Counter {
        fn on_start(&mut self, _: &mut Context<'_>) -> Result<(), StrategyFailure> {
            self.starts += 1;
            Ok(())
        }
        fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
            if bar.row == 0 {
                ctx.submit(buy(1.0));
            }
            Ok(())
        }
        fn on_order(&mut self, _: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
            self.states.push(report.status.name());
            Ok(())
        }
        fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
            assert_eq!(ctx.position(fill.instrument), 1.0); // booked before the strategy hears of it
            self.trades += 1;
            Ok(())
        }
        fn on_stop(&mut self, _: &mut Context<'_>) -> Result<(), StrategyFailure> {
            self.stops += 1;
            Ok(())
        }
    }
    let panel = panel_of(&[Series::dense("A", &[flat(10.0), flat(10.0), flat(10.0)])], 1);
    let mut counter = Counter::default();
    let outcome = run_on(&panel, &Market::default(), &mut counter).unwrap();
    assert_eq!((counter.starts, counter.stops, counter.trades), (1, 1, 1));
    assert_eq!(counter.states, ["accepted", "filled"]);
    assert_eq!(outcome.record.n_fills, 1);
}
