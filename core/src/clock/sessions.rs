//! Sessions: when an exchange trades, as local intervals of a trading date.
//!
//! A session that crosses midnight, or stands in the list before one that begins earlier in the day, is a night session:
//! it begins on an evening and belongs to the trading date after it (SEMANTICS section 1).

use super::bar_times::BarTimes;
use super::zone::{DAY_NS, TimeOfDay, Zone};
use crate::error::EngineError;
use crate::units::{TradingDate, TsNs};

/// An interval in nanoseconds from local midnight of the day on which it begins, `[open, close)`; the close of a night
/// session may be past 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval {
    open: i64,
    close: i64,
}

impl Interval {
    fn holds(&self, ns: i64) -> bool {
        self.open <= ns && ns < self.close
    }
}

/// One session of one trading date, `[open, close)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    pub open: TsNs,
    pub close: TsNs,
}

/// Where an instant lies among the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In a session of this local date.
    Day(TradingDate),
    /// In a night session that began on the evening of this local date.
    Night(TradingDate),
    /// In none, on this local date.
    Outside(TradingDate),
}

/// The sessions of an exchange in its time zone. Holidays and early closes are not known to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    zone: Zone,
    /// Ascending and apart from each other, like `day`.
    night: Vec<Interval>,
    day: Vec<Interval>,
}

impl Schedule {
    /// Reads pairs of local times in the order of the trading date; what lies between two sessions is a break.
    pub fn parse(time_zone: &str, sessions: &[[String; 2]]) -> Result<Self, EngineError> {
        let zone = Zone::parse(time_zone)?;
        let mut intervals = Vec::with_capacity(sessions.len());
        for [open, close] in sessions {
            let (open, close) = (TimeOfDay::parse(open)?.ns(), TimeOfDay::parse(close)?.ns());
            if open == DAY_NS {
                return refuse("a session opens at 24:00; the day begins at 00:00");
            }
            intervals.push(Interval { open, close: if close > open { close } else { close + DAY_NS } });
        }
        if intervals.is_empty() {
            return refuse("the list is empty, at least one session is needed");
        }
        let is_night = |ix: usize| {
            let one: Interval = intervals[ix];
            one.close > DAY_NS || intervals[ix + 1..].iter().any(|later| later.open < one.open)
        };
        let n_night = (0..intervals.len()).take_while(|&ix| is_night(ix)).count();
        if (n_night..intervals.len()).any(is_night) {
            return refuse(
                "expected night sessions first, then those of the day, in the order of the trading date",
            );
        }
        let day = intervals.split_off(n_night);
        let night = intervals;
        let is_apart = |list: &[Interval]| list.windows(2).all(|pair| pair[0].close <= pair[1].open);
        let begins = night.first().or(day.first()).map_or(0, |first| first.open);
        let next_day = |list: &[Interval]| list.last().map_or(i64::MIN, |last| last.close);
        let meets = day.first().is_some_and(|first| next_day(&night) > first.open + DAY_NS);
        let longer = next_day(&night) > begins + DAY_NS || (!night.is_empty() && next_day(&day) > begins);
        if !is_apart(&night) || !is_apart(&day) || meets || longer {
            return refuse("two of them overlap");
        }
        Ok(Self { zone, night, day })
    }

    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// Where an instant lies.
    pub fn place(&self, ts: TsNs) -> Placement {
        let (date, ns) = self.zone.local(ts);
        if self.day.iter().any(|session| session.holds(ns)) {
            Placement::Day(date)
        } else if self.night.iter().any(|session| session.holds(ns)) {
            Placement::Night(date)
        } else if self.night.iter().any(|session| session.holds(ns + DAY_NS)) {
            Placement::Night(TradingDate(date.0 - 1))
        } else {
            Placement::Outside(date)
        }
    }

    /// Whether an instant lies in a session; the schedule knows no holidays.
    pub fn is_open(&self, ts: TsNs) -> bool {
        !matches!(self.place(ts), Placement::Outside(_))
    }

    /// The sessions of a trading date in time order. `first` is an instant in its first bar: night sessions are part of
    /// the date if it lies in one, since the evening they began on depends on holidays.
    pub fn hours(&self, date: TradingDate, first: TsNs) -> Vec<Hours> {
        let on = |day: TradingDate| {
            move |session: &Interval| Hours {
                open: self.zone.instant(day, session.open),
                close: self.zone.instant(day, session.close),
            }
        };
        let mut hours = Vec::with_capacity(self.night.len() + self.day.len());
        if let Placement::Night(evening) = self.place(first) {
            hours.extend(self.night.iter().map(on(evening)));
        }
        hours.extend(self.day.iter().map(on(date)));
        // On a date of which no day session exists, as where the only session crosses midnight.
        if hours.is_empty() {
            hours.extend(self.night.iter().map(on(TradingDate(date.0 - 1))));
        }
        hours
    }

    /// The instant of a local time on a trading date; none for a time of a night session that the date does not have.
    pub fn instant_on(&self, date: TradingDate, first: TsNs, time: TimeOfDay) -> Option<TsNs> {
        let ns = time.ns();
        let is_of_day = self.day.iter().any(|session| session.holds(ns));
        let shift = match () {
            () if is_of_day => None,
            () if self.night.iter().any(|session| session.holds(ns)) => Some(0),
            () if self.night.iter().any(|session| session.holds(ns + DAY_NS)) => Some(DAY_NS),
            () => None,
        };
        match (shift, self.place(first)) {
            (None, _) => Some(self.zone.instant(date, ns)),
            (Some(shift), Placement::Night(evening)) => Some(self.zone.instant(evening, ns + shift)),
            (Some(_), _) => None,
        }
    }

    /// The trading date of every bar, and whether it lies in a session.
    ///
    /// A bar of a night session belongs to the next date that has bars of a day session, or else to the next weekday;
    /// any other bar to its local date. `ts` holds the bars of all instruments of the exchange, in any order.
    pub fn trading_dates(&self, ts: &[i64], times: BarTimes) -> Vec<(TradingDate, bool)> {
        let places: Vec<Placement> = ts.iter().map(|&ts| self.place(times.inside(TsNs(ts)))).collect();
        let mut days: Vec<TradingDate> = places.iter().filter_map(Placement::day).collect();
        days.sort_unstable();
        days.dedup();
        let date_of = |place: &Placement| match *place {
            Placement::Day(date) => (date, true),
            Placement::Outside(date) => (date, false),
            Placement::Night(evening) => {
                let next = days.get(days.partition_point(|&day| day <= evening)).copied();
                (next.unwrap_or_else(|| next_weekday(evening)), true)
            }
        };
        places.iter().map(date_of).collect()
    }
}

impl Placement {
    fn day(&self) -> Option<TradingDate> {
        match *self {
            Self::Day(date) => Some(date),
            Self::Night(_) | Self::Outside(_) => None,
        }
    }
}

/// The first of Monday to Friday after a date.
fn next_weekday(date: TradingDate) -> TradingDate {
    // 1970-01-01 was a Thursday: 0 is a Monday here.
    match (date.0 + 3).rem_euclid(7) {
        4 => TradingDate(date.0 + 3),
        5 => TradingDate(date.0 + 2),
        _ => TradingDate(date.0 + 1),
    }
}

fn refuse<T>(rule: &str) -> Result<T, EngineError> {
    Err(EngineError::Spec(format!("market.sessions: {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;

    fn schedule(zone: &str, sessions: &[(&str, &str)]) -> Result<Schedule, EngineError> {
        let pairs: Vec<[String; 2]> =
            sessions.iter().map(|(open, close)| [(*open).to_owned(), (*close).to_owned()]).collect();
        Schedule::parse(zone, &pairs)
    }

    fn must(zone: &str, sessions: &[(&str, &str)]) -> Schedule {
        match schedule(zone, sessions) {
            Ok(schedule) => schedule,
            Err(error) => panic!("{error}"),
        }
    }

    const FUTURES: [(&str, &str); 4] =
        [("21:00", "02:30"), ("09:00", "10:15"), ("10:30", "11:30"), ("13:30", "15:00")];

    /// Local time of 1970-01-01 (a Thursday) plus days, in Shanghai: eight hours ahead.
    fn shanghai(day: i64, hour: i64, minute: i64) -> i64 {
        ((day * 24 + hour - 8) * 60 + minute) * 60 * 1_000_000_000
    }

    #[test]
    fn what_is_no_order_of_sessions_is_refused() {
        for (sessions, part) in [
            (&[][..], "empty"),
            (&[("09:00", "11:00"), ("10:30", "12:00")][..], "overlap"),
            (&[("09:00", "15:00"), ("21:00", "02:30")][..], "night sessions first"),
            (&[("21:00", "09:30"), ("09:00", "15:00")][..], "overlap"),
            (&[("14:00", "02:00"), ("09:00", "15:00")][..], "overlap"),
            (&[("24:00", "02:00")][..], "24:00"),
            (&[("9", "15:00")][..], "time of day"),
        ] {
            let message =
                schedule("Asia/Shanghai", sessions).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(part), "{sessions:?}: {message}");
        }
    }

    #[test]
    fn friday_night_is_monday_and_a_holiday_moves_it_on() {
        let schedule = must("Asia/Shanghai", &FUTURES);
        // Day 1 is a Friday, 4 a Monday.
        let friday_night = [shanghai(1, 21, 0), shanghai(2, 2, 29)];
        let day = |ts: &[i64]| -> Vec<i32> {
            schedule.trading_dates(ts, BarTimes::default()).iter().map(|(date, _)| date.0).collect()
        };
        assert_eq!(day(&friday_night), [4, 4]);
        let with_monday = [friday_night[0], friday_night[1], shanghai(4, 9, 0)];
        assert_eq!(day(&with_monday), [4, 4, 4]);
        let monday_is_a_holiday = [friday_night[0], friday_night[1], shanghai(5, 9, 0)];
        assert_eq!(day(&monday_is_a_holiday), [5, 5, 5]);
        // A weekday night; a bar outside the sessions keeps its local date.
        assert_eq!(day(&[shanghai(0, 21, 0), shanghai(0, 20, 59)]), [1, 0]);
    }

    #[test]
    fn a_bar_with_the_time_of_its_end_belongs_to_what_it_ends() {
        let schedule = must("Asia/Shanghai", &FUTURES);
        let ends = [shanghai(2, 2, 30), shanghai(4, 10, 15), shanghai(4, 10, 30)];
        let close = BarTimes { stamp: Stamp::Close, length_ns: None };
        let found: Vec<_> = schedule.trading_dates(&ends, close).iter().map(|(d, i)| (d.0, *i)).collect();
        assert_eq!(found, [(4, true), (4, true), (4, false)]);
        let found: Vec<_> =
            schedule.trading_dates(&ends, BarTimes::default()).iter().map(|(d, i)| (d.0, *i)).collect();
        assert_eq!(found, [(2, false), (4, false), (4, true)]);
    }

    #[test]
    fn hours_of_a_date_have_the_night_it_began_with() {
        let schedule = must("Asia/Shanghai", &FUTURES);
        let with_night = schedule.hours(TradingDate(4), TsNs(shanghai(1, 21, 5)));
        assert_eq!(with_night.len(), 4);
        assert_eq!(with_night[0], Hours { open: TsNs(shanghai(1, 21, 0)), close: TsNs(shanghai(2, 2, 30)) });
        assert_eq!(with_night[3].close, TsNs(shanghai(4, 15, 0)));
        assert_eq!(schedule.hours(TradingDate(4), TsNs(shanghai(4, 9, 0))).len(), 3);
        let time = |text| match TimeOfDay::parse(text) {
            Ok(time) => time,
            Err(error) => panic!("{error}"),
        };
        let night = TsNs(shanghai(1, 21, 5));
        assert_eq!(schedule.instant_on(TradingDate(4), night, time("01:00")), Some(TsNs(shanghai(2, 1, 0))));
        assert_eq!(schedule.instant_on(TradingDate(4), TsNs(shanghai(4, 9, 0)), time("01:00")), None);
    }

    #[test]
    fn one_session_over_midnight_is_a_whole_trading_date() {
        // Futures in Chicago: from 17:00 to 16:00 of the next day.
        let schedule = must("America/Chicago", &[("17:00", "16:00")]);
        let utc = |day: i64, hour: i64| (day * 24 + hour) * 3_600_000_000_000;
        // Sunday (day 3) 23:00 UTC is 17:00 in Chicago; Monday 21:00 UTC is 15:00.
        let dates: Vec<_> = schedule.trading_dates(&[utc(3, 23), utc(4, 21)], BarTimes::default());
        assert_eq!(dates, [(TradingDate(4), true), (TradingDate(4), true)]);
        let hours = schedule.hours(TradingDate(4), TsNs(utc(4, 5)));
        assert_eq!(hours, [Hours { open: TsNs(utc(3, 23)), close: TsNs(utc(4, 22)) }]);
        assert!(!schedule.is_open(TsNs(utc(4, 22))));
    }
}
