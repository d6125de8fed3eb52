//! Calendar weeks and months of trading dates, by number.

use crate::units::TradingDate;
use chrono::{Datelike, NaiveDate, TimeDelta};

/// Number of the calendar week, from Monday on.
pub fn week(date: TradingDate) -> i32 {
    // 1970-01-01 was a Thursday.
    (date.0 + 3).div_euclid(7)
}

/// Monday of a week.
pub fn week_start(week: i32) -> TradingDate {
    TradingDate(week * 7 - 3)
}

/// Number of the calendar month.
pub fn month(date: TradingDate) -> i32 {
    let date = NaiveDate::default() + TimeDelta::days(i64::from(date.0));
    date.year() * 12 + date.month0() as i32
}

/// First day of a month.
pub fn month_start(month: i32) -> TradingDate {
    let first = NaiveDate::from_ymd_opt(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1);
    let days = first.map(|first| (first - NaiveDate::default()).num_days());
    TradingDate(days.map_or(i32::MAX, |days| days as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_lies_between_the_starts_of_its_period_and_the_next() {
        for day in -40_000..40_000 {
            let date = TradingDate(day);
            assert!(week_start(week(date)) <= date && date < week_start(week(date) + 1));
            assert!(month_start(month(date)) <= date && date < month_start(month(date) + 1));
        }
        // 2024-03-04 was a Monday.
        assert_eq!(week_start(week(TradingDate(19_791))), TradingDate(19_786));
        assert_eq!(month_start(2024 * 12 + 1), TradingDate(19_754));
    }
}
