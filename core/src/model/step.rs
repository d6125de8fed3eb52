//! Market data of one time, as a live feed hands them in.

use super::BarValues;
use crate::error::DataError;
use crate::units::{InstrumentIx, TradingDate, TsNs};

/// The bars that are complete at one time. A live feed knows its calendar: a backtest reads from the bars that follow
/// whether a date or the data end here, a feed says it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub ts: TsNs,
    pub date: TradingDate,
    /// In panel order: ascending by instrument, each once.
    pub bars: Vec<StepBar>,
    /// The last step of its trading date.
    pub ends_date: bool,
    /// The last step of all: what is decided here never fills, and the session ends after it.
    pub ends_run: bool,
}

/// A complete bar of one instrument.
#[derive(Debug, Clone, PartialEq)]
pub struct StepBar {
    pub instrument: InstrumentIx,
    pub values: BarValues,
    /// The further columns, in the order the session declares them; NaN where there is no value.
    pub extra: Vec<f64>,
    /// The last bar of the instrument on this trading date.
    pub ends_date: bool,
}

impl Step {
    /// Says that no further step comes, where the last one could not know it.
    pub const END: Self = Self {
        ts: TsNs(i64::MAX),
        date: TradingDate(i32::MAX),
        bars: Vec::new(),
        ends_date: true,
        ends_run: true,
    };

    /// What can be told without the steps before it; `row` of an error is the place among the bars of the step.
    pub fn check(&self, symbols: &[String], n_extra: usize) -> Result<(), DataError> {
        let mut last = None;
        for (row, bar) in self.bars.iter().enumerate() {
            let Some(symbol) = symbols.get(bar.instrument.ix()) else {
                let n = symbols.len();
                return Err(DataError::UnknownInstrument { instrument: bar.instrument.0, n });
            };
            if last >= Some(bar.instrument) {
                return Err(DataError::StepOrder { symbol: symbol.clone(), row });
            }
            if bar.extra.len() != n_extra {
                let (found, expected) = (bar.extra.len(), n_extra);
                return Err(DataError::ExtraColumns { symbol: symbol.clone(), found, expected });
            }
            bar.values.check(symbol, row)?;
            last = Some(bar.instrument);
        }
        if self.bars.is_empty() && *self != Self::END { Err(DataError::Empty) } else { Ok(()) }
    }
}
