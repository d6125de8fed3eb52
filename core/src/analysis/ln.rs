//! A natural logarithm for whole columns: without branches, so that a loop over it becomes vector instructions,
//! and of basic operations only, so that it has the same bits on every machine.

use super::numeric::{LANES, each};

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

const MANTISSA_BITS: u32 = 52;
const BIAS: u64 = 1023 << MANTISSA_BITS;
/// The bits of the square root of one half.
const ROOT_OF_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
/// A number whose lowest mantissa bit is worth 1: an integer below 2^52 in its place makes it that much larger.
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// `ln(x)` to about two units in the last place; NaN for what is not a normal number above zero.
#[inline(always)]
fn ln(x: f64) -> f64 {
    // x = m 2^k with m from sqrt(1/2) to sqrt(2), so that x near 1 has k = 0 and keeps all its digits.
    let bits = x.to_bits();
    let exponent = bits.wrapping_sub(ROOT_OF_HALF).wrapping_add(BIAS) >> MANTISSA_BITS;
    let m = f64::from_bits(bits.wrapping_sub(exponent << MANTISSA_BITS).wrapping_add(BIAS));
    let k = f64::from_bits(TWO_52.to_bits() | exponent) - (TWO_52 + 1023.0);
    // ln(m) = 2 atanh(s)
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    // In pairs rather than one after the other: shorter chains of dependent operations.
    let (z2, [t0, t1, t2, t3, t4, t5, t6]) = (z * z, TAIL);
    let tail = (t0 + t1 * z) + (t2 + t3 * z) * z2 + ((t4 + t5 * z) + t6 * z2) * (z2 * z2);
    let value = k * std::f64::consts::LN_2 + (2.0 * s + 2.0 * s * (z * tail));
    if (f64::MIN_POSITIVE..f64::INFINITY).contains(&x) { value } else { f64::NAN }
}

/// Writes `ln(x * scale)` of every element.
pub(super) fn ln_column(xs: &[f64], scale: f64, out: &mut Vec<f64>) {
    out.clear();
    out.resize(xs.len(), 0.0);
    let (from, rest) = xs.as_chunks::<LANES>();
    let (to, last) = out.as_chunks_mut::<LANES>();
    // An account that is out of the market keeps its equity, and with it the logarithm.
    let (mut known, mut known_ln) = (f64::NAN, f64::NAN);
    for (source, target) in from.iter().zip(to) {
        if source.iter().fold(true, |same, &x| same & (x == known)) {
            *target = [known_ln; LANES];
        } else {
            *target = each(|lane| ln(source[lane] * scale));
            (known, known_ln) = (source[LANES - 1], target[LANES - 1]);
        }
    }
    for (source, target) in rest.iter().zip(last) {
        *target = ln(source * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        ln_column(&xs, 2.0, &mut out);
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
