//! One-bar rate of change of a triple smoothed average.

use super::{Ema, Period, defined};

/// `100 * (e3[t] / e3[t-1] - 1)` of three nested averages of `n` bars; the first at index `3 (n - 1) + 1`.
#[derive(Debug, Clone)]
pub struct Trix {
    averages: [Ema; 3],
    last: f64,
}

impl Trix {
    pub fn new(n: Period) -> Self {
        Self { averages: [Ema::new(n), Ema::new(n), Ema::new(n)], last: f64::NAN }
    }

    pub fn reset(&mut self) {
        for average in &mut self.averages {
            average.reset();
        }
        self.last = f64::NAN;
    }

    /// Takes the next value and gives the rate of change in percent, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        let mut smoothed = x;
        for average in &mut self.averages {
            smoothed = average.update(smoothed);
        }
        let last = std::mem::replace(&mut self.last, smoothed);
        defined(100.0 * (smoothed / last - 1.0))
    }
}

/// Writes the one-bar rate of change of the triple smoothed average.
pub fn trix(x: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Trix::new(n);
    super::run(x, out, |value| step.update(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn period_one_is_the_plain_change() {
        let mut out = [0.0; 3];
        trix(&[4.0, 5.0, 4.0], period(1), &mut out);
        check_column(&out, &[f64::NAN, 25.0, 100.0 * (4.0 / 5.0 - 1.0)]);
    }
}
