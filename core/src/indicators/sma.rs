//! Simple moving average.

use super::compensated::{BLOCK, Divisor, DoubleSum, SumChains, set_window_changes, two_sum};
use super::rolling::{WindowCore, by_steps, rolling_step};
use super::runs::FiniteRuns;
use super::{Period, defined};
use crate::wide::widest;

rolling_step! {
    /// The mean of the last `n` values; the first at index `n - 1`. Equal values have exactly that value as mean.
    Sma, SmaCore
}

/// Writes the mean of each last `n` values.
pub fn sma(x: &[f64], n: Period, out: &mut [f64]) {
    means(x, [n], [out]);
}

/// How many averages of one column are best computed at once.
pub const TOGETHER: usize = 4;

/// Writes the means of the last values of one column for several windows, each the bits of [`sma`]: their sums are
/// chains that do not wait for one another.
pub fn sma_columns(x: &[f64], windows: &[Period], outs: &mut [Vec<f64>]) {
    let quads = windows.as_chunks::<TOGETHER>().0.iter().zip(outs.as_chunks_mut::<TOGETHER>().0);
    for (&windows, outs) in quads {
        means(x, windows, outs.each_mut().map(Vec::as_mut_slice));
    }
    let done = windows.len() / TOGETHER * TOGETHER;
    match (&windows[done..], &mut outs[done..]) {
        (&[a, b, c], [x1, x2, x3]) => means(x, [a, b, c], [x1, x2, x3]),
        (&[a, b], [x1, x2]) => means(x, [a, b], [x1, x2]),
        (&[a], [x1]) => means(x, [a], [x1]),
        _ => {}
    }
}

fn means<const N: usize>(x: &[f64], windows: [Period; N], mut outs: [&mut [f64]; N]) {
    let mut written = 0;
    for run in FiniteRuns::of(x) {
        for out in &mut outs {
            out[written..run.start].fill(f64::NAN);
        }
        written = run.end;
        let mut outs = outs.each_mut().map(|out| &mut out[run.clone()]);
        widest(
            #[inline(always)]
            || means_of_run(&x[run.clone()], &windows, &mut outs),
        );
    }
    for out in outs {
        out[written..].fill(f64::NAN);
    }
}

/// A stretch of finite values, all windows in step.
#[inline(always)]
fn means_of_run<const N: usize>(xs: &[f64], windows: &[Period; N], outs: &mut [&mut [f64]; N]) {
    let mut chains = SumChains::<N>::new();
    for start in (0..xs.len()).step_by(BLOCK) {
        let rows = start..xs.len().min(start + BLOCK);
        for (chain, window) in windows.iter().enumerate() {
            set_window_changes(chains.changes(chain), xs, rows.clone(), window.get());
        }
        chains.run(rows.len());
        for (chain, (window, out)) in windows.iter().zip(&mut *outs).enumerate() {
            let divisor = Divisor::new(window.as_f64());
            let ys = &mut out[rows.clone()];
            for (y, sum) in ys.iter_mut().zip(chains.sums(chain)) {
                *y = defined(divisor.divide(sum));
            }
            let n_warming = (window.get() - 1).saturating_sub(start).min(ys.len());
            ys[..n_warming].fill(f64::NAN);
        }
    }
    for (chain, (window, out)) in windows.iter().zip(outs).enumerate() {
        if !chains.is_finite(chain) {
            by_steps(xs, &SmaCore::new(*window), *window, out);
        }
    }
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

    fn is_lost(&self) -> bool {
        !self.sum.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, column, period};
    use proptest::prelude::*;

    proptest! {
        /// Any number of windows over one column: each gives the bits of the step form.
        #[test]
        fn windows_in_step_are_windows_alone(x in column(), windows in prop::collection::vec(1..160u32, 0..11)) {
            let periods: Vec<Period> = windows.iter().map(|&n| period(n)).collect();
            let mut outs = vec![vec![0.5; x.len()]; windows.len()];
            sma_columns(&x, &periods, &mut outs);
            for (n, out) in periods.into_iter().zip(&outs) {
                let mut step = Sma::new(n);
                let expected: Vec<f64> = x.iter().map(|&value| step.update(value)).collect();
                check_column(out, &expected);
            }
        }
    }

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
