//! Weighted moving average.

use super::Period;
use super::compensated::{DoubleSum, two_sum, two_times};
use super::rolling::{WindowCore, rolling_column, rolling_step};

rolling_step! {
    /// The mean of the last `n` values with weights 1 to `n`, the newest the heaviest; the first at index `n - 1`.
    Wma, WmaCore
}

/// Writes the linearly weighted mean of each last `n` values.
pub fn wma(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &WmaCore::new(n), n, out);
}

#[derive(Debug, Clone)]
struct WmaCore {
    sum: DoubleSum,
    weighted: DoubleSum,
    n: usize,
    n_f64: f64,
    weights: f64,
    seen: usize,
    last: f64,
    n_equal: usize,
}

impl WmaCore {
    fn new(n: Period) -> Self {
        let n_f64 = n.as_f64();
        Self {
            sum: DoubleSum::default(),
            weighted: DoubleSum::default(),
            n: n.get(),
            n_f64,
            weights: n_f64 * (n_f64 + 1.0) / 2.0,
            seen: 0,
            last: f64::NAN,
            n_equal: 0,
        }
    }

    #[inline]
    fn note(&mut self, x: f64) {
        self.n_equal = if x == self.last { self.n_equal + 1 } else { 1 };
        self.last = x;
    }

    #[inline]
    fn mean(&self) -> f64 {
        if self.n_equal >= self.n { self.last } else { self.weighted.value() / self.weights }
    }
}

impl WindowCore for WmaCore {
    fn reset(&mut self) {
        self.sum = DoubleSum::default();
        self.weighted = DoubleSum::default();
        self.seen = 0;
        self.last = f64::NAN;
        self.n_equal = 0;
    }

    #[inline]
    fn grow(&mut self, x: f64) -> f64 {
        self.note(x);
        self.seen += 1;
        self.sum.add(x, 0.0);
        let (product, error) = two_times(x, self.seen as f64);
        self.weighted.add(product, error);
        if self.seen == self.n { self.mean() } else { f64::NAN }
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        self.note(x);
        // Every weight falls by one, which takes the old sum away; the newest enters with weight n.
        let (product, error) = two_times(x, self.n_f64);
        self.weighted.add(product, error);
        self.weighted.add(-self.sum.hi, -self.sum.lo);
        let (change, error) = two_sum(x, -oldest);
        self.sum.add(change, error);
        self.mean()
    }

    fn is_lost(&self) -> bool {
        !self.weighted.is_finite() || !self.sum.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn weights_one_two_three() {
        let mut out = [0.0; 5];
        wma(&[1.0, 2.0, 6.0, 0.0, 3.0], period(3), &mut out);
        let (a, b, c) = (23.0 / 6.0, 14.0 / 6.0, 15.0 / 6.0);
        check_column(&out, &[f64::NAN, f64::NAN, a, b, c]);
    }

    #[test]
    fn flat_is_flat() {
        let mut out = [0.0; 50];
        wma(&[0.3; 50], period(7), &mut out);
        assert!(out[6..].iter().all(|&v| v == 0.3));
    }
}
