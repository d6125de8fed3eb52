//! Simple moving average.

use super::compensated::{BLOCK, Divisor, DoubleSum, SumBlock, two_sum};
use super::rolling::{WindowCore, rolling_column, rolling_step};
use super::{Period, defined};

rolling_step! {
    /// The mean of the last `n` values; the first at index `n - 1`. Equal values have exactly that value as mean.
    Sma, SmaCore
}

/// Writes the mean of each last `n` values.
pub fn sma(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &SmaCore::new(n), n, out);
}

#[derive(Debug, Clone)]
struct SmaCore {
    sum: DoubleSum,
    divisor: Divisor,
    n: usize,
    seen: usize,
}

impl SmaCore {
    fn new(n: Period) -> Self {
        Self { sum: DoubleSum::default(), divisor: Divisor::new(n.as_f64()), n: n.get(), seen: 0 }
    }
}

impl WindowCore for SmaCore {
    fn reset(&mut self) {
        self.sum = DoubleSum::default();
        self.seen = 0;
    }

    #[inline]
    fn grow(&mut self, x: f64) -> f64 {
        self.seen += 1;
        self.sum.add(x, 0.0);
        if self.seen == self.n { self.divisor.divide(self.sum) } else { f64::NAN }
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        let (change, error) = two_sum(x, -oldest);
        self.sum.add(change, error);
        self.divisor.divide(self.sum)
    }

    #[inline]
    fn slide_column(&mut self, entering: &[f64], leaving: &[f64], out: &mut [f64]) {
        let mut block = SumBlock::ZERO;
        let rows = out.chunks_mut(BLOCK).zip(entering.chunks(BLOCK)).zip(leaving.chunks(BLOCK));
        for ((ys, entering), leaving) in rows {
            block.set_changes(entering, leaving);
            self.sum.run(&mut block, ys.len());
            for ((y, &hi), &lo) in ys.iter_mut().zip(&block.hi).zip(&block.lo) {
                *y = defined(self.divisor.divide(DoubleSum { hi, lo }));
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
    fn flat_prices_have_a_flat_mean_for_every_window() {
        let flat = [10.1; 40];
        for n in 1..=40 {
            let mut out = [0.0; 40];
            sma(&flat, period(n), &mut out);
            assert!(out[..n as usize - 1].iter().all(|v| v.is_nan()));
            assert!(out[n as usize - 1..].iter().all(|v| v.to_bits() == 10.1f64.to_bits()), "window {n}");
        }
    }

    #[test]
    fn flat_after_movement_is_flat_again() {
        let mut x: Vec<f64> =
            (0..500).map(|i| 100.0 + 7.3 * f64::from(i % 13) + 1e6 * f64::from(i % 2)).collect();
        x.extend([3.7; 100]);
        let mut out = vec![0.0; x.len()];
        sma(&x, period(30), &mut out);
        assert!(out[529..].iter().all(|v| v.to_bits() == 3.7f64.to_bits()));
    }

    /// Sums of these prices are exact, so the quotient of the sum is the correctly rounded mean.
    #[test]
    fn the_mean_is_correctly_rounded() {
        let x: Vec<f64> =
            (0..5000u32).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 12) / 1024.0).collect();
        for n in [1, 3, 7, 30, 999] {
            let mut out = vec![0.0; x.len()];
            sma(&x, period(n), &mut out);
            for (i, window) in x.windows(n as usize).enumerate() {
                let mean = window.iter().sum::<f64>() / f64::from(n);
                assert_eq!(out[i + n as usize - 1].to_bits(), mean.to_bits(), "window {n} from {i}");
            }
        }
    }

    #[test]
    fn a_gap_and_an_overflow_leave_the_window() {
        let x = [f64::NAN, 1.0, 3.0, f64::NAN, 5.0, 7.0, f64::MAX, f64::MAX, 1.0, 2.0, 4.0];
        let mut out = [0.0; 11];
        sma(&x, period(2), &mut out);
        check_column(
            &out,
            &[f64::NAN, f64::NAN, 2.0, f64::NAN, f64::NAN, 6.0, f64::MAX / 2.0, f64::NAN, f64::NAN, 1.5, 3.0],
        );
    }
}
