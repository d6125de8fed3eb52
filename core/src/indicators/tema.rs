//! Triple exponential moving average.

use super::{Ema, Period, defined};

/// `3 e1 - 3 e2 + e3` of three nested averages; the first at index `3 (n - 1)`.
#[derive(Debug, Clone)]
pub struct Tema {
    first: Ema,
    second: Ema,
    third: Ema,
}

impl Tema {
    pub fn new(n: Period) -> Self {
        Self { first: Ema::new(n), second: Ema::new(n), third: Ema::new(n) }
    }

    pub fn reset(&mut self) {
        self.first.reset();
        self.second.reset();
        self.third.reset();
    }

    /// Takes the next value and gives the average, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        let e1 = self.first.update(x);
        let e2 = self.second.update(e1);
        let e3 = self.third.update(e2);
        defined(e3 + (3.0 * e1 - 3.0 * e2))
    }
}

/// Writes the triple exponential moving average.
pub fn tema(x: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Tema::new(n);
    super::run(x, out, |value| step.update(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn a_straight_line_has_no_lag() {
        let x: Vec<f64> = (0..6).map(|i| 2.0 * f64::from(i)).collect();
        let mut out = [0.0; 6];
        tema(&x, period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, f64::NAN, 6.0, 8.0, 10.0]);
    }
}
