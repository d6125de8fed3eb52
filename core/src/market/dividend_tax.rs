//! Tax on dividends by how long the units were held.

use super::dated::months_later;
use crate::units::TradingDate;
use serde::{Deserialize, Serialize};

/// A rate of tax on the dividends of units that are sold at most so many months after they were bought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DividendTax {
    /// A unit bought on the eighth is held one month up to the eighth of the next.
    pub months: u32,
    /// Share of the cash dividend.
    pub rate: f64,
}

/// The rate for units bought and sold on these dates: that of the first bracket that reaches so far, else none.
pub fn dividend_tax_rate(brackets: &[DividendTax], bought: TradingDate, sold: TradingDate) -> f64 {
    brackets.iter().find(|bracket| sold <= months_later(bought, bracket.months)).map_or(0.0, |b| b.rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Day;

    #[test]
    fn a_holding_is_counted_in_calendar_months() {
        let brackets = [DividendTax { months: 1, rate: 0.2 }, DividendTax { months: 12, rate: 0.1 }];
        let day = |text: &str| text.parse::<Day>().map(|day| day.0);
        let rate = |bought, sold| match (day(bought), day(sold)) {
            (Ok(bought), Ok(sold)) => dividend_tax_rate(&brackets, bought, sold),
            _ => f64::NAN,
        };
        assert_eq!(rate("2024-01-08", "2024-01-08"), 0.2);
        assert_eq!(rate("2024-01-08", "2024-02-08"), 0.2);
        assert_eq!(rate("2024-01-08", "2024-02-09"), 0.1);
        assert_eq!(rate("2024-01-31", "2024-02-29"), 0.2); // the month has no 31st: its last day
        assert_eq!(rate("2024-01-31", "2024-03-01"), 0.1);
        assert_eq!(rate("2024-01-08", "2025-01-08"), 0.1);
        assert_eq!(rate("2024-01-08", "2025-01-09"), 0.0);
        assert_eq!(rate("2024-02-29", "2025-02-28"), 0.1);
    }
}
