//! Sums over slices and the test for "no variation".

/// Accumulators per quantity: independent chains, so that the additions of a long slice overlap. The order of
/// additions is fixed, hence so are the bits.
pub(super) const LANES: usize = 4;

/// What is left of a constant series after rounding, relative to its largest magnitude.
pub(super) const FLAT_REL: f64 = 1e-12;

/// Rounding of one return computed from two equities (`E_i/E_(i-1) - 1` of numbers that are themselves rounded).
/// A deviation below it says nothing about the equity.
pub(super) const EQUITY_NOISE: f64 = 4.0 * f64::EPSILON;

/// Elements that one operation handles together.
pub(super) type Lanes = [f64; LANES];

/// Applies a function to each lane; the compiler turns the loop into vector instructions.
#[inline(always)]
pub(super) fn each(mut f: impl FnMut(usize) -> f64) -> Lanes {
    let mut out = [0.0; LANES];
    for (lane, slot) in out.iter_mut().enumerate() {
        *slot = f(lane);
    }
    out
}

/// Sums `K` quantities of every element in one pass; `f` maps lanes to lanes, each by itself.
#[inline(always)]
pub(super) fn sums<const K: usize>(xs: &[f64], f: impl Fn(Lanes) -> [Lanes; K]) -> [f64; K] {
    let mut acc = [[0.0_f64; LANES]; K];
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        let terms = f(*chunk);
        for (total, term) in acc.iter_mut().zip(&terms) {
            for lane in 0..LANES {
                total[lane] += term[lane];
            }
        }
    }
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let terms = f(last);
    for (total, term) in acc.iter_mut().zip(&terms) {
        for lane in 0..rest.len() {
            total[lane] += term[lane];
        }
    }
    acc.map(total)
}

#[inline(always)]
pub(super) fn total([a, b, c, d]: Lanes) -> f64 {
    (a + b) + (c + d)
}

#[inline]
pub(super) fn sum(xs: &[f64]) -> f64 {
    let [total] = sums(xs, |x| [x]);
    total
}

/// NaN for an empty slice.
#[inline]
pub(super) fn mean(xs: &[f64]) -> f64 {
    sum(xs) / xs.len() as f64
}

/// Largest magnitude; a NaN is passed over.
#[inline]
pub(super) fn max_abs(xs: &[f64]) -> f64 {
    let mut acc = [0.0_f64; LANES];
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = chunk[lane].abs();
            acc[lane] = if x > acc[lane] { x } else { acc[lane] };
        }
    }
    rest.iter().map(|x| x.abs()).chain(acc).fold(0.0, f64::max)
}

/// Sample standard deviation (ddof 1) about a mean computed before; NaN below two values.
#[inline]
pub(super) fn std_about(xs: &[f64], mean: f64) -> f64 {
    if xs.len() < 2 {
        return f64::NAN;
    }
    let [d1, d2] = sums(xs, |x| {
        let d = each(|i| x[i] - mean);
        [d, each(|i| d[i] * d[i])]
    });
    variance(xs.len(), d1, d2).sqrt()
}

/// Variance (ddof 1) from the first two sums about an approximate mean: the first corrects for its rounding.
#[inline]
pub(super) fn variance(n: usize, d1: f64, d2: f64) -> f64 {
    let n = n as f64;
    let variance = (d2 - d1 * d1 / n) / (n - 1.0);
    // Not `max`, which would turn NaN into zero.
    if variance < 0.0 { 0.0 } else { variance }
}

/// Whether a deviation is rounding only. `noise` is the absolute rounding of one value.
#[inline]
pub(super) fn is_flat(std: f64, max_abs: f64, noise: f64) -> bool {
    std <= (FLAT_REL * max_abs).max(noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_take_every_element_once() {
        for n in 0..20 {
            let xs: Vec<f64> = (1..=n).map(f64::from).collect();
            let [s1, s2] = sums(&xs, |x| [x, each(|i| x[i] * x[i])]);
            let n = f64::from(n);
            assert_eq!(s1, n * (n + 1.0) / 2.0);
            assert_eq!(s2, n * (n + 1.0) * (2.0 * n + 1.0) / 6.0);
        }
    }

    #[test]
    fn deviation_of_a_few_values() {
        // mean 5, squares 9+1+1+1+0+0+4+16 = 32, 32/7
        let xs = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&xs), 5.0);
        assert!((std_about(&xs, 5.0) - (32.0_f64 / 7.0).sqrt()).abs() < 1e-15);
        assert!(std_about(&xs[..1], 2.0).is_nan());
        assert!(mean(&[]).is_nan());
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        // 1e9 + {0, 1, 2}: variance 1; a sum of squares would have lost it.
        let xs = [1e9, 1e9 + 1.0, 1e9 + 2.0];
        assert_eq!(std_about(&xs, mean(&xs)), 1.0);
    }

    #[test]
    fn largest_magnitude_in_every_position() {
        for at in 0..9 {
            let mut xs = [0.5; 9];
            xs[at] = -3.0;
            assert_eq!(max_abs(&xs), 3.0, "position {at}");
        }
        assert_eq!(max_abs(&[]), 0.0);
        assert_eq!(max_abs(&[f64::NAN, 2.0]), 2.0);
    }
}
