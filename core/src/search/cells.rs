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
    /// Logarithms of masses, NaN where nobody has asked; for equal cells by width, then by the distance in half steps,
    /// for others by value, then by kernel.
    masses: Vec<Vec<f64>>,
    /// Which of the masses belong to the bits of a width or of a value.
    slots: BTreeMap<u64, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Kernel {
    centre: f64,
    width: f64,
    /// Logarithm of its mass in the range.
    ln_inside: f64,
    /// For equal cells: where its centre is, and the masses of its width.
    place: i32,
    slot: usize,
}

impl Cells {
    pub(super) fn new(axis: Axis) -> Self {
        let equal = matches!(axis, Axis::Number { log: false, .. });
        Self {
            axis,
            cell: equal.then(|| axis.widest_cell()),
            kernels: Vec::new(),
            rows: BTreeMap::new(),
            masses: Vec::new(),
            slots: BTreeMap::new(),
        }
    }

    /// The row of a table that belongs to a kernel; `centre` and `width` in [0, 1].
    pub(super) fn row(&mut self, centre: f64, width: f64) -> u32 {
        let key = (centre.to_bits(), width.to_bits());
        if let Some(&row) = self.rows.get(&key) {
            return row;
        }
        let ln_inside = log(mass_around(-centre / width, (1.0 - centre) / width));
        let (place, slot) = match self.cell {
            // Places are half steps: from the first cell to the last there are twice as many as cells.
            Some(cell) => (place(centre, cell), self.slot(width.to_bits(), 2 * (1.0 / cell) as usize + 3)),
            None => (0, 0),
        };
        self.kernels.push(Kernel { centre, width, ln_inside, place, slot });
        let row = self.kernels.len() as u32 - 1;
        self.rows.insert(key, row);
        row
    }

    /// The masses of a width or of a value, of which there are `n` or more.
    fn slot(&mut self, bits: u64, n: usize) -> usize {
        let slot = *self.slots.entry(bits).or_insert(self.masses.len());
        if slot == self.masses.len() {
            self.masses.push(Vec::new());
        }
        let masses = &mut self.masses[slot];
        masses.resize(n.max(masses.len()), f64::NAN);
        slot
    }

    /// The logarithm of the mass that each kernel so far gives the cell of each value.
    pub(super) fn table(&mut self, values: &Block) -> Vec<Block> {
        match self.cell {
            Some(cell) => self.equal_cells(values, cell),
            None => self.other_cells(values),
        }
    }

    fn equal_cells(&mut self, values: &Block, cell: f64) -> Vec<Block> {
        let places = values.map(|value| place(self.axis.to_unit(value), cell));
        let mut table = Vec::with_capacity(self.kernels.len());
        for kernel in &self.kernels {
            let scale = cell / kernel.width;
            let mass = |away: f64| ln_mass(0.5 * (away - 1.0) * scale, 0.5 * (away + 1.0) * scale);
            let masses = &mut self.masses[kernel.slot];
            table.push(places.map(|place| {
                let away = place.abs_diff(kernel.place);
                let mass = || mass(f64::from(away));
                masses.get_mut(away as usize).map_or_else(mass, |known| or_new(known, mass))
                    - kernel.ln_inside
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
            let slot = self.slot(value.to_bits(), self.kernels.len());
            for ((kernel, held), row) in self.kernels.iter().zip(&mut self.masses[slot]).zip(&mut table) {
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

/// Where a unit lies in half steps from the first cell: the wide kernel may stand between two values.
fn place(unit: f64, cell: f64) -> i32 {
    rint(2.0 * (unit / cell - 0.5)) as i32
}

/// What is held, computed if nothing is.
fn or_new(held: &mut f64, compute: impl FnOnce() -> f64) -> f64 {
    if held.is_nan() {
        *held = compute();
    }
    *held
}
