//! One execution.

use super::{OrderTag, Side};
use crate::units::{InstrumentIx, OrderId, TsNs};

/// An execution of (part of) an order: `price` is after slippage, `fees` in account currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fill {
    pub order: OrderId,
    pub instrument: InstrumentIx,
    pub ts: TsNs,
    /// Row of the bar within the instrument's own series.
    pub row: u32,
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    pub fees: f64,
    /// What slippage cost, in account currency, not negative.
    pub slippage_cost: f64,
    pub tag: OrderTag,
}
