//! The value of some bars ago.

use std::collections::VecDeque;

/// `x[t-n]`; undefined for the first `n` bars. A gap moves along with the values and restarts nothing.
#[derive(Debug, Clone)]
pub struct Shift {
    past: VecDeque<f64>,
    n: usize,
}

impl Shift {
    /// `n` may be zero; it cannot be negative, which would look ahead.
    pub fn new(n: u32) -> Self {
        Self { past: VecDeque::new(), n: n as usize }
    }

    pub fn reset(&mut self) {
        self.past.clear();
    }

    /// Takes the next value and gives the one of `n` bars ago, NaN while undefined.
    pub fn update(&mut self, x: f64) -> f64 {
        self.past.push_back(super::defined(x));
        if self.past.len() > self.n { self.past.pop_front().unwrap_or(f64::NAN) } else { f64::NAN }
    }
}

/// Writes the values of `n` bars ago.
pub fn shift(x: &[f64], n: u32, out: &mut [f64]) {
    let n_blank = (n as usize).min(out.len());
    out[..n_blank].fill(f64::NAN);
    for (o, &value) in out[n_blank..].iter_mut().zip(x) {
        *o = super::defined(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::check_column;

    #[test]
    fn shifts_and_keeps_gaps() {
        let x = [1.0, f64::NAN, 3.0];
        let mut out = [0.0; 3];
        shift(&x, 1, &mut out);
        check_column(&out, &[f64::NAN, 1.0, f64::NAN]);
        shift(&x, 0, &mut out);
        check_column(&out, &x);
        shift(&x, u32::MAX, &mut out);
        check_column(&out, &[f64::NAN; 3]);
    }
}
