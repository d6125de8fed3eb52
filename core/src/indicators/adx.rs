//! Directional movement: the directional indicators and their average index.

use super::tr::true_range;
use super::{Hlc, Period, defined};

/// Wilder's smoothed sums of true range and directional movement. The first `n - 1` bars after the very first are
/// summed; from index `n` on each sum loses its `n`-th part and gains the new value.
#[derive(Debug, Clone)]
struct Movement {
    n: usize,
    keep: f64,
    seen: usize,
    last: (f64, f64, f64),
    plus: f64,
    minus: f64,
    range: f64,
}

impl Movement {
    fn new(n: Period) -> Self {
        let keep = 1.0 - 1.0 / n.as_f64();
        Self {
            n: n.get(),
            keep,
            seen: 0,
            last: (f64::NAN, f64::NAN, f64::NAN),
            plus: 0.0,
            minus: 0.0,
            range: 0.0,
        }
    }

    fn reset(&mut self) {
        self.seen = 0;
        self.plus = 0.0;
        self.minus = 0.0;
        self.range = 0.0;
    }

    /// True once the sums stand for this bar.
    #[inline]
    fn update(&mut self, high: f64, low: f64, close: f64) -> bool {
        if !(high.is_finite() && low.is_finite() && close.is_finite()) {
            self.reset();
            return false;
        }
        let (last_high, last_low, last_close) = std::mem::replace(&mut self.last, (high, low, close));
        self.seen += 1;
        if self.seen == 1 {
            return false;
        }
        let up = high - last_high;
        let down = last_low - low;
        let keep = if self.seen > self.n { self.keep } else { 1.0 };
        self.plus = self.plus * keep + if up > 0.0 && up > down { up } else { 0.0 };
        self.minus = self.minus * keep + if down > 0.0 && down > up { down } else { 0.0 };
        self.range = self.range * keep + true_range(high, low, last_close);
        if !self.range.is_finite() {
            self.reset();
            return false;
        }
        self.seen > self.n
    }

    /// A sum in percent of the range; 0 without any range, as in TA-Lib.
    #[inline]
    fn percent(&self, sum: f64) -> f64 {
        if self.range == 0.0 { 0.0 } else { defined(100.0 * (sum / self.range)) }
    }
}

/// Smoothed upward movement in percent of the smoothed true range; the first at index `n`.
#[derive(Debug, Clone)]
pub struct PlusDi(Movement);

/// Smoothed downward movement in percent of the smoothed true range; the first at index `n`.
#[derive(Debug, Clone)]
pub struct MinusDi(Movement);

macro_rules! directional {
    ($name:ident, $sum:ident) => {
        impl $name {
            pub fn new(n: Period) -> Self {
                Self(Movement::new(n))
            }

            pub fn reset(&mut self) {
                self.0.reset();
            }

            /// Takes the next bar and gives the indicator, NaN while undefined.
            #[inline]
            pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
                if self.0.update(high, low, close) { self.0.percent(self.0.$sum) } else { f64::NAN }
            }
        }
    };
}
directional!(PlusDi, plus);
directional!(MinusDi, minus);

/// Wilder's average of `100 |plus - minus| / (plus + minus)`, seeded with the mean of the first `n`; the first at index
/// `2 n - 1`. A bar without any movement leaves the average as it was, as in TA-Lib.
#[derive(Debug, Clone)]
pub struct Adx {
    movement: Movement,
    n: usize,
    n_f64: f64,
    weight: f64,
    seen: usize,
    value: f64,
}

impl Adx {
    pub fn new(n: Period) -> Self {
        let n_f64 = n.as_f64();
        Self { movement: Movement::new(n), n: n.get(), n_f64, weight: 1.0 / n_f64, seen: 0, value: 0.0 }
    }

    pub fn reset(&mut self) {
        self.movement.reset();
        self.seen = 0;
        self.value = 0.0;
    }

    /// Takes the next bar and gives the average, NaN while undefined.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
        if !self.movement.update(high, low, close) {
            self.seen = 0;
            self.value = 0.0;
            return f64::NAN;
        }
        let total = self.movement.plus + self.movement.minus;
        let moved = total > 0.0 && self.movement.range > 0.0;
        let index =
            if moved { 100.0 * ((self.movement.plus - self.movement.minus).abs() / total) } else { 0.0 };
        if self.seen >= self.n {
            if moved {
                self.value += (index - self.value) * self.weight;
            }
            return self.value;
        }
        self.seen += 1;
        self.value += index;
        if self.seen < self.n {
            return f64::NAN;
        }
        self.value /= self.n_f64;
        self.value
    }
}

/// Writes the average directional index.
pub fn adx(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = Adx::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

/// Writes the upward directional indicator.
pub fn plus_di(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = PlusDi::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

/// Writes the downward directional indicator.
pub fn minus_di(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = MinusDi::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn steady_rise_is_all_upward() {
        let close: Vec<f64> = (0..6).map(|i| 10.0 + f64::from(i)).collect();
        let high: Vec<f64> = close.iter().map(|c| c + 0.5).collect();
        let low: Vec<f64> = close.iter().map(|c| c - 0.5).collect();
        let bars = Hlc { high: &high, low: &low, close: &close };
        let mut out = [0.0; 6];
        minus_di(bars, period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 0.0, 0.0, 0.0, 0.0]);
        plus_di(bars, period(2), &mut out);
        // every move is 1 and every true range 1.5
        assert!(out[2..].iter().all(|v| (v - 100.0 / 1.5).abs() < 1e-12));
        adx(bars, period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, f64::NAN, 100.0, 100.0, 100.0]);
    }
}
