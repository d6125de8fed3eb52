//! `e` to the power of many numbers at a time.

/// `1 / k!` for the powers of a number below `ln(2) / 2`: the first that is left out is 2e-16 of the value.
const FACTORS: [f64; 13] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
];
/// Added to a number below 2^51 it leaves the nearest whole number in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// The first 32 bits of `ln(2)`, whose products with whole numbers are exact, and the rest.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// The least power whose value is a normal number.
pub(super) const LEAST: f64 = -700.0;

/// `e^x` to two units in the last place, for numbers from `LEAST` to 0; without branches, so that it becomes vector
/// instructions.
#[inline(always)]
pub(super) fn exp<const N: usize>(xs: [f64; N]) -> [f64; N] {
    let mut values = [0.0; N];
    for (value, &x) in values.iter_mut().zip(&xs) {
        let shifted = x * std::f64::consts::LOG2_E + ROUND;
        let whole = shifted - ROUND;
        let r = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
        let mut sum = FACTORS[12];
        for factor in FACTORS[..12].iter().rev() {
            sum = sum * r + factor;
        }
        let power = (shifted.to_bits().wrapping_add(1023)) << 52;
        *value = sum * f64::from_bits(power);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges() {
        assert_eq!(exp([0.0]), [1.0]);
        assert!((exp([LEAST])[0] / libm::exp(LEAST) - 1.0).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(xs in prop::array::uniform4(LEAST..0.0)) {
            for (x, value) in xs.into_iter().zip(exp(xs)) {
                prop_assert!((value / libm::exp(x) - 1.0).abs() < 1e-15, "e^{x}: {value}");
            }
        }
    }
}
