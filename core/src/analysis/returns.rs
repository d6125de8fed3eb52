//! From equity to returns.

use super::numeric::{EQUITY_NOISE, LANES, each, is_flat, sums, total, variance};

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
#[inline]
pub(super) fn n_date_changes(dates: &[i32]) -> usize {
    dates.windows(2).map(|pair| usize::from(pair[0] != pair[1])).sum()
}

/// Whether returns of this wealth mean anything: every point is finite and above zero.
#[inline]
pub(super) fn is_solvent(wealth: &[f64]) -> bool {
    let [odd] = sums(wealth, |w| [each(|i| oddness(w[i]))]);
    odd == 0.0
}

/// Zero for a finite number above zero, else one or NaN: a test that stays a vector instruction and can be summed.
#[inline(always)]
fn oddness(value: f64) -> f64 {
    value * 0.0 + if value > 0.0 { 0.0 } else { 1.0 }
}

/// Writes `r_i = E_i / E_(i-1) - 1`, in the form that loses no digits. Gives the largest magnitude, or nothing
/// where the wealth is not solvent.
#[inline]
pub(super) fn period_returns(wealth: &[f64], out: &mut Vec<f64>) -> Option<f64> {
    let Some((&first, after)) = wealth.split_first() else {
        out.clear();
        return None;
    };
    let before = &wealth[..after.len()];
    // Old values are overwritten below; only growth has to be filled in.
    out.resize(after.len(), 0.0);
    let ((olds, old_rest), (news, new_rest)) = (before.as_chunks::<LANES>(), after.as_chunks::<LANES>());
    let (targets, target_rest) = out.as_chunks_mut::<LANES>();
    let (mut largest, mut odd) = ([0.0_f64; LANES], [oddness(first); LANES]);
    for ((old, new), target) in olds.iter().zip(news).zip(targets) {
        *target = each(|i| (new[i] - old[i]) / old[i]);
        for lane in 0..LANES {
            let size = target[lane].abs();
            largest[lane] = if size > largest[lane] { size } else { largest[lane] };
            odd[lane] += oddness(new[lane]);
        }
    }
    for (lane, ((old, new), target)) in old_rest.iter().zip(new_rest).zip(target_rest).enumerate() {
        *target = (new - old) / old;
        largest[lane] = largest[lane].max(target.abs());
        odd[lane] += oddness(*new);
    }
    (total(odd) == 0.0).then(|| largest.into_iter().fold(0.0, f64::max))
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
    /// `largest` is the largest magnitude of the returns.
    pub fn of(r: &[f64], largest: f64, mar_per_period: f64, origin: Origin) -> Self {
        let n = r.len() as f64;
        let [sum, gain, loss, down2] = sums(r, |x| {
            let excess = each(|i| x[i] - mar_per_period);
            let above = each(|i| if excess[i] > 0.0 { excess[i] } else { 0.0 });
            let below = each(|i| above[i] - excess[i]);
            [x, above, below, each(|i| below[i] * below[i])]
        });
        let mean = sum / n;
        let downside = (down2 / n).sqrt();
        let downside = if is_flat(downside, largest, 0.0) { 0.0 } else { downside };
        let mut stats =
            Self { mean, std: f64::NAN, skew: f64::NAN, kurtosis: f64::NAN, gain, loss, downside };
        if r.len() < 2 {
            return stats;
        }
        let [d1, d2, d3, d4] = sums(r, |x| {
            let d = each(|i| x[i] - mean);
            let square = each(|i| d[i] * d[i]);
            [d, square, each(|i| square[i] * d[i]), each(|i| square[i] * square[i])]
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
        let stats = ReturnStats::of(&[0.01, 0.02, 0.03, 0.10], 0.10, 0.015, Origin::Given);
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
        let given = ReturnStats::of(&[0.001; 500], 0.001, 0.0, Origin::Given);
        assert_eq!(given.std, 0.0);
        assert!(given.skew.is_nan() && given.kurtosis.is_nan());
        // An account that earns 0.1 basis points a day: its equity is rounded, so its returns are not quite equal.
        let mut equity = vec![1_000_000.0];
        for i in 0..500 {
            equity.push(equity[i] * 1.00001);
        }
        let mut r = Vec::new();
        let largest = period_returns(&equity, &mut r).unwrap();
        assert_eq!(ReturnStats::of(&r, largest, 0.0, Origin::Equity).std, 0.0);
    }

    #[test]
    fn returns_and_solvency() {
        let mut r = vec![7.0; 3];
        for n in 1..15_usize {
            let wealth: Vec<f64> = (0..n).map(|i| [4.0, 5.0, 2.5][i % 3]).collect();
            let found = period_returns(&wealth, &mut r);
            let expected: Vec<f64> = (1..n).map(|i| [0.6, 0.25, -0.5][i % 3]).collect();
            assert_eq!(r, expected);
            assert_eq!(found, Some(expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()))));
            assert!(is_solvent(&wealth));
            for at in 0..n {
                for bad in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let mut broken = wealth.clone();
                    broken[at] = bad;
                    assert!(
                        !is_solvent(&broken) && period_returns(&broken, &mut r).is_none(),
                        "{bad} at {at}"
                    );
                }
            }
        }
        assert_eq!(period_returns(&[], &mut r), None);
        assert!(r.is_empty());
    }
}
