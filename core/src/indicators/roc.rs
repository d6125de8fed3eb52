//! Rate of change over `n` bars, in percent and as a fraction.

use super::Period;
use super::rolling::{WindowCore, rolling_column, rolling_step};

rolling_step! {
    /// `100 * (x[t] / x[t-n] - 1)`; the first at index `n`. Undefined where `x[t-n]` is zero (TA-Lib gives 0 there).
    Roc, RocCore
}

rolling_step! {
    /// `(x[t] - x[t-n]) / x[t-n]`; the first at index `n`. Undefined where `x[t-n]` is zero (TA-Lib gives 0 there).
    Rocp, RocpCore
}

/// Writes the change over `n` bars in percent.
pub fn roc(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &RocCore::new(n), n, out);
}

/// Writes the change over `n` bars as a fraction.
pub fn rocp(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &RocpCore::new(n), n, out);
}

#[derive(Debug, Clone)]
struct RocCore;

impl RocCore {
    fn new(_: Period) -> Self {
        Self
    }
}

impl WindowCore for RocCore {
    fn reset(&mut self) {}

    #[inline]
    fn grow(&mut self, _: f64) -> f64 {
        f64::NAN
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        100.0 * (x / oldest - 1.0)
    }
}

#[derive(Debug, Clone)]
struct RocpCore;

impl RocpCore {
    fn new(_: Period) -> Self {
        Self
    }
}

impl WindowCore for RocpCore {
    fn reset(&mut self) {}

    #[inline]
    fn grow(&mut self, _: f64) -> f64 {
        f64::NAN
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        (x - oldest) / oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn percent_and_fraction() {
        let mut out = [0.0; 4];
        roc(&[4.0, 5.0, 0.0, 3.0], period(1), &mut out);
        check_column(&out, &[f64::NAN, 25.0, -100.0, f64::NAN]);
        rocp(&[4.0, 5.0, 0.0, 3.0], period(1), &mut out);
        check_column(&out, &[f64::NAN, 0.25, -1.0, f64::NAN]);
    }
}
