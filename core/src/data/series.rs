//! A series that grows: the bars of one instrument as a live feed hands them in.

use super::AssetView;
use crate::model::{BarValues, StepBar};
use crate::units::{InstrumentIx, TradingDate, TsNs};
use std::sync::Arc;

/// The bars of one instrument so far. The columns read as those of a panel's asset do: nothing later than now is there.
#[derive(Debug, Clone, Default)]
pub struct Series {
    pub(super) ts: Vec<i64>,
    pub(super) date: Vec<i32>,
    pub(super) open: Vec<f64>,
    pub(super) high: Vec<f64>,
    pub(super) low: Vec<f64>,
    pub(super) close: Vec<f64>,
    pub(super) volume: Vec<f64>,
    pub(super) has_volume: bool,
    pub(super) is_ticks: bool,
    pub(super) ends_date: Vec<bool>,
    extra_names: Arc<[String]>,
    extra: Vec<Vec<f64>>,
}

impl Series {
    /// An empty series with these columns beyond the five of a bar; `bid` and `ask` are the quotes of ticks.
    pub fn new(extra_names: &Arc<[String]>, has_volume: bool, is_ticks: bool) -> Self {
        let extra = vec![Vec::new(); extra_names.len()];
        Self { extra_names: Arc::clone(extra_names), extra, has_volume, is_ticks, ..Self::default() }
    }

    /// Adds a checked bar behind the last one and returns its row.
    pub fn push(&mut self, ts: TsNs, date: TradingDate, bar: &StepBar) -> u32 {
        self.ts.push(ts.0);
        self.date.push(date.0);
        self.open.push(bar.values.open);
        self.high.push(bar.values.high);
        self.low.push(bar.values.low);
        self.close.push(bar.values.close);
        self.volume.push(bar.values.volume);
        self.ends_date.push(bar.ends_date);
        for (column, value) in self.extra.iter_mut().zip(&bar.extra) {
            column.push(*value);
        }
        (self.ts.len() - 1) as u32
    }

    /// Adds a row of another series that has the same columns.
    pub fn copy_row(&mut self, view: &AssetView<'_>, row: usize) {
        let extra =
            self.extra_names.iter().map(|name| view.named(name).map_or(f64::NAN, |c| c[row])).collect();
        let [open, high, low, close] = [view.open[row], view.high[row], view.low[row], view.close[row]];
        let volume = view.volume.map_or(f64::NAN, |volume| volume[row]);
        let values = BarValues { open, high, low, close, volume };
        // The series is of this instrument already: a bar here needs no number.
        let instrument = InstrumentIx(0);
        let bar = StepBar { instrument, values, extra, ends_date: view.ends_date(row) };
        self.push(TsNs(view.ts[row]), TradingDate(view.date[row]), &bar);
    }

    pub fn view(&self) -> AssetView<'_> {
        AssetView::of_series(self)
    }

    pub(super) fn extra_names(&self) -> &[String] {
        &self.extra_names
    }

    pub(super) fn extra(&self, name: &str) -> Option<&[f64]> {
        let ix = self.extra_names.iter().position(|known| known == name)?;
        Some(&self.extra[ix])
    }
}
