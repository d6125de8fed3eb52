//! Aroon: how long ago the last extreme was.

use super::{Highest, Lowest, Period};

/// `100 (n - bars since the extreme) / n` over the last `n + 1` bars; the first at index `n`. Of equal extremes the latest
/// counts.
#[derive(Debug, Clone)]
pub struct Aroon {
    high: Highest,
    low: Lowest,
    n_f64: f64,
}

impl Aroon {
    pub fn new(n: Period) -> Self {
        let window = n.shrunk(|n| n.saturating_add(1));
        Self { high: Highest::new(window), low: Lowest::new(window), n_f64: n.as_f64() }
    }

    pub fn reset(&mut self) {
        self.high.reset();
        self.low.reset();
    }

    /// Takes the next high and gives the upper line, NaN while undefined.
    pub fn update_up(&mut self, high: f64) -> f64 {
        let age = self.high.update_with_age(high);
        self.line(age)
    }

    /// Takes the next low and gives the lower line, NaN while undefined.
    pub fn update_down(&mut self, low: f64) -> f64 {
        let age = self.low.update_with_age(low);
        self.line(age)
    }

    #[inline]
    fn line(&self, extreme: Option<(usize, f64)>) -> f64 {
        extreme.map_or(f64::NAN, |(age, _)| 100.0 * (self.n_f64 - age as f64) / self.n_f64)
    }
}

/// Writes the upper line from the highs.
pub fn aroon_up(high: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Aroon::new(n);
    super::run(high, out, |value| step.update_up(value));
}

/// Writes the lower line from the lows.
pub fn aroon_down(low: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Aroon::new(n);
    super::run(low, out, |value| step.update_down(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn the_latest_of_equal_highs_counts() {
        let mut out = [0.0; 5];
        aroon_up(&[1.0, 3.0, 3.0, 2.0, 1.0], period(2), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 100.0, 50.0, 0.0]);
    }
}
