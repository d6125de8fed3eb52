//! Bollinger bands.

use super::{Period, Sma, Stddev, defined, sma::sma, stddev::stddev};

/// The three bands of one bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BollingerPoint {
    pub upper: f64,
    pub middle: f64,
    pub lower: f64,
}

/// The mean of the last `n` values and `k` population deviations above and below; the first at index `n - 1`.
#[derive(Debug, Clone)]
pub struct BollingerBands {
    middle: Sma,
    deviation: Stddev,
    k: f64,
}

impl BollingerBands {
    pub fn new(n: Period, k: f64) -> Self {
        Self { middle: Sma::new(n), deviation: Stddev::new(n), k }
    }

    pub fn reset(&mut self) {
        self.middle.reset();
        self.deviation.reset();
    }

    /// Takes the next value and gives the bands, NaN while undefined.
    pub fn update(&mut self, x: f64) -> BollingerPoint {
        let middle = self.middle.update(x);
        let deviation = self.deviation.update(x);
        BollingerPoint {
            upper: band_value(middle, deviation, self.k),
            middle,
            lower: band_value(middle, deviation, -self.k),
        }
    }
}

/// Writes the band `k` deviations from the mean of each last `n` values, below it for a negative `k`. `work` is scratch
/// memory that can be passed again.
pub fn bbands(x: &[f64], n: Period, k: f64, work: &mut Vec<f64>, out: &mut [f64]) {
    work.resize(x.len(), 0.0);
    sma(x, n, out);
    stddev(x, n, work);
    for (o, &deviation) in out.iter_mut().zip(work.iter()) {
        *o = band_value(*o, deviation, k);
    }
}

/// Writes the band from columns of the mean and the deviation, which bands of other widths share.
pub fn band(middle: &[f64], deviation: &[f64], k: f64, out: &mut [f64]) {
    for ((o, &m), &d) in out.iter_mut().zip(middle).zip(deviation) {
        *o = band_value(m, d, k);
    }
}

#[inline]
fn band_value(middle: f64, deviation: f64, k: f64) -> f64 {
    defined(middle + k * deviation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn two_deviations_of_one_and_three() {
        let (mut out, mut work) = ([0.0; 3], Vec::new());
        bbands(&[1.0, 3.0, 3.0], period(2), 2.0, &mut work, &mut out);
        check_column(&out, &[f64::NAN, 4.0, 3.0]);
        bbands(&[1.0, 3.0, 3.0], period(2), -2.0, &mut work, &mut out);
        check_column(&out, &[f64::NAN, 0.0, 3.0]);
    }
}
