//! What has been executed of an order.

use crate::units::TradingDate;

/// Executions of an order so far, with sums of the newest trading date that had one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Units of all executions.
    pub filled: f64,
    /// Bars that could trade and that the order was offered to at a price it takes.
    pub tries: u32,
    pub date: TradingDate,
    pub day_qty: f64,
    pub day_notional: f64,
    pub day_fees: f64,
}

impl Progress {
    pub const NONE: Self = Self {
        filled: 0.0,
        tries: 0,
        date: TradingDate(i32::MIN),
        day_qty: 0.0,
        day_notional: 0.0,
        day_fees: 0.0,
    };

    /// Adds an execution.
    pub fn note(&mut self, date: TradingDate, qty: f64, notional: f64, fees: f64) {
        if self.date != date {
            (self.date, self.day_qty, self.day_notional, self.day_fees) = (date, 0.0, 0.0, 0.0);
        }
        self.filled += qty;
        self.day_qty += qty;
        self.day_notional += notional;
        self.day_fees += fees;
    }
}
