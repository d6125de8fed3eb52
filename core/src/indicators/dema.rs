//! Double exponential moving average.

use super::{Ema, Period, defined};

/// `2 e1 - e2` with `e1 = ema(x, n)` and `e2 = ema(e1, n)`; the first at index `2 (n - 1)`.
#[derive(Debug, Clone)]
pub struct Dema {
    first: Ema,
    second: Ema,
}

impl Dema {
    pub fn new(n: Period) -> Self {
        Self { first: Ema::new(n), second: Ema::new(n) }
    }

    pub fn reset(&mut self) {
        self.first.reset();
        self.second.reset();
    }

    /// Takes the next value and gives the average, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        let e1 = self.first.update(x);
        defined(2.0 * e1 - self.second.update(e1))
    }
}

/// Writes the double exponential moving average.
pub fn dema(x: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Dema::new(n);
    super::run(x, out, |value| step.update(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn period_two() {
        let mut out = [0.0; 4];
        dema(&[1.0, 3.0, 5.0, 7.0], period(2), &mut out);
        // e1 = -, 2, 4, 6; e2 = -, -, 3, 5
        check_column(&out, &[f64::NAN, f64::NAN, 5.0, 7.0]);
    }
}
