//! What a gateway says about an order that it holds.

use crate::units::{OrderId, TsNs};

/// One message of a gateway about one order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatewayReport {
    pub order: OrderId,
    pub update: GatewayUpdate,
}

/// What happened at the venue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GatewayUpdate {
    Accepted,
    /// An execution; `fees` in account currency, part fills each with their own.
    Filled {
        ts: TsNs,
        qty: f64,
        price: f64,
        fees: f64,
    },
    /// Not taken: the order ends without (further) executions.
    Rejected,
    Cancelled,
    Expired,
}
