//! The merged time index of a universe: which instruments have a bar at which step.

use super::{AssetView, Panel};
use crate::error::EngineError;
use crate::units::{InstrumentIx, TradingDate, TsNs};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bars between two looks at the cancel flag.
const CANCEL_EVERY: usize = 1 << 16;

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

/// A step before it is numbered: among ticks of one time the nth of each instrument make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StepTime {
    ts: i64,
    nth: u32,
}

/// The steps of one series.
fn times<'a>(view: &'a AssetView<'_>, rows: Range<usize>) -> impl Iterator<Item = StepTime> + 'a {
    let first = rows.start;
    let mut nth = 0;
    rows.map(move |row| {
        nth = if row > first && view.ts[row] == view.ts[row - 1] { nth + 1 } else { 0 };
        StepTime { ts: view.ts[row], nth }
    })
}

/// Calls `found` with the step and the row of every bar of a series; none where it was cancelled.
fn each_step(
    view: &AssetView<'_>,
    rows: Range<usize>,
    steps: &[StepTime],
    cancel: &AtomicBool,
    mut found: impl FnMut(usize, usize),
) -> Option<()> {
    let (mut step, first) = (0, rows.start);
    for (ix, time) in times(view, rows).enumerate() {
        if ix % CANCEL_EVERY == 0 && cancel.load(Ordering::Relaxed) {
            return None;
        }
        // Most series have a bar at most steps; after a gap the place is found by halves.
        if steps[step] != time {
            step += steps[step..].partition_point(|other| *other < time);
        }
        found(step, first + ix);
        step += 1;
    }
    Some(())
}

/// The steps of all series, each once, in order: halves of the universe are merged, so a time that many have is handled
/// few times. None where it was cancelled.
fn distinct_times(
    views: &[AssetView<'_>],
    rows: &[Range<usize>],
    cancel: &AtomicBool,
) -> Option<Vec<StepTime>> {
    if cancel.load(Ordering::Relaxed) {
        return None;
    }
    if let ([view], [rows]) = (views, rows) {
        return Some(times(view, rows.clone()).collect());
    }
    let half = views.len() / 2;
    if half == 0 {
        return Some(Vec::new());
    }
    let mut merged = distinct_times(&views[..half], &rows[..half], cancel)?;
    let others = distinct_times(&views[half..], &rows[half..], cancel)?;
    if merged != others {
        merged = union(&merged, &others, cancel)?;
    }
    Some(merged)
}

/// What stands in either of two lists in order; none where it was cancelled.
fn union(a: &[StepTime], b: &[StepTime], cancel: &AtomicBool) -> Option<Vec<StepTime>> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if merged.len() % CANCEL_EVERY == 0 && cancel.load(Ordering::Relaxed) {
            return None;
        }
        let next = match (a.get(i), b.get(j)) {
            (Some(&x), Some(&y)) => x.min(y),
            (Some(&x), None) | (None, Some(&x)) => x,
            (None, None) => break,
        };
        i += usize::from(a.get(i) == Some(&next));
        j += usize::from(b.get(j) == Some(&next));
        merged.push(next);
    }
    Some(merged)
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
        line.fill(panel, universe, window, &AtomicBool::new(false));
        line
    }

    /// As `new`; a large universe takes a while, so the flag is looked at.
    pub fn build(
        panel: &Panel,
        universe: &[usize],
        window: Window,
        cancel: &AtomicBool,
    ) -> Result<Self, EngineError> {
        let mut line = Self::default();
        line.rebuild(panel, universe, window, cancel)?;
        Ok(line)
    }

    /// As `build`, keeping the memory.
    pub fn rebuild(
        &mut self,
        panel: &Panel,
        universe: &[usize],
        window: Window,
        cancel: &AtomicBool,
    ) -> Result<(), EngineError> {
        if self.fill(panel, universe, window, cancel) { Ok(()) } else { Err(EngineError::Cancelled) }
    }

    /// Says whether it came to the end.
    fn fill(&mut self, panel: &Panel, universe: &[usize], window: Window, cancel: &AtomicBool) -> bool {
        self.ts.clear();
        self.date.clear();
        self.starts.clear();
        self.bars.clear();
        let views: Vec<AssetView<'_>> = universe.iter().map(|&asset| panel.asset(asset)).collect();
        let rows: Vec<Range<usize>> = views.iter().map(|view| window.rows(view.date)).collect();
        let is_complete = match (views.as_slice(), rows.as_slice()) {
            ([first, others @ ..], [steps, more @ ..])
                if others.iter().zip(more).all(|(v, r)| v.ts[r.clone()] == first.ts[steps.clone()]) =>
            {
                self.align(first, &rows, cancel)
            }
            _ => self.merge(&views, &rows, cancel).is_some(),
        };
        self.starts.push(self.bars.len() as u32);
        is_complete
    }

    /// Instruments with the times of the first one.
    fn align(&mut self, first: &AssetView<'_>, rows: &[Range<usize>], cancel: &AtomicBool) -> bool {
        let Some(steps) = rows.first() else { return true };
        self.ts.extend_from_slice(&first.ts[steps.clone()]);
        self.date.extend_from_slice(&first.date[steps.clone()]);
        let n_instruments = rows.len() as u32;
        self.starts.extend((0..steps.len() as u32).map(|step| step * n_instruments));
        if let [rows] = rows {
            let rows = rows.start as u32..rows.end as u32;
            self.bars.extend(rows.map(|row| BarAt { instrument: InstrumentIx(0), row }));
            return true;
        }
        self.bars.reserve_exact(steps.len() * rows.len());
        for step in 0..steps.len() {
            if cancel.load(Ordering::Relaxed) {
                return false;
            }
            let bar = |(ix, rows): (usize, &Range<usize>)| BarAt {
                instrument: InstrumentIx(ix as u32),
                row: (rows.start + step) as u32,
            };
            self.bars.extend(rows.iter().enumerate().map(bar));
        }
        true
    }

    /// Counts the bars of each step, then puts every bar into its place: no sorting of bars. None where it was cancelled.
    fn merge(&mut self, views: &[AssetView<'_>], rows: &[Range<usize>], cancel: &AtomicBool) -> Option<()> {
        let steps = distinct_times(views, rows, cancel)?;
        self.ts.extend(steps.iter().map(|step| step.ts));
        self.date.resize(steps.len(), 0);
        let mut counts = vec![0_u32; steps.len()];
        for (view, rows) in views.iter().zip(rows) {
            each_step(view, rows.clone(), &steps, cancel, |step, row| {
                if counts[step] == 0 {
                    self.date[step] = view.date[row];
                }
                counts[step] += 1;
            })?;
        }
        let mut n_bars = 0;
        for count in &mut counts {
            self.starts.push(n_bars);
            n_bars += std::mem::replace(count, n_bars);
        }
        let mut places = counts;
        self.bars.resize(n_bars as usize, BarAt { instrument: InstrumentIx(0), row: 0 });
        for (local, (view, rows)) in views.iter().zip(rows).enumerate() {
            each_step(view, rows.clone(), &steps, cancel, |step, row| {
                let bar = BarAt { instrument: InstrumentIx(local as u32), row: row as u32 };
                self.bars[places[step] as usize] = bar;
                places[step] += 1;
            })?;
        }
        Some(())
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

    pub fn n_bytes(&self) -> usize {
        let steps = self.ts.capacity() * size_of::<i64>() + self.date.capacity() * size_of::<i32>();
        steps + self.starts.capacity() * size_of::<u32>() + self.bars.capacity() * size_of::<BarAt>()
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
        let mut starts = vec![0; n_instruments + 1];
        for bar in &timeline.bars {
            starts[bar.instrument.ix() + 1] += 1;
        }
        for ix in 0..n_instruments {
            starts[ix + 1] += starts[ix];
        }
        let mut places = starts.clone();
        let (mut first_rows, mut steps) = (vec![0; n_instruments], vec![0; timeline.n_bars()]);
        for step in 0..timeline.n_steps() {
            for bar in timeline.bars(step) {
                let ix = bar.instrument.ix();
                if places[ix] == starts[ix] {
                    first_rows[ix] = bar.row;
                }
                steps[places[ix]] = step as u32;
                places[ix] += 1;
            }
        }
        Self { first_rows, starts, steps, n_steps: timeline.n_steps() }
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
