//! Stretches of a column without gaps, so that inner loops need no check.

use std::ops::Range;

/// The maximal ranges of finite values, in order.
#[derive(Debug)]
pub(crate) struct FiniteRuns<'a> {
    x: &'a [f64],
    at: usize,
}

impl<'a> FiniteRuns<'a> {
    pub fn of(x: &'a [f64]) -> Self {
        Self { x, at: 0 }
    }
}

impl Iterator for FiniteRuns<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let skipped = self.x[self.at..].iter().position(|v| v.is_finite())?;
        let start = self.at + skipped;
        let length = self.x[start..].iter().position(|v| !v.is_finite()).unwrap_or(self.x.len() - start);
        self.at = start + length;
        Some(start..self.at)
    }
}

/// Applies a kernel to every gapless stretch and writes NaN in the gaps.
#[inline]
pub(crate) fn over_runs(x: &[f64], out: &mut [f64], mut kernel: impl FnMut(&[f64], &mut [f64])) {
    let mut written = 0;
    for range in FiniteRuns::of(x) {
        out[written..range.start].fill(f64::NAN);
        written = range.end;
        kernel(&x[range.clone()], &mut out[range]);
    }
    out[written..].fill(f64::NAN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_column_with_gaps() {
        let nan = f64::NAN;
        let ranges: Vec<_> = FiniteRuns::of(&[nan, 1.0, 2.0, f64::INFINITY, nan, 3.0]).collect();
        assert_eq!(ranges, [1..3, 5..6]);
        assert_eq!(FiniteRuns::of(&[]).count(), 0);
        assert_eq!(FiniteRuns::of(&[nan]).count(), 0);
    }
}
