//! The market of a run: the profile `simple` and what a sweep file overrides.

use super::{Commission, ExecutionSpec, Fees};
use crate::error::EngineError;
use crate::model::Instrument;
use crate::units::Bps;
use serde::{Deserialize, Serialize};

/// When market orders fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillMode {
    #[default]
    NextOpen,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuyingPower {
    #[default]
    Unlimited,
    /// Purchases are paid from cash.
    Cash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInsufficientCash {
    #[default]
    Reject,
    /// Down to the largest lot that cash affords.
    Reduce,
}

/// What a market allows an order to be.
pub trait MarketRules {
    fn instrument(&self) -> Instrument;
    fn shorts_allowed(&self) -> bool;
    fn buying_power(&self) -> BuyingPower;
}

/// Everything about the market that a run needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Market {
    pub cash: f64,
    pub fill: FillMode,
    pub slippage_bps: f64,
    pub commission: Commission,
    pub sell_tax: f64,
    pub lot: f64,
    pub multiplier: f64,
    pub shorts: bool,
    pub buying_power: BuyingPower,
    pub on_insufficient_cash: OnInsufficientCash,
    pub execution: ExecutionSpec,
    /// Time zone of the exchange, an IANA name; empty: not known.
    pub time_zone: String,
    /// Hours of trading on the local clock, in the order of the trading date; empty: not known.
    pub sessions: Vec<[String; 2]>,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            cash: 1_000_000.0,
            fill: FillMode::NextOpen,
            slippage_bps: 0.0,
            commission: Commission::default(),
            sell_tax: 0.0,
            lot: 1.0,
            multiplier: 1.0,
            shorts: true,
            buying_power: BuyingPower::Unlimited,
            on_insufficient_cash: OnInsufficientCash::Reject,
            execution: ExecutionSpec::default(),
            time_zone: String::new(),
            sessions: Vec::new(),
        }
    }
}

impl Market {
    /// Refuses numbers that no market has.
    pub fn check(&self) -> Result<(), EngineError> {
        Bps::new(self.slippage_bps)?;
        self.execution.check(self.slippage_bps)?;
        self.place()?;
        let not_negative = [
            ("commission.rate", self.commission.rate),
            ("commission.per_share", self.commission.per_share),
            ("commission.minimum", self.commission.minimum),
            ("sell_tax", self.sell_tax),
            ("lot", self.lot),
        ];
        for (name, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return Err(EngineError::Spec(format!(
                    "market.{name} must be finite and not negative, got {value}"
                )));
            }
        }
        for (name, value) in [("cash", self.cash), ("multiplier", self.multiplier)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(EngineError::Spec(format!(
                    "market.{name} must be finite and above zero, got {value}"
                )));
            }
        }
        if self.slippage_bps >= 10_000.0 {
            return Err(EngineError::Spec(format!(
                "market.slippage_bps must be below 10000 (a sell would fill at nothing), got {}",
                self.slippage_bps
            )));
        }
        Ok(())
    }

    pub fn fees(&self) -> Fees {
        Fees { commission: self.commission, sell_tax: self.sell_tax }
    }
}

impl MarketRules for Market {
    fn instrument(&self) -> Instrument {
        Instrument { multiplier: self.multiplier, lot: self.lot }
    }

    fn shorts_allowed(&self) -> bool {
        self.shorts
    }

    fn buying_power(&self) -> BuyingPower {
        self.buying_power
    }
}
