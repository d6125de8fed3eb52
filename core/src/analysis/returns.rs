//! From equity to returns.

use super::numeric::{EQUITY_NOISE, Sums, is_flat, largest, max_abs, padded, sums, total, variance};
use crate::wide::{LANES, Plain, Quad};

/// Writes the last equity of each trading date. `dates` stand in time order; the shorter slice ends both.
pub fn to_daily(equity: &[f64], dates: &[i32], out: &mut Vec<f64>) {
    out.clear();
    let n = equity.len().min(dates.len());
    let (equity, dates) = (&equity[..n], &dates[..n]);
    for (value, pair) in equity.iter().zip(dates.windows(2)) {
        if pair[0] != pair[1] {
            out.push(*value);
        }
    }
    out.extend(equity.last());
}

/// How often the trading date changes: the number of daily returns.
#[inline(always)]
pub(super) fn n_date_changes(dates: &[i32]) -> usize {
    dates.windows(2).map(|pair| usize::from(pair[0] != pair[1])).sum()
}

/// Whether returns of this wealth mean anything: every point is finite and above zero.
pub(super) fn is_solvent(wealth: &[f64]) -> bool {
    wealth.iter().all(|&value| value > 0.0 && value < f64::INFINITY)
}

/// Zero for finite numbers above zero, else one or NaN: a test that can be summed.
#[inline(always)]
fn oddness<Q: Quad>(machine: Q::Machine, values: Q) -> Q {
    let (zero, one) = (Q::splat(machine, 0.0), Q::splat(machine, 1.0));
    values * zero + values.if_above(zero, zero, one)
}

/// What one pass over returns finds.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstSums {
    /// Largest magnitude of the returns.
    pub largest: f64,
    sum: f64,
    /// Sums about the minimum acceptable return of a period, and of the squares below it.
    gain: f64,
    loss: f64,
    square_loss: f64,
}

impl FirstSums {
    pub fn of(r: &[f64], mar_per_period: f64) -> Self {
        Self::new(max_abs(r), sums((), r, |x: Plain| first_terms((), x, Plain::splat((), mar_per_period))))
    }

    fn new(largest: f64, [sum, gain, loss, square_loss]: [f64; 4]) -> Self {
        Self { largest, sum, gain, loss, square_loss }
    }
}

#[inline(always)]
fn first_terms<Q: Quad>(machine: Q::Machine, x: Q, mar_per_period: Q) -> [Q; 4] {
    let excess = x - mar_per_period;
    let above = excess.or_if_above(Q::splat(machine, 0.0));
    let below = above - excess;
    [x, above, below, below * below]
}

/// What one pass over wealth finds beside the returns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    pub returns: FirstSums,
    pub mean_wealth: f64,
}

/// Writes `r_i = E_i / E_(i-1) - 1`, in the form that loses no digits; nothing where the wealth is not solvent.
///
/// One pass has the division to wait for, so the first sums over the returns cost nothing beside it.
#[inline(always)]
pub(super) fn period_returns<Q: Quad>(
    machine: Q::Machine,
    wealth: &[f64],
    mar_per_period: f64,
    out: &mut Vec<f64>,
) -> Option<Growth> {
    let Some((&first, after)) = wealth.split_first() else {
        out.clear();
        return None;
    };
    let before = &wealth[..after.len()];
    // Old values are overwritten below; only growth has to be filled in.
    out.resize(after.len(), 0.0);
    let ((olds, old_rest), (news, new_rest)) = (before.as_chunks::<LANES>(), after.as_chunks::<LANES>());
    let (targets, target_rest) = out.as_chunks_mut::<LANES>();
    let mar = Q::splat(machine, mar_per_period);
    let mut most = Q::splat(machine, 0.0);
    let mut odd = oddness(machine, Q::splat(machine, first));
    let (mut firsts, mut wealths) = (Sums::<Q, 4>::new(machine), Sums::<Q, 1>::new(machine));
    for ((old, new), target) in olds.iter().zip(news).zip(targets) {
        let (old, new) = (Q::new(machine, *old), Q::new(machine, *new));
        let r = (new - old) / old;
        *target = r.lanes();
        most = r.abs().or_if_above(most);
        odd = odd + oddness(machine, new);
        firsts.add(first_terms(machine, r, mar));
        wealths.add([old]);
    }
    // Lanes without an element have a return of zero.
    let (old, new) = (Q::new(machine, padded(old_rest, 1.0)), Q::new(machine, padded(new_rest, 1.0)));
    let r = (new - old) / old;
    target_rest.copy_from_slice(&r.lanes()[..target_rest.len()]);
    most = r.abs().or_if_above(most);
    odd = odd + oddness(machine, new);
    firsts.add_first(machine, first_terms(machine, r, mar), old_rest.len());
    // Points are one more than returns: the last one is in no pair as the older.
    let last = &wealth[wealth.len() - old_rest.len() - 1..];
    wealths.add_first(machine, [Q::new(machine, padded(last, 0.0))], last.len());
    let [total_wealth] = wealths.totals();
    let growth = Growth {
        returns: FirstSums::new(largest(most), firsts.totals()),
        mean_wealth: total_wealth / wealth.len() as f64,
    };
    (total(odd) == 0.0).then_some(growth)
}

/// Writes the wealth of one unit after each return, the start included: one point more than returns.
pub(super) fn wealth_of(r: &[f64], out: &mut Vec<f64>) {
    out.clear();
    out.push(1.0);
    let mut wealth = 1.0;
    out.extend(r.iter().map(|x| {
        wealth *= 1.0 + x;
        wealth
    }));
}

/// Where returns come from; decides how much of their deviation can be rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Equity,
    Given,
}

impl Origin {
    pub fn noise(self) -> f64 {
        match self {
            Self::Equity => EQUITY_NOISE,
            Self::Given => 0.0,
        }
    }
}

/// Sums over a series of returns, from two passes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReturnStats {
    pub mean: f64,
    /// ddof 1; exactly zero where the deviation is rounding only; NaN below two returns.
    pub std: f64,
    /// Population moments; NaN where the deviation is zero.
    pub skew: f64,
    pub kurtosis: f64,
    /// Sums about the minimum acceptable return of a period.
    pub gain: f64,
    pub loss: f64,
    /// Root of the mean square of the shortfall below it, over all returns; zero where it is rounding only.
    pub downside: f64,
}

impl ReturnStats {
    #[inline(always)]
    pub fn of<Q: Quad>(machine: Q::Machine, r: &[f64], first: &FirstSums, origin: Origin) -> Self {
        let n = r.len() as f64;
        let FirstSums { largest, sum, gain, loss, square_loss } = *first;
        let mean = sum / n;
        let downside = (square_loss / n).sqrt();
        let downside = if is_flat(downside, largest, 0.0) { 0.0 } else { downside };
        let mut stats =
            Self { mean, std: f64::NAN, skew: f64::NAN, kurtosis: f64::NAN, gain, loss, downside };
        if r.len() < 2 {
            return stats;
        }
        let centre = Q::splat(machine, mean);
        let [d1, d2, d3, d4] = sums(machine, r, |x: Q| {
            let d = x - centre;
            let square = d * d;
            [d, square, square * d, square * square]
        });
        let var = variance(r.len(), d1, d2);
        let std = var.sqrt();
        if is_flat(std, largest, origin.noise()) {
            stats.std = 0.0;
        } else {
            let m2 = d2 / n;
            stats.std = std;
            stats.skew = d3 / n / (m2 * m2.sqrt());
            stats.kurtosis = d4 / n / (m2 * m2);
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::super::numeric::mean;
    use super::*;

    #[test]
    fn last_equity_of_each_date() {
        let mut out = vec![7.0];
        to_daily(&[1.0, 2.0, 3.0, 4.0, 5.0], &[10, 10, 11, 12, 12], &mut out);
        assert_eq!(out, [2.0, 3.0, 5.0]);
        to_daily(&[], &[], &mut out);
        assert!(out.is_empty());
        to_daily(&[1.0], &[10], &mut out);
        assert_eq!(out, [1.0]);
        to_daily(&[1.0, 2.0, 3.0], &[10, 11], &mut out);
        assert_eq!(out, [1.0, 2.0]);
        assert_eq!([n_date_changes(&[1, 2, 5]), n_date_changes(&[]), n_date_changes(&[1, 2, 2])], [2, 0, 1]);
    }

    #[test]
    fn moments_of_four_returns() {
        // r = 1, 2, 3, 10 %: mean 4 %; d = -3, -2, -1, 6; d2 = 50, d3 = -27-8-1+216 = 180, d4 = 81+16+1+1296 = 1394
        let r = [0.01, 0.02, 0.03, 0.10];
        let stats = ReturnStats::of::<Plain>((), &r, &FirstSums::of(&r, 0.015), Origin::Given);
        assert!((stats.mean - 0.04).abs() < 1e-16);
        assert!((stats.std - (50.0_f64 / 3.0).sqrt() / 100.0).abs() < 1e-16);
        assert!((stats.skew - 45.0 / 12.5_f64.powf(1.5)).abs() < 1e-13);
        assert!((stats.kurtosis - 348.5 / 156.25).abs() < 1e-13);
        // about 1.5 %: -0.5 | 0.5 + 1.5 + 8.5 = 10.5; shortfall sqrt(0.25/4) = 0.25 %
        assert!((stats.gain - 0.105).abs() < 1e-16 && (stats.loss - 0.005).abs() < 1e-16);
        assert!((stats.downside - 0.0025).abs() < 1e-16);
    }

    #[test]
    fn constant_returns_have_no_deviation() {
        let r = [0.001; 500];
        let given = ReturnStats::of::<Plain>((), &r, &FirstSums::of(&r, 0.0), Origin::Given);
        assert_eq!(given.std, 0.0);
        assert!(given.skew.is_nan() && given.kurtosis.is_nan());
        // An account that earns 0.1 basis points a day: its equity is rounded, so its returns are not quite equal.
        let mut equity = vec![1_000_000.0];
        for i in 0..500 {
            equity.push(equity[i] * 1.00001);
        }
        let mut r = Vec::new();
        let growth = period_returns::<Plain>((), &equity, 0.0, &mut r).unwrap();
        assert_eq!(ReturnStats::of::<Plain>((), &r, &growth.returns, Origin::Equity).std, 0.0);
    }

    #[test]
    fn returns_and_solvency() {
        let mut r = vec![7.0; 3];
        for n in 1..15_usize {
            let wealth: Vec<f64> = (0..n).map(|i| [4.0, 5.0, 2.5][i % 3]).collect();
            let found = period_returns::<Plain>((), &wealth, 0.01, &mut r).unwrap();
            let expected: Vec<f64> = (1..n).map(|i| [0.6, 0.25, -0.5][i % 3]).collect();
            assert_eq!(r, expected);
            assert_eq!(format!("{:?}", found.returns), format!("{:?}", FirstSums::of(&r, 0.01)));
            assert_eq!(found.returns.largest, expected.iter().fold(0.0_f64, |m, x| m.max(x.abs())));
            assert_eq!(found.mean_wealth, mean(&wealth));
            assert!(is_solvent(&wealth));
            for at in 0..n {
                for bad in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let mut broken = wealth.clone();
                    broken[at] = bad;
                    assert!(
                        !is_solvent(&broken) && period_returns::<Plain>((), &broken, 0.0, &mut r).is_none(),
                        "{bad} at {at}"
                    );
                }
            }
        }
        assert!(period_returns::<Plain>((), &[], 0.0, &mut r).is_none());
        assert!(r.is_empty());
    }
}
