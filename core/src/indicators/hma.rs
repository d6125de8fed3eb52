//! Hull moving average.

use super::{Period, Wma};

/// `wma(2 wma(x, n / 2) - wma(x, n), sqrt(n))`, both lengths rounded down and at least 1 (Hull, 2005).
#[derive(Debug, Clone)]
pub struct Hma {
    half: Wma,
    whole: Wma,
    smooth: Wma,
}

impl Hma {
    pub fn new(n: Period) -> Self {
        Self {
            half: Wma::new(n.shrunk(|n| n / 2)),
            whole: Wma::new(n),
            smooth: Wma::new(n.shrunk(u32::isqrt)),
        }
    }

    pub fn reset(&mut self) {
        self.half.reset();
        self.whole.reset();
        self.smooth.reset();
    }

    /// Takes the next value and gives the average, NaN while undefined.
    #[inline]
    pub fn update(&mut self, x: f64) -> f64 {
        let raw = 2.0 * self.half.update(x) - self.whole.update(x);
        self.smooth.update(raw)
    }
}

/// Writes the Hull moving average.
pub fn hma(x: &[f64], n: Period, out: &mut [f64]) {
    let mut step = Hma::new(n);
    super::run(x, out, |value| step.update(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn period_four() {
        let mut out = [0.0; 6];
        hma(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], period(4), &mut out);
        // On a line: wma(2) lags 1/3 bar, wma(4) lags 1 bar, so the raw value leads by 1/3, which wma(2) takes back.
        assert!(out[..4].iter().all(|v| v.is_nan()));
        let rounded: Vec<f64> = out[4..].iter().map(|v| (v * 1e12).round() / 1e12).collect();
        check_column(&rounded, &[5.0, 6.0]);
    }
}
