//! Timers and trading dates as a strategy meets them.
#![allow(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

mod common;

use akq_core::clock::{BarTimes, DAY_NS, Edge, Stamp, TimeOfDay, When};
use akq_core::context::Context;
use akq_core::data::{BarAt, Panel, PanelMeta};
use akq_core::ensemble::Ensemble;
use akq_core::market::Market;
use akq_core::model::Timer;
use akq_core::registry::AnyStrategy;
use akq_core::strategy::{Strategy, StrategyFailure};
use akq_core::units::{TradingDate, TsNs};
use arrow_array::{ArrayRef, Date32Array, Float64Array, RecordBatch, TimestampNanosecondArray};
use common::run_on;
use std::cell::RefCell;
use std::sync::Arc;

const MINUTE: i64 = DAY_NS / 1440;

/// Shanghai is eight hours ahead of UTC.
fn shanghai(day: i64, hour: i64, minute: i64) -> i64 {
    day * DAY_NS + ((hour - 8) * 60 + minute) * MINUTE
}

fn panel(bars: &[(i64, i32)]) -> Panel {
    let price = || Arc::new(Float64Array::from(vec![10.0; bars.len()])) as ArrayRef;
    let ts: Vec<i64> = bars.iter().map(|(ts, _)| *ts).collect();
    let date: Vec<i32> = bars.iter().map(|(_, date)| *date).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampNanosecondArray::from(ts).with_timezone("UTC"))),
        ("date", Arc::new(Date32Array::from(date))),
        ("open", price()),
        ("high", price()),
        ("low", price()),
        ("close", price()),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    Panel::new(&batch, PanelMeta { symbols: vec!["A".to_owned()], offsets: vec![0, bars.len()] }).unwrap()
}

fn a_shares() -> Market {
    let pairs = [["09:30", "11:30"], ["13:00", "15:00"]];
    Market {
        time_zone: "Asia/Shanghai".to_owned(),
        sessions: pairs.iter().map(|pair| pair.map(str::to_owned)).collect(),
        ..Market::default()
    }
}

/// Bars of half an hour over some dates, with the time of their start.
fn half_hours(days: &[i32]) -> Panel {
    let times = [(9, 30), (10, 0), (10, 30), (11, 0), (13, 0), (13, 30), (14, 0), (14, 30)];
    let bars: Vec<(i64, i32)> = days
        .iter()
        .flat_map(|&day| times.map(|(hour, minute)| (shanghai(i64::from(day), hour, minute), day)))
        .collect();
    panel(&bars)
}

fn time(text: &str) -> TimeOfDay {
    TimeOfDay::parse(text).unwrap()
}

/// Sets timers in `on_start` and writes down what it hears, with the time of the step.
#[derive(Default)]
struct Log {
    timers: Vec<(&'static str, When, i32)>,
    heard: Vec<(String, i64)>,
    cancels: Option<(&'static str, &'static str)>,
}

impl Strategy for Log {
    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        for (name, when, priority) in &self.timers {
            ctx.schedule(name, *when, *priority)?;
        }
        Ok(())
    }

    fn on_day(&mut self, ctx: &mut Context<'_>, date: TradingDate) -> Result<(), StrategyFailure> {
        self.heard.push((format!("day {}", date.0), ctx.clock.ts.0));
        Ok(())
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>, timer: &Timer) -> Result<(), StrategyFailure> {
        assert!(timer.due <= ctx.clock.now);
        self.heard.push((timer.name.to_string(), ctx.clock.ts.0));
        if let Some((by, other)) = self.cancels
            && by == &*timer.name
        {
            ctx.cancel_timer(other)?;
        }
        Ok(())
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, _: BarAt) -> Result<(), StrategyFailure> {
        self.heard.push(("bar".to_owned(), ctx.clock.ts.0));
        Ok(())
    }
}

fn heard(panel: &Panel, market: &Market, mut log: Log) -> Vec<(String, i64)> {
    run_on(panel, market, &mut log).unwrap();
    log.heard
}

fn firings(panel: &Panel, market: &Market, when: When) -> Vec<i64> {
    let log = Log { timers: vec![("t", when, 0)], ..Log::default() };
    heard(panel, market, log).into_iter().filter(|(what, _)| what == "t").map(|(_, ts)| ts).collect()
}

#[test]
fn a_step_tells_the_day_then_timers_then_bars() {
    let (ten, order) = (When::EveryDayAt(time("10:00")), ["day 0", "t", "u", "a", "bar"]);
    let timers = vec![
        ("a", When::EveryDayAt(time("09:30")), 0),
        ("u", When::EveryDayAt(time("09:20")), 5),
        ("t", When::EveryDayAt(time("09:20")), -1),
        ("later", ten, 0),
    ];
    let found = heard(&half_hours(&[0]), &a_shares(), Log { timers, ..Log::default() });
    let first: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).take(5).collect();
    assert_eq!(first, order);
    assert_eq!(found[5], ("later".to_owned(), shanghai(0, 10, 0)));
}

#[test]
fn sessions_give_the_open_and_the_close() {
    let panel = half_hours(&[0, 1]);
    assert_eq!(
        firings(&panel, &a_shares(), When::AfterOpen { minutes: 30 }),
        [shanghai(0, 10, 0), shanghai(1, 10, 0)]
    );
    // Nothing says how long the bar of 14:30 is: 14:55 has passed for certain when the next date begins.
    assert_eq!(firings(&panel, &a_shares(), When::BeforeClose { minutes: 5 }), [shanghai(1, 9, 30)]);
    let stated = BarTimes { stamp: Stamp::Open, length_ns: Some(30 * MINUTE) };
    let panel = panel.with_bar_times(stated).unwrap();
    assert_eq!(
        firings(&panel, &a_shares(), When::BeforeClose { minutes: 5 }),
        [shanghai(0, 14, 30), shanghai(1, 14, 30)]
    );
    assert_eq!(
        firings(&panel, &a_shares(), When::EveryDayAt(time("12:00"))),
        [shanghai(0, 13, 0), shanghai(1, 13, 0)]
    );
}

#[test]
fn a_timer_that_needs_more_than_the_market_tells_is_refused() {
    let message = |market: &Market, when| {
        let mut log = Log { timers: vec![("out", when, 0)], ..Log::default() };
        run_on(&half_hours(&[0]), market, &mut log).unwrap_err().to_string()
    };
    let bare = Market::default();
    assert!(message(&bare, When::BeforeClose { minutes: 5 }).contains("set market.sessions"));
    assert!(message(&bare, When::EveryDayAt(time("10:00"))).contains("set market.time_zone"));
    assert!(message(&bare, When::Every { minutes: 0 }).contains("at least 1"));
    let last = When::Monthly { on: Edge::Last, at: Some(time("10:00")) };
    assert!(message(&a_shares(), last).contains("when it has ended"));
    let mut twice = Log { timers: vec![("a", When::EveryBars(1), 0); 2], ..Log::default() };
    let error = run_on(&half_hours(&[0]), &bare, &mut twice).unwrap_err().to_string();
    assert!(error.contains("\"a\" is set already"), "{error}");
    let zone = Market { sessions: a_shares().sessions, ..Market::default() };
    assert!(zone.check().unwrap_err().to_string().contains("set market.time_zone"));
}

#[test]
fn instants_and_intervals() {
    let (panel, market) = (half_hours(&[0, 1]), Market::default());
    let between = When::At(TsNs(shanghai(0, 12, 0)));
    assert_eq!(firings(&panel, &market, between), [shanghai(0, 13, 0)]);
    let hours = firings(&panel, &market, When::Every { minutes: 60 });
    // What passes over the break and the night counts once.
    assert_eq!(
        hours,
        [
            shanghai(0, 10, 30),
            shanghai(0, 13, 0),
            shanghai(0, 13, 30),
            shanghai(0, 14, 30),
            shanghai(1, 9, 30),
            shanghai(1, 10, 30),
            shanghai(1, 13, 0),
            shanghai(1, 13, 30),
            shanghai(1, 14, 30),
        ]
    );
    let fifths = firings(&panel, &market, When::EveryBars(5));
    assert_eq!(fifths, [shanghai(0, 13, 0), shanghai(1, 10, 0), shanghai(1, 14, 0)]);
}

#[test]
fn weeks_and_months_end_when_they_have_ended() {
    // 1970-01-01 was a Thursday: day 4 a Monday, day 31 the first of February, a Sunday.
    let days = [0, 1, 4, 5, 8, 11, 29, 32, 33];
    let (panel, market) = (half_hours(&days), a_shares());
    let open = |day: i64| shanghai(day, 9, 30);
    let weekly = |on, at| firings(&panel, &market, When::Weekly { on, at });
    let monthly = |on, at| firings(&panel, &market, When::Monthly { on, at });
    assert_eq!(weekly(Edge::First, None), [open(0), open(4), open(11), open(29), open(32)]);
    assert_eq!(weekly(Edge::Last, None), [open(4), open(11), open(29), open(32)]);
    assert_eq!(monthly(Edge::First, None), [open(0), open(32)]);
    assert_eq!(monthly(Edge::Last, None), [open(32)]);
    assert_eq!(monthly(Edge::First, Some(time("14:00"))), [shanghai(0, 14, 0), shanghai(32, 14, 0)]);
    // Cutting the future changes nothing that fired before.
    for n in 1..days.len() {
        let cut = half_hours(&days[..n]);
        for on in [Edge::First, Edge::Last] {
            let all = firings(&panel, &market, When::Weekly { on, at: None });
            let some = firings(&cut, &market, When::Weekly { on, at: None });
            assert_eq!(some, all[..some.len()]);
            assert!(all.len() == some.len() || all[some.len()] > open(i64::from(days[n - 1])));
        }
    }
}

#[test]
fn a_timer_taken_back_is_silent_even_if_due_now() {
    let timers = vec![("first", When::EveryBars(2), 0), ("second", When::EveryBars(2), 1)];
    let log = Log { timers, cancels: Some(("first", "second")), ..Log::default() };
    let mut strategy = log;
    let error = run_on(&half_hours(&[0]), &Market::default(), &mut strategy).unwrap_err().to_string();
    // The second time there is nothing to take back.
    assert!(error.contains("no timer is named \"second\", set are [\"first\"]"), "{error}");
    assert!(strategy.heard.iter().all(|(what, _)| what != "second"));
}

#[test]
fn the_night_session_opens_the_trading_date() {
    let market = Market {
        time_zone: "Asia/Shanghai".to_owned(),
        sessions: [["21:00", "02:30"], ["09:00", "15:00"]].iter().map(|p| p.map(str::to_owned)).collect(),
        ..Market::default()
    };
    // Friday night (day 1) belongs to Monday, day 4.
    let bars = [
        (shanghai(1, 14, 59), 1),
        (shanghai(1, 21, 0), 4),
        (shanghai(1, 21, 30), 4),
        (shanghai(2, 1, 0), 4),
        (shanghai(4, 9, 0), 4),
        (shanghai(4, 14, 59), 4),
    ];
    let panel = panel(&bars);
    assert_eq!(firings(&panel, &market, When::AfterOpen { minutes: 30 })[1..], [shanghai(1, 21, 30)]);
    assert_eq!(firings(&panel, &market, When::EveryDayAt(time("01:00"))), [shanghai(2, 1, 0)]);
    let close = firings(&panel, &market, When::BeforeClose { minutes: 1 });
    assert_eq!(close, [shanghai(1, 14, 59), shanghai(4, 14, 59)]);
}

/// Hears of its own timers only.
struct Member<'a> {
    when: When,
    heard: &'a RefCell<Vec<i64>>,
}

impl Strategy for Member<'_> {
    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        ctx.schedule("t", self.when, 0)?;
        Ok(())
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>, timer: &Timer) -> Result<(), StrategyFailure> {
        assert_eq!(ctx.owner, timer.owner);
        self.heard.borrow_mut().push(ctx.clock.ts.0);
        Ok(())
    }
}

#[test]
fn timers_of_one_name_belong_to_the_strategy_that_set_them() {
    let whens = [When::EveryBars(3), When::EveryDayAt(time("10:00"))];
    let panel = half_hours(&[0, 1]);
    let heard = [RefCell::default(), RefCell::default()];
    let member =
        |ix: usize| -> Box<dyn AnyStrategy + '_> { Box::new(Member { when: whens[ix], heard: &heard[ix] }) };
    run_on(&panel, &a_shares(), &mut Ensemble::new(vec![member(0), member(1)])).unwrap();
    for (when, heard) in whens.into_iter().zip(&heard) {
        assert_eq!(*heard.borrow(), firings(&panel, &a_shares(), when));
    }
}

#[test]
fn a_daily_bar_is_over_with_its_date() {
    let daily = panel(&[(0, 0), (DAY_NS, 1), (4 * DAY_NS, 4)]);
    assert_eq!(firings(&daily, &a_shares(), When::BeforeClose { minutes: 5 }), [0, DAY_NS, 4 * DAY_NS]);
}
