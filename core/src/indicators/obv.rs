//! On-balance volume.

use super::defined;

/// Starts at the first volume, then adds the volume of a bar that closes higher and takes away that of one that closes
/// lower; the first at index 0.
#[derive(Debug, Clone)]
pub struct Obv {
    last_close: f64,
    total: f64,
}

impl Default for Obv {
    fn default() -> Self {
        Self::new()
    }
}

impl Obv {
    pub fn new() -> Self {
        Self { last_close: f64::NAN, total: 0.0 }
    }

    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Takes the next close and volume and gives the balance, NaN while undefined.
    #[inline]
    pub fn update(&mut self, close: f64, volume: f64) -> f64 {
        if !(close.is_finite() && volume.is_finite()) {
            self.reset();
            return f64::NAN;
        }
        let last = std::mem::replace(&mut self.last_close, close);
        if last.is_nan() || close > last {
            self.total += volume;
        } else if close < last {
            self.total -= volume;
        }
        if !self.total.is_finite() {
            self.reset();
            return f64::NAN;
        }
        defined(self.total)
    }
}

/// Writes the on-balance volume.
pub fn obv(close: &[f64], volume: &[f64], out: &mut [f64]) {
    let mut step = Obv::new();
    for ((o, &c), &v) in out.iter_mut().zip(close).zip(volume) {
        *o = step.update(c, v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::check_column;

    #[test]
    fn sign_of_the_change() {
        let mut out = [0.0; 4];
        obv(&[1.0, 2.0, 2.0, 1.0], &[10.0, 20.0, 40.0, 80.0], &mut out);
        check_column(&out, &[10.0, 30.0, 30.0, -50.0]);
    }
}
