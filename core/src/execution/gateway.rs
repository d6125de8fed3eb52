//! The way to a venue that is not simulated.

use crate::model::{Amendment, Order};
use crate::units::OrderId;
use std::fmt::Debug;

/// The venue would not take a message; the order ends as refused, or stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayRefusal;

/// Carries orders to a venue. A call hands a message over and returns at once; what becomes of the order comes back as a
/// `GatewayReport` through an inlet of the session, from any thread (`try_report` from the call itself). Orders arrive
/// after the risk checks and with a quantity; only orders that were handed over are cancelled or amended.
pub trait Gateway: Send + Debug {
    fn submit(&mut self, order: &Order) -> Result<(), GatewayRefusal>;

    /// Asks for the order back; the report says whether it came.
    fn cancel(&mut self, order: OrderId) -> Result<(), GatewayRefusal>;

    /// The changed order; `amendment` says what changed.
    fn amend(&mut self, order: &Order, amendment: Amendment) -> Result<(), GatewayRefusal>;
}

/// Who executes the orders of a run.
#[derive(Debug, Default)]
pub enum Venue {
    /// The engine itself, against the bars.
    #[default]
    Simulated,
    Live(Box<dyn Gateway>),
}

impl Venue {
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}
