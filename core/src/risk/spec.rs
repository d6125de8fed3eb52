//! What risk allows: every check has a switch or a limit of its own.

use crate::error::EngineError;
use crate::market::Market;
use serde::{Deserialize, Serialize};

/// The checks of an account (SEMANTICS section 5). A limit that is absent is not checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskSpec {
    /// Sells within what is held, less what working sells reserve, where the market allows no shorts.
    pub sellable: bool,
    /// Buys within cash, where the market limits buying power to it.
    pub cash: bool,
    /// Given quantities in whole lots; a whole position may always be closed.
    pub lot: bool,
    /// Given prices in whole ticks.
    pub tick: bool,
    /// The only symbols that orders may name; none: all.
    pub tradable: Option<Vec<String>>,
    /// Symbols that positions may only be reduced in.
    pub restricted: Vec<String>,
    /// Units of one order.
    pub max_order_qty: Option<f64>,
    /// Value of one order at its price, or at the last close.
    pub max_order_value: Option<f64>,
    /// Units of one position, working orders of the same side included.
    pub max_position_qty: Option<f64>,
    /// Value of one position at the last close, counted as above.
    pub max_position_value: Option<f64>,
    /// Value of one position as a share of equity.
    pub max_concentration: Option<f64>,
    /// Sum of the absolute values of all positions as a multiple of equity.
    pub max_gross_exposure: Option<f64>,
    /// Absolute sum of the values of all positions as a multiple of equity.
    pub max_net_exposure: Option<f64>,
    /// Share of the peak of equity; when it is lost, new risk is halted for the rest of the run.
    pub max_drawdown: Option<f64>,
    /// Share of the equity the date began with; when it is lost, new risk is halted until the next date.
    pub max_daily_loss: Option<f64>,
    pub max_orders_per_step: Option<u32>,
    pub max_orders_per_day: Option<u32>,
}

impl Default for RiskSpec {
    fn default() -> Self {
        Self {
            sellable: true,
            cash: true,
            lot: false,
            tick: false,
            tradable: None,
            restricted: Vec::new(),
            max_order_qty: None,
            max_order_value: None,
            max_position_qty: None,
            max_position_value: None,
            max_concentration: None,
            max_gross_exposure: None,
            max_net_exposure: None,
            max_drawdown: None,
            max_daily_loss: None,
            max_orders_per_step: None,
            max_orders_per_day: None,
        }
    }
}

impl RiskSpec {
    /// Refuses limits that no order could keep.
    pub fn check(&self, market: &Market) -> Result<(), EngineError> {
        let refuse = |text: String| Err(EngineError::Spec(format!("risk.{text}")));
        let above_zero = [
            ("max_order_qty", self.max_order_qty),
            ("max_order_value", self.max_order_value),
            ("max_position_qty", self.max_position_qty),
            ("max_position_value", self.max_position_value),
            ("max_concentration", self.max_concentration),
            ("max_gross_exposure", self.max_gross_exposure),
            ("max_net_exposure", self.max_net_exposure),
        ];
        for (name, limit) in above_zero {
            if let Some(value) = limit
                && !(value.is_finite() && value > 0.0)
            {
                return refuse(format!("{name} must be finite and above zero, got {value}"));
            }
        }
        for (name, limit) in [("max_drawdown", self.max_drawdown), ("max_daily_loss", self.max_daily_loss)] {
            if let Some(value) = limit
                && !(value > 0.0 && value < 1.0)
            {
                return refuse(format!("{name} must be a share above 0 and below 1, got {value}"));
            }
        }
        for (name, limit) in [
            ("max_orders_per_step", self.max_orders_per_step),
            ("max_orders_per_day", self.max_orders_per_day),
        ] {
            if limit == Some(0) {
                return refuse(format!("{name} must be at least 1: no order would ever pass"));
            }
        }
        if self.tick && !market.has_tick() {
            return refuse(
                "tick needs the size of a tick: set market.tick or market.execution.tick".to_owned(),
            );
        }
        Ok(())
    }

    /// Whether any check beyond the market's own is on.
    pub fn has_limits(&self) -> bool {
        let own = Self { sellable: self.sellable, cash: self.cash, ..Self::default() };
        *self != own
    }
}
