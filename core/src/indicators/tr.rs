//! True range.

use super::{Hlc, defined};

/// The largest of `high - low`, `|high - close[t-1]|` and `|low - close[t-1]|`; the first at index 1.
#[derive(Debug, Clone)]
pub struct TrueRange {
    last_close: f64,
}

impl Default for TrueRange {
    fn default() -> Self {
        Self::new()
    }
}

impl TrueRange {
    pub fn new() -> Self {
        Self { last_close: f64::NAN }
    }

    pub fn reset(&mut self) {
        self.last_close = f64::NAN;
    }

    /// Takes the next bar and gives its true range, NaN while undefined.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
        let is_bar = high.is_finite() && low.is_finite() && close.is_finite();
        let last = std::mem::replace(&mut self.last_close, if is_bar { close } else { f64::NAN });
        if is_bar && last.is_finite() { defined(true_range(high, low, last)) } else { f64::NAN }
    }
}

#[inline]
pub(super) fn true_range(high: f64, low: f64, last_close: f64) -> f64 {
    (high - low).max((high - last_close).abs()).max((low - last_close).abs())
}

/// Writes the true range of each bar.
pub fn tr(bars: Hlc<'_>, out: &mut [f64]) {
    let mut step = TrueRange::new();
    bars.run(out, |h, l, c| step.update(h, l, c));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::check_column;

    #[test]
    fn gaps_count() {
        let bars =
            Hlc { high: &[10.0, 12.0, 7.0, 8.0], low: &[9.0, 11.0, 6.0, 5.0], close: &[9.5, 11.5, 6.5, 5.5] };
        let mut out = [0.0; 4];
        tr(bars, &mut out);
        check_column(&out, &[f64::NAN, 2.5, 5.5, 3.0]);
    }
}
