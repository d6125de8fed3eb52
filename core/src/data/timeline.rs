//! The merged time index of a universe: which instruments have a bar at which step.

use super::{AssetView, Panel};
use crate::units::{InstrumentIx, TradingDate, TsNs};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Trading dates between which a run trades, both included. Bars before `start` only warm indicators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    #[serde(default)]
    pub start: Option<TradingDate>,
    #[serde(default)]
    pub end: Option<TradingDate>,
}

impl Window {
    /// The rows inside the window of a series with these trading dates.
    pub fn rows(&self, dates: &[i32]) -> Range<usize> {
        let first = self.start.map_or(0, |start| dates.partition_point(|&date| date < start.0));
        let end = self.end.map_or(dates.len(), |end| dates.partition_point(|&date| date <= end.0));
        first..end.max(first)
    }
}

/// A bar of an instrument: its row within the instrument's own series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarAt {
    pub instrument: InstrumentIx,
    pub row: u32,
}

/// Steps in time order; the bars of a step stand in panel order. Instruments are numbered within the universe.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    ts: Vec<i64>,
    date: Vec<i32>,
    starts: Vec<u32>,
    bars: Vec<BarAt>,
}

impl Timeline {
    /// Merges the series of `universe` (positions in the panel, ascending) inside `window`.
    pub fn new(panel: &Panel, universe: &[usize], window: Window) -> Self {
        let mut line = Self::default();
        line.rebuild(panel, universe, window);
        line
    }

    /// As `new`, keeping the memory.
    pub fn rebuild(&mut self, panel: &Panel, universe: &[usize], window: Window) {
        self.ts.clear();
        self.date.clear();
        self.starts.clear();
        self.bars.clear();
        let views: Vec<AssetView<'_>> = universe.iter().map(|&asset| panel.asset(asset)).collect();
        let rows: Vec<Range<usize>> = views.iter().map(|view| window.rows(view.date)).collect();
        match (views.as_slice(), rows.as_slice()) {
            ([first, others @ ..], [steps, more @ ..])
                if others.iter().zip(more).all(|(v, r)| v.ts[r.clone()] == first.ts[steps.clone()]) =>
            {
                self.align(first, &rows);
            }
            _ => self.merge(&views, &rows),
        }
        self.starts.push(self.bars.len() as u32);
    }

    /// Instruments with the times of the first one.
    fn align(&mut self, first: &AssetView<'_>, rows: &[Range<usize>]) {
        let Some(steps) = rows.first() else { return };
        self.ts.extend_from_slice(&first.ts[steps.clone()]);
        self.date.extend_from_slice(&first.date[steps.clone()]);
        let n_instruments = rows.len() as u32;
        self.starts.extend((0..steps.len() as u32).map(|step| step * n_instruments));
        if let [rows] = rows {
            let rows = rows.start as u32..rows.end as u32;
            self.bars.extend(rows.map(|row| BarAt { instrument: InstrumentIx(0), row }));
            return;
        }
        for step in 0..steps.len() {
            let bar = |(ix, rows): (usize, &Range<usize>)| BarAt {
                instrument: InstrumentIx(ix as u32),
                row: (rows.start + step) as u32,
            };
            self.bars.extend(rows.iter().enumerate().map(bar));
        }
    }

    fn merge(&mut self, views: &[AssetView<'_>], rows: &[Range<usize>]) {
        let mut keyed = Vec::with_capacity(rows.iter().map(Range::len).sum());
        for (local, (view, rows)) in views.iter().zip(rows).enumerate() {
            let mut nth = 0u32; // among the ticks of one time: the nth of each instrument make a step
            for row in rows.clone() {
                nth = if row > rows.start && view.ts[row] == view.ts[row - 1] { nth + 1 } else { 0 };
                keyed.push((view.ts[row], nth, local as u32, row as u32, view.date[row]));
            }
        }
        keyed.sort_unstable();
        let mut last = None;
        for (ts, nth, local, row, date) in keyed {
            if last != Some((ts, nth)) {
                self.starts.push(self.bars.len() as u32);
                self.ts.push(ts);
                self.date.push(date);
                last = Some((ts, nth));
            }
            self.bars.push(BarAt { instrument: InstrumentIx(local), row });
        }
    }

    /// Adds a step behind the last one: a timeline that grows starts as the default.
    pub fn push(&mut self, ts: TsNs, date: TradingDate, bars: impl IntoIterator<Item = BarAt>) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.ts.push(ts.0);
        self.date.push(date.0);
        self.bars.extend(bars);
        self.starts.push(self.bars.len() as u32);
    }

    pub fn n_steps(&self) -> usize {
        self.ts.len()
    }

    /// Number of bars over all steps.
    pub fn n_bars(&self) -> usize {
        self.bars.len()
    }

    pub fn ts(&self, step: usize) -> TsNs {
        TsNs(self.ts[step])
    }

    pub fn date(&self, step: usize) -> TradingDate {
        TradingDate(self.date[step])
    }

    /// Trading date of every step, in days since 1970-01-01.
    pub fn dates(&self) -> &[i32] {
        &self.date
    }

    pub fn timestamps(&self) -> &[i64] {
        &self.ts
    }

    pub fn bars(&self, step: usize) -> &[BarAt] {
        &self.bars[self.starts[step] as usize..self.starts[step + 1] as usize]
    }
}

/// The steps of the rows of each instrument: a timeline the other way round.
#[derive(Debug, Clone, Default)]
pub struct RowSteps {
    first_rows: Vec<u32>,
    /// Where the steps of each instrument begin, and the end.
    starts: Vec<usize>,
    steps: Vec<u32>,
    n_steps: usize,
}

impl RowSteps {
    pub fn of(timeline: &Timeline, n_instruments: usize) -> Self {
        let mut by_instrument: Vec<(u32, Vec<u32>)> = vec![(0, Vec::new()); n_instruments];
        for step in 0..timeline.n_steps() {
            for bar in timeline.bars(step) {
                let (first_row, steps) = &mut by_instrument[bar.instrument.ix()];
                if steps.is_empty() {
                    *first_row = bar.row;
                }
                steps.push(step as u32);
            }
        }
        let mut found = Self { n_steps: timeline.n_steps(), starts: vec![0], ..Self::default() };
        for (first_row, steps) in by_instrument {
            found.first_rows.push(first_row);
            found.steps.extend(steps);
            found.starts.push(found.steps.len());
        }
        found
    }

    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// First row of an instrument on the timeline, and the steps of its rows from there on.
    pub fn of_instrument(&self, instrument: InstrumentIx) -> (u32, &[u32]) {
        let ix = instrument.ix();
        (self.first_rows[ix], &self.steps[self.starts[ix]..self.starts[ix + 1]])
    }
}
