//! Distance from the mean in deviations.

use super::{Period, Sma, Stddev, defined, sma::sma, stddev::stddev};

/// `(x - sma(x, n)) / stddev(x, n)` with the population deviation; the first at index `n - 1`, undefined where the
/// deviation is zero.
#[derive(Debug, Clone)]
pub struct Zscore {
    mean: Sma,
    deviation: Stddev,
}

impl Zscore {
    pub fn new(n: Period) -> Self {
        Self { mean: Sma::new(n), deviation: Stddev::new(n) }
    }

    pub fn reset(&mut self) {
        self.mean.reset();
        self.deviation.reset();
    }

    /// Takes the next value and gives its score, NaN while undefined.
    pub fn update(&mut self, x: f64) -> f64 {
        score(x, self.mean.update(x), self.deviation.update(x))
    }
}

/// Writes the score of each value. `work` is scratch memory that can be passed again.
pub fn zscore(x: &[f64], n: Period, work: &mut Vec<f64>, out: &mut [f64]) {
    work.resize(x.len(), 0.0);
    sma(x, n, work);
    stddev(x, n, out);
    for ((o, &value), &mean) in out.iter_mut().zip(x).zip(work.iter()) {
        *o = score(value, mean, *o);
    }
}

/// Writes the scores from columns of the mean and the deviation, which other indicators share.
pub fn score_column(x: &[f64], mean: &[f64], deviation: &[f64], out: &mut [f64]) {
    for (((o, &value), &m), &d) in out.iter_mut().zip(x).zip(mean).zip(deviation) {
        *o = score(value, m, d);
    }
}

#[inline]
fn score(x: f64, mean: f64, deviation: f64) -> f64 {
    defined((x - mean) / deviation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn undefined_on_a_flat_window() {
        let (mut out, mut work) = ([0.0; 4], Vec::new());
        zscore(&[1.0, 3.0, 3.0, 1.0], period(2), &mut work, &mut out);
        check_column(&out, &[f64::NAN, 1.0, f64::NAN, -1.0]);
    }
}
