//! Several strategies in one account, with the arithmetic shown (core/SEMANTICS.md section 11).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it fails")]

mod common;

use akq_core::context::{Context, Target};
use akq_core::data::BarAt;
use akq_core::ensemble::Ensemble;
use akq_core::event::ExecutionReport;
use akq_core::market::{Commission, Market};
use akq_core::model::{
    Amendment, OrderKind, OrderRequest, OrderStatus, OrderTag, Protection, ProtectionLevel, Reject, Side,
    Size,
};
use akq_core::registry::AnyStrategy;
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::{InstrumentIx, OrderId};
use common::{Ohlc, Outcome, Script, Series, panel_of, random_series, run_on};
use std::cell::RefCell;
use std::rc::Rc;

const A: InstrumentIx = InstrumentIx(0);

fn flat(price: f64) -> Ohlc {
    [price; 4]
}

fn order(side: Side, qty: f64) -> OrderRequest {
    OrderRequest::market(A, side, Size::Qty(qty))
}

/// Runs closures over one asset, called in this order at every bar.
fn together(bars: &[Ohlc], market: &Market, members: Vec<Box<dyn AnyStrategy + '_>>) -> Outcome {
    let panel = panel_of(&[Series::dense("A", bars)], 1);
    run_on(&panel, market, &mut Ensemble::new(members)).unwrap()
}

fn script<'a>(on_bar: impl FnMut(&mut Context<'_>, BarAt) + 'a) -> Box<dyn AnyStrategy + 'a> {
    Box::new(Script(on_bar))
}

fn owners(outcome: &Outcome) -> Vec<(usize, Side, f64, f64)> {
    let owner = |id: OrderId| outcome.orders[id.0 as usize - 1].owner.ix();
    outcome.record.fills.iter().map(|f| (owner(f.order), f.side, f.qty, f.price)).collect()
}

#[test]
fn the_account_nets_and_each_strategy_keeps_its_own_position_and_round_trips() {
    let market =
        Market { commission: Commission { rate: 0.001, ..Commission::default() }, ..Market::default() };
    let bars = [flat(100.0), flat(100.0), flat(110.0), flat(120.0), flat(130.0)];
    let seen = RefCell::new(Vec::new());
    let long = script(|ctx, bar| {
        seen.borrow_mut().push((bar.row, 0, ctx.position(A), ctx.account.position(A).qty()));
        match bar.row {
            0 => drop(ctx.submit(order(Side::Buy, 10.0))),
            2 => drop(ctx.submit(order(Side::Sell, 10.0))),
            _ => {}
        }
    });
    let short = script(|ctx, bar| {
        seen.borrow_mut().push((bar.row, 1, ctx.position(A), ctx.account.position(A).qty()));
        if bar.row == 1 {
            ctx.submit(order(Side::Sell, 4.0));
        }
    });
    let outcome = together(&bars, &market, vec![long, short]);
    let fills = [(0, Side::Buy, 10.0, 100.0), (1, Side::Sell, 4.0, 110.0), (0, Side::Sell, 10.0, 120.0)];
    assert_eq!(owners(&outcome), fills);
    assert_eq!(
        seen.into_inner(),
        [
            (0, 0, 0.0, 0.0),
            (0, 1, 0.0, 0.0),
            (1, 0, 10.0, 10.0),
            (1, 1, 0.0, 10.0),
            (2, 0, 10.0, 6.0),
            (2, 1, -4.0, 6.0),
            (3, 0, 0.0, -4.0),
            (3, 1, -4.0, -4.0),
            (4, 0, 0.0, -4.0),
            (4, 1, -4.0, -4.0),
        ]
    );
    // Only the first has closed what it opened: 10 x (120 - 100) less 1 and 1.2 of fees.
    let trips: Vec<_> = outcome.record.trips.iter().map(|t| (t.qty, t.gross, t.fees)).collect();
    assert_eq!(trips, [(10.0, 200.0, 1.0 + 1.2)]);
    assert_eq!(outcome.record.trip_owners.iter().map(|o| o.ix()).collect::<Vec<_>>(), [0]);
    // The second has sold 4 at 110 and owes them at 130, with a fee of 0.44.
    let earned = [10.0 * 20.0 - 2.2, -4.0 * 20.0 - 0.44];
    for (found, expected) in outcome.record.net_profits.iter().zip(earned) {
        assert!((found - expected).abs() < 1e-9, "{found} and {expected}");
    }
    let gain = outcome.record.equity[4] - 1_000_000.0;
    assert!((gain - earned.iter().sum::<f64>()).abs() < 1e-6, "{gain}");
}

#[test]
fn targets_start_from_the_own_position_and_the_equity_of_the_account() {
    let market = Market { cash: 1_000.0, ..Market::default() };
    let half = |ctx: &mut Context<'_>, bar: BarAt| {
        if bar.row <= 1 {
            ctx.target(A, Target::Pct(0.5), OrderTag::Rebalance);
        }
    };
    let outcome = together(&[flat(10.0), flat(10.0), flat(10.0)], &market, vec![script(half), script(half)]);
    // Half of 1,000 for each: 50 units twice; at the next close each has what it wants.
    assert_eq!(owners(&outcome), [(0, Side::Buy, 50.0, 10.0), (1, Side::Buy, 50.0, 10.0)]);
}

#[test]
fn a_strategy_cannot_reach_the_orders_of_another() {
    let limit = OrderRequest { kind: OrderKind::Limit(5.0), oco: Some(1), ..order(Side::Buy, 1.0) };
    let first = script(|ctx, bar| {
        if bar.row == 0 {
            assert_eq!(ctx.submit(limit), OrderId(1));
        }
    });
    let second = script(|ctx, bar| match bar.row {
        0 => {
            // Its own group 1 and its own child: neither has to do with the order of the first.
            ctx.submit(OrderRequest { oco: Some(1), ..order(Side::Buy, 2.0) });
            ctx.submit(OrderRequest { parent: Some(OrderId(1)), ..order(Side::Buy, 3.0) });
        }
        1 => {
            assert!(ctx.order(OrderId(1)).is_none() && !ctx.is_working(OrderId(1)));
            ctx.cancel(OrderId(1));
            ctx.amend(OrderId(1), Amendment { qty: Some(9.0), ..Amendment::default() });
        }
        _ => {}
    });
    let bars = [flat(10.0), flat(10.0), flat(10.0), flat(4.0)];
    let outcome = together(&bars, &Market::default(), vec![first, second]);
    assert_eq!(owners(&outcome), [(1, Side::Buy, 2.0, 10.0), (0, Side::Buy, 1.0, 4.0)]);
    assert_eq!(outcome.orders[2].status, OrderStatus::Rejected(Reject::UnknownOrder));
    assert_eq!(outcome.record.n_amend_rejects, 1);
}

#[test]
fn protection_looks_at_the_own_position() {
    // Both are long 5 with stops at 8; when the first leaves at 10, its stop goes and the other one's stays.
    let protected = OrderRequest {
        protection: Protection {
            stop_loss: Some((ProtectionLevel::Abs(2.0), None)),
            ..Protection::default()
        },
        ..order(Side::Buy, 5.0)
    };
    let member = |leaves: bool| {
        script(move |ctx, bar| match bar.row {
            0 => drop(ctx.submit(protected)),
            1 if leaves => drop(ctx.submit(order(Side::Sell, 5.0))),
            _ => {}
        })
    };
    let bars = [flat(10.0), flat(10.0), flat(10.0), flat(7.0), flat(7.0)];
    let outcome = together(&bars, &Market::default(), vec![member(true), member(false)]);
    let fills = [
        (0, Side::Buy, 5.0, 10.0),
        (1, Side::Buy, 5.0, 10.0),
        (0, Side::Sell, 5.0, 10.0),
        (1, Side::Sell, 5.0, 7.0),
    ];
    assert_eq!(owners(&outcome), fills);
}

/// Who heard of which order, and what.
type Heard = Rc<RefCell<Vec<(&'static str, u64, &'static str)>>>;

/// Hears only of its own orders.
struct Listener {
    name: &'static str,
    heard: Heard,
}

impl Strategy for Listener {
    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        if bar.row == 0 {
            ctx.submit(order(Side::Buy, 1.0));
        }
        Ok(())
    }

    fn on_order(&mut self, _: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        self.heard.borrow_mut().push((self.name, report.order.0, report.status.name()));
        Ok(())
    }
}

#[test]
fn callbacks_come_in_the_order_of_the_list_and_each_hears_of_its_own_orders() {
    let heard = Rc::default();
    let listener = |name| Box::new(Listener { name, heard: Rc::clone(&heard) }) as Box<dyn AnyStrategy>;
    together(&[flat(10.0), flat(11.0)], &Market::default(), vec![listener("first"), listener("second")]);
    let expected = [
        ("first", 1, "accepted"),
        ("second", 2, "accepted"),
        ("first", 1, "filled"),
        ("second", 2, "filled"),
    ];
    assert_eq!(*heard.borrow(), expected);
}

/// Two copies at half size are one at full size where costs are linear and quantities are not floored.
#[test]
fn two_halves_are_one_whole() {
    for seed in 0..30 {
        let market = Market {
            lot: 0.0,
            slippage_bps: 5.0,
            commission: Commission { rate: 0.001, per_share: 0.01, minimum: 0.0 },
            ..Market::default()
        };
        let series: Vec<Series> =
            (0..3).map(|ix| random_series(&format!("S{ix}"), 80, seed * 7 + ix)).collect();
        let panel = panel_of(&series, 1);
        let follow = |share: f64| {
            Box::new(Script(move |ctx: &mut Context<'_>, bar: BarAt| {
                let close = ctx.views[bar.instrument.ix()].close;
                let row = bar.row as usize;
                let up = row >= 3 && close[row] > close[row - 3];
                let held = ctx.position(bar.instrument);
                if up == (held > 0.0) {
                    return;
                }
                let target = if up { share } else { -0.5 * share };
                ctx.target(bar.instrument, Target::Pct(target), OrderTag::Rebalance);
            })) as Box<dyn AnyStrategy>
        };
        let run = |members| run_on(&panel, &market, &mut Ensemble::new(members)).unwrap();
        let whole = run(vec![follow(0.3)]);
        let halves = run(vec![follow(0.15), follow(0.15)]);
        assert!(whole.record.fills.len() > 10);
        assert_eq!(halves.record.fills.len(), 2 * whole.record.fills.len());
        assert_eq!(halves.record.trips.len(), 2 * whole.record.trips.len());
        for (a, b) in whole.record.equity.iter().zip(&halves.record.equity) {
            assert!((a - b).abs() <= 1e-9 * a.abs(), "{a} and {b}, seed {seed}");
        }
        let [left, right] = halves.record.net_profits[..] else { panic!("two strategies") };
        assert!((left - right).abs() <= 1e-6, "{left} and {right}");
    }
}
