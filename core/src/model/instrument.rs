//! A tradable thing and its contract.

use serde::{Deserialize, Serialize};

/// The contract behind a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Instrument {
    /// Currency units of one price point of one unit (1 for shares).
    pub multiplier: f64,
    /// Smallest quantity step; computed quantities are floored to it. Zero: any quantity.
    pub lot: f64,
}

impl Instrument {
    pub const SHARE: Self = Self { multiplier: 1.0, lot: 1.0 };
}
