//! Sessions: events from other threads, the kill switch, and orders that a gateway holds (SEMANTICS section 10).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it fails")]

mod common;

use akq_core::bus::{Bounds, Inlet, InletError};
use akq_core::context::Context;
use akq_core::data::BarAt;
use akq_core::engine::{Session, SessionEnd, SessionSpec};
use akq_core::error::{DataError, EngineError};
use akq_core::event::{Event, ExecutionReport};
use akq_core::execution::{Gateway, GatewayRefusal};
use akq_core::market::Market;
use akq_core::model::{
    Amendment, BarValues, CloseReason, GatewayReport, GatewayUpdate, Order, OrderKind, OrderRequest,
    OrderStatus, Protection, ProtectionLevel, Reject, Side, Size, Step, StepBar,
};
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::{InstrumentIx, OrderId, TradingDate, TsNs};
use common::Script;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

const A: InstrumentIx = InstrumentIx(0);

fn step(day: i64, price: f64) -> Step {
    let values = BarValues { open: price, high: price, low: price, close: price, volume: 1_000.0 };
    Step {
        ts: TsNs(day * 86_400_000_000_000),
        date: TradingDate(day as i32),
        bars: vec![StepBar { instrument: A, values, extra: Vec::new(), ends_date: true }],
        ends_date: true,
        ends_run: false,
    }
}

fn buy(qty: f64) -> OrderRequest {
    OrderRequest::market(A, Side::Buy, Size::Qty(qty))
}

fn sell(qty: f64) -> OrderRequest {
    OrderRequest::market(A, Side::Sell, Size::Qty(qty))
}

fn spec() -> SessionSpec {
    SessionSpec::new(&["A"], Market::default())
}

/// Says what became of each order, and lets another thread wait for a bar to be handled.
struct Desk {
    seen: mpsc::Sender<i32>,
    heard: Vec<(u64, OrderStatus)>,
}

impl Strategy for Desk {
    fn on_bar(&mut self, ctx: &mut Context<'_>, _: BarAt) -> Result<(), StrategyFailure> {
        self.seen.send(ctx.clock.date.0).map_err(|e| StrategyFailure(e.to_string()))
    }

    fn on_order(&mut self, _: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        self.heard.push((report.order.0, report.status));
        Ok(())
    }
}

/// Runs a session in a thread of its own while `work` talks to it and hears which bars were handled.
fn talk(work: impl FnOnce(&Inlet, &mpsc::Receiver<i32>)) -> SessionEnd<Desk> {
    let (seen, bars) = mpsc::channel();
    let (session, inlet) = Session::paper(spec(), Desk { seen, heard: Vec::new() }).unwrap();
    let runner = std::thread::spawn(move || session.run(&AtomicBool::new(false)));
    work(&inlet, &bars);
    runner.join().unwrap()
}

#[test]
fn orders_from_outside_pass_risk_and_fill_on_the_next_bar() {
    let end = talk(|inlet, bars| {
        inlet.step(step(0, 10.0)).unwrap();
        bars.recv().unwrap();
        inlet.submit(buy(5.0)).unwrap();
        inlet.submit(buy(-1.0)).unwrap();
        inlet.step(step(1, 11.0)).unwrap();
        bars.recv().unwrap();
        inlet.step(step(2, 13.0)).unwrap();
        inlet.finish().unwrap();
    });
    assert!(end.outcome.is_ok(), "{:?}", end.outcome);
    let fills: Vec<_> = end.record.fills.iter().map(|f| (f.row, f.qty, f.price)).collect();
    assert_eq!(fills, [(1, 5.0, 11.0)]);
    assert_eq!(end.record.equity, [1_000_000.0, 1_000_000.0, 1_000_000.0 + 5.0 * 2.0]);
    let rejected = (2, OrderStatus::Rejected(Reject::BadQuantity));
    assert!(end.strategy.heard.contains(&rejected), "{:?}", end.strategy.heard);
}

#[test]
fn a_halt_lets_only_reductions_pass_until_it_is_taken_back() {
    let end = talk(|inlet, bars| {
        let mut day = 0;
        let mut after = |act: &dyn Fn()| {
            inlet.step(step(day, 10.0)).unwrap();
            assert_eq!(bars.recv().unwrap(), day as i32);
            day += 1;
            act();
        };
        after(&|| inlet.submit(buy(4.0)).unwrap());
        after(&|| {
            inlet.halt().unwrap();
            inlet.submit(buy(1.0)).unwrap();
            inlet.submit(sell(3.0)).unwrap();
        });
        after(&|| {
            inlet.resume().unwrap();
            inlet.submit(buy(2.0)).unwrap();
        });
        after(&|| inlet.finish().unwrap());
    });
    assert!(end.outcome.is_ok(), "{:?}", end.outcome);
    let fills: Vec<_> = end.record.fills.iter().map(|f| (f.side, f.qty)).collect();
    assert_eq!(fills, [(Side::Buy, 4.0), (Side::Sell, 3.0), (Side::Buy, 2.0)]);
    assert_eq!(end.record.rejects.get(&Reject::Halted), Some(&1));
}

#[test]
fn cancel_and_cancel_all_take_working_orders_back() {
    let limit = |price| OrderRequest { kind: OrderKind::Limit(price), ..buy(1.0) };
    let end = talk(|inlet, bars| {
        inlet.step(step(0, 10.0)).unwrap();
        bars.recv().unwrap();
        for price in [5.0, 6.0, 7.0] {
            inlet.submit(limit(price)).unwrap();
        }
        inlet.cancel(OrderId(2)).unwrap();
        inlet.step(step(1, 10.0)).unwrap();
        bars.recv().unwrap();
        inlet.cancel_all().unwrap();
        inlet.step(step(2, 1.0)).unwrap();
        bars.recv().unwrap();
        inlet.stop().unwrap();
    });
    let cancelled = OrderStatus::Cancelled(CloseReason::Request);
    assert_eq!(end.orders.iter().map(|o| o.status).collect::<Vec<_>>(), [cancelled; 3]);
    assert_eq!(end.record.n_fills, 0);
}

#[test]
fn a_stop_overtakes_market_data_that_wait_and_hands_them_back() {
    let (session, inlet) = Session::paper(spec(), Script(|_: &mut Context<'_>, _: BarAt| {})).unwrap();
    inlet.step(step(0, 10.0)).unwrap();
    inlet.step(step(1, 11.0)).unwrap();
    inlet.stop().unwrap();
    inlet.halt().unwrap();
    let end = session.run(&AtomicBool::new(false));
    assert!(end.outcome.is_ok());
    assert_eq!(end.timeline.n_steps(), 0);
    assert_eq!(end.unhandled, [Event::Halt, Event::Step(step(0, 10.0)), Event::Step(step(1, 11.0))]);
    // Nothing gets in any more, and the sender keeps its event.
    assert_eq!(inlet.step(step(2, 12.0)), Err(InletError::Closed(Box::new(Event::Step(step(2, 12.0))))));
}

#[test]
fn a_full_lane_says_so_or_makes_its_sender_wait_and_control_does_not_queue_behind_data() {
    let bounds = Bounds { control: 2, data: 3 };
    let script = Script(|_: &mut Context<'_>, _: BarAt| {});
    let (session, inlet) = Session::paper(SessionSpec { bounds, ..spec() }, script).unwrap();
    for day in 0..3 {
        inlet.try_step(step(day, 10.0)).unwrap();
    }
    let event = Box::new(Event::Step(step(3, 10.0)));
    assert_eq!(inlet.try_step(step(3, 10.0)), Err(InletError::Full { event, bound: 3 }));
    inlet.halt().unwrap(); // the other lane has room
    let feed = inlet;
    let feeder = std::thread::spawn(move || {
        (3..200).try_for_each(|day| feed.step(step(day, 10.0))).and_then(|()| feed.finish())
    });
    let end = session.run(&AtomicBool::new(false));
    assert_eq!(feeder.join().unwrap(), Ok(()));
    assert!(end.outcome.is_ok(), "{:?}", end.outcome);
    assert_eq!(end.timeline.n_steps(), 200);
}

/// Whatever a sender was told got in is handled or handed back, however the end falls between the sends.
#[test]
fn events_of_many_senders_are_handled_or_handed_back() {
    for round in 0..40 {
        let (session, inlet) = Session::paper(spec(), Script(|_: &mut Context<'_>, _: BarAt| {})).unwrap();
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let inlet = inlet.clone();
                std::thread::spawn(move || (0..50).filter(|_| inlet.cancel(OrderId(7)).is_ok()).count())
            })
            .collect();
        let stopper = std::thread::spawn(move || {
            let n = (0..round).filter(|_| inlet.cancel(OrderId(7)).is_ok()).count();
            inlet.stop().unwrap();
            n
        });
        let bus_events = session.run(&AtomicBool::new(false));
        let n_sent: usize = senders.into_iter().map(|s| s.join().unwrap()).sum();
        let n_sent = n_sent + stopper.join().unwrap();
        assert_eq!(bus_events.n_outside as usize + bus_events.unhandled.len(), n_sent);
    }
}

#[test]
fn bad_market_data_do_not_get_in() {
    let (_session, inlet) = Session::paper(spec(), Script(|_: &mut Context<'_>, _: BarAt| {})).unwrap();
    let mut bad = step(0, 10.0);
    bad.bars[0].values.low = 11.0;
    assert!(matches!(inlet.step(bad), Err(InletError::Data(DataError::HighBelowLow { .. }))));
    let mut unknown = step(0, 10.0);
    unknown.bars[0].instrument = InstrumentIx(3);
    let error = inlet.step(unknown).unwrap_err();
    assert_eq!(error.to_string(), "instrument 3 is not one of the 1 of the session");
    let mut twice = step(0, 10.0);
    twice.bars.push(twice.bars[0].clone());
    assert!(matches!(inlet.step(twice), Err(InletError::Data(DataError::StepOrder { row: 1, .. }))));
    assert!(matches!(
        inlet.submit(OrderRequest::market(InstrumentIx(9), Side::Buy, Size::Qty(1.0))),
        Err(InletError::UnknownInstrument { instrument: 9, n: 1 })
    ));
}

#[test]
fn time_that_does_not_increase_ends_a_session_and_so_do_inlets_that_are_gone() {
    let run = |steps: Vec<Step>| {
        let (session, inlet) = Session::paper(spec(), Script(|_: &mut Context<'_>, _: BarAt| {})).unwrap();
        let feed = std::thread::spawn(move || steps.into_iter().for_each(|s| drop(inlet.step(s))));
        let end = session.run(&AtomicBool::new(false));
        feed.join().unwrap();
        (end.outcome, end.timeline.n_steps())
    };
    assert!(matches!(
        run(vec![step(3, 1.0), step(3, 2.0)]),
        (Err(EngineError::Data(DataError::StepTime { .. })), 1)
    ));
    // Both bars are traded before the session complains.
    assert!(matches!(run(vec![step(1, 1.0), step(2, 2.0)]), (Err(EngineError::InletGone), 2)));
}

/// A venue of its own: tells another thread of its orders, which answers through the inlet.
#[derive(Debug)]
struct Wire(mpsc::Sender<Message>);

#[derive(Debug, PartialEq)]
enum Message {
    Submit(u64, f64, &'static str),
    Cancel(u64),
    Amend(u64, Option<f64>),
}

impl Gateway for Wire {
    fn submit(&mut self, order: &Order) -> Result<(), GatewayRefusal> {
        let message = Message::Submit(order.id.0, order.qty, order.request.kind.name());
        self.0.send(message).map_err(|_| GatewayRefusal)
    }

    fn cancel(&mut self, order: OrderId) -> Result<(), GatewayRefusal> {
        self.0.send(Message::Cancel(order.0)).map_err(|_| GatewayRefusal)
    }

    fn amend(&mut self, order: &Order, amendment: Amendment) -> Result<(), GatewayRefusal> {
        self.0.send(Message::Amend(order.id.0, amendment.limit)).map_err(|_| GatewayRefusal)
    }
}

#[test]
fn a_gateway_holds_orders_and_its_reports_are_booked_as_executions() {
    let (wire, venue) = mpsc::channel();
    let (seen, bars) = mpsc::channel();
    let desk = Desk { seen, heard: Vec::new() };
    let (session, inlet) = Session::live(spec(), desk, |_| Box::new(Wire(wire))).unwrap();
    let runner = std::thread::spawn(move || session.run(&AtomicBool::new(false)));
    let report = |order, update| inlet.report(GatewayReport { order: OrderId(order), update }).unwrap();
    let filled = |day: i64, qty, price| GatewayUpdate::Filled {
        ts: TsNs(day * 86_400_000_000_000 + 1),
        qty,
        price,
        fees: 0.5,
    };
    inlet.step(step(0, 10.0)).unwrap();
    bars.recv().unwrap();
    let stop_loss = Some((ProtectionLevel::Abs(2.0), None));
    let protection = Protection { stop_loss, ..Protection::default() };
    inlet.submit(OrderRequest { protection, ..buy(6.0) }).unwrap();
    assert_eq!(venue.recv().unwrap(), Message::Submit(1, 6.0, "market"));
    report(1, GatewayUpdate::Accepted);
    report(1, filled(0, 2.0, 10.5));
    report(1, filled(0, 4.0, 11.0));
    // Each execution is protected by an order of its own, at 10.5 - 2 and 11 - 2.
    assert_eq!(venue.recv().unwrap(), Message::Submit(2, 2.0, "stop"));
    assert_eq!(venue.recv().unwrap(), Message::Submit(3, 4.0, "stop"));
    // A bar through the stops fills nothing by itself: the venue decides.
    inlet.step(step(1, 3.0)).unwrap();
    bars.recv().unwrap();
    report(2, filled(1, 2.0, 8.0));
    report(3, filled(1, 4.0, 8.0));
    let limit = OrderRequest { kind: OrderKind::Limit(2.0), ..buy(1.0) };
    inlet.submit(limit).unwrap();
    assert_eq!(venue.recv().unwrap(), Message::Submit(4, 1.0, "limit"));
    inlet.amend(OrderId(4), Amendment { limit: Some(2.5), ..Amendment::default() }).unwrap();
    assert_eq!(venue.recv().unwrap(), Message::Amend(4, Some(2.5)));
    inlet.cancel(OrderId(4)).unwrap();
    assert_eq!(venue.recv().unwrap(), Message::Cancel(4));
    report(4, GatewayUpdate::Cancelled);
    inlet.submit(buy(2.0)).unwrap();
    assert_eq!(venue.recv().unwrap(), Message::Submit(5, 2.0, "market"));
    report(5, GatewayUpdate::Rejected);
    inlet.step(step(2, 3.0)).unwrap();
    bars.recv().unwrap();
    inlet.stop().unwrap();
    let end = runner.join().unwrap();
    assert!(end.outcome.is_ok(), "{:?}", end.outcome);
    // -2 x 10.5 - 4 x 11 + 6 x 8, less four fees of 0.5.
    let cash = 1_000_000.0 - 21.0 - 44.0 + 48.0 - 2.0;
    assert_eq!(end.record.equity.last(), Some(&cash));
    assert_eq!(
        end.record.trips.iter().map(|t| (t.qty, t.gross)).collect::<Vec<_>>(),
        [(2.0, -5.0), (4.0, -12.0)]
    );
    let last =
        |id: u64| end.strategy.heard.iter().rfind(|(order, _)| *order == id).map(|(_, status)| *status);
    assert_eq!(last(1), Some(OrderStatus::Filled));
    assert_eq!(last(4), Some(OrderStatus::Cancelled(CloseReason::Request)));
    assert_eq!(last(5), Some(OrderStatus::Rejected(Reject::Gateway)));
}

#[test]
fn a_report_that_does_not_fit_ends_the_session_with_its_place() {
    let run = |update: GatewayUpdate| {
        let (wire, venue) = mpsc::channel();
        let script = Script(|ctx: &mut Context<'_>, _: BarAt| {
            ctx.submit(buy(3.0));
        });
        let (session, inlet) = Session::live(spec(), script, |_| Box::new(Wire(wire))).unwrap();
        inlet.step(step(0, 10.0)).unwrap();
        let runner = std::thread::spawn(move || session.run(&AtomicBool::new(false)));
        venue.recv().unwrap();
        inlet.report(GatewayReport { order: OrderId(1), update }).unwrap();
        runner.join().unwrap().outcome.unwrap_err().to_string()
    };
    let too_much = GatewayUpdate::Filled { ts: TsNs(1), qty: 3.5, price: 10.0, fees: 0.0 };
    assert!(run(too_much).contains("order 1: a report of the gateway does not fit: units and price"));
}
