//! Crossings of two series.

use super::Truth;

/// `a[t-1] <= b[t-1] and a[t] > b[t]`; a comparison with an undefined value is undefined.
#[derive(Debug, Clone)]
pub struct CrossAbove(Pair);

/// `a[t-1] >= b[t-1] and a[t] < b[t]`; a comparison with an undefined value is undefined.
#[derive(Debug, Clone)]
pub struct CrossBelow(Pair);

#[derive(Debug, Clone, Copy)]
struct Pair {
    a: f64,
    b: f64,
}

const UNDEFINED: Pair = Pair { a: f64::NAN, b: f64::NAN };

impl Default for CrossAbove {
    fn default() -> Self {
        Self::new()
    }
}

impl CrossAbove {
    pub fn new() -> Self {
        Self(UNDEFINED)
    }

    pub fn reset(&mut self) {
        self.0 = UNDEFINED;
    }

    pub fn update(&mut self, a: f64, b: f64) -> Truth {
        let last = std::mem::replace(&mut self.0, Pair { a, b });
        crossed_above(last.a, last.b, a, b)
    }
}

impl Default for CrossBelow {
    fn default() -> Self {
        Self::new()
    }
}

impl CrossBelow {
    pub fn new() -> Self {
        Self(UNDEFINED)
    }

    pub fn reset(&mut self) {
        self.0 = UNDEFINED;
    }

    /// The mirror image of crossing above.
    pub fn update(&mut self, a: f64, b: f64) -> Truth {
        let last = std::mem::replace(&mut self.0, Pair { a, b });
        crossed_above(last.b, last.a, b, a)
    }
}

/// Kleene's `and` of the two comparisons: one that is false decides, even if the other is undefined.
#[inline]
fn crossed_above(last_a: f64, last_b: f64, a: f64, b: f64) -> Truth {
    let before = Truth::known(last_a <= last_b, !(last_a.is_nan() | last_b.is_nan()));
    let now = Truth::known(a > b, !(a.is_nan() | b.is_nan()));
    before.and(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_then_rising_is_a_cross() {
        let (mut above, mut below) = (CrossAbove::new(), CrossBelow::new());
        let a = [1.0, 2.0, 3.0, 2.0, 1.0, f64::NAN, 3.0];
        let got: Vec<_> =
            a.iter().map(|&a| (above.update(a, 2.0).holds(), below.update(a, 2.0).holds())).collect();
        let up = got.iter().position(|g| g.0);
        let down = got.iter().position(|g| g.1);
        assert_eq!((up, down), (Some(2), Some(4)));
        assert_eq!(got.iter().filter(|g| g.0 || g.1).count(), 2);
    }
}
