//! Newtypes for what can be confused with something else.

use crate::error::ValueError;
use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TsNs(pub i64);

/// Days since 1970-01-01: the trading date of the exchange, not of UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TradingDate(pub i32);

/// Position of an instrument in its panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstrumentIx(pub u32);

impl InstrumentIx {
    #[inline]
    pub fn ix(self) -> usize {
        self.0 as usize
    }
}

/// Position of a strategy among those that share an account; the only one is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StrategyIx(pub u32);

impl StrategyIx {
    #[inline]
    pub fn ix(self) -> usize {
        self.0 as usize
    }
}

/// Number of an order within its run, from 1, in order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub u64);

/// Hundredths of a percent, not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bps(f64);

impl Bps {
    /// Fails when the value is not finite or below zero.
    pub fn new(value: f64) -> Result<Self, ValueError> {
        if value.is_finite() && value >= 0.0 {
            Ok(Self(value))
        } else {
            Err(ValueError { what: "basis points", value, rule: "must be finite and not negative" })
        }
    }

    #[inline]
    pub fn fraction(self) -> f64 {
        self.0 / 10_000.0
    }
}
