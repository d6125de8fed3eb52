//! Prices that go on across ex-dates, for signals: fills are always at raw prices (SEMANTICS section 6).

use super::Distribution;

/// The factor of every bar that makes its prices go on from those of the first one. It is the product, over the ex-dates
/// up to the bar, of the last close before over the reference price, so that a factor depends on nothing later than its
/// bar. `dates` ascend and are as long as `close`.
pub fn adjustment_factors(dates: &[i32], close: &[f64], distributions: &[Distribution]) -> Vec<f64> {
    let mut factor = 1.0;
    let mut next = 0;
    let mut out = Vec::with_capacity(close.len());
    for &date in dates {
        while let Some(action) = distributions.get(next).filter(|action| action.ex_date.0.0 <= date) {
            let before = dates.partition_point(|&d| d < action.ex_date.0.0);
            if let Some(&last) = before.checked_sub(1).and_then(|at| close.get(at)) {
                let reference = action.reference(last);
                factor *= if reference > 0.0 { last / reference } else { 1.0 };
            }
            next += 1;
        }
        out.push(factor);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Day;
    use crate::units::TradingDate;

    fn split(day: i32, bonus: f64) -> Distribution {
        Distribution { ex_date: Day(TradingDate(day)), cash: 0.0, bonus, rights: 0.0, rights_price: 0.0 }
    }

    #[test]
    fn adjusted_prices_go_on_and_know_nothing_of_the_future() {
        let (dates, close) = ([1, 2, 5, 6], [30.0, 30.0, 20.0, 10.5]);
        // 30 / 20 on day 4 (first bar on day 5), then a dividend of 0.5 on 20: 20 / 19.5.
        let dividend = Distribution { cash: 0.5, ..split(6, 0.0) };
        let both = adjustment_factors(&dates, &close, &[split(4, 0.5), dividend]);
        assert_eq!(both, [1.0, 1.0, 1.5, 1.5 * (20.0 / 19.5)]);
        let first = adjustment_factors(&dates[..3], &close[..3], &[split(4, 0.5), dividend]);
        assert_eq!(first, both[..3]);
        assert_eq!(adjustment_factors(&dates, &close, &[split(1, 1.0)]), [1.0; 4]); // before the data
    }
}
