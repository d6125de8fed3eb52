//! A natural logarithm for whole columns: without branches, so that a loop over it becomes vector instructions,
//! and of basic operations only, so that it has the same bits on every machine.

use super::numeric::{Sums, padded};
use crate::wide::{ALL, LANES, Quad};

/// `(atanh(s) / s - 1) / s^2` as a polynomial in `s^2`: interpolated at the seven Chebyshev points of the range
/// that `abs(s) <= (sqrt(2) - 1) / (sqrt(2) + 1)` leaves. Its error in `ln` is below 1e-17 of the value.
const TAIL: [f64; 7] = [
    0.333_333_333_333_333_5,
    0.199_999_999_999_497_52,
    0.142_857_143_129_877_57,
    0.111_111_055_673_952_73,
    0.090_914_445_627_960_5,
    0.076_658_607_947_871_53,
    0.073_082_249_103_912_38,
];

/// `ln(x)` to about two units in the last place; NaN for what is not a normal number above zero.
#[inline(always)]
fn ln<Q: Quad>(machine: Q::Machine, x: Q) -> Q {
    let same = |value: f64| Q::splat(machine, value);
    // x = m 2^k with m from sqrt(1/2) to sqrt(2), so that x near 1 has k = 0 and keeps all its digits.
    let (m, k) = x.mantissa_and_exponent();
    // ln(m) = 2 atanh(s)
    let s = (m - same(1.0)) / (m + same(1.0));
    let z = s * s;
    // In pairs rather than one after the other: shorter chains of dependent operations.
    let (z2, [t0, t1, t2, t3, t4, t5, t6]) = (z * z, TAIL.map(same));
    let tail = (t0 + t1 * z) + (t2 + t3 * z) * z2 + ((t4 + t5 * z) + t6 * z2) * (z2 * z2);
    let twice = same(2.0) * s;
    let value = k * same(std::f64::consts::LN_2) + (twice + twice * (z * tail));
    let below_infinity = same(f64::INFINITY).if_above(x, value, same(f64::NAN));
    same(f64::MIN_POSITIVE).if_above(x, same(f64::NAN), below_infinity)
}

/// Writes `ln(x * scale)` of every element; gives their sum.
#[inline(always)]
pub(super) fn ln_column<Q: Quad>(machine: Q::Machine, xs: &[f64], scale: f64, out: &mut Vec<f64>) -> f64 {
    // Old values are overwritten below; only growth has to be filled in.
    out.resize(xs.len(), 0.0);
    let mut sum = Sums::<Q, 1>::new(machine);
    let scale = Q::splat(machine, scale);
    let (from, rest) = xs.as_chunks::<LANES>();
    let (to, last) = out.as_chunks_mut::<LANES>();
    // An account that is out of the market keeps its equity, and with it the logarithm.
    let (mut known, mut known_ln) = (Q::splat(machine, f64::NAN), Q::splat(machine, f64::NAN));
    for (source, target) in from.iter().zip(to) {
        let x = Q::new(machine, *source);
        if x.equal(known) != ALL {
            let lns = ln(machine, x * scale);
            *target = lns.lanes();
            sum.add([lns]);
            known = Q::splat(machine, source[LANES - 1]);
            known_ln = Q::splat(machine, target[LANES - 1]);
        } else {
            *target = known_ln.lanes();
            sum.add([known_ln]);
        }
    }
    let lns = ln(machine, Q::new(machine, padded(rest, 1.0)) * scale);
    last.copy_from_slice(&lns.lanes()[..last.len()]);
    sum.add_first(machine, [lns], last.len());
    let [total] = sum.totals();
    total
}

#[cfg(test)]
mod tests {
    use super::super::numeric::sum;
    use super::*;
    use crate::wide::Plain;
    use proptest::prelude::*;

    fn ln(x: f64) -> f64 {
        super::ln((), Plain::splat((), x)).lanes()[0]
    }

    #[test]
    fn edges() {
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(2.0), std::f64::consts::LN_2);
        assert!((ln(f64::MAX) - f64::MAX.ln()).abs() < 1e-12);
        assert!((ln(f64::MIN_POSITIVE) - f64::MIN_POSITIVE.ln()).abs() < 1e-12);
        for outside in [0.0, -0.0, -1.0, 1e-310, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(ln(outside).is_nan(), "{outside}");
        }
    }

    #[test]
    fn a_column_is_its_elements() {
        let mut xs: Vec<f64> = (1..20).map(|i| f64::from(i) * 0.3).collect();
        xs[6..17].fill(1.5);
        let mut out = vec![9.0; 40];
        let total = ln_column::<Plain>((), &xs, 2.0, &mut out);
        assert_eq!(total, sum(&out));
        assert_eq!(out, xs.iter().map(|x| ln(x * 2.0)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(near_one in -0.5..1.0_f64, exponent in -300.0..300.0_f64, tiny in -12.0..-1.0_f64) {
            for x in [1.0 + near_one, 10.0_f64.powf(exponent), 1.0 + 10.0_f64.powf(tiny), 1.0 - 10.0_f64.powf(tiny)] {
                let expected = x.ln();
                prop_assert!((ln(x) - expected).abs() <= 1e-15 * expected.abs(), "ln({x}) = {} not {expected}", ln(x));
            }
        }
    }
}
