//! Money flow index.

use super::{Hlc, Period, Sum};

/// `100 p / (p + m)`, where `p` and `m` sum typical price times volume over the last `n` bars whose typical price rose
/// and fell; the first at index `n`. Without any flow it is 0. (TA-Lib also gives 0 for a flow below 1, which would
/// blank out assets that trade fractions of a unit.)
#[derive(Debug, Clone)]
pub struct Mfi {
    last_typical: f64,
    plus: Sum,
    minus: Sum,
}

impl Mfi {
    pub fn new(n: Period) -> Self {
        Self { last_typical: f64::NAN, plus: Sum::new(n), minus: Sum::new(n) }
    }

    pub fn reset(&mut self) {
        self.last_typical = f64::NAN;
        self.plus.reset();
        self.minus.reset();
    }

    /// Takes the next bar and gives the index, NaN while undefined.
    pub fn update(&mut self, high: f64, low: f64, close: f64, volume: f64) -> f64 {
        let typical = (high + low + close) / 3.0;
        let flow = typical * volume;
        if !flow.is_finite() {
            self.reset();
            return f64::NAN;
        }
        let last = std::mem::replace(&mut self.last_typical, typical);
        if last.is_nan() {
            return f64::NAN;
        }
        let plus = self.plus.update(if typical > last { flow } else { 0.0 });
        let minus = self.minus.update(if typical < last { flow } else { 0.0 });
        let total = plus + minus;
        if total == 0.0 { 0.0 } else { super::defined(100.0 * (plus / total)) }
    }
}

/// Writes the money flow index.
pub fn mfi(bars: Hlc<'_>, volume: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Mfi::new(n);
    let mut volumes = volume.iter();
    bars.run(out, |h, l, c| step.update(h, l, c, volumes.next().copied().unwrap_or(f64::NAN)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn share_of_rising_flow() {
        let x = [1.0, 3.0, 1.0, 1.0];
        let mut out = [0.0; 4];
        mfi(Hlc { high: &x, low: &x, close: &x }, &[5.0, 1.0, 1.0, 9.0], period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 75.0, 0.0]);
    }
}
