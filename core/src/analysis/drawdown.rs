//! How far equity fell below its peak, and for how long.

use super::numeric::Sums;
use crate::wide::{ALL, Kernel, LANES, Lanes, Quad, dispatch};

/// The deepest drawdown, and what all drawdowns together amount to. Positions count from the first point.
///
/// Without any drawdown `depth` is zero and `start_ix == trough_ix`. Undefined (`depth` and `ulcer_index` NaN)
/// for no points, a first point not above zero, or a point that is not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawdown {
    /// `min(E / cummax(E) - 1)`: zero or negative; below -1 when equity fell below zero.
    pub depth: f64,
    /// The last point at the peak before the fall.
    pub start_ix: usize,
    pub trough_ix: usize,
    /// The first point after the trough that regains the peak.
    pub recovery_ix: Option<usize>,
    /// The longest way from a peak to the point that regains it, or to the last point; of any drawdown.
    pub longest_steps: usize,
    /// `sqrt(mean((E / cummax(E) - 1)^2))`.
    pub ulcer_index: f64,
}

impl Drawdown {
    const UNDEFINED: Self = Self {
        depth: f64::NAN,
        start_ix: 0,
        trough_ix: 0,
        recovery_ix: None,
        longest_steps: 0,
        ulcer_index: f64::NAN,
    };
}

/// Walks the points once, fall by fall.
pub fn drawdown(equity: &[f64]) -> Drawdown {
    dispatch(Walk(equity))
}

struct Walk<'a>(&'a [f64]);

impl Kernel for Walk<'_> {
    type Output = Drawdown;

    #[inline(always)]
    fn run<Q: Quad>(self, machine: Q::Machine) -> Drawdown {
        drawdown_of::<Q>(machine, self.0)
    }
}

#[inline(always)]
pub(super) fn drawdown_of<Q: Quad>(machine: Q::Machine, equity: &[f64]) -> Drawdown {
    let (Some(&first), n) = (equity.first(), equity.len()) else {
        return Drawdown::UNDEFINED;
    };
    if !(first > 0.0 && first.is_finite()) {
        return Drawdown::UNDEFINED;
    }
    let mut found = Drawdown { depth: 0.0, ulcer_index: 0.0, ..Drawdown::UNDEFINED };
    let (mut peak, mut squares, mut ix) = (first, 0.0, 1);
    while ix < n {
        ix += n_climbs::<Q>(machine, &equity[ix - 1..]);
        peak = equity[ix - 1];
        let fall = Fall::from::<Q>(machine, &equity[ix..], peak);
        if fall.n == 0 {
            break;
        }
        let (peak_ix, end_ix) = (ix - 1, ix + fall.n);
        squares += fall.squares;
        let depth = fall.low / peak - 1.0;
        if depth < found.depth {
            found.depth = depth;
            found.start_ix = peak_ix;
            let falling = &equity[ix..end_ix];
            found.trough_ix = ix + falling.iter().position(|&value| value == fall.low).unwrap_or(0);
            found.recovery_ix = (end_ix < n).then_some(end_ix);
        }
        found.longest_steps = found.longest_steps.max(end_ix.min(n - 1) - peak_ix);
        ix = end_ix;
    }
    // A point that is not finite became the peak (infinity) or reached the squares (all others).
    if !(peak.is_finite() && f64::is_finite(squares)) {
        return Drawdown::UNDEFINED;
    }
    found.ulcer_index = (squares / n as f64).sqrt();
    found
}

/// How many points after the first one climb on, or stay.
#[inline(always)]
fn n_climbs<Q: Quad>(machine: Q::Machine, points: &[f64]) -> usize {
    let Some((_, after)) = points.split_first() else { return 0 };
    let pairs = points.as_chunks::<LANES>().0.iter().zip(after.as_chunks::<LANES>().0);
    let climbs =
        |(old, new): &(&Lanes, &Lanes)| Q::new(machine, **old).at_most(Q::new(machine, **new)) == ALL;
    let n = pairs.take_while(climbs).count() * LANES;
    n + after[n..].iter().zip(&points[n..]).take_while(|(new, old)| new >= old).count()
}

/// The points below a peak until one regains it.
struct Fall {
    n: usize,
    low: f64,
    /// Sum of the squares of `E / peak - 1`.
    squares: f64,
}

impl Fall {
    #[inline(always)]
    fn from<Q: Quad>(machine: Q::Machine, points: &[f64], peak: f64) -> Self {
        let part = 1.0 / peak;
        let (peaks, parts) = (Q::splat(machine, peak), Q::splat(machine, part));
        let (mut lows, mut sums) = (Q::splat(machine, f64::INFINITY), Sums::<Q, 1>::new(machine));
        let mut n = 0;
        for chunk in points.as_chunks::<LANES>().0 {
            let quad = Q::new(machine, *chunk);
            if quad.below(peaks) != ALL {
                break;
            }
            let below = (quad - peaks) * parts;
            sums.add([below * below]);
            lows = quad.or_if_below(lows);
            n += LANES;
        }
        let [squares] = sums.totals();
        let mut fall = Self { n, low: lows.lanes().into_iter().fold(f64::INFINITY, f64::min), squares };
        for &value in &points[n..] {
            if value >= peak {
                break;
            }
            let below = (value - peak) * part;
            fall.squares += below * below;
            fall.low = if value < fall.low { value } else { fall.low };
            fall.n += 1;
        }
        fall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_deepest_of_two_recovers() {
        // 100 -> 90 (-10 %) -> 120 -> 60 (-50 %) -> 80 -> 120 regained at 6, first fall took 2 steps, second 3
        let found = drawdown(&[100.0, 90.0, 110.0, 120.0, 60.0, 80.0, 120.0, 130.0]);
        assert_eq!(found.depth, -0.5);
        assert_eq!((found.start_ix, found.trough_ix, found.recovery_ix), (3, 4, Some(6)));
        assert_eq!(found.longest_steps, 3);
        // squares: 0.01 + 0.25 + 1/9
        assert!((found.ulcer_index - ((0.26 + 1.0 / 9.0) / 8.0_f64).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn an_open_drawdown_lasts_to_the_end() {
        let found = drawdown(&[100.0, 101.0, 90.0, 95.0, 100.0]);
        assert!((found.depth - (90.0 / 101.0 - 1.0)).abs() < 1e-15);
        assert_eq!((found.start_ix, found.trough_ix, found.recovery_ix), (1, 2, None));
        assert_eq!(found.longest_steps, 3);
    }

    #[test]
    fn a_later_shallow_drawdown_does_not_move_the_recovery() {
        let found = drawdown(&[100.0, 50.0, 100.0, 90.0, 100.0]);
        assert_eq!((found.start_ix, found.trough_ix, found.recovery_ix), (0, 1, Some(2)));
    }

    #[test]
    fn a_plateau_starts_at_its_last_point() {
        let found = drawdown(&[100.0, 100.0, 100.0, 99.0]);
        assert_eq!((found.start_ix, found.longest_steps), (2, 1));
    }

    #[test]
    fn none_at_all() {
        let found = drawdown(&[1.0, 1.0, 2.0, 3.0]);
        assert_eq!((found.depth, found.ulcer_index, found.longest_steps), (0.0, 0.0, 0));
        assert_eq!(found.recovery_ix, None);
        assert_eq!(drawdown(&[5.0]).depth, 0.0);
    }

    #[test]
    fn equity_below_zero_is_more_than_everything() {
        let found = drawdown(&[100.0, -30.0, 10.0]);
        assert!((found.depth - -1.3).abs() < 1e-15);
    }

    #[test]
    fn undefined_inputs() {
        for points in
            [&[][..], &[0.0, 1.0], &[-1.0], &[f64::NAN, 1.0], &[1.0, f64::NAN], &[1.0, f64::INFINITY]]
        {
            let found = drawdown(points);
            assert!(found.depth.is_nan() && found.ulcer_index.is_nan(), "{points:?}");
        }
        assert!(drawdown(&[1.0, f64::NEG_INFINITY, 2.0]).depth.is_nan());
        assert!(drawdown(&[1.0, f64::INFINITY, 2.0]).depth.is_nan());
    }

    /// The definitions, point by point.
    fn slow(equity: &[f64]) -> Drawdown {
        let peak_before = |ix: usize| equity[..=ix].iter().copied().fold(0.0, f64::max);
        let depths: Vec<f64> = (0..equity.len()).map(|ix| equity[ix] / peak_before(ix) - 1.0).collect();
        let depth = depths.iter().copied().fold(0.0, f64::min);
        let trough_ix = depths.iter().position(|&d| d == depth).unwrap_or(0);
        let peak = peak_before(trough_ix);
        let start_ix = (0..=trough_ix).rev().find(|&ix| equity[ix] == peak).unwrap_or(0);
        let recovery_ix =
            (trough_ix + 1..equity.len()).find(|&ix| equity[ix] >= peak).filter(|_| depth < 0.0);
        let mut longest_steps = 0;
        for start in 0..equity.len() {
            if equity[start] == peak_before(start)
                && equity.get(start + 1).is_some_and(|&next| next < equity[start])
            {
                let end = (start + 1..equity.len()).find(|&ix| equity[ix] >= equity[start]);
                longest_steps = longest_steps.max(end.unwrap_or(equity.len() - 1) - start);
            }
        }
        let squares: f64 = depths.iter().map(|d| d * d).sum();
        let ulcer_index = (squares / equity.len() as f64).sqrt();
        Drawdown { depth, start_ix, trough_ix, recovery_ix, longest_steps, ulcer_index }
    }

    proptest! {
        /// Few distinct values make equal peaks and equal troughs common.
        #[test]
        fn agrees_with_the_definitions(values in prop::collection::vec(1..12_u32, 1..60)) {
            let equity: Vec<f64> = values.into_iter().map(f64::from).collect();
            let (found, expected) = (drawdown(&equity), slow(&equity));
            prop_assert!((found.ulcer_index - expected.ulcer_index).abs() < 1e-14);
            if expected.depth == 0.0 {
                prop_assert_eq!(found.start_ix, found.trough_ix);
                prop_assert_eq!((found.depth, found.longest_steps, found.recovery_ix), (0.0, 0, None));
            } else {
                prop_assert_eq!(Drawdown { ulcer_index: expected.ulcer_index, ..found }, expected);
            }
        }
    }
}
