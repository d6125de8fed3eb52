//! Highest and lowest value of a moving window, the current value included.

use super::Period;
use super::runs::over_runs;
use std::collections::VecDeque;

/// The highest of the last `n` values; the first at index `n - 1`.
#[derive(Debug, Clone)]
pub struct Highest(Extreme);

/// The lowest of the last `n` values; the first at index `n - 1`.
#[derive(Debug, Clone)]
pub struct Lowest(Extreme);

impl Highest {
    pub fn new(n: Period) -> Self {
        Self(Extreme::new(n))
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Takes the next value and gives the highest, NaN while undefined.
    pub fn update(&mut self, x: f64) -> f64 {
        self.0.update(x, |new, kept| new >= kept).map_or(f64::NAN, |(_, value)| value)
    }

    /// The highest and how many bars ago it last stood.
    pub(crate) fn update_with_age(&mut self, x: f64) -> Option<(usize, f64)> {
        self.0.update(x, |new, kept| new >= kept)
    }
}

impl Lowest {
    pub fn new(n: Period) -> Self {
        Self(Extreme::new(n))
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Takes the next value and gives the lowest, NaN while undefined.
    pub fn update(&mut self, x: f64) -> f64 {
        self.0.update(x, |new, kept| new <= kept).map_or(f64::NAN, |(_, value)| value)
    }

    /// The lowest and how many bars ago it last stood.
    pub(crate) fn update_with_age(&mut self, x: f64) -> Option<(usize, f64)> {
        self.0.update(x, |new, kept| new <= kept)
    }
}

/// Writes the highest of each last `n` values. `work` is scratch memory that can be passed again.
pub fn highest(x: &[f64], n: Period, work: &mut Vec<u32>, out: &mut [f64]) {
    over_runs(x, out, |xs, ys| extreme_column(xs, n, work, ys, |new, kept| new >= kept));
}

/// Writes the lowest of each last `n` values. `work` is scratch memory that can be passed again.
pub fn lowest(x: &[f64], n: Period, work: &mut Vec<u32>, out: &mut [f64]) {
    over_runs(x, out, |xs, ys| extreme_column(xs, n, work, ys, |new, kept| new <= kept));
}

/// Candidates in order of age: each beats all older ones, so the front is the extreme.
#[derive(Debug, Clone)]
struct Extreme {
    candidates: VecDeque<(usize, f64)>,
    n: usize,
    seen: usize,
}

impl Extreme {
    fn new(n: Period) -> Self {
        Self { candidates: VecDeque::new(), n: n.get(), seen: 0 }
    }

    fn reset(&mut self) {
        self.candidates.clear();
        self.seen = 0;
    }

    /// The extreme with its age in bars; of equal ones the latest counts.
    #[inline]
    fn update(&mut self, x: f64, beats: impl Fn(f64, f64) -> bool) -> Option<(usize, f64)> {
        if !x.is_finite() {
            self.reset();
            return None;
        }
        let at = self.seen;
        self.seen += 1;
        while self.candidates.back().is_some_and(|&(_, kept)| beats(x, kept)) {
            self.candidates.pop_back();
        }
        self.candidates.push_back((at, x));
        if self.candidates.front().is_some_and(|&(old, _)| old + self.n <= at) {
            self.candidates.pop_front();
        }
        let &(best, value) = self.candidates.front()?;
        (self.seen >= self.n).then_some((at - best, value))
    }
}

/// The same over a stretch without gaps: positions of the candidates in `work`, from `head` to its end.
#[inline]
fn extreme_column(
    xs: &[f64],
    n: Period,
    work: &mut Vec<u32>,
    ys: &mut [f64],
    beats: impl Fn(f64, f64) -> bool,
) {
    let n = n.get();
    let mut head = 0;
    work.clear();
    for (i, (y, &x)) in ys.iter_mut().zip(xs).enumerate() {
        while work.len() > head && work.last().is_some_and(|&last| beats(x, xs[last as usize])) {
            work.pop();
        }
        work.push(i as u32);
        if work[head] as usize + n <= i {
            head += 1;
        }
        *y = if i + 1 >= n { xs[work[head] as usize] } else { f64::NAN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::testing::{check_column, period};

    #[test]
    fn three_bar_extremes() {
        let x = [3.0, 1.0, 2.0, 2.0, 5.0, 4.0];
        let (mut out, mut work) = ([0.0; 6], Vec::new());
        highest(&x, period(3), &mut work, &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 3.0, 2.0, 5.0, 5.0]);
        lowest(&x, period(3), &mut work, &mut out);
        check_column(&out, &[f64::NAN, f64::NAN, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn age_is_of_the_latest_equal() {
        let mut high = Highest::new(period(3));
        let ages: Vec<_> = [2.0, 2.0, 1.0, 1.0, 1.0].iter().map(|&x| high.update_with_age(x)).collect();
        assert_eq!(ages, [None, None, Some((1, 2.0)), Some((2, 2.0)), Some((0, 1.0))]);
    }
}
