//! A change of a working order.

use super::OrderKind;

/// What to change; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amendment {
    pub limit: Option<f64>,
    pub stop: Option<f64>,
    /// Units of the whole order, those that have filled included.
    pub qty: Option<f64>,
}

impl Amendment {
    /// The kind with its new prices; none when the order has no such price.
    pub fn applied(&self, kind: OrderKind) -> Option<OrderKind> {
        match (kind, self.limit, self.stop) {
            (kind, None, None) => Some(kind),
            (OrderKind::Limit(_), Some(limit), None) => Some(OrderKind::Limit(limit)),
            (OrderKind::Stop(_), None, Some(stop)) => Some(OrderKind::Stop(stop)),
            (OrderKind::StopLimit { stop, limit }, new_limit, new_stop) => Some(OrderKind::StopLimit {
                stop: new_stop.unwrap_or(stop),
                limit: new_limit.unwrap_or(limit),
            }),
            _ => None,
        }
    }
}
