//! Moving sum.

use super::compensated::{BLOCK, DoubleSum, SumBlock, two_sum};
use super::rolling::{WindowCore, rolling_column, rolling_step};
use super::{Period, defined};

rolling_step! {
    /// The sum of the last `n` values; the first at index `n - 1`.
    Sum, SumCore
}

/// Writes the sum of each last `n` values.
pub fn sum(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &SumCore::new(n), n, out);
}

#[derive(Debug, Clone)]
struct SumCore {
    sum: DoubleSum,
    n: usize,
    seen: usize,
}

impl SumCore {
    fn new(n: Period) -> Self {
        Self { sum: DoubleSum::default(), n: n.get(), seen: 0 }
    }
}

impl WindowCore for SumCore {
    fn reset(&mut self) {
        self.sum = DoubleSum::default();
        self.seen = 0;
    }

    #[inline]
    fn grow(&mut self, x: f64) -> f64 {
        self.seen += 1;
        self.sum.add(x, 0.0);
        if self.seen == self.n { self.sum.value() } else { f64::NAN }
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        let (change, error) = two_sum(x, -oldest);
        self.sum.add(change, error);
        self.sum.value()
    }

    #[inline]
    fn slide_column(&mut self, entering: &[f64], leaving: &[f64], out: &mut [f64]) {
        let mut block = SumBlock::ZERO;
        let rows = out.chunks_mut(BLOCK).zip(entering.chunks(BLOCK)).zip(leaving.chunks(BLOCK));
        for ((ys, entering), leaving) in rows {
            block.set_changes(entering, leaving);
            self.sum.run(&mut block, ys.len());
            for ((y, &hi), &lo) in ys.iter_mut().zip(&block.hi).zip(&block.lo) {
                *y = defined(DoubleSum { hi, lo }.value());
            }
        }
    }

    fn is_lost(&self) -> bool {
        !self.sum.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn three_bar_sums() {
        let mut out = [0.0; 5];
        sum(&[1.0, 2.0, 3.0, -4.0, 0.5], period(3), &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 6.0, 1.0, -0.5]);
    }

    #[test]
    fn tenths_add_up() {
        let mut out = [0.0; 20];
        sum(&[0.1; 20], period(10), &mut out);
        assert!(out[9..].iter().all(|&v| v == 1.0));
    }
}
