//! Golden cases of the life of an order with the arithmetic shown (core/SEMANTICS.md sections 3 and 5).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::market::{
    Commission, ExecutionSpec, FillMode, ImpactFormula, ImpactSpec, Intrabar, Market, SlippageSpec,
};
use akq_core::model::{
    Amendment, CloseReason, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel,
    Reject, Side, Size, TimeInForce, TrailOn, TrailingSpec,
};
use akq_core::units::OrderId;
use akq_core::units::{InstrumentIx, TradingDate};
use common::{Ohlc, Outcome, Script, Series, panel_of, run_on, script, script_volume};

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
    let sparse = Series {
        symbol: "A".to_owned(),
        bars: vec![(0, flat(10.0)), (1, flat(10.0)), (3, [10.0, 10.0, 5.0, 10.0]), (4, flat(10.0))],
    };
    let mut strategy = Script(|ctx: &mut akq_core::context::Context<'_>, bar: akq_core::data::BarAt| {
        if bar.row == 0 {
            let request = with_kind(buy(1.0), OrderKind::Limit(6.0));
            ctx.submit(with_tif(request, TimeInForce::Gtd(TradingDate(2))));
        }
    });
    let panel = panel_of(&[sparse], 1);
    let outcome = run_on(&panel, &Market::default(), &mut strategy).unwrap();
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

/// Pitfall 2: a stop at 95 on a bar O100 L88 fills at 95, not at the open.
#[test]
fn pitfall_2_a_stop_fills_at_its_level_or_at_a_worse_open() {
    let through = [flat(100.0), [100.0, 101.0, 88.0, 90.0], flat(90.0)];
    let gap = [flat(100.0), [92.0, 93.0, 88.0, 90.0], flat(90.0)];
    for (bars, price) in [(through, 95.0), (gap, 92.0)] {
        let outcome = script(&bars, &Market::default(), |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(with_kind(sell(1.0), OrderKind::Stop(95.0)));
            }
        });
        assert_eq!(fills(&outcome), [(1, Side::Sell, 1.0, price)]);
    }
}

/// Pitfall 6: with close fills only market orders use the decision bar.
#[test]
fn pitfall_6_close_mode_fills_market_orders_only_on_the_decision_bar() {
    let market = Market { fill: FillMode::Close, ..Market::default() };
    let wide = [100.0, 110.0, 90.0, 100.0];
    let trailing = TrailingSpec { level: ProtectionLevel::Abs(5.0), on: TrailOn::High };
    let waiting = [
        with_kind(buy(1.0), OrderKind::Limit(95.0)),
        with_kind(buy(1.0), OrderKind::Stop(105.0)),
        with_kind(buy(1.0), OrderKind::StopLimit { stop: 105.0, limit: 106.0 }),
        OrderRequest::trailing_stop(A, Side::Sell, Size::Qty(1.0), trailing),
        with_kind(buy(1.0), OrderKind::MarketOnClose),
    ];
    for request in waiting {
        let outcome = script(&[wide, wide, wide], &market, |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(request);
            }
        });
        assert_eq!(outcome.record.fills.len(), 1, "{request:?}");
        assert_eq!(outcome.record.fills[0].row, 1, "{request:?}");
    }
}

#[test]
fn a_stop_limit_fills_in_its_trigger_bar_only_if_the_trigger_price_satisfies_the_limit() {
    let stop_limit = |bars: &[Ohlc]| {
        script(bars, &Market { slippage_bps: 100.0, ..Market::default() }, |ctx, bar| {
            if bar.row == 0 {
                ctx.submit(with_kind(buy(1.0), OrderKind::StopLimit { stop: 105.0, limit: 106.0 }));
            }
        })
    };
    // Reached inside the bar: at 105, without slippage.
    let inside = stop_limit(&[flat(100.0), [101.0, 107.0, 100.0, 106.0], flat(106.0)]);
    assert_eq!(fills(&inside), [(1, Side::Buy, 1.0, 105.0)]);
    // Opens at 108, beyond the limit: rests, although the bar comes back to 104; fills at the next open of 105.5.
    let gap =
        stop_limit(&[flat(100.0), [108.0, 109.0, 104.0, 107.0], [105.5, 106.0, 105.0, 105.5], flat(105.0)]);
    assert_eq!(fills(&gap), [(2, Side::Buy, 1.0, 105.5)]);
    // Triggered, then the market stays above the limit.
    let away = stop_limit(&[flat(100.0), flat(108.0), flat(107.0), flat(107.0)]);
    assert!(away.record.fills.is_empty());
    // Never triggered: a price below the limit is no reason to buy.
    let quiet = stop_limit(&[flat(100.0), flat(101.0), flat(101.0)]);
    assert!(quiet.record.fills.is_empty());
}

#[test]
fn a_stop_limit_to_sell_mirrors_one_to_buy() {
    let bars = [flat(100.0), [93.0, 94.0, 90.0, 91.0], [93.5, 95.0, 92.0, 94.0], flat(94.0)];
    let outcome = script(&bars, &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(with_kind(sell(1.0), OrderKind::StopLimit { stop: 95.0, limit: 94.0 }));
        }
    });
    // Trigger price min(93, 95) = 93 is below the limit of 94; the next bar reaches 94 from an open of 93.5.
    assert_eq!(fills(&outcome), [(2, Side::Sell, 1.0, 94.0)]);
}

#[test]
fn a_trailing_stop_of_a_strategy_starts_at_the_close_and_follows_completed_bars() {
    let run = |level, on| {
        let bars = [
            [100.0, 120.0, 99.0, 100.0],  // the decision: its high of 120 does not count
            [100.0, 110.0, 96.0, 105.0],  // level 95 from the close of 100
            [105.0, 106.0, 101.5, 103.0], // level 105 from the high of 110, 100 from the close of 105
            [103.0, 103.0, 99.0, 99.5],
            flat(99.0),
        ];
        script(&bars, &Market::default(), |ctx, bar| {
            if bar.row == 0 {
                let spec = TrailingSpec { level, on };
                ctx.submit(OrderRequest::trailing_stop(A, Side::Sell, Size::Qty(1.0), spec));
            }
        })
    };
    let by_high = run(ProtectionLevel::Abs(5.0), TrailOn::High);
    assert_eq!(fills(&by_high), [(2, Side::Sell, 1.0, 105.0)]); // opens at the level of 105
    let by_close = run(ProtectionLevel::Abs(5.0), TrailOn::Close);
    assert_eq!(fills(&by_close), [(3, Side::Sell, 1.0, 100.0)]);
    // 5 % of 110 is 5.5: the level of 104.5 lies inside row 2.
    let by_share = run(ProtectionLevel::Pct(0.05), TrailOn::High);
    assert_eq!(fills(&by_share), [(2, Side::Sell, 1.0, 110.0 - 110.0 * 0.05)]);
    assert_eq!(by_share.orders[0].kind_name(), "trailing_stop");
    for level in [ProtectionLevel::Abs(-1.0), ProtectionLevel::Abs(100.0), ProtectionLevel::Pct(f64::NAN)] {
        assert_eq!(statuses(&run(level, TrailOn::High)), [OrderStatus::Rejected(Reject::BadPrice)]);
    }
}

#[test]
fn market_on_close_fills_at_the_close_of_the_next_date_with_a_bar() {
    let bars: Vec<Ohlc> = (0..8).map(|i| [10.0, 30.0, 5.0, 11.0 + f64::from(i)]).collect();
    let run = |steps_a_day: i64, at: u32| {
        let panel = panel_of(&[Series::dense("A", &bars)], steps_a_day);
        let mut strategy = Script(|ctx: &mut akq_core::context::Context<'_>, bar: akq_core::data::BarAt| {
            if bar.row == at {
                ctx.submit(with_kind(buy(1.0), OrderKind::MarketOnClose));
                assert!(ctx.has_pending_market(A));
            }
        });
        run_on(&panel, &Market { slippage_bps: 10.0, ..Market::default() }, &mut strategy).unwrap()
    };
    // Daily data: the next close, with slippage.
    assert_eq!(fills(&run(1, 2)), [(3, Side::Buy, 1.0, 14.0 * 1.001)]);
    // Four bars a date: from row 1 and from row 3 (the last of its date) to row 7.
    for at in [1, 3] {
        assert_eq!(fills(&run(4, at)), [(7, Side::Buy, 1.0, 18.0 * 1.001)]);
    }
    assert_eq!(statuses(&run(4, 4)), [OrderStatus::Expired(CloseReason::EndOfData)]);
}

#[test]
fn a_child_is_handed_in_when_its_parent_has_filled() {
    let bars = [
        flat(100.0),
        [100.0, 120.0, 94.0, 100.0], // fills the parent at 95; the child's 110 is in reach, but not yet its turn
        [100.0, 111.0, 99.0, 100.0],
        flat(100.0),
    ];
    let run = |limit: f64, tif: TimeInForce| {
        script(&bars, &Market::default(), |ctx, bar| {
            if bar.row == 0 {
                let parent = ctx.submit(with_tif(with_kind(buy(2.0), OrderKind::Limit(limit)), tif));
                let child = with_kind(sell(2.0), OrderKind::Limit(110.0));
                ctx.submit(OrderRequest { parent: Some(parent), ..child });
            }
        })
    };
    let filled = run(95.0, TimeInForce::Gtc);
    assert_eq!(fills(&filled), [(1, Side::Buy, 2.0, 95.0), (2, Side::Sell, 2.0, 110.0)]);
    let expired = run(50.0, TimeInForce::Bars(1));
    assert_eq!(
        statuses(&expired),
        [OrderStatus::Expired(CloseReason::TimeInForce), OrderStatus::Cancelled(CloseReason::Parent)]
    );
    let waits = run(50.0, TimeInForce::Gtc);
    assert_eq!(statuses(&waits), [OrderStatus::Expired(CloseReason::EndOfData); 2]);
}

#[test]
fn a_market_child_fills_on_the_bar_after_its_parent_in_both_modes() {
    for (fill, row) in [(FillMode::NextOpen, 2), (FillMode::Close, 1)] {
        let market = Market { fill, ..Market::default() };
        let outcome = script(&[flat(10.0), flat(11.0), flat(12.0), flat(13.0)], &market, |ctx, bar| {
            if bar.row == 0 {
                let parent = ctx.submit(buy(1.0));
                ctx.submit(OrderRequest { parent: Some(parent), ..sell(1.0) });
            }
        });
        assert_eq!(outcome.record.fills.len(), 2, "{fill:?}");
        assert_eq!(outcome.record.fills[1].row, row, "{fill:?}");
    }
}

#[test]
fn a_parent_that_ends_in_parts_hands_on_the_same_part() {
    // 60 of 100 fill at once and the rest is cancelled; half of 60 is 30.
    let market = participating(0.5, 10.0);
    let outcome = script_volume(&at_ten(&[120.0; 5]), 1, &market, |ctx, bar| {
        if bar.row == 0 {
            let parent = ctx.submit(with_tif(buy(100.0), TimeInForce::Ioc));
            ctx.submit(OrderRequest { parent: Some(parent), ..sell(50.0) });
        }
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 60.0, 10.0), (2, Side::Sell, 30.0, 10.0)]);
}

#[test]
fn a_parent_must_stand_before_its_child() {
    let outcome = script(&[flat(10.0); 3], &Market::default(), |ctx, bar| {
        if bar.row == 0 {
            ctx.submit(OrderRequest { parent: Some(OrderId(1)), ..buy(1.0) }); // itself
            ctx.submit(OrderRequest { parent: Some(OrderId(9)), ..buy(1.0) });
        }
    });
    assert_eq!(statuses(&outcome), [OrderStatus::Rejected(Reject::UnknownOrder); 2]);
}

#[test]
fn a_waiting_child_can_be_taken_back() {
    let mut child = None;
    let outcome = script(&[flat(10.0); 5], &Market::default(), |ctx, bar| match bar.row {
        0 => {
            let parent = ctx.submit(with_kind(buy(1.0), OrderKind::MarketOnClose));
            child = Some(ctx.submit(OrderRequest { parent: Some(parent), ..sell(1.0) }));
            ctx.cancel(child.unwrap());
        }
        2 => assert!(!ctx.is_working(child.unwrap())),
        _ => {}
    });
    assert_eq!(outcome.record.fills.len(), 1);
    assert_eq!(outcome.orders[1].status, OrderStatus::Cancelled(CloseReason::Request));
}

#[test]
fn an_amended_order_has_its_new_prices_and_quantity_from_the_next_bar() {
    // Row 1 reaches 95 with the limit still at 90; the amendment to 95 made there counts on row 2.
    let bars = [flat(100.0), [100.0, 100.0, 94.0, 100.0], [100.0, 100.0, 94.0, 100.0], flat(100.0)];
    let mut id = OrderId(0);
    let outcome = script(&bars, &Market::default(), |ctx, bar| match bar.row {
        0 => id = ctx.submit(with_kind(buy(1.0), OrderKind::Limit(90.0))),
        1 => ctx.amend(id, Amendment { limit: Some(95.0), qty: Some(3.0), ..Amendment::default() }),
        _ => {}
    });
    assert_eq!(fills(&outcome), [(2, Side::Buy, 3.0, 95.0)]);
    assert_eq!(outcome.record.n_amend_rejects, 0);
}

#[test]
fn an_amendment_after_a_partial_fill_counts_the_whole_quantity() {
    let mut id = OrderId(0);
    let amend_to = |qty: f64, id: &mut OrderId| {
        script_volume(&at_ten(&[100.0; 6]), 1, &participating(0.5, 1.0), |ctx, bar| match bar.row {
            0 => *id = ctx.submit(with_kind(buy(200.0), OrderKind::Limit(10.0))),
            1 => ctx.amend(*id, Amendment { qty: Some(qty), ..Amendment::default() }),
            _ => {}
        })
    };
    let smaller = amend_to(80.0, &mut id);
    assert_eq!(smaller.record.fills.iter().map(|f| f.qty).collect::<Vec<_>>(), [50.0, 30.0]);
    assert_eq!(statuses(&smaller), [OrderStatus::Filled]);
    // 50 have filled: the order cannot become one of 40, and stays one of 200.
    let too_small = amend_to(40.0, &mut id);
    assert_eq!(too_small.record.fills.iter().map(|f| f.qty).collect::<Vec<_>>(), [50.0; 4]);
    assert_eq!(too_small.record.n_amend_rejects, 1);
}

#[test]
fn a_refused_amendment_leaves_the_order_working_and_is_reported_once() {
    #[derive(Default)]
    struct Listener {
        heard: Vec<(&'static str, Option<Reject>)>,
    }
    use akq_core::context::Context;
    use akq_core::data::BarAt;
    use akq_core::event::ExecutionReport;
    use akq_core::strategy::{Strategy, StrategyFailure};
    impl Strategy for Listener {
        fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
            match bar.row {
                0 => {
                    ctx.submit(with_kind(buy(1.0), OrderKind::Limit(9.0)));
                }
                1 => {
                    ctx.amend(OrderId(1), Amendment { limit: Some(-1.0), ..Amendment::default() });
                    ctx.amend(OrderId(1), Amendment { stop: Some(9.5), ..Amendment::default() });
                    ctx.amend(OrderId(7), Amendment::default());
                }
                3 => ctx.amend(OrderId(1), Amendment { limit: Some(8.0), ..Amendment::default() }),
                _ => {}
            }
            Ok(())
        }
        fn on_order(&mut self, _: &mut Context<'_>, r: &ExecutionReport) -> Result<(), StrategyFailure> {
            self.heard.push((r.status.name(), r.refused));
            Ok(())
        }
    }
    let bars = [flat(10.0), flat(10.0), [10.0, 10.0, 8.5, 9.0], flat(10.0), flat(10.0)];
    let mut listener = Listener::default();
    let outcome =
        run_on(&panel_of(&[Series::dense("A", &bars)], 1), &Market::default(), &mut listener).unwrap();
    assert_eq!(fills(&outcome), [(2, Side::Buy, 1.0, 9.0)]);
    let expected = [
        ("accepted", None),
        ("accepted", Some(Reject::BadPrice)),
        ("accepted", Some(Reject::NoSuchPrice)),
        ("filled", None),
        ("filled", Some(Reject::NotWorking)),
    ];
    assert_eq!(listener.heard, expected);
    assert_eq!((outcome.record.n_rejects, outcome.record.n_amend_rejects), (0, 4));
}

fn slipping(slippage: SlippageSpec) -> ExecutionSpec {
    ExecutionSpec { slippage: Some(slippage), tick: 0.5, ..ExecutionSpec::default() }
}

#[test]
fn every_slippage_model_moves_market_and_stop_fills_against_the_order() {
    let impact = |formula| SlippageSpec::VolumeImpact(ImpactSpec { formula, coefficient: 0.1 });
    // 25 of a volume of 100 at 10: sqrt(0.25) = 0.5.
    let cases = [
        (SlippageSpec::None, 10.0),
        (SlippageSpec::Bps(100.0), 10.0 * 1.01),
        (SlippageSpec::Ticks(2.0), 10.0 + 2.0 * 0.5),
        (impact(ImpactFormula::SquareRoot), 10.0 * (1.0 + 0.1 * 0.5)),
        (impact(ImpactFormula::Linear), 10.0 * (1.0 + 0.1 * 0.25)),
    ];
    for (model, price) in cases {
        let market = executing(slipping(model));
        for kind in [OrderKind::Market, OrderKind::Stop(10.0), OrderKind::MarketOnClose] {
            let outcome = one_order(&at_ten(&[100.0; 3]), &market, with_kind(buy(25.0), kind));
            assert_eq!(fills(&outcome), [(1, Side::Buy, 25.0, price)], "{model:?} {kind:?}");
            let cost = (price - 10.0) * 25.0;
            assert!((outcome.record.slippage_cost - cost).abs() < 1e-12);
        }
    }
}

/// Pitfall 10: a limit is never violated, whatever the model.
#[test]
fn pitfall_10_no_slippage_model_touches_a_limit() {
    let impact = SlippageSpec::VolumeImpact(ImpactSpec { formula: ImpactFormula::Linear, coefficient: 0.5 });
    for model in [SlippageSpec::Bps(500.0), SlippageSpec::Ticks(10.0), impact] {
        let bars = [(flat(100.0), 10.0), ([100.0, 101.0, 94.0, 96.0], 10.0), (flat(96.0), 10.0)];
        for kind in [OrderKind::Limit(95.0), OrderKind::StopLimit { stop: 100.5, limit: 100.5 }] {
            let outcome = one_order(&bars, &executing(slipping(model)), with_kind(buy(10.0), kind));
            assert_eq!(fills(&outcome), [(1, Side::Buy, 10.0, kind.price().unwrap())], "{model:?}");
        }
    }
}

#[test]
fn a_capped_slippage_stays_inside_the_bar() {
    let bars = [(flat(10.0), 1.0), ([10.0, 10.2, 9.9, 10.0], 1.0), (flat(10.0), 1.0)];
    let mut execution = slipping(SlippageSpec::Ticks(1.0));
    assert_eq!(fills(&one_order(&bars, &executing(execution), buy(1.0))), [(1, Side::Buy, 1.0, 10.5)]);
    execution.cap_to_bar = true;
    assert_eq!(fills(&one_order(&bars, &executing(execution), buy(1.0))), [(1, Side::Buy, 1.0, 10.2)]);
    assert_eq!(fills(&one_order(&bars, &executing(execution), sell(1.0))), [(1, Side::Sell, 1.0, 9.9)]);
}

#[test]
fn an_all_in_budget_fits_under_volume_impact() {
    let impact = SlippageSpec::VolumeImpact(ImpactSpec { formula: ImpactFormula::Linear, coefficient: 0.5 });
    let market = Market { cash: 1_000.0, ..executing(slipping(impact)) };
    // 100 units at 10 would cost 1,000 without impact; as all of the volume they cost 15 each, so 66 are bought, which
    // then cost 10 x (1 + 0.5 x 0.66) = 13.3 each.
    let budget = OrderRequest::market(A, Side::Buy, Size::BudgetAtFill(1_000.0));
    let outcome = one_order(&at_ten(&[100.0; 3]), &market, budget);
    assert_eq!(fills(&outcome), [(1, Side::Buy, 66.0, 10.0 * (1.0 + 0.5 * 0.66))]);
    assert!(outcome.record.cash.iter().all(|&cash| cash >= 0.0));
}

#[test]
fn slippage_settings_that_mean_nothing_are_refused() {
    let impact = SlippageSpec::VolumeImpact(ImpactSpec { formula: ImpactFormula::Linear, coefficient: 1.0 });
    let bad = [SlippageSpec::Bps(-1.0), SlippageSpec::Bps(10_000.0), SlippageSpec::Ticks(f64::NAN), impact];
    for model in bad {
        assert!(executing(slipping(model)).check().is_err(), "{model:?}");
    }
    let no_tick = ExecutionSpec { tick: 0.0, ..slipping(SlippageSpec::Ticks(1.0)) };
    assert!(executing(no_tick).check().is_err());
    let both = Market { slippage_bps: 1.0, ..executing(slipping(SlippageSpec::Bps(1.0))) };
    assert!(both.check().is_err());
}

/// Long from 100 with a stop at 95 and a target at 110; the bar after the entry is `bar`.
fn bracketed(intrabar: Intrabar, bar: Ohlc, by_protection: bool) -> (f64, f64) {
    let market = executing(ExecutionSpec { intrabar, ..ExecutionSpec::default() });
    let bars = [flat(100.0), flat(100.0), bar, flat(bar[3])];
    let outcome = script(&bars, &market, |ctx, at| match at.row {
        0 if by_protection => {
            let protection = Protection {
                stop_loss: Some((ProtectionLevel::Abs(5.0), None)),
                take_profit: Some((ProtectionLevel::Abs(10.0), None)),
                trailing: None,
            };
            ctx.submit(OrderRequest { protection, ..buy(1.0) });
        }
        0 => {
            ctx.submit(buy(1.0));
        }
        1 if !by_protection => {
            ctx.submit(OrderRequest { oco: Some(7), ..with_kind(sell(1.0), OrderKind::Limit(110.0)) });
            ctx.submit(OrderRequest { oco: Some(7), ..with_kind(sell(1.0), OrderKind::Stop(95.0)) });
        }
        _ => {}
    });
    assert_eq!(outcome.record.fills.len(), 2, "{intrabar:?} {bar:?}: one leg, once");
    (outcome.record.fills[1].price, outcome.record.trips[0].net)
}

#[test]
fn intrabar_settles_which_leg_of_a_group_fills() {
    let low_first = [100.0, 112.0, 94.0, 105.0]; // 6 to the low, 12 to the high
    let high_first = [100.0, 111.0, 88.0, 90.0]; // 11 to the high, 12 to the low
    let gap_up = [111.0, 113.0, 94.0, 100.0]; // opens beyond the target
    let gap_down = [93.0, 111.0, 92.0, 100.0]; // opens beyond the stop
    let target_only = [100.0, 112.0, 96.0, 105.0];
    for by_protection in [false, true] {
        let price = |intrabar, bar| bracketed(intrabar, bar, by_protection).0;
        let of = |bar| {
            [price(Intrabar::Pessimistic, bar), price(Intrabar::Optimistic, bar), price(Intrabar::Path, bar)]
        };
        assert_eq!(of(low_first), [95.0, 110.0, 95.0]);
        assert_eq!(of(high_first), [95.0, 110.0, 110.0]);
        assert_eq!(of(gap_up), [95.0, 111.0, 111.0]);
        assert_eq!(of(gap_down), [93.0, 110.0, 93.0]);
        assert_eq!(of(target_only), [110.0; 3]);
    }
}

#[test]
fn on_the_bar_of_an_entry_inside_it_the_target_waits_in_every_mode() {
    // The limit entry at 95 fills inside row 1; 105 was reached in that bar, but maybe before the entry.
    let bars = [flat(100.0), [100.0, 106.0, 91.0, 100.0], [100.0, 106.0, 99.0, 100.0], flat(100.0)];
    for intrabar in [Intrabar::Pessimistic, Intrabar::Optimistic, Intrabar::Path] {
        let market = executing(ExecutionSpec { intrabar, ..ExecutionSpec::default() });
        let outcome = script(&bars, &market, |ctx, bar| {
            if bar.row == 0 {
                let protection = Protection {
                    stop_loss: Some((ProtectionLevel::Abs(3.0), None)),
                    take_profit: Some((ProtectionLevel::Abs(10.0), None)),
                    trailing: None,
                };
                ctx.submit(OrderRequest { protection, ..with_kind(buy(1.0), OrderKind::Limit(95.0)) });
            }
        });
        assert_eq!(fills(&outcome)[1], (1, Side::Sell, 1.0, 92.0), "{intrabar:?}");
    }
}
