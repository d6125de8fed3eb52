//! Exponential moving average.

use super::Period;
use super::compensated::{Divisor, DoubleSum};

/// `e += 2 / (n + 1) * (x - e)`, seeded with the mean of the first `n` values; the first at index `n - 1`.
#[derive(Debug, Clone)]
pub struct Ema {
    alpha: f64,
    divisor: Divisor,
    seed: DoubleSum,
    n: usize,
    seen: usize,
    value: f64,
}

impl Ema {
    pub fn new(n: Period) -> Self {
        Self {
            alpha: 2.0 / (n.as_f64() + 1.0),
            divisor: Divisor::new(n.as_f64()),
            seed: DoubleSum::default(),
            n: n.get(),
            seen: 0,
            value: f64::NAN,
        }
    }

    pub fn reset(&mut self) {
        self.seed = DoubleSum::default();
        self.seen = 0;
        self.value = f64::NAN;
    }

    /// Takes the next value and gives the average, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        let next = if self.seen >= self.n {
            self.value + self.alpha * (x - self.value)
        } else {
            self.seen += 1;
            self.seed.add(x, 0.0);
            if self.seen < self.n {
                if !self.seed.is_finite() {
                    self.reset();
                }
                return f64::NAN;
            }
            self.divisor.divide(self.seed)
        };
        self.value = next;
        if next.is_finite() {
            return next;
        }
        self.reset();
        f64::NAN
    }
}

/// Writes the exponential moving average.
pub fn ema(x: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Ema::new(n);
    super::run(x, out, |value| step.update(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn seeded_with_the_mean() {
        let mut out = [0.0; 5];
        ema(&[1.0, 2.0, 6.0, 5.0, 1.0], period(3), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 3.0, 4.0, 2.5]);
    }

    #[test]
    fn restarts_after_a_gap() {
        let mut out = [0.0; 6];
        ema(&[1.0, 3.0, f64::NAN, 5.0, 7.0, 9.0], period(2), &mut out);
        check_column(&out, &[f64::NAN, 2.0, f64::NAN, f64::NAN, 6.0, 8.0]);
    }
}
