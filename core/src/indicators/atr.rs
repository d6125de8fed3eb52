//! Average true range, plain and in percent of the close.

use super::{Hlc, Period, TrueRange, defined};

/// Wilder's average of the true range, seeded with the mean of the first `n`; the first at index `n`, since the first bar
/// has no true range.
#[derive(Debug, Clone)]
pub struct Atr {
    range: TrueRange,
    n: usize,
    n_f64: f64,
    weight: f64,
    seen: usize,
    value: f64,
}

impl Atr {
    pub fn new(n: Period) -> Self {
        let n_f64 = n.as_f64();
        Self { range: TrueRange::new(), n: n.get(), n_f64, weight: 1.0 / n_f64, seen: 0, value: 0.0 }
    }

    pub fn reset(&mut self) {
        self.range.reset();
        self.seen = 0;
        self.value = 0.0;
    }

    /// Takes the next bar and gives the average, NaN while undefined.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
        let range = self.range.update(high, low, close);
        if range.is_nan() {
            // The first bar after a gap, or the gap itself.
            self.seen = 0;
            self.value = 0.0;
            return f64::NAN;
        }
        if self.seen >= self.n {
            self.value += (range - self.value) * self.weight;
        } else {
            self.seen += 1;
            self.value += range;
            if self.seen < self.n {
                return f64::NAN;
            }
            self.value /= self.n_f64;
        }
        if !self.value.is_finite() {
            self.reset();
            return f64::NAN;
        }
        self.value
    }
}

/// `100 * atr / close`; the first at index `n`.
#[derive(Debug, Clone)]
pub struct Natr(Atr);

impl Natr {
    pub fn new(n: Period) -> Self {
        Self(Atr::new(n))
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Takes the next bar and gives the average in percent of the close, NaN while undefined.
    #[inline]
    pub fn update(&mut self, high: f64, low: f64, close: f64) -> f64 {
        percent(self.0.update(high, low, close), close)
    }
}

#[inline]
fn percent(atr: f64, close: f64) -> f64 {
    defined(100.0 * (atr / close))
}

/// Writes Wilder's average true range.
pub fn atr(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = Atr::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

/// Writes the average true range in percent of the close.
pub fn natr(bars: Hlc<'_>, n: Period, out: &mut [f64]) {
    let mut step = Natr::new(n);
    bars.run(out, |h, l, c| step.update(h, l, c));
}

/// Writes the same from a column of the average true range.
pub fn percent_of_close(atr: &[f64], close: &[f64], out: &mut [f64]) {
    for ((o, &a), &c) in out.iter_mut().zip(atr).zip(close) {
        *o = percent(a, c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn seeded_at_index_n() {
        let bars =
            Hlc { high: &[10.0, 12.0, 7.0, 8.0], low: &[9.0, 11.0, 6.0, 5.0], close: &[9.5, 11.5, 6.5, 5.5] };
        let mut out = [0.0; 4];
        atr(bars, period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 4.0, 3.5]);
    }
}
