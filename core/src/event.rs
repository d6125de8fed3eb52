//! The closed set of events and their total order: time, lane, priority, sequence.

use crate::model::{Amendment, Fill, GatewayReport, OrderRequest, OrderStatus, Reject, Step};
use crate::units::{OrderId, TsNs};

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

/// What can happen. Orders themselves live in the order book; an event names one.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// From now on risk lets only orders pass that reduce a position.
    Halt,
    /// Takes a halt back.
    Resume,
    /// Takes every working order back.
    CancelAll,
    /// Nothing comes after this: the session ends.
    Stop,
    /// An order from outside the strategy; it becomes an `OrderRequest`.
    Submit(Box<OrderRequest>),
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
    /// A gateway says what happened to an order that it holds; it becomes an `ExecutionReport`.
    GatewayReport(GatewayReport),
    /// Market data of one time.
    Step(Step),
}

/// The two lanes, in the order in which they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Control,
    Data,
}

/// Within the control lane; the data lane knows one priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Keeps risk from growing.
    Urgent,
    Normal,
}

/// The place of an event among all events of a run: fields compare in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// When it happens: a control event on its arrival, market data at their own time.
    pub ts: TsNs,
    pub lane: Lane,
    pub priority: Priority,
    /// Given on arrival, so no two events are equal.
    pub sequence: u64,
}

impl Event {
    pub fn lane(&self) -> Lane {
        if matches!(self, Self::Step(_)) { Lane::Data } else { Lane::Control }
    }

    pub fn priority(&self) -> Priority {
        match self {
            Self::Halt | Self::CancelAll => Priority::Urgent,
            _ => Priority::Normal,
        }
    }
}
