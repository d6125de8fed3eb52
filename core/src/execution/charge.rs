//! Fees of an order that fills in parts: each minimum is taken once an order and day.

use crate::market::FeeModel;
use crate::model::{Progress, Side};
use crate::units::TradingDate;

/// What an execution adds to the fees of its order, so that the fees of the order's executions of one trading date are
/// those of one execution of them all.
#[inline]
pub fn charge(
    fees: &impl FeeModel,
    so_far: &Progress,
    date: TradingDate,
    side: Side,
    qty: f64,
    notional: f64,
) -> f64 {
    if so_far.day_qty == 0.0 || so_far.date != date {
        return fees.fees(side, qty, notional);
    }
    let whole = fees.fees(side, so_far.day_qty + qty, so_far.day_notional + notional);
    (whole - so_far.day_fees).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Commission, Fees};

    /// Pitfall 9: the minimum commission is not charged once a partial fill.
    #[test]
    fn pitfall_9_the_minimum_counts_once_an_order_and_day() {
        let fees =
            Fees { commission: Commission { rate: 0.001, per_share: 0.0, minimum: 5.0 }, ..Fees::default() };
        let mut progress = Progress::NONE;
        let mut pay = |date: i32, notional: f64| {
            let date = TradingDate(date);
            let fee = charge(&fees, &progress, date, Side::Buy, 1.0, notional);
            progress.note(date, 1.0, notional, fee);
            fee
        };
        assert_eq!(pay(1, 1_000.0), 5.0); // 1 is below the minimum
        assert_eq!(pay(1, 2_000.0), 0.0); // 3 of 3,000 still is
        assert_eq!(pay(1, 7_000.0), 5.0); // 10 of 10,000 less the 5 charged
        assert_eq!(pay(2, 1_000.0), 5.0); // another day
    }
}
