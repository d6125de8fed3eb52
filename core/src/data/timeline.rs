//! The merged time index of a universe: which instruments have a bar at which step.

use super::Panel;
use crate::units::{InstrumentIx, TradingDate, TsNs};
use serde::{Deserialize, Serialize};

/// Trading dates between which a run trades, both included. Bars before `start` only warm indicators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    #[serde(default)]
    pub start: Option<TradingDate>,
    #[serde(default)]
    pub end: Option<TradingDate>,
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
        let lowest = window.start.map_or(i32::MIN, |d| d.0);
        let highest = window.end.map_or(i32::MAX, |d| d.0);
        if let [asset] = *universe {
            let view = panel.asset(asset);
            let first = view.date.partition_point(|&d| d < lowest);
            let end = view.date.partition_point(|&d| d <= highest);
            for row in first..end {
                self.starts.push(self.bars.len() as u32);
                self.ts.push(view.ts[row]);
                self.date.push(view.date[row]);
                self.bars.push(BarAt { instrument: InstrumentIx(0), row: row as u32 });
            }
        } else {
            self.merge(panel, universe, lowest, highest);
        }
        self.starts.push(self.bars.len() as u32);
    }

    fn merge(&mut self, panel: &Panel, universe: &[usize], lowest: i32, highest: i32) {
        let mut keyed = Vec::new();
        for (local, &asset) in universe.iter().enumerate() {
            let view = panel.asset(asset);
            let first = view.date.partition_point(|&d| d < lowest);
            let end = view.date.partition_point(|&d| d <= highest);
            let mut nth = 0u32; // among the ticks of one time: the nth of each instrument make a step
            for row in first..end {
                nth = if row > first && view.ts[row] == view.ts[row - 1] { nth + 1 } else { 0 };
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
