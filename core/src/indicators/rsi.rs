//! Relative strength index.

use super::Period;

/// `100 g / (g + l)` of Wilder's averages of gains and losses, seeded with the mean of the first `n` changes; the first
/// at index `n`. Without any change it is 0, as in TA-Lib.
#[derive(Debug, Clone)]
pub struct Rsi {
    n: usize,
    n_f64: f64,
    weight: f64,
    seen: usize,
    last: f64,
    gain: f64,
    loss: f64,
}

impl Rsi {
    pub fn new(n: Period) -> Self {
        let n_f64 = n.as_f64();
        Self { n: n.get(), n_f64, weight: 1.0 / n_f64, seen: 0, last: f64::NAN, gain: 0.0, loss: 0.0 }
    }

    pub fn reset(&mut self) {
        self.seen = 0;
        self.last = f64::NAN;
        self.gain = 0.0;
        self.loss = 0.0;
    }

    /// Takes the next value and gives the index, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        if !x.is_finite() {
            self.reset();
            return f64::NAN;
        }
        let change = x - std::mem::replace(&mut self.last, x);
        let gain = if change > 0.0 { change } else { 0.0 };
        let loss = if change < 0.0 { -change } else { 0.0 };
        if self.seen > self.n {
            self.gain += (gain - self.gain) * self.weight;
            self.loss += (loss - self.loss) * self.weight;
        } else {
            self.gain += gain;
            self.loss += loss;
            self.seen += 1;
            if self.seen <= self.n {
                return f64::NAN;
            }
            self.gain /= self.n_f64;
            self.loss /= self.n_f64;
        }
        let total = self.gain + self.loss;
        if total == 0.0 {
            return 0.0;
        }
        if !total.is_finite() {
            self.reset();
            return f64::NAN;
        }
        100.0 * (self.gain / total)
    }
}

/// Writes Wilder's relative strength index.
pub fn rsi(x: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Rsi::new(n);
    super::run(x, out, |value| step.update(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn first_value_at_index_n() {
        let mut out = [0.0; 5];
        rsi(&[1.0, 2.0, 1.0, 4.0, 4.0], period(2), &mut out);
        // gains 1 0 3 0, losses 0 1 0 0: (0.5, 0.5), (1.75, 0.25), (0.875, 0.125)
        check_column(&out, &[f64::NAN, f64::NAN, 50.0, 87.5, 87.5]);
    }

    #[test]
    fn no_change_at_all_is_zero() {
        let mut out = [1.0; 4];
        rsi(&[5.0; 4], period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 0.0, 0.0]);
    }
}
