//! Fill prices inside a bar, before slippage (SEMANTICS section 3).

use crate::model::Side;

/// The prices an order meets. `open` is the open of the bar, or the price of the entry for an order born inside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OhlcBar {
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
}

/// A limit fills where the bar reaches it, at the open when that is better.
#[inline]
pub fn limit_price(side: Side, limit: f64, bar: &OhlcBar) -> Option<f64> {
    match side {
        Side::Buy => (bar.low <= limit).then(|| bar.open.min(limit)),
        Side::Sell => (bar.high >= limit).then(|| bar.open.max(limit)),
    }
}

/// A stop fills where the bar reaches it, at the open when the bar opens beyond it.
#[inline]
pub fn stop_price(side: Side, stop: f64, bar: &OhlcBar) -> Option<f64> {
    match side {
        Side::Buy => (bar.high >= stop).then(|| bar.open.max(stop)),
        Side::Sell => (bar.low <= stop).then(|| bar.open.min(stop)),
    }
}

/// A stop-limit on the bar that reaches its stop: fills at the stop's price if that satisfies the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StopLimitMatch {
    NotReached,
    /// A limit from the next bar on.
    Triggered,
    Fills(f64),
}

#[inline]
pub fn stop_limit_match(side: Side, stop: f64, limit: f64, bar: &OhlcBar) -> StopLimitMatch {
    let satisfies = |price: f64| match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    };
    match stop_price(side, stop, bar) {
        None => StopLimitMatch::NotReached,
        Some(price) if satisfies(price) => StopLimitMatch::Fills(price),
        Some(_) => StopLimitMatch::Triggered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP_DOWN: OhlcBar = OhlcBar { open: 100.0, high: 101.0, low: 88.0, close: 90.0 };

    #[test]
    fn a_stop_at_95_fills_at_95_when_the_bar_falls_through_it() {
        assert_eq!(stop_price(Side::Sell, 95.0, &GAP_DOWN), Some(95.0));
    }

    #[test]
    fn a_stop_beyond_the_open_fills_at_the_open() {
        assert_eq!(stop_price(Side::Sell, 102.0, &GAP_DOWN), Some(100.0));
        assert_eq!(stop_price(Side::Buy, 99.0, &GAP_DOWN), Some(100.0));
    }

    #[test]
    fn a_limit_is_never_violated_and_takes_a_better_open() {
        assert_eq!(limit_price(Side::Buy, 95.0, &GAP_DOWN), Some(95.0));
        assert_eq!(limit_price(Side::Buy, 100.5, &GAP_DOWN), Some(100.0));
        assert_eq!(limit_price(Side::Sell, 99.0, &GAP_DOWN), Some(100.0));
        assert_eq!(limit_price(Side::Sell, 101.5, &GAP_DOWN), None);
    }
}
