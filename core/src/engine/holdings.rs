//! What an account held: exposures after every step, positions at the end of every trading date.

use crate::clock::Clock;
use crate::portfolio::Portfolio;
use crate::units::InstrumentIx;

/// A position at the end of a trading date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holding {
    /// The last step of the date: the equity of that step is the one that this position is part of.
    pub step: u32,
    pub instrument: InstrumentIx,
    /// Units, negative when short.
    pub qty: f64,
    /// Last close.
    pub price: f64,
    /// Quantity times price times multiplier, negative when short.
    pub value: f64,
}

/// The holdings of a run.
#[derive(Debug, Default)]
pub struct Holdings {
    /// By step, then instrument.
    pub positions: Vec<Holding>,
    /// Value of the long positions after every step.
    pub long: Vec<f64>,
    /// Value of the short positions after every step, negative.
    pub short: Vec<f64>,
    /// Notional traded from the first step to the end of every step, both sides.
    pub traded: Vec<f64>,
}

impl Holdings {
    pub(super) fn reset(&mut self) {
        self.positions.clear();
        self.long.clear();
        self.short.clear();
        self.traded.clear();
    }

    /// Takes note of the end of a step.
    pub(super) fn note(&mut self, portfolio: &Portfolio, clock: &Clock, traded: f64) {
        let ends_date = clock.ends_date || clock.is_last_step;
        let (mut long, mut short) = (0.0, 0.0);
        for instrument in portfolio.held() {
            let value = portfolio.value(instrument);
            if value < 0.0 {
                short += value;
            } else {
                long += value;
            }
            if ends_date {
                let qty = portfolio.position(instrument).qty();
                let price = portfolio.last_close(instrument);
                self.positions.push(Holding { step: clock.step, instrument, qty, price, value });
            }
        }
        self.long.push(long);
        self.short.push(short);
        self.traded.push(traded);
    }
}
