//! The closed set of control events.

use crate::model::{Amendment, Fill, OrderStatus, Reject};
use crate::units::OrderId;

/// What became of an order, on its way from execution to portfolio and strategy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExecutionReport {
    pub order: OrderId,
    pub status: OrderStatus,
    /// Present when the report is of an execution.
    pub fill: Option<Fill>,
    /// Why an amendment was refused; the order stays as it was.
    pub refused: Option<Reject>,
}

/// A control event. Orders themselves live in the order book; an event names one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A strategy asks; risk answers.
    OrderRequest(OrderId),
    /// A strategy takes an order back.
    CancelRequest(OrderId),
    /// A strategy changes an order; risk answers.
    AmendRequest(OrderId, Amendment),
    /// Risk has passed the order; execution takes it.
    OrderValidated(OrderId),
    /// Execution or risk says what happened; portfolio and strategy take note.
    ExecutionReport(ExecutionReport),
}
