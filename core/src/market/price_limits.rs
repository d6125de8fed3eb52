//! Price limits: how far a price may move from its reference on one day.

use super::dated::{Dated, Day};
use crate::model::Side;
use serde::{Deserialize, Serialize};

/// The lowest and the highest price of a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    pub down: f64,
    pub up: f64,
}

/// Prices at which a market takes no more orders of a side.
pub trait PriceLimits {
    /// Whether an order that would take this price finds nobody on the other side.
    fn locks(&self, side: Side, price: f64) -> bool;
    /// Whether a limit order may be entered at a price.
    fn admits(&self, price: f64) -> bool;
    /// The nearest price inside.
    fn clamp(&self, price: f64) -> f64;
}

impl PriceLimits for Band {
    #[inline]
    fn locks(&self, side: Side, price: f64) -> bool {
        match side {
            Side::Buy => price >= self.up,
            Side::Sell => price <= self.down,
        }
    }

    fn admits(&self, price: f64) -> bool {
        (self.down..=self.up).contains(&price)
    }

    #[inline]
    fn clamp(&self, price: f64) -> f64 {
        price.max(self.down).min(self.up)
    }
}

/// How far a price may move from a day on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    pub from: Day,
    /// Share of the reference price.
    pub rate: f64,
    /// The same for an instrument under special treatment; as for others when absent.
    #[serde(default)]
    pub st_rate: Option<f64>,
    /// Trading dates of a new listing without a limit.
    #[serde(default)]
    pub free_days: u32,
    /// Who says so.
    #[serde(default)]
    pub source: String,
}

impl Dated for LimitRule {
    fn from(&self) -> Day {
        self.from
    }
}

/// Prices are held in millionths and rates in hundredths of a percent, so that the product is exact.
const PRICE_SCALE: f64 = 1e6;
const RATE_SCALE: f64 = 1e4;
const LARGEST_PRICE: f64 = 1e9;

/// The band around a reference price, each limit rounded to the tick half up in decimal: binary rounding gets about 3 %
/// of limit prices wrong. A tick of zero does not round.
pub fn band(reference: f64, rate: f64, tick: f64) -> Band {
    // Prices beyond any market are not rounded: their decimals do not exist.
    if tick <= 0.0 || reference.abs() > LARGEST_PRICE || reference.is_nan() {
        return Band { down: reference * (1.0 - rate), up: reference * (1.0 + rate) };
    }
    let scaled = (reference * PRICE_SCALE).round() as i128;
    let share = (rate * RATE_SCALE).round() as i128;
    let step = ((tick * PRICE_SCALE).round() as i128).max(1);
    let limit = |share: i128| {
        let denominator = step * RATE_SCALE as i128;
        let ticks = (2 * scaled * share + denominator).div_euclid(2 * denominator);
        (ticks * step) as f64 / PRICE_SCALE
    };
    Band { down: limit(RATE_SCALE as i128 - share), up: limit(RATE_SCALE as i128 + share) }
}

/// A price rounded to the tick half up, in decimal.
pub fn round_half_up(price: f64, tick: f64) -> f64 {
    if tick <= 0.0 {
        return price;
    }
    let step = ((tick * PRICE_SCALE).round() as i128).max(1);
    let scaled = (price * PRICE_SCALE).round() as i128;
    ((2 * scaled + step).div_euclid(2 * step) * step) as f64 / PRICE_SCALE
}

/// An order price on the tick grid, never better for the other side than asked: a buy goes down, a sell up.
pub fn passive_tick(side: Side, price: f64, tick: f64) -> f64 {
    if tick <= 0.0 || !price.is_finite() {
        return price;
    }
    let step = ((tick * PRICE_SCALE).round() as i128).max(1);
    let scaled = (price * PRICE_SCALE).round() as i128;
    let ticks = match side {
        Side::Buy => scaled.div_euclid(step),
        Side::Sell => -(-scaled).div_euclid(step),
    };
    (ticks * step) as f64 / PRICE_SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pitfall 32: limits are rounded half up in decimal, not in binary.
    #[test]
    fn pitfall_32_limits_are_decimal() {
        let limits = |reference, rate| {
            let band = band(reference, rate, 0.01);
            (band.up, band.down)
        };
        assert_eq!(limits(10.0, 0.1), (11.0, 9.0));
        assert_eq!(limits(0.95, 0.1), (1.05, 0.86)); // 1.045 and 0.855, both half up
        assert_eq!(limits(33.33, 0.2), (40.0, 26.66)); // 39.996 and 26.664
        assert_eq!(limits(1.05, 0.05), (1.1, 1.0)); // 1.1025 and 0.9975
        assert_eq!(limits(10.05, 0.1), (11.06, 9.05)); // 11.055 and 9.045: 10.05 * 1.1 is 11.055000000000001
        assert_eq!(limits(2.45, 0.1), (2.70, 2.21)); // 2.695 half up, which 2.45 * 1.1 = 2.6950000000000003 is above
    }

    #[test]
    fn every_cent_price_agrees_with_whole_number_arithmetic() {
        let mut binary_differs = 0;
        for cents in 50..20_000_i64 {
            let reference = cents as f64 / 100.0;
            let up = (cents * 110 + 50).div_euclid(100);
            let down = (cents * 90 + 50).div_euclid(100);
            let band = band(reference, 0.1, 0.01);
            assert_eq!((band.up, band.down), (up as f64 / 100.0, down as f64 / 100.0), "{reference}");
            binary_differs += i32::from((reference * 1.1 * 100.0).round() / 100.0 != band.up);
        }
        assert!(binary_differs > 0, "the shortcut would have done");
    }

    #[test]
    fn order_prices_go_to_the_passive_side_of_the_grid() {
        assert_eq!(passive_tick(Side::Buy, 10.019, 0.01), 10.01);
        assert_eq!(passive_tick(Side::Sell, 10.011, 0.01), 10.02);
        assert_eq!(passive_tick(Side::Buy, 10.02, 0.01), 10.02);
        assert_eq!(passive_tick(Side::Sell, 3_001.3, 0.2), 3_001.4);
        assert_eq!(passive_tick(Side::Buy, 1.23456, 0.0), 1.23456);
    }

    #[test]
    fn at_the_limit_one_side_is_locked() {
        let band = band(10.0, 0.1, 0.01);
        assert!(band.locks(Side::Buy, 11.0) && !band.locks(Side::Sell, 11.0));
        assert!(band.locks(Side::Sell, 9.0) && !band.locks(Side::Buy, 9.0));
        assert_eq!((band.clamp(11.5), band.clamp(8.0)), (11.0, 9.0));
    }
}
