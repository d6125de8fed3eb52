//! Moving average convergence and divergence.

use super::{Ema, Period};

/// The three lengths; the shorter of `fast` and `slow` is the fast one, as in TA-Lib.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacdPeriods {
    pub fast: Period,
    pub slow: Period,
    pub signal: Period,
}

/// All three outputs of one bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MacdPoint {
    pub line: f64,
    pub signal: f64,
    pub histogram: f64,
}

const UNDEFINED: MacdPoint = MacdPoint { line: f64::NAN, signal: f64::NAN, histogram: f64::NAN };

/// The difference of two averages, its own average and the difference of these. Both averages start together: the fast
/// one skips the first `slow - fast` values. All three outputs are first defined at index `slow + signal - 2`.
#[derive(Debug, Clone)]
pub struct Macd {
    fast: Ema,
    slow: Ema,
    signal: Ema,
    n_skip: usize,
    seen: usize,
}

impl Macd {
    pub fn new(periods: MacdPeriods) -> Self {
        let fast = periods.fast.min(periods.slow);
        let slow = periods.fast.max(periods.slow);
        Self {
            fast: Ema::new(fast),
            slow: Ema::new(slow),
            signal: Ema::new(periods.signal),
            n_skip: slow.get() - fast.get(),
            seen: 0,
        }
    }

    pub fn reset(&mut self) {
        self.fast.reset();
        self.slow.reset();
        self.signal.reset();
        self.seen = 0;
    }

    /// Takes the next value and gives the outputs, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> MacdPoint {
        if !x.is_finite() {
            self.reset();
            return UNDEFINED;
        }
        let slow = self.slow.update(x);
        if self.seen < self.n_skip {
            self.seen += 1;
            return UNDEFINED;
        }
        let line = self.fast.update(x) - slow;
        let signal = self.signal.update(line);
        if signal.is_nan() { UNDEFINED } else { MacdPoint { line, signal, histogram: line - signal } }
    }
}

/// Writes the difference of the two averages.
pub fn macd(x: &[f64], periods: MacdPeriods, out: &mut [f64]) {
    let mut step = Macd::new(periods);
    super::run(x, out, |value| step.update(value).line);
}

/// Writes the average of the difference.
pub fn macd_signal(x: &[f64], periods: MacdPeriods, out: &mut [f64]) {
    let mut step = Macd::new(periods);
    super::run(x, out, |value| step.update(value).signal);
}

/// Writes the difference less its average.
pub fn macd_hist(x: &[f64], periods: MacdPeriods, out: &mut [f64]) {
    let mut step = Macd::new(periods);
    super::run(x, out, |value| step.update(value).histogram);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn both_averages_start_together() {
        let x = [1.0, 2.0, 6.0, 5.0, 9.0];
        let mut out = [0.0; 5];
        let periods = MacdPeriods { fast: period(1), slow: period(3), signal: period(1) };
        macd(&x, periods, &mut out);
        // fast = the value itself; slow = 3, 4, 6.5
        check_column(&out, &[f64::NAN, f64::NAN, 3.0, 1.0, 2.5]);
        macd(&x, MacdPeriods { fast: period(3), slow: period(1), signal: period(1) }, &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 3.0, 1.0, 2.5]);
        macd(&x, MacdPeriods { signal: period(2), ..periods }, &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, f64::NAN, 1.0, 2.5]);
        macd_signal(&x, MacdPeriods { signal: period(2), ..periods }, &mut out);
        check_column(&out[..4], &[f64::NAN, f64::NAN, f64::NAN, 2.0]);
    }
}
