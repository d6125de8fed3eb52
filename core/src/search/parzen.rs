//! The density of some points: a weighted mixture of one product kernel a point, and a wide one that stands for not
//! knowing.
//!
//! Kernels are truncated normals on numbers and smoothed indicators on choices, with the bandwidths of Bergstra et al.,
//! "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011) and Watanabe, "Tree-Structured Parzen Estimator"
//! (arXiv:2304.11127): a kernel is as wide as the larger gap to its neighbours. A step gives each value the mass of its
//! cell; where cells are much narrower than every kernel, the density stands for it.

use super::axis::Axis;
use super::cells::Cells;
use super::exp::{LEAST, exp};
use super::normal::mass_around;
use super::random::Random;
use crate::wide::widest;
use libm::log;

const PRIOR_WEIGHT: f64 = 1.0;
/// The latest points weigh 1 each; older ones less and less.
const N_FULL: usize = 25;
/// No kernel is narrower than the range divided by this number, or by the number of kernels if that is less.
const FINEST: f64 = 100.0;
/// Cells at most this wide are taken as a density: they are four times narrower than any kernel.
pub(super) const FINE_CELL: f64 = 0.25 / FINEST;
/// Draws from a normal until one is in the range, which a third of each is.
const N_DRAWS: usize = 64;
/// Points whose density is computed together, and kernels at a time: what is computed stays in the nearest cache.
const N_TOGETHER: usize = 24;
const TILE: usize = 64;
const LANES: usize = 4;
/// Terms of a sum whose logarithm is so far below the largest one are left out: thousands of them are not seen.
const NEGLIGIBLE: f64 = -46.0;

/// A number for each of some points.
pub(super) type Block = [f64; N_TOGETHER];

/// A Parzen estimator. Points can be added; it is then what it would be if it had been made with them.
#[derive(Debug)]
pub struct Parzen {
    columns: Vec<Column>,
    /// Kernel 0 is the wide one, the others are the points in the order of asking.
    weights: Vec<f64>,
    narrowest: f64,
}

/// One axis of all kernels.
#[derive(Debug)]
enum Column {
    /// The position of each kernel's choice above 0; 0 is no choice.
    Choice {
        n: usize,
        rows: Vec<u32>,
    },
    /// Normals: their densities, or where there are steps the masses of cells.
    Smooth {
        normals: Normals,
        terms: Vec<Term>,
    },
    Stepped {
        normals: Normals,
        cells: Cells,
        rows: Vec<u32>,
    },
}

/// What the density of a truncated normal at `x` is made of: `exp(slope (x - centre)^2 - norm)`.
#[derive(Debug, Clone, Copy, Default)]
struct Term {
    centre: f64,
    slope: f64,
    norm: f64,
}

/// The normals of a column, in [0, 1].
#[derive(Debug)]
struct Normals {
    axis: Axis,
    centres: Vec<f64>,
    widths: Vec<f64>,
    /// Kernels of points, by centre.
    order: Vec<u32>,
}

impl Parzen {
    /// `points` has a row of `axes.len()` values a point, in the order of asking: the later, the more a point weighs.
    #[must_use]
    pub fn new(axes: &[Axis], points: &[f64]) -> Self {
        let n_points = points.len().checked_div(axes.len()).unwrap_or(0);
        let narrowest = narrowest(n_points);
        let columns = axes.iter().enumerate().map(|(ix, &axis)| {
            Column::new(axis, points.iter().skip(ix).step_by(axes.len()).copied(), narrowest)
        });
        Self { columns: columns.collect(), weights: weights(n_points), narrowest }
    }

    /// Adds a point, a value for every axis.
    pub fn push(&mut self, point: &[f64]) {
        let n_points = self.weights.len();
        let narrowest = narrowest(n_points);
        for (column, &value) in self.columns.iter_mut().zip(point) {
            column.push(value, narrowest, narrowest != self.narrowest);
        }
        self.narrowest = narrowest;
        self.weights = weights(n_points);
    }

    /// Draws `n` points, one row after another.
    #[must_use]
    pub fn sample(&self, n: usize, random: &mut Random) -> Vec<f64> {
        let mut total = 0.0;
        let edges: Vec<f64> = self
            .weights
            .iter()
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        let mut points = Vec::with_capacity(n * self.columns.len());
        for _ in 0..n {
            let place = random.unit() * total;
            let kernel = edges.partition_point(|&edge| edge <= place).min(edges.len() - 1);
            points.extend(self.columns.iter().map(|column| column.draw(kernel, self.epsilon(), random)));
        }
        points
    }

    /// The logarithms of the density at some points, one row after another: of a probability for choices and steps, of
    /// a density over [0, 1] for what has none.
    pub fn ln_density(&mut self, points: &[f64]) -> Vec<f64> {
        let n_axes = self.columns.len();
        let epsilon = self.epsilon();
        let ln_total = log(self.weights.iter().sum());
        let mut densities = Vec::with_capacity(points.len().checked_div(n_axes).unwrap_or(0));
        for rows in points.chunks(N_TOGETHER * n_axes.max(1)) {
            let n_rows = rows.len() / n_axes;
            // What is missing of a block is the last point again.
            let at = |ix: usize| std::array::from_fn(|lane| rows[lane.min(n_rows - 1) * n_axes + ix]);
            let factors: Vec<Factor<'_>> = self
                .columns
                .iter_mut()
                .enumerate()
                .map(|(ix, column)| column.factor(at(ix), epsilon))
                .collect();
            let weights = &self.weights;
            let sums = widest(
                #[inline(always)]
                || ln_sums(weights, &factors),
            );
            densities.extend(sums[..n_rows].iter().map(|sum| sum - ln_total));
        }
        densities
    }

    /// What every choice has of a kernel that holds another one.
    fn epsilon(&self) -> f64 {
        PRIOR_WEIGHT / self.weights.len() as f64
    }
}

/// No kernel of so many points is narrower.
fn narrowest(n_points: usize) -> f64 {
    1.0 / FINEST.min(2.0 + n_points as f64)
}

/// Weights of the wide kernel and of points in the order of asking: the older, the less.
fn weights(n_points: usize) -> Vec<f64> {
    let n = n_points as f64;
    let n_ramp = n_points.saturating_sub(N_FULL);
    let step = (1.0 - 1.0 / n) / (n_ramp as f64 - 1.0).max(1.0);
    let ramp = (0..n_ramp).map(|i| 1.0 / n + step * i as f64);
    std::iter::once(PRIOR_WEIGHT).chain(ramp).chain(std::iter::repeat_n(1.0, n_points - n_ramp)).collect()
}

impl Column {
    fn new(axis: Axis, values: impl Iterator<Item = f64>, narrowest: f64) -> Self {
        if let Axis::Choice { n } = axis {
            return Self::Choice { n, rows: std::iter::once(0).chain(values.map(row_of_choice)).collect() };
        }
        let normals = Normals::new(axis, values, narrowest);
        let kernels = normals.centres.iter().zip(&normals.widths);
        let cell = axis.widest_cell();
        if cell <= FINE_CELL {
            let terms = kernels.map(|(&centre, &width)| Term::new(centre, width)).collect();
            return Self::Smooth { normals, terms };
        }
        let mut cells = Cells::new(axis);
        let rows = kernels.map(|(&centre, &width)| cells.row(centre, width)).collect();
        Self::Stepped { normals, cells, rows }
    }

    /// Adds a kernel; `all` when every width has another bound than before.
    fn push(&mut self, value: f64, narrowest: f64, all: bool) {
        match self {
            Self::Choice { rows, .. } => rows.push(row_of_choice(value)),
            Self::Smooth { normals, terms } => {
                terms.push(Term::default());
                normals.push(value, narrowest, all, |kernel, centre, width| {
                    terms[kernel] = Term::new(centre, width);
                });
            }
            Self::Stepped { normals, cells, rows } => {
                rows.push(0);
                normals.push(value, narrowest, all, |kernel, centre, width| {
                    rows[kernel] = cells.row(centre, width);
                });
            }
        }
    }

    fn draw(&self, kernel: usize, epsilon: f64, random: &mut Random) -> f64 {
        match self {
            Self::Choice { n, rows } => {
                let row = rows[kernel];
                let stays = random.unit() * (1.0 + *n as f64 * epsilon) < 1.0;
                if stays && row > 0 { f64::from(row - 1) } else { random.below(*n) as f64 }
            }
            Self::Smooth { normals, .. } | Self::Stepped { normals, .. } => normals.draw(kernel, random),
        }
    }

    /// What this axis contributes at some values.
    fn factor(&mut self, values: Block, epsilon: f64) -> Factor<'_> {
        match self {
            Self::Choice { n, rows } => {
                let n = *n;
                let (hit, other) = (
                    log((1.0 + epsilon) / (1.0 + n as f64 * epsilon)),
                    log(epsilon / (1.0 + n as f64 * epsilon)),
                );
                let no_choice = [log(1.0 / n as f64); N_TOGETHER];
                let of = |row: usize| values.map(|value| if value == row as f64 { hit } else { other });
                Factor::Rows { rows, table: std::iter::once(no_choice).chain((0..n).map(of)).collect() }
            }
            Self::Smooth { normals, terms } => {
                Factor::Smooth { terms, at: values.map(|v| normals.axis.to_unit(v)) }
            }
            Self::Stepped { cells, rows, .. } => Factor::Rows { rows, table: cells.table(&values) },
        }
    }
}

/// Choices stand behind the wide kernel, which has none.
fn row_of_choice(value: f64) -> u32 {
    value as u32 + 1
}

impl Term {
    fn new(centre: f64, width: f64) -> Self {
        let inside = mass_around(-centre / width, (1.0 - centre) / width);
        let norm = log(width * inside) + 0.5 * log(2.0 * std::f64::consts::PI);
        Self { centre, slope: -0.5 / (width * width), norm }
    }
}

impl Normals {
    fn new(axis: Axis, values: impl Iterator<Item = f64>, narrowest: f64) -> Self {
        let centres: Vec<f64> = std::iter::once(0.5).chain(values.map(|value| centre(axis, value))).collect();
        let mut order: Vec<u32> = (1..centres.len() as u32).collect();
        order.sort_by(|&a, &b| centres[a as usize].total_cmp(&centres[b as usize]));
        let mut made = Self { axis, widths: vec![1.0; centres.len()], centres, order };
        for place in 0..made.order.len() {
            made.widths[made.order[place] as usize] = made.width_at(place, narrowest);
        }
        made
    }

    /// Adds a kernel and hands out every kernel whose width is new.
    fn push(&mut self, value: f64, narrowest: f64, all: bool, mut changed: impl FnMut(usize, f64, f64)) {
        let (kernel, centre) = (self.centres.len(), centre(self.axis, value));
        // Behind its equals, as a sort that keeps their order puts the latest.
        let place = self.order.partition_point(|&other| self.centres[other as usize] <= centre);
        self.centres.push(centre);
        self.widths.push(f64::NAN);
        self.order.insert(place, kernel as u32);
        let places = if all {
            0..self.order.len()
        } else {
            place.saturating_sub(1)..(place + 2).min(self.order.len())
        };
        for place in places {
            let (kernel, width) = (self.order[place] as usize, self.width_at(place, narrowest));
            if self.widths[kernel] != width {
                self.widths[kernel] = width;
                changed(kernel, self.centres[kernel], width);
            }
        }
    }

    /// The larger gap to the neighbours; the ends of the range are none, but all that a single point has.
    fn width_at(&self, place: usize, narrowest: f64) -> f64 {
        let at = |place: usize| self.order.get(place).map(|&kernel| self.centres[kernel as usize]);
        let here = at(place).unwrap_or(0.5);
        let below = place.checked_sub(1).and_then(at).map(|other| here - other);
        let above = at(place + 1).map(|other| other - here);
        let gap = match (below, above) {
            (Some(below), Some(above)) => below.max(above),
            (Some(gap), None) | (None, Some(gap)) => gap,
            (None, None) => here.max(1.0 - here),
        };
        gap.clamp(narrowest, 1.0)
    }

    fn draw(&self, kernel: usize, random: &mut Random) -> f64 {
        let (centre, width) = (self.centres[kernel], self.widths[kernel]);
        let mut found = centre;
        for _ in 0..N_DRAWS {
            let (one, other) = random.normals();
            let inside = |z: f64| Some(centre + width * z).filter(|unit| (0.0..=1.0).contains(unit));
            if let Some(unit) = inside(one).or_else(|| inside(other)) {
                found = unit;
                break;
            }
        }
        self.axis.value_at(found)
    }
}

/// Where the kernel of a value lies; inside the range, whatever somebody has tried.
fn centre(axis: Axis, value: f64) -> f64 {
    let unit = axis.to_unit(value);
    if unit.is_nan() { 0.5 } else { unit.clamp(0.0, 1.0) }
}

/// One axis of a product: of every kernel and every point of a block a logarithm.
enum Factor<'a> {
    Smooth {
        terms: &'a [Term],
        at: Block,
    },
    /// The row of a table for each kernel.
    Rows {
        rows: &'a [u32],
        table: Vec<Block>,
    },
}

/// Logarithms of weighted sums of products of factors, one for each point of a block.
#[inline(always)]
fn ln_sums(weights: &[f64], factors: &[Factor<'_>]) -> Block {
    let (mut top, mut sums) = ([f64::NEG_INFINITY; N_TOGETHER], [0.0; N_TOGETHER]);
    let mut logs = [[0.0; N_TOGETHER]; TILE];
    for (ix, weights) in weights.chunks(TILE).enumerate() {
        let kernels = ix * TILE..ix * TILE + weights.len();
        let logs = &mut logs[..weights.len()];
        logs.fill([0.0; N_TOGETHER]);
        for factor in factors {
            match factor {
                Factor::Smooth { terms, at } => {
                    for (log, term) in logs.iter_mut().zip(&terms[kernels.clone()]) {
                        for (log, x) in log.iter_mut().zip(at) {
                            let away = x - term.centre;
                            *log += term.slope * away * away - term.norm;
                        }
                    }
                }
                Factor::Rows { rows, table } => {
                    for (log, &row) in logs.iter_mut().zip(&rows[kernels.clone()]) {
                        for (log, x) in log.iter_mut().zip(&table[row as usize]) {
                            *log += x;
                        }
                    }
                }
            }
        }
        let before = top;
        for log in &*logs {
            for (top, &log) in top.iter_mut().zip(log) {
                *top = if log > *top { log } else { *top };
            }
        }
        let mut rescale = before;
        for (rescale, top) in rescale.iter_mut().zip(&top) {
            *rescale = at_least(*rescale - top);
        }
        for (sum, factor) in sums.iter_mut().zip(exp(rescale)) {
            *sum *= factor;
        }
        for (log, weight) in logs.iter().zip(weights) {
            let quads = log.as_chunks::<LANES>().0.iter().zip(top.as_chunks::<LANES>().0);
            for ((log, top), sum) in quads.zip(sums.as_chunks_mut::<LANES>().0) {
                let below: [f64; LANES] = std::array::from_fn(|lane| log[lane] - top[lane]);
                if below.iter().any(|&log| log > NEGLIGIBLE) {
                    let shares = exp(below.map(at_least));
                    for (sum, share) in sum.iter_mut().zip(shares) {
                        *sum += weight * share;
                    }
                }
            }
        }
    }
    std::array::from_fn(|lane| top[lane] + log(sums[lane]))
}

/// A power that `exp` takes.
#[inline(always)]
fn at_least(x: f64) -> f64 {
    if x > LEAST { x } else { LEAST }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AXES: [Axis; 6] = [
        Axis::Number { low: -2.0, high: 3.0, step: 0.0, log: false },
        Axis::Number { low: 1e-4, high: 1.0, step: 0.0, log: true },
        Axis::Number { low: 0.0, high: 6.0, step: 1.0, log: false },
        Axis::Number { low: 0.0, high: 900.0, step: 1.0, log: false },
        Axis::Number { low: 1.0, high: 300.0, step: 1.0, log: true },
        Axis::Choice { n: 3 },
    ];

    fn points(n: usize, seed: u64) -> Vec<f64> {
        super::super::axis::spread(&AXES, n, &mut Random::new(seed))
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn points_that_are_added_are_as_points_from_the_beginning(n in 0_usize..130, more in 1_usize..8, seed in any::<u64>()) {
            let (all, asked) = (points(n + more, seed), points(30, !seed));
            let (first, rest) = all.split_at(n * AXES.len());
            let (mut grown, mut fresh) = (Parzen::new(&AXES, first), Parzen::new(&AXES, &all));
            for point in rest.chunks_exact(AXES.len()) {
                grown.push(point);
                // What has been computed before must not stay.
                grown.ln_density(&asked);
            }
            prop_assert_eq!(bits(&grown.ln_density(&asked)), bits(&fresh.ln_density(&asked)));
            let sample = |parzen: &Parzen| bits(&parzen.sample(20, &mut Random::new(seed)));
            prop_assert_eq!(sample(&grown), sample(&fresh));
        }
    }

    #[test]
    fn wide_registers_do_not_change_bits() {
        let mut parzen = Parzen::new(&AXES, &points(200, 1));
        let asked = points(N_TOGETHER, 2);
        let found = parzen.ln_density(&asked);
        let epsilon = parzen.epsilon();
        let at = |ix: usize| std::array::from_fn(|lane| asked[lane * AXES.len() + ix]);
        let factors: Vec<_> = parzen
            .columns
            .iter_mut()
            .enumerate()
            .map(|(ix, column)| column.factor(at(ix), epsilon))
            .collect();
        let ln_total = log(parzen.weights.iter().sum());
        let plain = ln_sums(&parzen.weights, &factors).map(|sum| sum - ln_total);
        assert_eq!(bits(&found), bits(&plain));
    }

    #[test]
    fn a_centre_outside_of_the_range_is_at_its_end() {
        let axes = [AXES[0]];
        let (mut one, mut other) = (Parzen::new(&axes, &[9.0]), Parzen::new(&axes, &[3.0]));
        assert_eq!(one.ln_density(&[1.0]), other.ln_density(&[1.0]));
        assert!(one.sample(100, &mut Random::new(1)).iter().all(|value| (-2.0..=3.0).contains(value)));
    }
}
