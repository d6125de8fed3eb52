//! Williams' %R.

use super::{Highest, Hlc, Lowest, Period, defined};

/// `-100 (highest - close) / (highest - lowest)` over the last `n` bars; the first at index `n - 1`. Without any range
/// it is 0, as in TA-Lib.
#[derive(Debug, Clone)]
pub struct Willr {
    high: Highest,
    low: Lowest,
}

impl Willr {
    pub fn new(n: Period) -> Self {
        Self { high: Highest::new(n), low: Lowest::new(n) }
    }

    pub fn reset(&mut self) {
        self.high.reset();
        self.low.reset();
    }

    /// Takes the next bar and gives %R, NaN while undefined.
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
        if !(high.is_finite() && low.is_finite() && close.is_finite()) {
            self.reset();
            return f64::NAN;
        }
        let highest = self.high.update(high);
        let range = highest - self.low.update(low);
        if range == 0.0 { 0.0 } else { defined(-100.0 * ((highest - close) / range)) }
    }
}

/// Writes Williams' %R.
pub fn willr(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = Willr::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn place_of_the_close_in_the_range() {
        let mut out = [0.0; 3];
        let bars = Hlc { high: &[4.0, 5.0, 5.0], low: &[1.0, 2.0, 3.0], close: &[2.0, 4.0, 2.0] };
        willr(bars, period(2), &mut out);
        check_column(&out, &[f64::NAN, -25.0, -100.0]);
        willr(Hlc { high: &[2.0; 3], low: &[2.0; 3], close: &[2.0; 3] }, period(1), &mut out);
        check_column(&out, &[0.0, 0.0, 0.0]);
    }
}
