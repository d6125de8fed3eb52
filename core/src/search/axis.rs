//! One parameter as a density sees it.

use super::random::Random;
use libm::{exp, log, rint};

/// A number, or a choice without an order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Axis {
    /// From `low` to `high`, both included, at multiples of `step` above `low` (0: everywhere), spread evenly over the
    /// logarithm with `log`.
    Number { low: f64, high: f64, step: f64, log: bool },
    /// Positions below `n`.
    Choice { n: usize },
}

impl Axis {
    /// Checked: `low <= high`, both finite; above zero, with half a step to spare, for a logarithm; a choice of something.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match *self {
            Self::Number { low, high, step, log } => {
                low.is_finite()
                    && high.is_finite()
                    && low <= high
                    && step.is_finite()
                    && step >= 0.0
                    && (!log || low - 0.5 * step > 0.0)
            }
            Self::Choice { n } => n > 0,
        }
    }

    /// Where a value of a number lies in [0, 1], the range widened by half a step at both ends.
    pub(super) fn to_unit(self, value: f64) -> f64 {
        let Self::Number { log: is_log, .. } = self else { return value };
        let (first, width) = self.range();
        ((if is_log { log(value) } else { value }) - first) / width
    }

    /// The value at a place in [0, 1].
    pub(super) fn value_at(self, unit: f64) -> f64 {
        let Self::Number { low, high, step, log: is_log } = self else { return unit };
        let (first, width) = self.range();
        let scaled = first + unit * width;
        let value = if is_log { exp(scaled) } else { scaled };
        let value = if step > 0.0 { low + rint((value - low) / step) * step } else { value };
        value.clamp(low, high)
    }

    /// Where the cell of a value begins and ends in [0, 1].
    pub(super) fn cell(self, value: f64) -> (f64, f64) {
        let Self::Number { step, .. } = self else { return (value, value) };
        (self.to_unit(value - 0.5 * step), self.to_unit(value + 0.5 * step))
    }

    /// The width of the widest cell in [0, 1]; 0 without steps.
    pub(super) fn widest_cell(self) -> f64 {
        let Self::Number { low, .. } = self else { return 0.0 };
        let (first, last) = self.cell(low);
        last - first
    }

    /// A value at a share of the axis: every value, or choice, has an equal part of [0, 1).
    pub(super) fn at_share(self, share: f64) -> f64 {
        match self {
            Self::Number { .. } => self.value_at(share),
            Self::Choice { n } => (share * n as f64).floor().min(n as f64 - 1.0),
        }
    }

    fn range(self) -> (f64, f64) {
        let Self::Number { low, high, step, log: is_log } = self else { return (0.0, 1.0) };
        let (low, high) = (low - 0.5 * step, high + 0.5 * step);
        let (low, high) = if is_log { (log(low), log(high)) } else { (low, high) };
        (low, if high > low { high - low } else { 1.0 })
    }
}

/// `n` points that fill every axis evenly, in random combination: a Latin hypercube. One row after another.
pub(super) fn spread(axes: &[Axis], n: usize, random: &mut Random) -> Vec<f64> {
    let mut points = vec![0.0; n * axes.len()];
    let mut places: Vec<usize> = (0..n).collect();
    for (ix, axis) in axes.iter().enumerate() {
        for last in (1..n).rev() {
            places.swap(last, random.below(last + 1));
        }
        for (row, &place) in points.chunks_exact_mut(axes.len()).zip(&places) {
            let share = (place as f64 + random.unit()) / n as f64;
            if let Some(value) = row.get_mut(ix) {
                *value = axis.at_share(share);
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(low: f64, high: f64, step: f64, log: bool) -> Axis {
        Axis::Number { low, high, step, log }
    }

    #[test]
    fn ends() {
        let axis = number(1.0, 8.0, 1.0, true);
        assert_eq!((axis.value_at(0.0), axis.value_at(1.0)), (1.0, 8.0));
        assert_eq!(axis.cell(1.0).0, 0.0);
        assert_eq!(number(2.0, 2.0, 0.0, false).value_at(0.7), 2.0);
        assert!(!number(0.5, 8.0, 1.0, true).is_valid());
        assert!(!Axis::Choice { n: 0 }.is_valid());
        assert!(!number(3.0, 2.0, 0.0, false).is_valid());
    }

    #[test]
    fn a_spread_has_one_point_in_every_part() {
        let axes = [number(0.0, 1.0, 0.0, false), Axis::Choice { n: 4 }];
        let points = spread(&axes, 16, &mut Random::new(0));
        let mut parts: Vec<_> = points.chunks_exact(2).map(|row| (row[0] * 16.0) as usize).collect();
        parts.sort_unstable();
        assert_eq!(parts, (0..16).collect::<Vec<_>>());
        for choice in 0..4 {
            assert_eq!(points.chunks_exact(2).filter(|row| row[1] == f64::from(choice)).count(), 4);
        }
    }

    proptest! {
        #[test]
        fn values_come_back(unit in 0.0..1.0_f64, step in prop::sample::select(vec![0.0, 1.0, 0.25]), log in any::<bool>()) {
            let axis = number(2.0, 40.0, step, log);
            let value = axis.value_at(unit);
            prop_assert!((2.0..=40.0).contains(&value));
            let again = axis.value_at(axis.to_unit(value));
            prop_assert!((again - value).abs() <= 1e-12 * value);
            let (first, last) = axis.cell(value);
            prop_assert!(step == 0.0 || (first - 1e-12 <= unit && unit <= last + 1e-12));
        }
    }
}
