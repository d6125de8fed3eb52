//! The numbers of one bar.

use crate::error::DataError;

/// Prices and volume of a bar; the volume is NaN where the series has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BarValues {
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    pub volume: f64,
}

/// A rounding allowance of the range checks: prices adjusted by a factor miss their bar by a few units in the last
/// place.
const RANGE_TOLERANCE: f64 = 1e-9;

impl BarValues {
    /// Prices finite, above zero and inside their bar; a volume not below zero. The error names the place.
    pub fn check(&self, symbol: &str, row: usize) -> Result<(), DataError> {
        let Self { open, high, low, close, volume } = *self;
        let symbol = || symbol.to_owned();
        for (column, value) in [("open", open), ("high", high), ("low", low), ("close", close)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(DataError::BadPrice { symbol: symbol(), column, value, row });
            }
        }
        if high < low {
            return Err(DataError::HighBelowLow { symbol: symbol(), high, low, row });
        }
        for (column, value) in [("open", open), ("close", close)] {
            if value > high * (1.0 + RANGE_TOLERANCE) || value < low * (1.0 - RANGE_TOLERANCE) {
                return Err(DataError::OutsideRange { symbol: symbol(), column, value, low, high, row });
            }
        }
        if volume < 0.0 || volume.is_infinite() {
            return Err(DataError::BadVolume { symbol: symbol(), value: volume, row });
        }
        Ok(())
    }
}
