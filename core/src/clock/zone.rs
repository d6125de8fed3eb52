//! Local time. The rules of time zones are those of the IANA database, built into the program.

use crate::error::EngineError;
use crate::units::{TradingDate, TsNs};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

const SECOND_NS: i64 = 1_000_000_000;

/// Nanoseconds of a day without a change of the clock.
pub const DAY_NS: i64 = 86_400 * SECOND_NS;

/// Nanoseconds since local midnight, from 00:00 to 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(i64);

impl TimeOfDay {
    /// Reads `HH:MM` or `HH:MM:SS`, up to `24:00`.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        let refuse = || EngineError::Spec(format!("{text:?} is no time of day such as \"14:55\""));
        let parts: Vec<&str> = text.split(':').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(refuse());
        }
        let mut seconds = 0;
        for (part, (limit, unit)) in parts.iter().zip([(24, 3600), (59, 60), (59, 1)]) {
            let is_plain = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            let value: i64 = part.parse().map_err(|_| refuse())?;
            if !is_plain || value > limit {
                return Err(refuse());
            }
            seconds += value * unit;
        }
        if seconds > 86_400 { Err(refuse()) } else { Ok(Self(seconds * SECOND_NS)) }
    }

    #[inline]
    pub fn ns(self) -> i64 {
        self.0
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = EngineError;

    fn try_from(text: String) -> Result<Self, EngineError> {
        Self::parse(&text)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        let seconds = time.0 / SECOND_NS;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Finds a zone by its name, such as `America/New_York`.
    pub fn parse(name: &str) -> Result<Self, EngineError> {
        name.parse::<Tz>().map(Self).map_err(|_| {
            EngineError::Spec(format!(
                "market.time_zone: unknown time zone {name:?}, expected a name such as America/New_York or UTC"
            ))
        })
    }

    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The local date of an instant, and the nanoseconds since midnight on the local clock.
    pub fn local(self, ts: TsNs) -> (TradingDate, i64) {
        let utc = utc_of(ts.0);
        let shift = i64::from(self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc());
        let local = ts.0.saturating_add(shift * SECOND_NS);
        (TradingDate(local.div_euclid(DAY_NS) as i32), local.rem_euclid(DAY_NS))
    }

    /// The instant at which the local clock shows a time: `ns` from midnight of `day`, which may lie on another day.
    /// A time that occurs twice is the first of both; one that the clock skips is the instant of the jump.
    pub fn instant(self, day: TradingDate, ns: i64) -> TsNs {
        let wall = i64::from(day.0) * DAY_NS + ns;
        match self.0.offset_from_local_datetime(&utc_of(wall)) {
            LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => {
                TsNs(wall - i64::from(offset.fix().local_minus_utc()) * SECOND_NS)
            }
            LocalResult::None => self.jump_before(wall),
        }
    }

    /// The instant at which the clock skipped a local time.
    fn jump_before(self, wall: i64) -> TsNs {
        // No clock is ever more than a day off, so the jump lies between these; an offset is constant on either side.
        let (mut low, mut high) = (wall - DAY_NS, wall + DAY_NS);
        let offset =
            |at: i64| i64::from(self.0.offset_from_utc_datetime(&utc_of(at)).fix().local_minus_utc());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if middle + offset(middle) * SECOND_NS > wall {
                high = middle;
            } else {
                low = middle;
            }
        }
        TsNs(high)
    }
}

/// Plain calendar arithmetic: the date and time that a count of nanoseconds since 1970 shows on a clock in UTC.
fn utc_of(ns: i64) -> NaiveDateTime {
    DateTime::UNIX_EPOCH.naive_utc() + TimeDelta::nanoseconds(ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    fn at(text: &str) -> TsNs {
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S");
        TsNs(naive.ok().and_then(|n| n.and_utc().timestamp_nanos_opt()).unwrap_or(i64::MIN))
    }

    fn day(y: i32, m: u32, d: u32) -> TradingDate {
        let days = NaiveDate::from_ymd_opt(y, m, d).map(|date| (date - NaiveDate::default()).num_days());
        TradingDate(days.unwrap_or(i64::MIN) as i32)
    }

    fn hour(h: i64) -> i64 {
        h * 3600 * SECOND_NS
    }

    #[test]
    fn new_york_changes_its_clock() {
        let zone = Zone::parse("America/New_York").ok().filter(|z| z.name() == "America/New_York");
        let Some(zone) = zone else { panic!("the zone is missing") };
        // 2024-03-10: 02:00 becomes 03:00; 2024-11-03: 02:00 becomes 01:00.
        assert_eq!(zone.instant(day(2024, 3, 8), hour(9)), at("2024-03-08 14:00:00"));
        assert_eq!(zone.instant(day(2024, 3, 11), hour(9)), at("2024-03-11 13:00:00"));
        assert_eq!(zone.instant(day(2024, 3, 10), hour(2)), at("2024-03-10 07:00:00"));
        assert_eq!(zone.instant(day(2024, 3, 10), hour(2) + hour(1) / 2), at("2024-03-10 07:00:00"));
        assert_eq!(zone.instant(day(2024, 3, 10), hour(3)), at("2024-03-10 07:00:00"));
        assert_eq!(zone.instant(day(2024, 11, 3), hour(1)), at("2024-11-03 05:00:00"));
        assert_eq!(zone.instant(day(2024, 11, 3), hour(2)), at("2024-11-03 07:00:00"));
        assert_eq!(zone.local(at("2024-11-03 06:30:00")), (day(2024, 11, 3), hour(1) + hour(1) / 2));
        assert_eq!(zone.local(at("2024-03-10 04:59:59")), (day(2024, 3, 9), hour(24) - SECOND_NS));
    }

    #[test]
    fn a_time_of_the_next_day_and_one_before_1970() {
        let Ok(zone) = Zone::parse("Asia/Shanghai") else { panic!("the zone is missing") };
        assert_eq!(zone.instant(day(2024, 1, 5), hour(26)), at("2024-01-05 18:00:00"));
        assert_eq!(zone.local(at("1960-01-01 20:00:00")), (day(1960, 1, 2), hour(4)));
        assert!(Zone::parse("Asia/Peking").is_err());
    }

    #[test]
    fn times_of_day_are_checked() {
        let ns = |text| TimeOfDay::parse(text).ok().map(TimeOfDay::ns);
        assert_eq!(
            [ns("09:30"), ns("9:30:15"), ns("24:00")],
            [Some(hour(9) + hour(1) / 2), Some(hour(9) + hour(1) / 2 + 15 * SECOND_NS), Some(hour(24)),]
        );
        for bad in ["", "9", "24:01", "9:60", "-1:00", "+9:00", "9:30:00.5", "ab:cd", "009:30"] {
            assert_eq!(ns(bad), None, "{bad}");
        }
    }
}
