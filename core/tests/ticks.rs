//! Ticks through the loop of bars, with the arithmetic shown (core/SEMANTICS.md section 13).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod common;

use akq_core::context::Context;
use akq_core::data::{BarAt, Panel, PanelMeta, Timeline, Window};
use akq_core::error::DataError;
use akq_core::market::{Commission, ExecutionSpec, Market};
use akq_core::model::{OrderKind, OrderRequest, Protection, ProtectionLevel, Side, Size, Tick};
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::{InstrumentIx, TsNs};
use arrow_array::{ArrayRef, Date32Array, Float64Array, RecordBatch, TimestampNanosecondArray};
use common::{Heard, Outcome, run_on, run_session};
use std::sync::Arc;

const A: InstrumentIx = InstrumentIx(0);
const NONE: f64 = f64::NAN;

/// Time, price, size, bid, ask.
type Row = (i64, f64, f64, f64, f64);

fn try_panel(series: &[&[Row]]) -> Result<Panel, DataError> {
    let mut offsets = vec![0];
    for rows in series {
        offsets.push(offsets.last().unwrap() + rows.len());
    }
    let rows: Vec<Row> = series.concat();
    let column = |value: fn(&Row) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(value)))
    };
    let ts = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.0)).with_timezone("UTC");
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(ts)),
        ("date", Arc::new(Date32Array::from_iter_values(rows.iter().map(|_| 0)))),
        ("price", column(|row| row.1)),
        ("size", column(|row| row.2)),
        ("bid", column(|row| row.3)),
        ("ask", column(|row| row.4)),
    ];
    let symbols = (0..series.len()).map(|ix| format!("S{ix}")).collect();
    Panel::new(&RecordBatch::try_from_iter(arrays).unwrap(), PanelMeta { symbols, offsets })
}

fn panel(series: &[&[Row]]) -> Panel {
    try_panel(series).unwrap()
}

/// Calls a closure at every tick.
struct OnTick<F>(F);

impl<F: FnMut(&mut Context<'_>, BarAt)> Strategy for OnTick<F> {
    fn on_bar(&mut self, _: &mut Context<'_>, _: BarAt) -> Result<(), StrategyFailure> {
        Err(StrategyFailure("a tick is no bar for a strategy that takes ticks".to_owned()))
    }

    fn on_tick(&mut self, ctx: &mut Context<'_>, tick: BarAt) -> Result<(), StrategyFailure> {
        (self.0)(ctx, tick);
        Ok(())
    }
}

fn script(rows: &[Row], market: &Market, on_tick: impl FnMut(&mut Context<'_>, BarAt)) -> Outcome {
    run_on(&panel(&[rows]), market, &mut OnTick(on_tick)).unwrap()
}

fn order(side: Side, qty: f64) -> OrderRequest {
    OrderRequest::market(A, side, Size::Qty(qty))
}

fn fills(outcome: &Outcome) -> Vec<(u32, Side, f64, f64)> {
    outcome.record.fills.iter().map(|f| (f.row, f.side, f.qty, f.price)).collect()
}

#[test]
fn a_market_order_takes_the_other_side_of_the_next_quote_or_the_next_price() {
    let market = Market {
        cash: 1_000.0,
        commission: Commission { rate: 0.01, ..Commission::default() },
        ..Market::default()
    };
    let rows = [
        (1, 10.00, 5.0, 9.99, 10.01),
        (2, 10.10, 5.0, 10.08, 10.12),
        (3, 10.20, 5.0, NONE, NONE),
        (4, 10.30, 5.0, 10.25, 10.35),
    ];
    let outcome = script(&rows, &market, |ctx, tick| match tick.row {
        0 => drop(ctx.submit(order(Side::Buy, 10.0))),
        1 => drop(ctx.submit(order(Side::Buy, 1.0))),
        2 => drop(ctx.submit(order(Side::Sell, 11.0))),
        _ => {}
    });
    // The ask of the second tick, the price of the third, which has no quote, and the bid of the fourth.
    let expected = [(1, Side::Buy, 10.0, 10.12), (2, Side::Buy, 1.0, 10.20), (3, Side::Sell, 11.0, 10.25)];
    assert_eq!(fills(&outcome), expected);
    // Marked at the price of the trade: 1,000 - 101.2 - 1.012 + 10 x 10.1.
    assert_eq!(outcome.record.equity[1], 1_000.0 - (101.2 + 1.012) + 10.0 * 10.1);
    let end = 1_000.0 - 101.2 * 1.01 - 10.2 * 1.01 + 112.75 * 0.99;
    assert!((outcome.record.equity[3] - end).abs() < 1e-9);
}

#[test]
fn limits_and_stops_are_held_against_the_price_of_the_trade() {
    let rows = [
        (1, 100.0, 1.0, 99.5, 100.5),
        (2, 98.0, 1.0, 97.5, 98.5),
        (3, 103.0, 1.0, 102.5, 103.5),
        (4, 105.0, 1.0, 104.5, 105.5),
    ];
    let kind = |kind, request: OrderRequest| OrderRequest { kind, ..request };
    let outcome = script(&rows, &Market::default(), |ctx, tick| {
        if tick.row == 0 {
            ctx.submit(kind(OrderKind::Limit(98.0), order(Side::Buy, 1.0)));
            ctx.submit(kind(OrderKind::Limit(99.0), order(Side::Buy, 2.0)));
            ctx.submit(kind(OrderKind::Stop(102.0), order(Side::Buy, 3.0)));
            ctx.submit(kind(OrderKind::Limit(97.9), order(Side::Buy, 4.0)));
        }
    });
    // A trade at 98 fills both limits there; the stop is reached at 103 and takes the ask beside it.
    let expected = [(1, Side::Buy, 1.0, 98.0), (1, Side::Buy, 2.0, 98.0), (2, Side::Buy, 3.0, 103.5)];
    assert_eq!(fills(&outcome), expected);
}

#[test]
fn participation_is_a_share_of_the_size_of_the_tick() {
    let execution = ExecutionSpec { max_participation: Some(0.5), ..ExecutionSpec::default() };
    let market = Market { execution, ..Market::default() };
    let rows = [(1, 10.0, 100.0, NONE, NONE), (2, 11.0, 8.0, NONE, NONE), (3, 12.0, 100.0, NONE, NONE)];
    let outcome = script(&rows, &market, |ctx, tick| {
        if tick.row == 0 {
            ctx.submit(order(Side::Buy, 10.0));
        }
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 4.0, 11.0), (2, Side::Buy, 6.0, 12.0)]);
}

#[test]
fn protection_is_live_from_the_next_tick() {
    let rows = [
        (1, 10.0, 1.0, 9.9, 10.1),
        (2, 10.0, 1.0, 9.9, 10.1),
        (3, 10.0, 1.0, 9.9, 10.1),
        (4, 10.5, 1.0, 10.4, 10.6),
    ];
    let level = |points| Some((ProtectionLevel::Abs(points), None));
    let protected = |stop: f64| OrderRequest {
        protection: Protection { stop_loss: level(stop), ..Protection::default() },
        ..order(Side::Buy, 1.0)
    };
    // Bought at the ask of 10.1 with a stop at 10.05, above the trade of its own tick: it goes off on the next one,
    // at the bid.
    let outcome = script(&rows, &Market::default(), |ctx, tick| {
        if tick.row == 0 {
            ctx.submit(protected(0.05));
        }
    });
    assert_eq!(fills(&outcome), [(1, Side::Buy, 1.0, 10.1), (2, Side::Sell, 1.0, 9.9)]);
}

#[test]
fn ticks_of_one_time_keep_their_order_and_those_of_several_instruments_meet() {
    let first = [(1, 10.0, 1.0, NONE, NONE), (2, 11.0, 1.0, NONE, NONE), (2, 12.0, 1.0, NONE, NONE)];
    let second = [(2, 50.0, 1.0, NONE, NONE), (3, 51.0, 1.0, NONE, NONE)];
    let mut seen = Vec::new();
    let both = panel(&[&first, &second]);
    let mut strategy = OnTick(|ctx: &mut Context<'_>, at: BarAt| {
        let Tick { ts, price, .. } = ctx.tick(at);
        seen.push((ctx.clock.step, ts, at.instrument.0, price));
        if at.row == 0 && at.instrument == A {
            ctx.submit(order(Side::Buy, 1.0));
        }
    });
    let outcome = run_on(&both, &Market::default(), &mut strategy).unwrap();
    let expected = [
        (0, TsNs(1), 0, 10.0),
        (1, TsNs(2), 0, 11.0),
        (1, TsNs(2), 1, 50.0),
        (2, TsNs(2), 0, 12.0),
        (3, TsNs(3), 1, 51.0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(fills(&outcome), [(1, Side::Buy, 1.0, 11.0)]);
    let alone = Timeline::new(&both, &[0], Window::default());
    assert_eq!(alone.timestamps(), [1, 2, 2]);
}

#[test]
fn a_session_of_ticks_equals_the_run() {
    let rows: Vec<Row> = (0..200)
        .map(|i| {
            let price = 100.0 + f64::from(i as u32 * 7919 % 101) / 50.0;
            (
                i / 3,
                price,
                f64::from(i as u32 % 5),
                price - 0.01,
                if i % 4 == 0 { NONE } else { price + 0.02 },
            )
        })
        .collect();
    let panel = panel(&[&rows, &rows[20..90]]);
    let trade = || {
        Heard::new(OnTick(|ctx: &mut Context<'_>, at: BarAt| {
            let side = if at.row % 7 < 4 { Side::Buy } else { Side::Sell };
            if at.row.is_multiple_of(3) {
                ctx.submit(OrderRequest::market(at.instrument, side, Size::Qty(2.0)));
            }
        }))
    };
    let mut run = trade();
    let whole = run_on(&panel, &Market::default(), &mut run).unwrap();
    let fed = run_session(&panel, &Market::default(), trade());
    assert!(fed.outcome.is_ok(), "{:?}", fed.outcome);
    assert!(whole.record.n_fills > 50);
    assert_eq!(format!("{:?}", fed.record), format!("{:?}", whole.record));
    assert_eq!(fed.strategy.log, run.log);
}

#[test]
fn quotes_that_cannot_stand_and_times_that_go_back_are_refused() {
    let text = |rows: &[Row]| try_panel(&[rows]).unwrap_err().to_string();
    assert_eq!(text(&[(1, 10.0, 1.0, 10.2, 10.1)]), "S0: bid 10.2 is above ask 10.1 at row 0");
    assert!(text(&[(1, 10.0, 1.0, 0.0, 10.1)]).contains("bid is 0 at row 0"));
    assert!(text(&[(2, 10.0, 1.0, NONE, NONE), (1, 10.0, 1.0, NONE, NONE)]).contains("row 1"));
    assert!(text(&[(1, f64::NAN, 1.0, NONE, NONE)]).contains("expected a finite price"));
}
