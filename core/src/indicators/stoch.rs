//! Slow stochastic oscillator.

use super::{Highest, Hlc, Lowest, Period, Sma, defined};

/// The three lengths: of the range, of the mean that makes %K, of the mean that makes %D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StochPeriods {
    pub fast_k: Period,
    pub slow_k: Period,
    pub slow_d: Period,
}

/// Both lines of one bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StochPoint {
    pub k: f64,
    pub d: f64,
}

const UNDEFINED: StochPoint = StochPoint { k: f64::NAN, d: f64::NAN };

/// `%K = sma(100 (close - lowest) / (highest - lowest), slow_k)` and `%D = sma(%K, slow_d)`; both are first defined at
/// index `fast_k + slow_k + slow_d - 3`. A bar without any range counts as 0, as in TA-Lib.
#[derive(Debug, Clone)]
pub struct Stoch {
    high: Highest,
    low: Lowest,
    k: Sma,
    d: Sma,
}

impl Stoch {
    pub fn new(periods: StochPeriods) -> Self {
        Self {
            high: Highest::new(periods.fast_k),
            low: Lowest::new(periods.fast_k),
            k: Sma::new(periods.slow_k),
            d: Sma::new(periods.slow_d),
        }
    }

    pub fn reset(&mut self) {
        self.high.reset();
        self.low.reset();
        self.k.reset();
        self.d.reset();
    }

    /// Takes the next bar and gives both lines, NaN while undefined.
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> StochPoint {
        if !(high.is_finite() && low.is_finite() && close.is_finite()) {
            self.reset();
            return UNDEFINED;
        }
        let lowest = self.low.update(low);
        let range = self.high.update(high) - lowest;
        let raw = if range == 0.0 { 0.0 } else { defined(100.0 * ((close - lowest) / range)) };
        let k = self.k.update(raw);
        let d = self.d.update(k);
        if d.is_nan() { UNDEFINED } else { StochPoint { k, d } }
    }
}

/// Writes the slow %K line.
pub fn stoch_k(bars: Hlc<'_>, periods: StochPeriods, out: &mut [f64]) {
    let mut step = Stoch::new(periods);
    bars.run(out, |h, l, c| step.update(h, l, c).k);
}

/// Writes the slow %D line.
pub fn stoch_d(bars: Hlc<'_>, periods: StochPeriods, out: &mut [f64]) {
    let mut step = Stoch::new(periods);
    bars.run(out, |h, l, c| step.update(h, l, c).d);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn both_lines_start_together() {
        let bars = Hlc { high: &[4.0, 5.0, 5.0, 5.0], low: &[1.0; 4], close: &[2.0, 4.0, 2.0, 3.0] };
        let periods = StochPeriods { fast_k: period(1), slow_k: period(2), slow_d: period(2) };
        let mut out = [0.0; 4];
        // raw 33.3, 75, 25, 50
        stoch_k(bars, periods, &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 50.0, 37.5]);
        stoch_d(bars, StochPeriods { slow_k: period(1), ..periods }, &mut out);
        check_column(&out[2..], &[50.0, 37.5]);
    }
}
