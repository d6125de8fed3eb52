//! The ends of a distribution: quantiles with linear interpolation, found by selection.

use super::numeric::{sum, sums};
use crate::wide::{LANES, Plain, Quad, each};

/// Quantiles of a series of returns and the mean of its worst part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tails {
    pub q05: f64,
    pub q95: f64,
    /// Mean of the values at or below `q05`.
    pub mean_at_or_below_q05: f64,
}

impl Tails {
    const UNDEFINED: Self = Self { q05: f64::NAN, q95: f64::NAN, mean_at_or_below_q05: f64::NAN };

    /// `mean` and `std` of the values only steer the search: any two numbers give the same result. `spare` is
    /// scratch.
    #[inline(always)]
    pub fn of<Q: Quad>(
        machine: Q::Machine,
        values: &[f64],
        mean: f64,
        std: f64,
        spare: &mut Vec<f64>,
    ) -> Self {
        let n = values.len();
        if n == 0 {
            return Self::UNDEFINED;
        }
        // The position of a quantile is q (n - 1); in twentieths it is exact in integers.
        let (low_ix, low_part) = twentieths(n - 1, 1);
        let (high_ix, high_part) = twentieths(n - 1, 19);
        if spare.len() < 2 * n {
            spare.resize(2 * n, 0.0);
        }
        let (lows, highs) = spare[..2 * n].split_at_mut(n);
        // A first cut leaves a small part of the values to select from.
        let bounds = (mean - CUT * std, mean + CUT * std);
        let (n_lows, n_highs) = cut::<Q>(machine, values, bounds, lows, highs);
        let low_is_cut = n_lows >= n.min(low_ix + 2);
        // The highs are the largest `n_highs` values: their first one has this position among all.
        let first_ix = n - n_highs;
        let high_is_cut = high_ix >= first_ix;
        let zeros = if low_is_cut && high_is_cut { Zeros::default() } else { Zeros::among(values) };
        let (q05, mean_at_or_below_q05) = if low_is_cut {
            low_end(&mut lows[..n_lows], low_ix, low_part)
        } else if zeros.fill(low_ix) {
            (0.0, zeros.mean_at_or_below())
        } else {
            lows.copy_from_slice(values);
            low_end(lows, low_ix, low_part)
        };
        let q95 = if high_is_cut {
            select(&mut highs[..n_highs], high_ix - first_ix, high_part)
        } else if zeros.fill(high_ix) {
            0.0
        } else {
            highs.copy_from_slice(values);
            select(highs, high_ix, high_part)
        };
        Self { q05, q95, mean_at_or_below_q05 }
    }
}

/// Distance of the first cut from the mean in standard deviations: far enough to leave little, near enough for the
/// wide tails of returns to keep more than 5 % of them.
const CUT: f64 = 1.1;

/// Copies what lies at or beyond the two bounds to the fronts of `lows` and `highs`, which are as long as `values`.
#[inline(always)]
fn cut<Q: Quad>(
    machine: Q::Machine,
    values: &[f64],
    (low, high): (f64, f64),
    lows: &mut [f64],
    highs: &mut [f64],
) -> (usize, usize) {
    let (mut n_lows, mut n_highs) = (0, 0);
    let mut sort_out = |x: f64| {
        // Written always and kept by moving on: no branch to predict.
        if let (Some(low_slot), Some(high_slot)) = (lows.get_mut(n_lows), highs.get_mut(n_highs)) {
            *low_slot = x;
            *high_slot = x;
        }
        n_lows += usize::from(x <= low);
        n_highs += usize::from(x >= high);
    };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (low_quad, high_quad) = (Q::splat(machine, low), Q::splat(machine, high));
    for chunk in chunks {
        let quad = Q::new(machine, *chunk);
        // An account that is out of the market has nothing but zeros for a while.
        if quad.at_most(low_quad) | high_quad.at_most(quad) != 0 {
            chunk.iter().for_each(|&x| sort_out(x));
        }
    }
    rest.iter().for_each(|&x| sort_out(x));
    (n_lows, n_highs)
}

/// The quantile at `ix` and the mean of the values at or below it; reorders them.
fn low_end(values: &mut [f64], ix: usize, part: f64) -> (f64, f64) {
    let (below, &mut low, above) = values.select_nth_unstable_by(ix, f64::total_cmp);
    let next = smallest(above);
    let quantile = between(low, next, part);
    let (mut total, mut count) = (low + sum(below), below.len() + 1);
    if next <= quantile {
        for &x in above.iter().filter(|&&x| x <= quantile) {
            total += x;
            count += 1;
        }
    }
    (quantile, total / count as f64)
}

/// Where zero stands among the values. An account that is seldom in the market has mostly returns of zero, and
/// then a quantile is zero without a search.
#[derive(Debug, Clone, Copy, Default)]
struct Zeros {
    sum_below: f64,
    n_below: f64,
    n_at: f64,
}

impl Zeros {
    fn among(values: &[f64]) -> Self {
        let [sum_below, n_below, n_at] = sums((), values, |x: Plain| {
            let x = x.lanes();
            [
                each(|i| if x[i] < 0.0 { x[i] } else { 0.0 }),
                each(|i| if x[i] < 0.0 { 1.0 } else { 0.0 }),
                each(|i| if x[i] == 0.0 { 1.0 } else { 0.0 }),
            ]
            .map(|lanes| Plain::new((), lanes))
        });
        Self { sum_below, n_below, n_at }
    }

    /// Whether zero fills the positions `ix` and `ix + 1` of the sorted values.
    fn fill(&self, ix: usize) -> bool {
        let ix = ix as f64;
        self.n_below <= ix && self.n_below + self.n_at >= ix + 2.0
    }

    fn mean_at_or_below(&self) -> f64 {
        self.sum_below / (self.n_below + self.n_at)
    }
}

/// The value at a position and a part of the way to the next one; reorders the values.
fn select(values: &mut [f64], ix: usize, part: f64) -> f64 {
    let (_, &mut low, above) = values.select_nth_unstable_by(ix, f64::total_cmp);
    between(low, smallest(above), part)
}

/// Whole and fractional part of `steps * k / 20`.
fn twentieths(steps: usize, k: usize) -> (usize, f64) {
    // Split first: the product of a huge count must not overflow.
    let (whole, rest) = (steps / 20, steps % 20);
    (whole * k + rest * k / 20, (rest * k % 20) as f64 / 20.0)
}

/// Linear interpolation; at the last value (`high` NaN) there is no way to go.
#[inline]
fn between(low: f64, high: f64, part: f64) -> f64 {
    if part == 0.0 || high.is_nan() { low } else { low + (high - low) * part }
}

/// NaN for an empty slice.
#[inline]
fn smallest(values: &[f64]) -> f64 {
    values.iter().fold(f64::NAN, |least, &x| if x >= least { least } else { x })
}

/// Quantile with linear interpolation of values without NaN; reorders them. NaN for none.
pub(super) fn quantile(values: &mut [f64], q: f64) -> f64 {
    let Some(last_ix) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q.clamp(0.0, 1.0) * last_ix as f64;
    if position.is_nan() {
        return f64::NAN;
    }
    let ix = (position.floor() as usize).min(last_ix);
    select(values, ix, position - ix as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_against_sorting() {
        let mut spare = Vec::new();
        for n in 1..=200_u32 {
            let mut values: Vec<f64> = (1..=n).map(|i| f64::from((i * 7919) % 211)).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let at = |q: f64| {
                let position = q * (sorted.len() - 1) as f64;
                let ix = position as usize;
                let high = sorted[(ix + 1).min(sorted.len() - 1)];
                sorted[ix] + (high - sorted[ix]) * (position - ix as f64)
            };
            let worst: Vec<f64> = sorted.iter().copied().filter(|&x| x <= at(0.05) + 1e-9).collect();
            for (centre, width) in [(105.0, 61.0), (0.0, 0.0), (1e9, -1.0), (f64::NAN, 1.0), (105.0, 1e9)] {
                let tails = Tails::of::<Plain>((), &values, centre, width, &mut spare);
                assert!((tails.q05 - at(0.05)).abs() < 1e-9, "n = {n}");
                assert!((tails.q95 - at(0.95)).abs() < 1e-9, "n = {n}");
                let expected = worst.iter().sum::<f64>() / worst.len() as f64;
                assert!((tails.mean_at_or_below_q05 - expected).abs() < 1e-9, "n = {n}");
            }
            assert!((quantile(&mut values, 0.3) - at(0.3)).abs() < 1e-9, "n = {n}");
        }
    }

    #[test]
    fn ties_at_the_quantile_all_count() {
        // 21 values: the quantile is the second smallest, -1; four values lie at or below it: -5 and three -1.
        let mut values = vec![2.0; 21];
        values[3] = -5.0;
        for ix in [0, 10, 20] {
            values[ix] = -1.0;
        }
        let tails = Tails::of::<Plain>((), &values, 1.0, 2.0, &mut Vec::new());
        assert_eq!((tails.q05, tails.mean_at_or_below_q05, tails.q95), (-1.0, -2.0, 2.0));
    }

    #[test]
    fn two_values() {
        // -2 % and 1 %: -0.02 + 0.05 * 0.03 = -0.0185; 0.01 - 0.05 * 0.03 = 0.0085
        let tails = Tails::of::<Plain>((), &[0.01, -0.02], -0.005, 0.02, &mut Vec::new());
        assert!((tails.q05 - -0.0185).abs() < 1e-17);
        assert!((tails.q95 - 0.0085).abs() < 1e-17);
        assert_eq!(tails.mean_at_or_below_q05, -0.02);
    }

    #[test]
    fn an_account_that_is_seldom_in_the_market() {
        // 100 values, two below zero, 95 zeros: positions 4 and 5 are zero; (-3 - 1) / 97.
        let mut values = vec![0.0; 100];
        (values[10], values[40]) = (-0.03, -0.01);
        (values[20], values[50], values[70]) = (0.02, 0.02, 0.04);
        let tails = Tails::of::<Plain>((), &values, 0.0004, 0.005, &mut Vec::new());
        assert_eq!((tails.q05, tails.q95), (0.0, 0.0));
        assert!((tails.mean_at_or_below_q05 - -0.04 / 97.0).abs() < 1e-17);
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert!(Tails::of::<Plain>((), &[], 0.0, 0.0, &mut Vec::new()).q05.is_nan());
        assert!(quantile(&mut [], 0.5).is_nan());
        assert!(quantile(&mut [1.0], f64::NAN).is_nan());
    }
}
