//! Slippage models.

use crate::model::Side;
use crate::units::Bps;

/// Moves the price of a market or stop fill against the order; a limit fill never slips.
pub trait SlippageModel {
    fn slipped(&self, side: Side, price: f64) -> f64;
}

/// A fixed fraction of the price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BpsSlippage {
    fraction: f64,
}

impl BpsSlippage {
    pub fn new(bps: Bps) -> Self {
        Self { fraction: bps.fraction() }
    }
}

impl SlippageModel for BpsSlippage {
    #[inline]
    fn slipped(&self, side: Side, price: f64) -> f64 {
        match side {
            Side::Buy => price * (1.0 + self.fraction),
            Side::Sell => price * (1.0 - self.fraction),
        }
    }
}
