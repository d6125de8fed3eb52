//! The straight line through the logarithm of wealth.

use super::ln::ln_column;
use super::numeric::{LANES, Lanes, each, mean, total};

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
    pub fn of(wealth: &[f64], logs: &mut Vec<f64>) -> Self {
        let Some((first, points)) = wealth.split_first() else {
            return Self::UNDEFINED;
        };
        ln_column(points, 1.0 / first, logs);
        Self::of_points(logs)
    }

    /// Least squares of the points on their positions.
    pub(super) fn of_points(ys: &[f64]) -> Self {
        if ys.len() < 2 {
            return Self::UNDEFINED;
        }
        let n = ys.len() as f64;
        let centre = mean(ys);
        let mut xs: Lanes = each(|lane| lane as f64 - (n - 1.0) / 2.0);
        let (mut xy, mut yy) = ([0.0; LANES], [0.0; LANES]);
        let (chunks, rest) = ys.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let y = chunk[lane] - centre;
                xy[lane] += xs[lane] * y;
                yy[lane] += y * y;
                xs[lane] += LANES as f64;
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            let y = value - centre;
            xy[lane] += xs[lane] * y;
            yy[lane] += y * y;
        }
        let (sxy, syy) = (total(xy), total(yy));
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
    use super::*;

    #[test]
    fn a_small_regression() {
        // x = -1, 0, 1; y = 0, 3, 3: mean 2, syy = 4+1+1 = 6, sxy = 3, sxx = 2, R^2 = 9/12; slope 1.5, sse 1.5,
        // se = sqrt(1.5 / 1 / 2), t = 1.5 / sqrt(0.75)
        let trend = Trend::of_points(&[0.0, 3.0, 3.0]);
        assert!((trend.r_squared - 0.75).abs() < 1e-15);
        assert!((trend.slope_t - 1.5 / 0.75_f64.sqrt()).abs() < 1e-14);
        // x = -1.5, -0.5, 0.5, 1.5; y = 1, 0, 0, -2: mean -0.25, syy 4.75, sxy = -1.5 - 0 + 0 - 3 = -4.5, sxx 5
        let trend = Trend::of_points(&[1.0, 0.0, 0.0, -2.0]);
        assert!((trend.r_squared - 20.25 / 23.75).abs() < 1e-15);
        assert!(trend.slope_t < 0.0);
    }

    #[test]
    fn points_of_one_level_have_no_trend() {
        // The mean of three times this number is not this number.
        let level = 1.125_f64.ln();
        for n in 2..40 {
            assert!(Trend::of_points(&vec![level; n]).r_squared.is_nan(), "{n} points");
        }
    }

    #[test]
    fn a_straight_line_has_no_error_to_divide_by() {
        let mut wealth = vec![1.0];
        for i in 0..300 {
            wealth.push(wealth[i] * 1.001);
        }
        let trend = Trend::of(&wealth, &mut Vec::new());
        assert!((trend.r_squared - 1.0).abs() < 1e-12);
        assert!(trend.slope_t.is_nan());
    }

    #[test]
    fn no_variation_and_too_few_points() {
        let mut logs = Vec::new();
        assert!(Trend::of(&[2.0, 2.0, 2.0, 2.0], &mut logs).r_squared.is_nan());
        assert!(Trend::of(&[], &mut logs).r_squared.is_nan());
        assert!(Trend::of(&[1.0, 2.0], &mut logs).r_squared.is_nan());
        assert!((Trend::of(&[1.0, 2.0, 3.0], &mut logs).r_squared - 1.0).abs() < 1e-15);
        assert!(Trend::of(&[1.0, 2.0, 3.0], &mut logs).slope_t.is_nan());
    }
}
