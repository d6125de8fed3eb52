//! Masses that normals give to the cells of a stepped number, computed once for what is alike.

use super::axis::Axis;
use super::normal::{ln_mass, mass_around};
use super::parzen::{Block, FINE_CELL};
use libm::{log, rint};
use std::collections::BTreeMap;
use std::f64::consts::PI;

/// The normals of a stepped number: few differ, because few values do.
#[derive(Debug)]
pub(super) struct Cells {
    axis: Axis,
    /// Width of every cell where all have the same.
    cell: Option<f64>,
    kernels: Vec<Kernel>,
    rows: BTreeMap<(u64, u64), u32>,
    /// Logarithms of masses, NaN where nobody has asked: for equal cells by the bits of a width, then by the distance
    /// in half steps; for others by the bits of a value, then by kernel.
    known: BTreeMap<u64, Vec<f64>>,
}

#[derive(Debug, Clone, Copy)]
struct Kernel {
    centre: f64,
    width: f64,
    /// Logarithm of its mass in the range.
    ln_inside: f64,
}

impl Cells {
    pub(super) fn new(axis: Axis) -> Self {
        let equal = matches!(axis, Axis::Number { log: false, .. });
        Self {
            axis,
            cell: equal.then(|| axis.widest_cell()),
            kernels: Vec::new(),
            rows: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// The row of a table that belongs to a kernel; `centre` and `width` in [0, 1].
    pub(super) fn row(&mut self, centre: f64, width: f64) -> u32 {
        *self.rows.entry((centre.to_bits(), width.to_bits())).or_insert_with(|| {
            let ln_inside = log(mass_around(-centre / width, (1.0 - centre) / width));
            self.kernels.push(Kernel { centre, width, ln_inside });
            self.kernels.len() as u32 - 1
        })
    }

    /// The logarithm of the mass that each kernel so far gives the cell of each value.
    pub(super) fn table(&mut self, values: &Block) -> Vec<Block> {
        match self.cell {
            Some(cell) => self.equal_cells(values, cell),
            None => self.other_cells(values),
        }
    }

    fn equal_cells(&mut self, values: &Block, cell: f64) -> Vec<Block> {
        // In half steps, because the wide kernel may stand between two values.
        let place = |unit: f64| rint(2.0 * (unit / cell - 0.5));
        let places = values.map(|value| place(self.axis.to_unit(value)));
        let n_places = 2 * (1.0 / cell) as usize + 3;
        let mut table = Vec::with_capacity(self.kernels.len());
        for kernel in &self.kernels {
            let known = self.known.entry(kernel.width.to_bits()).or_insert_with(|| vec![f64::NAN; n_places]);
            let middle = place(kernel.centre);
            table.push(places.map(|place| {
                let away = (place - middle).abs();
                let mass = |half_steps: f64| {
                    let (first, last) = (0.5 * half_steps - 0.5, 0.5 * half_steps + 0.5);
                    ln_mass(first * cell / kernel.width, last * cell / kernel.width)
                };
                let held = known.get_mut(away as usize);
                held.map_or_else(|| mass(away), |held| or_new(held, || mass(away))) - kernel.ln_inside
            }));
        }
        table
    }

    fn other_cells(&mut self, values: &Block) -> Vec<Block> {
        let mut table = vec![values.map(|_| 0.0); self.kernels.len()];
        for (lane, &value) in values.iter().enumerate() {
            let (first, last) = self.axis.cell(value);
            // With a logarithm the cells of large values are narrow: the density there is all but their mass.
            let fine = last - first <= FINE_CELL;
            let (middle, ln_width) = (0.5 * (first + last), log(last - first) - 0.5 * log(2.0 * PI));
            let known = self.known.entry(value.to_bits()).or_default();
            known.resize(self.kernels.len(), f64::NAN);
            for ((kernel, held), row) in self.kernels.iter().zip(known).zip(&mut table) {
                let mass = || {
                    if fine {
                        let z = (middle - kernel.centre) / kernel.width;
                        ln_width - 0.5 * z * z - log(kernel.width)
                    } else {
                        ln_mass((first - kernel.centre) / kernel.width, (last - kernel.centre) / kernel.width)
                    }
                };
                row[lane] = or_new(held, mass) - kernel.ln_inside;
            }
        }
        table
    }
}

/// What is held, computed if nothing is.
fn or_new(held: &mut f64, compute: impl FnOnce() -> f64) -> f64 {
    if held.is_nan() {
        *held = compute();
    }
    *held
}
