//! Standard deviation of the population.

use super::compensated::{BLOCK, DoubleSum, SumBlock, square_change, two_square, two_sum, two_times};
use super::rolling::{WindowCore, rolling_column, rolling_step};
use super::{Period, defined};

rolling_step! {
    /// The population standard deviation (ddof 0) of the last `n` values; the first at index `n - 1`. Equal values have
    /// exactly zero.
    Stddev, StddevCore
}

/// Writes the population standard deviation of each last `n` values.
pub fn stddev(x: &[f64], n: Period, out: &mut [f64]) {
    rolling_column(x, &StddevCore::new(n), n, out);
}

/// Moving sums of values and squares with about 100 bits, so that the difference of the two keeps its digits.
#[derive(Debug, Clone)]
struct StddevCore {
    sum: DoubleSum,
    squares: DoubleSum,
    n: usize,
    n_f64: f64,
    seen: usize,
    last: f64,
    /// Length of the run of equal values that ends here: a run as long as the window has no deviation at all.
    n_equal: usize,
}

impl StddevCore {
    fn new(n: Period) -> Self {
        Self {
            sum: DoubleSum::default(),
            squares: DoubleSum::default(),
            n: n.get(),
            n_f64: n.as_f64(),
            seen: 0,
            last: f64::NAN,
            n_equal: 0,
        }
    }

    #[inline]
    fn note(&mut self, x: f64) {
        self.n_equal = if x == self.last { self.n_equal + 1 } else { 1 };
        self.last = x;
    }

    /// No deviation at all, without a trace of rounding, if the whole window is one value.
    #[inline]
    fn flat_or(&self, deviation: f64) -> f64 {
        if self.n_equal >= self.n { 0.0 } else { deviation }
    }
}

/// The deviation that belongs to the sums of `n` values and of their squares.
#[inline]
fn deviation(sum: DoubleSum, squares: DoubleSum, n: f64) -> f64 {
    let (s, s_rest) = sum.normalised();
    let (square, square_error) = two_square(s);
    let square_rest = square_error + 2.0 * s * s_rest;
    let (q, q_rest) = squares.normalised();
    let (scaled, scaled_error) = two_times(q, n);
    let scaled_rest = scaled_error + n * q_rest;
    let difference = (scaled - square) + (scaled_rest - square_rest);
    // NaN fails the comparison too and must not turn into zero.
    if difference <= 0.0 { 0.0 } else { difference.sqrt() / n }
}

impl WindowCore for StddevCore {
    fn reset(&mut self) {
        self.sum = DoubleSum::default();
        self.squares = DoubleSum::default();
        self.seen = 0;
        self.last = f64::NAN;
        self.n_equal = 0;
    }

    #[inline]
    fn grow(&mut self, x: f64) -> f64 {
        self.note(x);
        self.seen += 1;
        self.sum.add(x, 0.0);
        let (square, error) = two_square(x);
        self.squares.add(square, error);
        if self.seen == self.n {
            self.flat_or(deviation(self.sum, self.squares, self.n_f64))
        } else {
            f64::NAN
        }
    }

    #[inline]
    fn slide(&mut self, x: f64, oldest: f64) -> f64 {
        self.note(x);
        let (change, error) = two_sum(x, -oldest);
        self.sum.add(change, error);
        let (change, error) = square_change(x, oldest);
        self.squares.add(change, error);
        self.flat_or(deviation(self.sum, self.squares, self.n_f64))
    }

    #[inline]
    fn slide_column(&mut self, entering: &[f64], leaving: &[f64], out: &mut [f64]) {
        let (mut sums, mut squares) = (SumBlock::ZERO, SumBlock::ZERO);
        let rows = out.chunks_mut(BLOCK).zip(entering.chunks(BLOCK)).zip(leaving.chunks(BLOCK));
        for ((ys, entering), leaving) in rows {
            sums.set_changes(entering, leaving);
            squares.set_square_changes(entering, leaving);
            self.sum.run(&mut sums, ys.len());
            self.squares.run(&mut squares, ys.len());
            let sums = sums.hi.iter().zip(&sums.lo);
            let squares = squares.hi.iter().zip(&squares.lo);
            for ((y, (&hi, &lo)), (&q_hi, &q_lo)) in ys.iter_mut().zip(sums).zip(squares) {
                *y = deviation(DoubleSum { hi, lo }, DoubleSum { hi: q_hi, lo: q_lo }, self.n_f64);
            }
            for (y, &x) in ys.iter_mut().zip(entering) {
                self.note(x);
                *y = defined(self.flat_or(*y));
            }
        }
    }

    fn is_lost(&self) -> bool {
        !self.squares.is_finite() || !self.sum.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::period;

    #[test]
    fn one_to_five() {
        let mut out = [0.0; 5];
        stddev(&[1.0, 2.0, 3.0, 4.0, 5.0], period(5), &mut out);
        assert!(out[..4].iter().all(|v| v.is_nan()));
        assert_eq!(out[4], 2.0f64.sqrt());
    }

    #[test]
    fn flat_is_exactly_zero_after_movement() {
        let mut x: Vec<f64> = (0..300).map(|i| 10.1 + f64::from(i % 7) * 0.37).collect();
        x.extend([10.1; 60]);
        let mut out = vec![0.0; x.len()];
        stddev(&x, period(20), &mut out);
        assert!(out[319..].iter().all(|&v| v == 0.0));
        assert!(out[19..300].iter().all(|&v| v > 0.3));
    }

    /// A tiny wobble on a large level keeps its digits, where the textbook difference of moments has none left.
    #[test]
    fn small_deviation_on_a_large_level() {
        let x: Vec<f64> = (0..64).map(|i| 1e8 + f64::from(i % 2) * 2f64.powi(-20)).collect();
        let mut out = vec![0.0; 64];
        stddev(&x, period(4), &mut out);
        assert!(out[3..].iter().all(|&v| (v / 2f64.powi(-21) - 1.0).abs() < 1e-12));
    }
}
