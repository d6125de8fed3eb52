//! The bars of one instrument with its coarse bars of other frequencies.

use super::{AssetView, CoarseBars, Frequency};
use crate::clock::Place;
use crate::units::InstrumentIx;

/// Coarse bars, and how many of them are complete at each bar.
#[derive(Debug, Clone)]
pub struct CoarseFrame<'a> {
    pub frequency: Frequency,
    pub bars: CoarseBars,
    /// By row of the instrument's own series.
    pub n_complete: Vec<u32>,
    extra_names: &'a [String],
}

impl CoarseFrame<'_> {
    /// A column by its name.
    pub fn named(&self, name: &str) -> Option<&[f64]> {
        let bars = &self.bars;
        match name {
            "open" => Some(&bars.open),
            "high" => Some(&bars.high),
            "low" => Some(&bars.low),
            "close" => Some(&bars.close),
            "volume" => bars.volume.as_deref(),
            other => {
                let ix = self.extra_names.iter().position(|name| name == other)?;
                bars.extra.get(ix).map(Vec::as_slice)
            }
        }
    }

    /// How many bars are complete at a row of the instrument's series.
    pub fn n_complete_at(&self, row: u32) -> usize {
        self.n_complete.get(row as usize).map_or(0, |n| *n as usize)
    }
}

/// A complete coarse bar: its place among those of its instrument and frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoarseBarAt {
    pub instrument: InstrumentIx,
    pub frequency: Frequency,
    pub ix: u32,
}

/// A view of an instrument with its coarse bars.
#[derive(Debug, Clone)]
pub struct Framed<'a> {
    pub view: AssetView<'a>,
    pub frames: Vec<CoarseFrame<'a>>,
}

impl<'a> Framed<'a> {
    /// Makes the coarse bars of each frequency.
    pub fn new(view: AssetView<'a>, frequencies: &[Frequency], place: Option<&Place>) -> Self {
        let frame = |&frequency: &Frequency| {
            let bars = CoarseBars::new(&view, frequency, place);
            let n_complete = bars.n_complete(view.len());
            CoarseFrame { frequency, bars, n_complete, extra_names: view.extra_names() }
        };
        Self { frames: frequencies.iter().map(frame).collect(), view }
    }

    pub fn frame(&self, frequency: Frequency) -> Option<&CoarseFrame<'a>> {
        self.frames.iter().find(|frame| frame.frequency == frequency)
    }
}
