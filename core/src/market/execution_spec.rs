//! How orders meet the volume and the prices of a bar (SEMANTICS section 3).

use crate::error::EngineError;
use serde::{Deserialize, Serialize};

/// Settings of execution; the defaults fill every order whole, whatever the volume.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionSpec {
    /// Largest share of the volume of a bar that the account trades on it; none: no cap.
    pub max_participation: Option<f64>,
    /// A bar whose volume is zero trades nothing. Absent volume is not zero volume.
    pub halt_on_zero_volume: bool,
    /// In place of the basis points of the market.
    pub slippage: Option<SlippageSpec>,
    /// Slippage stays inside the bar.
    pub cap_to_bar: bool,
    /// Smallest step of a price; zero: any price.
    pub tick: f64,
    pub intrabar: Intrabar,
}

/// Which leg of a group fills when one bar reaches a stop and a limit of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intrabar {
    /// The stop.
    #[default]
    Pessimistic,
    /// The limit.
    Optimistic,
    /// The one that comes first on the way from the open to the nearer extreme, the other one and the close.
    #[serde(rename = "ohlc")]
    Path,
}

/// How far the price of a market or stop fill moves against the order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlippageSpec {
    None,
    /// Hundredths of a percent of the price.
    Bps(f64),
    /// Steps of `tick`.
    Ticks(f64),
    VolumeImpact(ImpactSpec),
}

/// A share of the price that grows with the share of the bar's volume.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImpactSpec {
    #[serde(default)]
    pub formula: ImpactFormula,
    /// What an order as large as the bar's volume moves the price by, as a share of it.
    pub coefficient: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImpactFormula {
    /// `coefficient sqrt(quantity / volume)`: the square-root law (Torre, "BARRA Market Impact Model Handbook", 1997;
    /// Grinold and Kahn, "Active Portfolio Management", 2nd edition, chapter 16).
    #[default]
    SquareRoot,
    /// `coefficient quantity / volume` (Kyle, "Continuous Auctions and Insider Trading", Econometrica 53, 1985).
    Linear,
}

impl ExecutionSpec {
    /// Refuses settings that mean nothing, and a model beside basis points of the market.
    pub fn check(&self, market_bps: f64, has_tick: bool) -> Result<(), EngineError> {
        let refuse = |text: String| Err(EngineError::Spec(format!("market.execution.{text}")));
        if let Some(share) = self.max_participation
            && !(share.is_finite() && share > 0.0 && share <= 1.0)
        {
            return refuse(format!("max_participation must be above 0 and at most 1, got {share}"));
        }
        if !(self.tick.is_finite() && self.tick >= 0.0) {
            return refuse(format!("tick must be finite and not negative, got {}", self.tick));
        }
        if self.slippage.is_some() && market_bps != 0.0 {
            return refuse("slippage stands beside market.slippage_bps: give one of them".to_owned());
        }
        match self.slippage {
            Some(SlippageSpec::Bps(bps)) if !(0.0..10_000.0).contains(&bps) => {
                refuse(format!("slippage.bps must be from 0 to below 10000, got {bps}"))
            }
            Some(SlippageSpec::Ticks(ticks)) if !(ticks.is_finite() && ticks >= 0.0) => {
                refuse(format!("slippage.ticks must be finite and not negative, got {ticks}"))
            }
            Some(SlippageSpec::Ticks(_)) if !has_tick => {
                refuse("slippage in ticks needs the size of a tick: set tick".to_owned())
            }
            Some(SlippageSpec::VolumeImpact(impact)) if !(0.0..1.0).contains(&impact.coefficient) => {
                refuse(format!(
                    "slippage.volume_impact.coefficient must be from 0 to below 1, got {}",
                    impact.coefficient
                ))
            }
            _ => Ok(()),
        }
    }
}
