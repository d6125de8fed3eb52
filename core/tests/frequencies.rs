//! Coarse bars: buckets, completeness, and rules and callbacks that read them.
#![allow(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

mod common;

use akq_core::batch::{run_batch, run_rules};
use akq_core::clock::{BarTimes, DAY_NS, Place, Schedule, Stamp, Zone};
use akq_core::context::Context;
use akq_core::data::{BarAt, CoarseBarAt, CoarseBars, Frequency, NEVER, Panel, PanelMeta};
use akq_core::engine::Keep;
use akq_core::market::Market;
use akq_core::plan::Plan;
use akq_core::strategy::{Strategy, StrategyFailure};
use arrow_array::{ArrayRef, Date32Array, Float64Array, RecordBatch, TimestampNanosecondArray};
use common::{Random, run_on};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const MINUTE: i64 = DAY_NS / 1440;

/// Time, date, close and volume of a bar.
type Row = (i64, i32, f64, f64);

fn panel(rows: &[Row], times: BarTimes) -> Panel {
    let float =
        |f: fn(&Row) -> f64| Arc::new(rows.iter().map(|r| Some(f(r))).collect::<Float64Array>()) as ArrayRef;
    let ts: Vec<i64> = rows.iter().map(|r| r.0).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampNanosecondArray::from(ts).with_timezone("UTC"))),
        ("date", Arc::new(Date32Array::from_iter_values(rows.iter().map(|r| r.1)))),
        ("open", float(|r| r.2 - 0.25)),
        ("high", float(|r| r.2 + 0.5)),
        ("low", float(|r| r.2 - 0.5)),
        ("close", float(|r| r.2)),
        ("volume", float(|r| r.3)),
        ("amount", float(|r| r.2 * r.3)),
        ("vwap", float(|r| r.2)),
        ("pe", float(|r| if r.3 == 2.0 { f64::NAN } else { r.2 })),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let meta = PanelMeta { symbols: vec!["A".to_owned()], offsets: vec![0, rows.len()] };
    Panel::new(&batch, meta).unwrap().with_bar_times(times).unwrap()
}

fn stated(minutes: i64) -> BarTimes {
    BarTimes { stamp: Stamp::Open, length_ns: Some(minutes * MINUTE) }
}

const SILENT: BarTimes = BarTimes { stamp: Stamp::Open, length_ns: None };
const CLOSES: BarTimes = BarTimes { stamp: Stamp::Close, length_ns: None };

/// Shanghai is eight hours ahead of UTC.
fn shanghai(day: i32, hour: i64, minute: i64) -> i64 {
    i64::from(day) * DAY_NS + ((hour - 8) * 60 + minute) * MINUTE
}

const A_SHARES: [[&str; 2]; 2] = [["09:30", "11:30"], ["13:00", "15:00"]];
const FUTURES: [[&str; 2]; 4] =
    [["21:00", "02:30"], ["09:00", "10:15"], ["10:30", "11:30"], ["13:30", "15:00"]];

fn sessions(zone: &str, pairs: &[[&str; 2]]) -> Place {
    let pairs: Vec<[String; 2]> = pairs.iter().map(|pair| pair.map(str::to_owned)).collect();
    Place::Sessions(Schedule::parse(zone, &pairs).unwrap())
}

/// Bars of a fixed length through the sessions of A-shares, with the time of their start.
fn a_share_rows(days: &[i32], minutes: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for &day in days {
        for open in [9 * 60 + 30, 13 * 60] {
            for at in (0..120).step_by(minutes as usize) {
                let n = rows.len() as f64;
                rows.push((shanghai(day, 0, open + at), day, 10.0 + n, 1.0 + n));
            }
        }
    }
    rows
}

fn coarse(rows: &[Row], times: BarTimes, frequency: &str, place: Option<&Place>) -> CoarseBars {
    CoarseBars::new(&panel(rows, times).asset(0), Frequency::parse(frequency).unwrap(), place)
}

#[test]
fn hours_begin_with_the_session_and_end_at_the_break() {
    let place = sessions("Asia/Shanghai", &A_SHARES);
    let rows = a_share_rows(&[4, 5], 30);
    let hours = coarse(&rows, stated(30), "1h", Some(&place));
    let starts = |day| [(9, 30), (10, 30), (13, 0), (14, 0)].map(|(h, m)| shanghai(day, h, m));
    assert_eq!(hours.ts, [starts(4), starts(5)].concat());
    assert_eq!(hours.complete_at, [1, 3, 5, 7, 9, 11, 13, 15]);
    assert_eq!((hours.open[1], hours.close[1]), (rows[2].2 - 0.25, rows[3].2));
    assert_eq!((hours.high[1], hours.low[1]), (rows[3].2 + 0.5, rows[2].2 - 0.5));
    assert_eq!(hours.volume.as_ref().unwrap()[1], rows[2].3 + rows[3].3);
    // Four hours do not reach over the break.
    let halves = coarse(&rows, stated(30), "4h", Some(&place));
    assert_eq!(halves.ts.len(), 4);
    assert_eq!(halves.complete_at, [3, 7, 11, 15]);
    let days = coarse(&rows, stated(30), "1d", Some(&place));
    assert_eq!((days.ts, days.complete_at), (vec![4 * DAY_NS, 5 * DAY_NS], vec![7, 15]));
}

#[test]
fn without_a_length_a_bar_is_over_when_the_next_one_comes() {
    let place = sessions("Asia/Shanghai", &A_SHARES);
    let rows = a_share_rows(&[4, 5], 30);
    assert_eq!(coarse(&rows, SILENT, "1h", Some(&place)).complete_at, [2, 4, 6, 8, 10, 12, 14, NEVER]);
    assert_eq!(coarse(&rows, SILENT, "1d", Some(&place)).complete_at, [8, NEVER]);
    // Without sessions nothing says when a day is over, whatever the length.
    assert_eq!(coarse(&rows, stated(30), "1d", None).complete_at, [8, NEVER]);
    let zone = Place::Zone(Zone::parse("Asia/Shanghai").unwrap());
    assert_eq!(coarse(&rows, stated(30), "1d", Some(&zone)).complete_at, [8, NEVER]);
    // The same bars with the time of their end.
    let ends: Vec<Row> = rows.iter().map(|r| (r.0 + 30 * MINUTE, r.1, r.2, r.3)).collect();
    let hours = coarse(&ends, CLOSES, "1h", Some(&place));
    assert_eq!(hours.complete_at, [1, 3, 5, 7, 9, 11, 13, 15]);
    assert_eq!(hours.ts[..2], [shanghai(4, 10, 30), shanghai(4, 11, 30)]);
    assert_eq!(coarse(&ends, CLOSES, "1d", Some(&place)).complete_at, [7, 15]);
}

#[test]
fn the_night_from_friday_is_part_of_monday() {
    let place = sessions("Asia/Shanghai", &FUTURES);
    // Day 1 is a Friday, day 4 a Monday that may be a holiday.
    for monday in [4, 5] {
        let rows = [
            (shanghai(1, 14, 0), 1, 10.0, 1.0),
            (shanghai(1, 21, 0), monday, 11.0, 1.0),
            (shanghai(1, 22, 0), monday, 12.0, 1.0),
            (shanghai(2, 2, 0), monday, 13.0, 1.0),
            (shanghai(monday, 9, 0), monday, 14.0, 1.0),
            (shanghai(monday, 14, 0), monday, 15.0, 1.0),
        ];
        let days = coarse(&rows, stated(60), "1d", Some(&place));
        assert_eq!((days.date, days.complete_at), (vec![1, monday], vec![0, 5]));
        assert_eq!((days.open[1], days.close[1]), (10.75, 15.0));
        // The night has its own hours: the last one is cut off at 02:30.
        let hours = coarse(&rows, stated(60), "4h", Some(&place));
        assert_eq!(
            hours.ts,
            [
                shanghai(1, 13, 30),
                shanghai(1, 21, 0),
                shanghai(2, 1, 0),
                shanghai(monday, 9, 0),
                shanghai(monday, 13, 30)
            ]
        );
        let weeks = coarse(&rows, stated(60), "1w", Some(&place));
        assert_eq!(weeks.complete_at, [1, NEVER]);
    }
}

#[test]
fn new_york_opens_at_half_past_nine_on_its_own_clock() {
    let place = sessions("America/New_York", &[["09:30", "16:00"]]);
    // 2024-03-08 (day 19790) has winter time, 2024-03-11 summer time.
    let open = |day: i64, hour_utc: i64| day * DAY_NS + (hour_utc * 60 + 30) * MINUTE;
    let mut rows = Vec::new();
    for (day, hour) in [(19_790, 14), (19_793, 13)] {
        for at in 0..13 {
            rows.push((open(day, hour) + at * 30 * MINUTE, day as i32, 10.0, 1.0));
        }
    }
    let hours = coarse(&rows, stated(30), "1h", Some(&place));
    assert_eq!(hours.ts[0], open(19_790, 14));
    assert_eq!(hours.ts[7], open(19_793, 13));
    assert_eq!(hours.complete_at, [1, 3, 5, 7, 9, 11, 12, 14, 16, 18, 20, 22, 24, 25]);
    assert_eq!(coarse(&rows, stated(30), "1d", Some(&place)).complete_at, [12, 25]);
}

#[test]
fn bars_after_the_close_are_no_part_of_a_day_that_is_complete() {
    let place = sessions("Asia/Shanghai", &A_SHARES);
    let mut rows = a_share_rows(&[4], 30);
    rows.push((shanghai(4, 15, 0), 4, 99.0, 50.0));
    rows.push((shanghai(5, 9, 0), 5, 7.0, 1.0));
    let days = coarse(&rows, stated(30), "1d", Some(&place));
    assert_eq!((days.close[0], days.complete_at), (rows[7].2, vec![7, NEVER]));
    // Where the day was not known to be over, the bar after it tells, and is left out just so.
    let days = coarse(&rows, SILENT, "1d", Some(&place));
    assert_eq!((days.close[0], days.complete_at), (rows[7].2, vec![8, NEVER]));
    let hours = coarse(&rows, stated(30), "1h", Some(&place));
    assert_eq!(hours.ts[4..], [shanghai(4, 15, 0), shanghai(5, 8, 30)]);
}

#[test]
fn daily_bars_make_weeks_and_months() {
    // 1970-01-01 was a Thursday; a week of seven days ends with Sunday, one of five with the next Monday.
    let daily = |days: &[i32]| -> Vec<Row> {
        days.iter().map(|&d| (i64::from(d) * DAY_NS, d, 10.0 + f64::from(d), 1.0)).collect()
    };
    let all: Vec<i32> = (0..12).collect();
    assert_eq!(coarse(&daily(&all), SILENT, "1w", None).complete_at, [3, 10, NEVER]);
    let weekdays = [0, 1, 4, 5, 6, 7, 8, 11];
    let weeks = coarse(&daily(&weekdays), SILENT, "1w", None);
    assert_eq!((weeks.ts[1], weeks.complete_at), (4 * DAY_NS, vec![2, 7, NEVER]));
    assert_eq!(coarse(&daily(&weekdays), SILENT, "1d", None).complete_at, [0, 1, 2, 3, 4, 5, 6, 7]);
    let months = coarse(&daily(&[29, 30, 31, 32]), SILENT, "1mo", None);
    assert_eq!((months.ts, months.complete_at), (vec![0, 31 * DAY_NS], vec![1, NEVER]));
    let fours = coarse(&daily(&all[..10]), SILENT, "4bars", None);
    assert_eq!((fours.ts, fours.complete_at), (vec![0, 4 * DAY_NS, 8 * DAY_NS], vec![3, 7, NEVER]));
}

#[test]
fn further_columns_have_their_rules() {
    let rows = [(0, 0, 10.0, 1.0), (MINUTE, 0, 20.0, 3.0), (2 * MINUTE, 0, 30.0, 2.0)];
    let bars = coarse(&rows, SILENT, "5m", None);
    let [amount, vwap, pe] = [0, 1, 2].map(|ix| bars.extra[ix][0]);
    assert_eq!(amount, 10.0 + 60.0 + 60.0);
    assert_eq!(vwap, 130.0 / 6.0);
    assert_eq!(pe, 20.0); // the last one is undefined
}

/// Bars at random minutes of some dates, in sessions and outside.
fn random_rows(seed: u64, n_days: i32) -> Vec<Row> {
    let mut random = Random(seed);
    let mut rows = Vec::new();
    for day in 0..n_days {
        if random.below(4) == 0 {
            continue;
        }
        for minute in (9 * 60..16 * 60).step_by(15) {
            if random.below(3) > 0 {
                let close = 10.0 + (random.unit() * 64.0).floor() / 8.0;
                rows.push((shanghai(day, 0, minute), day, close, random.below(9) as f64));
            }
        }
    }
    rows
}

const ALL: [&str; 8] = ["15m", "30m", "1h", "4h", "1d", "1w", "1mo", "7bars"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// What is complete at a row is the same whatever comes later.
    #[test]
    fn cutting_the_series_changes_nothing_before(
        seed in any::<u64>(), frequency in prop::sample::select(ALL.to_vec()), cut in 1usize..200,
        times in prop::sample::select(vec![SILENT, stated(15), CLOSES]), placed in 0..3,
    ) {
        let rows = random_rows(seed, 40);
        let cut = cut.min(rows.len());
        let place = match placed {
            0 => None,
            1 => Some(Place::Zone(Zone::parse("Asia/Shanghai").unwrap())),
            _ => Some(sessions("Asia/Shanghai", &A_SHARES)),
        };
        let all = coarse(&rows, times, frequency, place.as_ref());
        let some = coarse(&rows[..cut], times, frequency, place.as_ref());
        prop_assert!(all.complete_at.is_sorted());
        let n = all.n_complete(rows.len())[cut - 1] as usize;
        prop_assert_eq!(n, some.n_complete(cut)[cut - 1] as usize);
        prop_assert_eq!(&all.ts[..n], &some.ts[..n]);
        prop_assert_eq!(&all.complete_at[..n], &some.complete_at[..n]);
        for (a, b) in [(&all.open, &some.open), (&all.high, &some.high), (&all.low, &some.low), (&all.close, &some.close)] {
            prop_assert_eq!(&a[..n], &b[..n]);
        }
        prop_assert_eq!(&all.volume.as_ref().unwrap()[..n], &some.volume.as_ref().unwrap()[..n]);
        // No bar is lost or counted twice, those after the close of a complete day aside.
        if frequency != "1d" || placed < 2 {
            let total: f64 = all.volume.iter().flatten().sum();
            prop_assert_eq!(total, rows.iter().map(|r| r.3).sum::<f64>());
        }
    }
}

fn plan(enter: &str, exit: &str) -> Plan {
    let rules = format!(
        r#"{{"rules": {{"enter": {enter:?}, "exit": {exit:?}, "size": {{"kind": "qty", "value": "10"}}}}}}"#
    );
    let market = r#"{"time_zone": "Asia/Shanghai", "sessions": [["09:30", "11:30"], ["13:00", "15:00"]]}"#;
    Plan::from_json(&format!(
        r#"{{"strategy": {rules}, "params": ["n"], "market": {market}, "mode": "portfolio", "outputs": [["total_return", null]]}}"#
    ))
    .unwrap()
}

/// The rule `close > on("1d", sma(close, 2))`, by hand.
struct ByHand;

impl Strategy for ByHand {
    fn frequencies(&self) -> Vec<Frequency> {
        vec![Frequency::Day]
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        use akq_core::model::{OrderRequest, Side, Size};
        let (frame, n) =
            ctx.coarse(bar.instrument, Frequency::Day).ok_or(StrategyFailure("no frame".to_owned()))?;
        if n < 2 {
            return Ok(());
        }
        let mean = (frame.bars.close[n - 2] + frame.bars.close[n - 1]) / 2.0;
        let close = ctx.views[0].close[bar.row as usize];
        let held = ctx.position(bar.instrument) > 0.0;
        let side = match (close > mean, held) {
            (true, false) => Side::Buy,
            (false, true) => Side::Sell,
            _ => return Ok(()),
        };
        ctx.submit(OrderRequest::market(bar.instrument, side, Size::Qty(10.0)));
        Ok(())
    }
}

#[test]
fn rules_and_callbacks_see_the_same_coarse_bars() {
    let cancel = AtomicBool::new(false);
    let mut n_fills = 0;
    for seed in 0..20 {
        let panel = panel(&random_rows(seed, 30), stated(15));
        let plan = plan("close > on('1d', sma(close, n))", "close <= on(\"1d\", sma(close, n))");
        let rules = run_rules(&plan, &panel, &[2.0], &[0], Keep::Everything, &cancel).unwrap();
        let by_hand = run_on(&panel, plan.market(), &mut ByHand).unwrap();
        let fills = |record: &akq_core::engine::Record| -> Vec<_> {
            record.fills.iter().map(|f| (f.row, f.side, f.qty, f.price)).collect()
        };
        assert_eq!(fills(&rules.accounts[0].record), fills(&by_hand.record), "seed {seed}");
        assert_eq!(rules.accounts[0].record.equity, by_hand.record.equity);
        n_fills += by_hand.record.fills.len();
        // Alone or in a batch with other parameters.
        let batch = run_batch(&plan, &panel, &[&[3.0], &[2.0]], &cancel).unwrap();
        assert_eq!(batch[1].hash, rules.outcome.hash);
        assert_ne!(batch[0].hash, rules.outcome.hash);
    }
    assert!(n_fills > 100, "{n_fills}");
}

#[test]
fn conditions_hold_from_one_coarse_bar_to_the_next() {
    let cancel = AtomicBool::new(false);
    let panel = panel(&a_share_rows(&[0, 1, 4, 5], 30), stated(30));
    // Closes rise, so the crossing is the first comparison of two days that is true.
    let plan = plan("on(\"1d\", bars_since(close > shift(close, 1)) == 0) and bar_index >= n", "false");
    let run = run_rules(&plan, &panel, &[0.0], &[0], Keep::Everything, &cancel).unwrap();
    // The second day is complete with its last bar, row 15; the order fills on the next one.
    assert_eq!(run.accounts[0].record.fills[0].row, 16);
}

#[test]
fn the_canonical_text_is_one_for_equal_rules() {
    let text = |enter: &str| plan(enter, "false").canonical_rules().unwrap().unwrap();
    assert_eq!(text("on('60m', close) > n"), text("on( \"1h\" , close)>n"));
    assert_ne!(text("on('1h', close) > n"), text("on('2h', close) > n"));
    let again = text("on('1h', close > shift(close, 2))");
    let enter = again.lines().find_map(|line| line.strip_prefix("enter = ")).unwrap();
    assert_eq!(text(enter), again);
}

#[test]
fn what_cannot_stand_in_on_is_refused() {
    let message = |enter: &str| {
        let text = format!(
            r#"{{"strategy": {{"rules": {{"enter": {enter:?}}}}}, "mode": "portfolio", "outputs": [["sharpe", null]]}}"#
        );
        Plan::from_json(&text).unwrap_err().to_string()
    };
    for (enter, part) in [
        ("close > on('1d', on('1w', close))", "inside another on"),
        ("on('1d', rank(close)) > 1", "rank compares assets"),
        ("close > on(close, close)", "written in quotes"),
        ("close > on('2d', close)", "no frequency, expected one such as 5m"),
        ("close > on('1d')", "takes a frequency and an expression"),
        ("close > on", "needs its arguments"),
        ("close > on('1d', 5)", "must be a series"),
        ("close > sma('1d', 5)", "stands only in on"),
        ("close > on('1d, close)", "not closed"),
        ("close > onn('1d', close)", "stands only in on"),
    ] {
        let found = message(enter);
        assert!(found.contains(part), "{enter}: {found}");
    }
}

/// Writes down coarse bars with the row of the step.
#[derive(Default)]
struct Told(Vec<(String, u32, u32)>);

impl Strategy for Told {
    fn frequencies(&self) -> Vec<Frequency> {
        ["1h", "1d"].iter().filter_map(|text| Frequency::parse(text).ok()).collect()
    }

    fn on_coarse_bar(&mut self, ctx: &mut Context<'_>, bar: CoarseBarAt) -> Result<(), StrategyFailure> {
        let row = ctx.row_now(bar.instrument).unwrap_or(u32::MAX);
        self.0.push((bar.frequency.to_string(), bar.ix, row));
        Ok(())
    }
}

#[test]
fn coarse_bars_are_told_once_when_they_are_complete() {
    let market = Market {
        time_zone: "Asia/Shanghai".to_owned(),
        sessions: A_SHARES.iter().map(|pair| pair.map(str::to_owned)).collect(),
        ..Market::default()
    };
    let mut told = Told::default();
    run_on(&panel(&a_share_rows(&[4, 5], 30), stated(30)), &market, &mut told).unwrap();
    let expected: Vec<(String, u32, u32)> = [
        ("1h", 0, 1),
        ("1h", 1, 3),
        ("1h", 2, 5),
        ("1h", 3, 7),
        ("1d", 0, 7),
        ("1h", 4, 9),
        ("1h", 5, 11),
        ("1h", 6, 13),
        ("1h", 7, 15),
        ("1d", 1, 15),
    ]
    .map(|(f, ix, row)| (f.to_owned(), ix, row))
    .to_vec();
    assert_eq!(told.0, expected);
}
