//! The bars at which a signal stands, by step: all that a trader of signals has to look at.

use super::{RuleColumns, first_set};
use crate::data::{BarAt, RowSteps};
use crate::units::InstrumentIx;

/// Bars with a signal of any column, in the order of a timeline.
#[derive(Debug, Default)]
pub struct SignalSteps {
    /// Where the bars of each step begin, and the end.
    starts: Vec<u32>,
    bars: Vec<BarAt>,
    /// Instrument after instrument, with the step of each bar.
    found: Vec<(u32, BarAt)>,
    /// Where the next bar of each step goes.
    next: Vec<u32>,
}

impl SignalSteps {
    /// Finds the bars of these columns, one set an instrument; keeps the memory of the last time.
    pub fn rebuild(&mut self, rows: &RowSteps, columns: &[RuleColumns<'_>]) {
        self.found.clear();
        for (ix, columns) in columns.iter().enumerate() {
            self.find(InstrumentIx(ix as u32), rows, columns);
        }
        self.starts.clear();
        self.starts.resize(rows.n_steps() + 1, 0);
        for (step, _) in &self.found {
            self.starts[*step as usize + 1] += 1;
        }
        for step in 0..rows.n_steps() {
            self.starts[step + 1] += self.starts[step];
        }
        self.next.clone_from(&self.starts);
        self.bars.resize(self.found.len(), BarAt { instrument: InstrumentIx(0), row: 0 });
        // Instruments come in panel order, so they stand in panel order within each step.
        for (step, bar) in &self.found {
            let at = &mut self.next[*step as usize];
            self.bars[*at as usize] = *bar;
            *at += 1;
        }
    }

    fn find(&mut self, instrument: InstrumentIx, rows: &RowSteps, columns: &RuleColumns<'_>) {
        let (first_row, steps) = rows.of_instrument(instrument);
        let (first, end) = (first_row as usize, first_row as usize + steps.len());
        let signals = [columns.enter, columns.exit, columns.enter_short, columns.exit_short];
        let mut at = first;
        while at < end {
            let mut next = end;
            for column in signals.into_iter().flatten() {
                next = at + first_set(&column[at..next]);
            }
            if next < end {
                let bar = BarAt { instrument, row: next as u32 };
                self.found.push((steps[next - first], bar));
            }
            at = next + 1;
        }
    }

    pub fn n_bytes(&self) -> usize {
        let found = self.found.capacity() * size_of::<(u32, BarAt)>();
        let steps = (self.starts.capacity() + self.next.capacity()) * size_of::<u32>();
        found + steps + self.bars.capacity() * size_of::<BarAt>()
    }

    /// Bars of a step, in panel order.
    pub fn at(&self, step: u32) -> &[BarAt] {
        &self.bars[self.starts[step as usize] as usize..self.starts[step as usize + 1] as usize]
    }
}
