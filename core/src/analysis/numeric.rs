//! Sums over slices and the test for "no variation".

use crate::wide::{LANES, Lanes, Plain, Quad, each};

/// What is left of a constant series after rounding, relative to its largest magnitude.
pub(super) const FLAT_REL: f64 = 1e-12;

/// Rounding of one return computed from two equities (`E_i/E_(i-1) - 1` of numbers that are themselves rounded).
/// A deviation below it says nothing about the equity.
pub(super) const EQUITY_NOISE: f64 = 4.0 * f64::EPSILON;

/// Running totals of `K` quantities, four chains each, so that the additions of a long slice overlap. The order of
/// additions is fixed, hence so are the bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums<Q, const K: usize>([Q; K]);

impl<Q: Quad, const K: usize> Sums<Q, K> {
    #[inline(always)]
    pub fn new(machine: Q::Machine) -> Self {
        Self([Q::splat(machine, 0.0); K])
    }

    #[inline(always)]
    pub fn add(&mut self, terms: [Q; K]) {
        for (total, term) in self.0.iter_mut().zip(terms) {
            *total = *total + term;
        }
    }

    /// Adds the terms of the first lanes only: whole quads all the same, since a zero added to a total that began at
    /// zero changes no bit of it.
    #[inline(always)]
    pub fn add_first(&mut self, machine: Q::Machine, terms: [Q; K], n_lanes: usize) {
        self.add(terms.map(|term| {
            let lanes = term.lanes();
            Q::new(machine, each(|lane| if lane < n_lanes { lanes[lane] } else { 0.0 }))
        }));
    }

    #[inline(always)]
    pub fn totals(self) -> [f64; K] {
        self.0.map(total)
    }
}

/// The elements behind the last whole chunk, and something else in the lanes that are left.
#[inline(always)]
pub(super) fn padded(rest: &[f64], with: f64) -> Lanes {
    each(|lane| rest.get(lane).copied().unwrap_or(with))
}

/// Sums `K` quantities of every element in one pass; `f` maps lanes to lanes, each by itself.
#[inline(always)]
pub(super) fn sums<Q: Quad, const K: usize>(
    machine: Q::Machine,
    xs: &[f64],
    f: impl Fn(Q) -> [Q; K],
) -> [f64; K] {
    let mut sums = Sums::new(machine);
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        sums.add(f(Q::new(machine, *chunk)));
    }
    sums.add_first(machine, f(Q::new(machine, padded(rest, 0.0))), rest.len());
    sums.totals()
}

#[inline(always)]
pub(super) fn total<Q: Quad>(quad: Q) -> f64 {
    let [a, b, c, d] = quad.lanes();
    (a + b) + (c + d)
}

/// The largest lane, or zero.
#[inline(always)]
pub(super) fn largest<Q: Quad>(quad: Q) -> f64 {
    quad.lanes().into_iter().fold(0.0, f64::max)
}

pub(super) fn sum(xs: &[f64]) -> f64 {
    let [total] = sums::<Plain, 1>((), xs, |x| [x]);
    total
}

/// NaN for an empty slice.
pub(super) fn mean(xs: &[f64]) -> f64 {
    sum(xs) / xs.len() as f64
}

/// Largest magnitude; a NaN is passed over.
pub(super) fn max_abs(xs: &[f64]) -> f64 {
    let (chunks, rest) = xs.as_chunks::<LANES>();
    let rest = padded(rest, 0.0);
    let sizes = chunks.iter().chain([&rest]).map(|chunk| Plain::new((), *chunk).abs());
    largest(sizes.fold(Plain::splat((), 0.0), |most, size| size.or_if_above(most)))
}

/// Sample standard deviation (ddof 1) about a mean computed before; NaN below two values.
pub(super) fn std_about(xs: &[f64], mean: f64) -> f64 {
    if xs.len() < 2 {
        return f64::NAN;
    }
    let mean = Plain::splat((), mean);
    let [d1, d2] = sums::<Plain, 2>((), xs, |x| {
        let d = x - mean;
        [d, d * d]
    });
    variance(xs.len(), d1, d2).sqrt()
}

/// Variance (ddof 1) from the first two sums about an approximate mean: the first corrects for its rounding.
#[inline(always)]
pub(super) fn variance(n: usize, d1: f64, d2: f64) -> f64 {
    let n = n as f64;
    let variance = (d2 - d1 * d1 / n) / (n - 1.0);
    // Not `max`, which would turn NaN into zero.
    if variance < 0.0 { 0.0 } else { variance }
}

/// Whether a deviation is rounding only. `noise` is the absolute rounding of one value.
#[inline(always)]
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
            let [s1, s2] = sums::<Plain, 2>((), &xs, |x| [x, x * x]);
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
