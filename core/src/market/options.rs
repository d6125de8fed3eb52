//! Options: what a contract pays at its expiry (SEMANTICS section 6).

use super::dated::Day;
use serde::{Deserialize, Serialize};

/// What the holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    Call,
    Put,
}

/// The terms of one option contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionTerms {
    pub symbol: String,
    pub right: Right,
    pub strike: f64,
    /// The last trading date.
    pub expiry: Day,
}

impl OptionTerms {
    /// What one unit is worth when the underlying stands at a price: never below zero.
    pub fn intrinsic(&self, underlying: f64) -> f64 {
        let gain = match self.right {
            Right::Call => underlying - self.strike,
            Right::Put => self.strike - underlying,
        };
        gain.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_worth_its_gain_or_nothing() {
        let option = |right| OptionTerms {
            symbol: "A".to_owned(),
            right,
            strike: 2.5,
            expiry: Day(crate::units::TradingDate(0)),
        };
        assert_eq!([option(Right::Call).intrinsic(3.0), option(Right::Call).intrinsic(2.0)], [0.5, 0.0]);
        assert_eq!([option(Right::Put).intrinsic(3.0), option(Right::Put).intrinsic(2.0)], [0.0, 0.5]);
    }
}
