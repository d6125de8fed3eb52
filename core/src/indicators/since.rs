//! Bars since a condition last held.

use super::Truth;

/// 0 on a bar where the condition holds, then 1, 2, ...; undefined before the first. An undefined condition counts as one
/// that does not hold.
#[derive(Debug, Clone)]
pub struct BarsSince {
    bars: f64,
}

impl Default for BarsSince {
    fn default() -> Self {
        Self::new()
    }
}

impl BarsSince {
    pub fn new() -> Self {
        Self { bars: f64::NAN }
    }

    pub fn reset(&mut self) {
        self.bars = f64::NAN;
    }

    #[inline]
    pub fn update(&mut self, condition: Truth) -> f64 {
        self.bars = if condition.holds() { 0.0 } else { self.bars + 1.0 };
        if self.bars.is_nan() { f64::NAN } else { self.bars }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::check_column;

    #[test]
    fn counts_from_the_last_true() {
        let (f, u, t) = (Truth::FALSE, Truth::UNDEFINED, Truth::TRUE);
        let mut step = BarsSince::new();
        let got: Vec<f64> = [f, u, t, f, u, t].iter().map(|&c| step.update(c)).collect();
        check_column(&got, &[f64::NAN, f64::NAN, 0.0, 1.0, 2.0, 0.0]);
    }
}
