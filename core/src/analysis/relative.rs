//! Returns against the returns of a benchmark over the same periods.

use super::numeric::{is_flat, max_abs, mean, std_about};

/// What a benchmark explains and what is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Relative {
    pub beta: f64,
    /// Per period, over the risk-free return of a period.
    pub alpha: f64,
    /// Mean and standard deviation (ddof 1) of `r - b`, per period.
    pub active_mean: f64,
    pub active_std: f64,
    pub up_capture: f64,
    pub down_capture: f64,
}

impl Relative {
    pub const UNDEFINED: Self = Self {
        beta: f64::NAN,
        alpha: f64::NAN,
        active_mean: f64::NAN,
        active_std: f64::NAN,
        up_capture: f64::NAN,
        down_capture: f64::NAN,
    };

    /// Undefined when the two differ in length, because then they are not the same periods, and where a return is
    /// not finite. `active` is scratch.
    pub fn of(r: &[f64], b: &[f64], risk_free_per_period: f64, noise: f64, active: &mut Vec<f64>) -> Self {
        if r.len() != b.len() || r.is_empty() {
            return Self::UNDEFINED;
        }
        let (r_mean, b_mean) = (mean(r), mean(b));
        let (mut cross, mut square) = (0.0, 0.0);
        for (x, y) in r.iter().zip(b) {
            cross += (x - r_mean) * (y - b_mean);
            square += (y - b_mean) * (y - b_mean);
        }
        let b_std = (square / (r.len() as f64 - 1.0)).sqrt();
        let beta = if is_flat(b_std, max_abs(b), noise) { f64::NAN } else { cross / square };
        let alpha = (r_mean - risk_free_per_period) - beta * (b_mean - risk_free_per_period);
        active.clear();
        active.extend(r.iter().zip(b).map(|(x, y)| x - y));
        let active_mean = mean(active);
        if !active_mean.is_finite() {
            return Self::UNDEFINED;
        }
        let active_std = std_about(active, active_mean);
        let active_std =
            if is_flat(active_std, max_abs(r).max(max_abs(b)), noise) { 0.0 } else { active_std };
        Self {
            beta,
            alpha,
            active_mean,
            active_std,
            up_capture: capture(r, b, |y| y > 0.0),
            down_capture: capture(r, b, |y| y < 0.0),
        }
    }
}

/// Ratio of the geometric mean returns over the periods that `keep` picks by the benchmark's return.
fn capture(r: &[f64], b: &[f64], keep: impl Fn(f64) -> bool) -> f64 {
    let (mut own, mut other, mut n) = (0.0, 0.0, 0_usize);
    for (&x, &y) in r.iter().zip(b) {
        if keep(y) {
            own += x.ln_1p();
            other += y.ln_1p();
            n += 1;
        }
    }
    let n = n as f64;
    (own / n).exp_m1() / (other / n).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_benchmark_plus_a_constant() {
        let b = [0.01, -0.02, 0.03, 0.005];
        let r = b.map(|y| 2.0 * y + 0.001);
        let found = Relative::of(&r, &b, 0.0, 0.0, &mut Vec::new());
        assert!((found.beta - 2.0).abs() < 1e-14);
        assert!((found.alpha - 0.001).abs() < 1e-16);
        // With a risk-free return f: (2b + c - f) - 2 (b - f) = c + f
        let found = Relative::of(&r, &b, 0.0002, 0.0, &mut Vec::new());
        assert!((found.alpha - 0.0012).abs() < 1e-16);
    }

    #[test]
    fn captures_are_geometric() {
        // Up periods: r 10 %, 0 against b 4 %, 6 %: (1.1^(1/2) - 1) / ((1.04 * 1.06)^(1/2) - 1); down: -1 % / -2 %
        let found = Relative::of(&[0.1, 0.0, -0.01], &[0.04, 0.06, -0.02], 0.0, 0.0, &mut Vec::new());
        let expected = (1.1_f64.sqrt() - 1.0) / ((1.04 * 1.06_f64).sqrt() - 1.0);
        assert!((found.up_capture - expected).abs() < 1e-14);
        assert!((found.down_capture - 0.5).abs() < 1e-14);
    }

    #[test]
    fn nothing_to_compare() {
        let mut active = Vec::new();
        let same = Relative::of(&[0.01, 0.02], &[0.01, 0.02], 0.0, 0.0, &mut active);
        assert_eq!((same.active_std, same.active_mean), (0.0, 0.0));
        assert!(same.down_capture.is_nan());
        assert!(Relative::of(&[0.01, 0.02], &[0.01, 0.01], 0.0, 0.0, &mut active).beta.is_nan());
        assert!(Relative::of(&[0.01, 0.02], &[0.01], 0.0, 0.0, &mut active).beta.is_nan());
        assert!(Relative::of(&[], &[], 0.0, 0.0, &mut active).beta.is_nan());
        assert!(Relative::of(&[0.1], &[0.1], 0.0, 0.0, &mut active).beta.is_nan());
    }
}
