//! The straight line through the logarithm of wealth.

use super::ln::ln_column;
use super::numeric::{Sums, padded};
use crate::wide::{LANES, Quad, each};

/// `1 - R^2` below which the points lie on the line but for rounding: the standard error of the slope is
/// computed from this difference, which carries about this much of it.
const STRAIGHT: f64 = 1e-12;

/// Deviation, as a share of the level, that the mean of equal numbers may have from them.
const LEVEL: f64 = 1e-14;

/// Least squares of `ln(W_i / W_0)` on `i`, `i = 1..n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    pub r_squared: f64,
    /// Slope over its standard error; NaN on a straight line and below three points.
    pub slope_t: f64,
}

impl Trend {
    pub const UNDEFINED: Self = Self { r_squared: f64::NAN, slope_t: f64::NAN };

    /// `wealth` holds `n + 1` points above zero. `logs` is scratch.
    #[inline(always)]
    pub fn of<Q: Quad>(machine: Q::Machine, wealth: &[f64], logs: &mut Vec<f64>) -> Self {
        let Some((first, points)) = wealth.split_first() else {
            return Self::UNDEFINED;
        };
        let sum = ln_column::<Q>(machine, points, 1.0 / first, logs);
        Self::of_points::<Q>(machine, logs, sum)
    }

    /// Least squares of the points on their positions; `sum` is that of the points.
    #[inline(always)]
    fn of_points<Q: Quad>(machine: Q::Machine, ys: &[f64], sum: f64) -> Self {
        if ys.len() < 2 {
            return Self::UNDEFINED;
        }
        let n = ys.len() as f64;
        let centre = sum / n;
        let mut x = Q::new(machine, each(|lane| lane as f64 - (n - 1.0) / 2.0));
        let (level, step) = (Q::splat(machine, centre), Q::splat(machine, LANES as f64));
        let mut products = Sums::<Q, 2>::new(machine);
        let (chunks, rest) = ys.as_chunks::<LANES>();
        // Lanes without a point stand at the centre: they add nothing.
        for chunk in chunks.iter().chain([&padded(rest, centre)]) {
            let y = Q::new(machine, *chunk) - level;
            products.add([x * y, y * y]);
            x = x + step;
        }
        let [sxy, syy] = products.totals();
        let sxx = n * (n * n - 1.0) / 12.0;
        let r_squared = sxy * sxy / (sxx * syy);
        if !r_squared.is_finite() || syy <= n * (LEVEL * centre).powi(2) {
            return Self::UNDEFINED;
        }
        let r_squared = r_squared.min(1.0);
        let unexplained = 1.0 - r_squared;
        let slope_t = if ys.len() < 3 || unexplained <= STRAIGHT {
            f64::NAN
        } else {
            // slope / se = (sxy/sxx) / sqrt(sse / (n-2) / sxx), sse = syy (1 - R^2)
            sxy / (sxx * syy).sqrt() * ((n - 2.0) / unexplained).sqrt()
        };
        Self { r_squared, slope_t }
    }
}

#[cfg(test)]
mod tests {
    use super::super::numeric::sum;
    use super::*;
    use crate::wide::Plain;

    fn of_points(ys: &[f64]) -> Trend {
        Trend::of_points::<Plain>((), ys, sum(ys))
    }

    #[test]
    fn a_small_regression() {
        // x = -1, 0, 1; y = 0, 3, 3: mean 2, syy = 4+1+1 = 6, sxy = 3, sxx = 2, R^2 = 9/12; slope 1.5, sse 1.5,
        // se = sqrt(1.5 / 1 / 2), t = 1.5 / sqrt(0.75)
        let trend = of_points(&[0.0, 3.0, 3.0]);
        assert!((trend.r_squared - 0.75).abs() < 1e-15);
        assert!((trend.slope_t - 1.5 / 0.75_f64.sqrt()).abs() < 1e-14);
        // x = -1.5, -0.5, 0.5, 1.5; y = 1, 0, 0, -2: mean -0.25, syy 4.75, sxy = -1.5 - 0 + 0 - 3 = -4.5, sxx 5
        let trend = of_points(&[1.0, 0.0, 0.0, -2.0]);
        assert!((trend.r_squared - 20.25 / 23.75).abs() < 1e-15);
        assert!(trend.slope_t < 0.0);
    }

    #[test]
    fn points_of_one_level_have_no_trend() {
        // The mean of three times this number is not this number.
        let level = 1.125_f64.ln();
        for n in 2..40 {
            assert!(of_points(&vec![level; n]).r_squared.is_nan(), "{n} points");
        }
    }

    #[test]
    fn a_straight_line_has_no_error_to_divide_by() {
        let mut wealth = vec![1.0];
        for i in 0..300 {
            wealth.push(wealth[i] * 1.001);
        }
        let trend = Trend::of::<Plain>((), &wealth, &mut Vec::new());
        assert!((trend.r_squared - 1.0).abs() < 1e-12);
        assert!(trend.slope_t.is_nan());
    }

    #[test]
    fn no_variation_and_too_few_points() {
        let mut logs = Vec::new();
        assert!(Trend::of::<Plain>((), &[2.0, 2.0, 2.0, 2.0], &mut logs).r_squared.is_nan());
        assert!(Trend::of::<Plain>((), &[], &mut logs).r_squared.is_nan());
        assert!(Trend::of::<Plain>((), &[1.0, 2.0], &mut logs).r_squared.is_nan());
        assert!((Trend::of::<Plain>((), &[1.0, 2.0, 3.0], &mut logs).r_squared - 1.0).abs() < 1e-15);
        assert!(Trend::of::<Plain>((), &[1.0, 2.0, 3.0], &mut logs).slope_t.is_nan());
    }
}
