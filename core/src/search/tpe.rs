//! Many suggestions from one fit of a tree-structured Parzen estimator.
//!
//! The method of Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011), with all parameters in
//! one density: a suggestion is the best of some candidates drawn from the density of the good points, compared by the
//! ratio to the density of the others. A group shares the fit. Each suggestion joins the other points at once, so that
//! a group does not meet in one place.

use super::axis::{Axis, spread};
use super::parzen::Parzen;
use super::random::Random;

const GOOD_SHARE: f64 = 0.1;
const MOST_GOOD: usize = 25;

/// Numbers of the method.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Points that have ended before the densities are used; until then points are spread evenly.
    pub n_startup: usize,
    /// Candidates for each suggestion.
    pub n_candidates: usize,
}

/// What is known, in the order of asking: one row of `points` and one element of the others each.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub points: &'a [f64],
    /// To be minimised.
    pub losses: &'a [f64],
    /// How far each came: infinity for a value, the step of its last value for one that was stopped, minus infinity for
    /// one that has none.
    pub depths: &'a [f64],
    /// Sums of broken constraints; above zero counts as worse than every point that breaks none.
    pub violations: &'a [f64],
    pub running: &'a [bool],
}

/// `n` points, one row of `axes.len()` values after another. They depend on nothing but the arguments.
///
/// A point that is known, or is part of the group already, is suggested only when no candidate is new: the objective is
/// taken to give the same value every time. None if columns differ in length or an axis is not valid.
#[must_use]
pub fn suggest(axes: &[Axis], seen: Seen<'_>, n: usize, settings: Settings, seed: u64) -> Option<Vec<f64>> {
    let n_seen = seen.running.len();
    let lengths = [seen.losses.len(), seen.depths.len(), seen.violations.len()];
    if axes.is_empty()
        || !axes.iter().all(Axis::is_valid)
        || seen.points.len() != n_seen * axes.len()
        || lengths != [n_seen; 3]
    {
        return None;
    }
    let mut random = Random::new(seed);
    let n_ended = seen.running.iter().filter(|&&running| !running).count();
    if n_ended < settings.n_startup {
        return Some(spread(axes, n, &mut random));
    }
    let is_good = good(&seen, n_ended);
    let rows = |wanted: bool| -> Vec<f64> {
        let rows = seen.points.chunks_exact(axes.len()).zip(&is_good);
        rows.filter(|&(_, &good)| good == wanted).flat_map(|(row, _)| row).copied().collect()
    };
    let (mut near, mut far) = (Parzen::new(axes, &rows(true)), Parzen::new(axes, &rows(false)));
    let mut picks: Vec<f64> = Vec::with_capacity(n * axes.len());
    for left in (0..n).rev() {
        let candidates = near.sample(settings.n_candidates, &mut random);
        let gains = near.ln_density(&candidates);
        let costs = far.ln_density(&candidates);
        let mut scored: Vec<(f64, &[f64])> = gains
            .iter()
            .zip(costs)
            .map(|(gain, cost)| gain - cost)
            .zip(candidates.chunks_exact(axes.len()))
            .collect();
        // The best first; of equal ones the first.
        scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let is_new = |point: &[f64]| {
            !seen
                .points
                .chunks_exact(axes.len())
                .chain(picks.chunks_exact(axes.len()))
                .any(|row| row == point)
        };
        let best = scored.iter().find(|(_, point)| is_new(point)).or_else(|| scored.first());
        let pick = best.map_or_else(|| spread(axes, 1, &mut random), |(_, point)| point.to_vec());
        if left > 0 {
            far.push(&pick);
        }
        picks.extend(pick);
    }
    Some(picks)
}

/// Which points are good: the best tenth, a bounded number of them. Running ones never are.
fn good(seen: &Seen<'_>, n_ended: usize) -> Vec<bool> {
    let n_good = ((GOOD_SHARE * n_ended as f64).ceil() as usize).min(MOST_GOOD).min(n_ended);
    // Of those that break a constraint the least broken is the best; of the others those that came the furthest.
    let rank = |ix: usize| {
        if seen.violations[ix] > 0.0 {
            (1, 0.0, seen.violations[ix])
        } else {
            (0, -seen.depths[ix], seen.losses[ix])
        }
    };
    let mut order: Vec<usize> = (0..seen.running.len()).filter(|&ix| !seen.running[ix]).collect();
    order.sort_by(|&a, &b| {
        let (one, other) = (rank(a), rank(b));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.total_cmp(&other.2))
    });
    let mut is_good = vec![false; seen.running.len()];
    for &ix in order.iter().take(n_good) {
        is_good[ix] = true;
    }
    is_good
}
