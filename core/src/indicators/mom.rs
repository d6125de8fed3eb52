//! Momentum: the change over `n` bars.

use super::Period;
use super::rolling::{WindowCore, rolling_column, rolling_step};

rolling_step! {
    /// `x[t] - x[t-n]`; the first at index `n`.
    Mom, MomCore
}

/// Writes the change over `n` bars.
pub fn mom(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &MomCore::new(n), n, out);
}

#[derive(Debug, Clone)]
struct MomCore;

impl MomCore {
    fn new(_: Period) -> Self {
        Self
    }
}

impl WindowCore for MomCore {
    fn reset(&mut self) {}

    #[inline]
    fn grow(&mut self, _: f64) -> f64 {
        f64::NAN
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        x - oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn change_over_two_bars() {
        let mut out = [0.0; 4];
        mom(&[1.0, 5.0, 4.0, 2.5], period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 3.0, -2.5]);
    }
}
