//! Rules with the day from which they hold.

use crate::units::TradingDate;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A calendar day, written `2023-08-28`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub TradingDate);

/// A text that is not a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a day like 2023-08-28")]
pub struct ParseDayError {
    text: String,
}

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        let parts: Vec<&str> = text.split('-').collect();
        let number = |at: usize| parts.get(at).and_then(|part| part.parse::<i32>().ok());
        match (parts.len(), number(0), number(1), number(2)) {
            (3, Some(year), Some(month @ 1..=12), Some(day @ 1..=31)) => {
                let days = days_from_civil(year, month, day);
                let made = Self(TradingDate(days));
                // 31 April reads as 1 May: written back it differs.
                if civil_from_days(days) == (year, month, day) { Ok(made) } else { Err(bad(text)) }
            }
            _ => Err(bad(text)),
        }
    }
}

fn bad(text: &str) -> ParseDayError {
    ParseDayError { text: text.to_owned() }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: years begin in March, so that the leap day is the last.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The same day so many months later, or the last of its month where that is shorter.
pub(super) fn months_later(date: TradingDate, months: u32) -> TradingDate {
    let (year, month, day) = civil_from_days(date.0);
    let of = |count: i32| (year + count.div_euclid(12), count.rem_euclid(12) + 1);
    let count = month - 1 + months as i32;
    let first = |(year, month): (i32, i32)| days_from_civil(year, month, 1);
    let (starts, ends) = (first(of(count)), first(of(count + 1)));
    TradingDate((starts + day - 1).min(ends - 1))
}

fn civil_from_days(days: i32) -> (i32, i32, i32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Something with a first day.
pub trait Dated {
    fn from(&self) -> Day;
}

/// The entry in force on a date: the last one that began on it or before.
#[inline]
pub fn in_force<T: Dated>(table: &[T], date: TradingDate) -> Option<&T> {
    table.iter().rev().find(|entry| entry.from().0 <= date)
}

/// Refuses a table whose days do not ascend.
pub fn is_ascending<T: Dated>(table: &[T]) -> bool {
    table.windows(2).all(|pair| pair[0].from() < pair[1].from())
}

/// A share of the notional from a day on, until the next entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatedRate {
    pub from: Day,
    pub rate: f64,
    /// Who says so.
    #[serde(default)]
    pub source: String,
}

impl Dated for DatedRate {
    fn from(&self) -> Day {
        self.from
    }
}

/// A rate with its history, in order of days; nothing before the first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Rates(pub Vec<DatedRate>);

impl Rates {
    #[inline]
    pub fn at(&self, date: TradingDate) -> f64 {
        in_force(&self.0, date).map_or(0.0, |entry| entry.rate)
    }

    pub fn is_sound(&self) -> bool {
        is_ascending(&self.0) && self.0.iter().all(|entry| entry.rate.is_finite() && entry.rate >= 0.0)
    }
}

/// A number stands for a rate that always held.
impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Table(Vec<DatedRate>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Number(rate) => {
                let from = Day(TradingDate(days_from_civil(1, 1, 1)));
                Self(vec![DatedRate { from, rate, source: String::new() }])
            }
            Form::Table(table) => Self(table),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written() {
        for (text, days) in
            [("1970-01-01", 0), ("2000-03-01", 11_017), ("2023-08-28", 19_597), ("1969-12-31", -1)]
        {
            let day: Day = text.parse().unwrap();
            assert_eq!(day.0.0, days, "{text}");
            assert_eq!(day.to_string(), text);
        }
        for text in ["2023-04-31", "2023-2-x", "2023-13-01", "20230101", "2023-02-29"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_holds_from_its_day_until_the_next() {
        let text = r#"[{"from": "1990-12-19", "rate": 0.001}, {"from": "2023-08-28", "rate": 0.0005}]"#;
        let rates: Rates = serde_json::from_str(text).unwrap();
        let at = |text: &str| rates.at(text.parse::<Day>().unwrap().0);
        assert_eq!(
            [at("1990-12-18"), at("2023-08-27"), at("2023-08-28"), at("2030-01-01")],
            [0.0, 0.001, 0.0005, 0.0005]
        );
        let flat: Rates = serde_json::from_str("0.25").unwrap();
        assert_eq!(flat.at("1600-01-01".parse::<Day>().unwrap().0), 0.25);
    }
}
