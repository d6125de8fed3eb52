//! Commodity channel index.

use super::rolling::Ring;
use super::{Hlc, Period, Sma, defined};

/// `(tp - mean) / (0.015 * mean absolute deviation)` of the typical price `(high + low + close) / 3` over the last `n`
/// bars; the first at index `n - 1`. Without any deviation it is 0, as in TA-Lib.
#[derive(Debug, Clone)]
pub struct Cci {
    mean: Sma,
    window: Ring,
    n_f64: f64,
}

impl Cci {
    pub fn new(n: Period) -> Self {
        Self { mean: Sma::new(n), window: Ring::new(n), n_f64: n.as_f64() }
    }

    pub fn reset(&mut self) {
        self.mean.reset();
        self.window.clear();
    }

    /// Takes the next bar and gives the index, NaN while undefined.
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
        let typical = (high + low + close) / 3.0;
        if !typical.is_finite() {
            self.reset();
            return f64::NAN;
        }
        let mean = self.mean.update(typical);
        self.window.push(typical);
        if mean.is_nan() {
            return f64::NAN;
        }
        let deviation = self.window.iter().map(|value| (value - mean).abs()).sum::<f64>() / self.n_f64;
        if deviation == 0.0 || typical == mean {
            0.0
        } else {
            defined((typical - mean) / (0.015 * deviation))
        }
    }
}

/// Writes the commodity channel index.
pub fn cci(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = Cci::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn two_bars() {
        let x = [1.0, 3.0, 3.0];
        let mut out = [0.0; 3];
        cci(Hlc { high: &x, low: &x, close: &x }, period(2), &mut out);
        check_column(&out, &[f64::NAN, 1.0 / 0.015, 0.0]);
    }
}
