//! Masses of the standard normal distribution, in its tails as well.

use libm::{erf, erfc, exp, log, log1p};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// From here on the tail is taken from its asymptotic series: soon after it is too small to be a number.
const FAR: f64 = 30.0;
/// Cells this narrow, also when multiplied with where they are, are taken from a series around their middle.
const NARROW: f64 = 1.0 / 128.0;

/// The mass between two bounds that have the mean between them; `low <= 0 <= high`.
pub(super) fn mass_around(low: f64, high: f64) -> f64 {
    0.5 * (erf(high * FRAC_1_SQRT_2) - erf(low * FRAC_1_SQRT_2))
}

/// The logarithm of the mass between two bounds, `low < high`, to about 1e-13.
pub(super) fn ln_mass(low: f64, high: f64) -> f64 {
    // The lower tail mirrored: only an upper one has digits to lose.
    let (low, high) = if high <= 0.0 { (-high, -low) } else { (low, high) };
    let (middle, width) = (0.5 * (low + high), high - low);
    if width < NARROW && middle.abs() * width < NARROW {
        let (m2, w2) = (middle * middle, width * width);
        let curve = (m2 - 1.0) / 24.0 * w2 + (m2 * m2 - 6.0 * m2 + 3.0) / 1920.0 * w2 * w2;
        ln_peak() - 0.5 * m2 + log(width) + log1p(curve)
    } else if low <= 0.0 {
        log(mass_around(low, high))
    } else if low < FAR {
        log(0.5 * (erfc(low * FRAC_1_SQRT_2) - erfc(high * FRAC_1_SQRT_2)))
    } else {
        let rest = exp(-width * middle) * mills(high);
        ln_peak() - 0.5 * low * low + log(mills(low) - rest)
    }
}

/// The logarithm of the density at its mean.
fn ln_peak() -> f64 {
    -0.5 * log(2.0 * PI)
}

/// The tail above `x` divided by the density at `x`, for `x >= FAR`.
fn mills(x: f64) -> f64 {
    let z = 1.0 / (x * x);
    let terms = [-945.0, 105.0, -15.0, 3.0, -1.0, 1.0];
    terms.into_iter().fold(10_395.0, |sum, term| sum * z + term) / x
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The mass as a sum of densities on a fine grid (Simpson's rule), relative to that at the nearer bound.
    fn by_quadrature(low: f64, high: f64) -> f64 {
        let n = 20_000;
        let (near, step) = (
            if low > 0.0 {
                low
            } else if high < 0.0 {
                high
            } else {
                0.0
            },
            (high - low) / f64::from(n),
        );
        let at = |i: i32| {
            let x = low + step * f64::from(i);
            exp(-0.5 * (x - near) * (x + near))
        };
        let weight = |i: i32| {
            if i == 0 || i == n {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        let sum: f64 = (0..=n).map(|i| weight(i) * at(i)).sum();
        log(sum * step / 3.0) - 0.5 * near * near - 0.5 * log(2.0 * PI)
    }

    #[test]
    fn known_masses() {
        assert!((mass_around(-1.0, 1.0) - 0.682_689_492_137_085_9).abs() < 1e-15);
        // log(Q(10)) and log(Q(50)), from tables of the upper tail.
        assert!((ln_mass(10.0, 90.0) + 53.231_285_150_512_48).abs() < 1e-11);
        assert!((ln_mass(-400.0, -50.0) + 1_254.831_361_139_419_9).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn agrees_with_quadrature(low in -60.0..60.0_f64, log_width in -9.0..1.0_f64) {
            let high = low + 10.0_f64.powf(log_width);
            let (found, wanted) = (ln_mass(low, high), by_quadrature(low, high));
            prop_assert!((found - wanted).abs() < 1e-11 * wanted.abs().max(1.0), "{low} to {high}: {found}, {wanted}");
        }

        #[test]
        fn is_symmetric(low in -40.0..40.0_f64, width in 1e-6..10.0_f64) {
            let (one, other) = (ln_mass(low, low + width), ln_mass(-low - width, -low));
            prop_assert!((one - other).abs() <= 1e-12 * one.abs().max(1.0));
        }
    }
}
