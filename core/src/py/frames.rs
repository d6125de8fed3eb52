//! Coarse bars on their way to a Python strategy, and the same for a whole panel.

use super::arrow::ArrowTable;
use super::errors;
use super::panel::PyPanel;
use crate::clock::{Place, Schedule, Zone};
use crate::data::{AssetView, CoarseBars, CoarseFrame, Frequency, NEVER};
use crate::error::EngineError;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
};
use pyo3::prelude::*;
use std::sync::Arc;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(aggregate_bars, module)?)
}

/// Coarse bars of some instruments, one after another, each with the place of its instrument.
pub fn table<'a>(
    bars: impl Iterator<Item = (u32, &'a CoarseBars)>,
    names: &[String],
) -> PyResult<ArrowTable> {
    let (mut ts, mut date, mut asset, mut complete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); 5 + names.len()];
    for (ix, bars) in bars {
        asset.resize(asset.len() + bars.len(), ix);
        ts.extend_from_slice(&bars.ts);
        date.extend_from_slice(&bars.date);
        complete.extend(bars.complete_at.iter().map(|&at| at != NEVER));
        let five =
            [Some(&bars.open), Some(&bars.high), Some(&bars.low), Some(&bars.close), bars.volume.as_ref()];
        let all = five.into_iter().chain(bars.extra.iter().map(Some));
        for (column, values) in columns.iter_mut().zip(all) {
            match values {
                Some(values) => column.extend_from_slice(values),
                None => column.resize(column.len() + bars.len(), f64::NAN),
            }
        }
    }
    let mut arrays: Vec<(&str, ArrayRef)> = vec![
        ("asset", Arc::new(UInt32Array::from(asset))),
        ("ts", Arc::new(TimestampNanosecondArray::from(ts).with_timezone("UTC"))),
        ("date", Arc::new(Date32Array::from(date))),
    ];
    let five = ["open", "high", "low", "close", "volume"];
    for (name, column) in five.into_iter().chain(names.iter().map(String::as_str)).zip(columns) {
        arrays.push((name, Arc::new(Float64Array::from(column))));
    }
    arrays.push(("complete", Arc::new(BooleanArray::from(complete))));
    ArrowTable::new(RecordBatch::try_from_iter(arrays))
}

/// The coarse bars of one frequency of all instruments of a strategy.
pub fn strategy_table(frames: &[&CoarseFrame<'_>], view: &AssetView<'_>) -> PyResult<ArrowTable> {
    table(frames.iter().enumerate().map(|(ix, frame)| (ix as u32, &frame.bars)), view.extra_names())
}

#[pyfunction]
#[pyo3(signature = (panel, frequency, *, time_zone = None, sessions = None))]
fn aggregate_bars(
    py: Python<'_>,
    panel: PyRef<'_, PyPanel>,
    frequency: &str,
    time_zone: Option<&str>,
    sessions: Option<Vec<[String; 2]>>,
) -> PyResult<ArrowTable> {
    let read = || -> Result<(Frequency, Option<Place>), EngineError> {
        let place = match (time_zone, &sessions) {
            (Some(zone), Some(sessions)) => Some(Place::Sessions(Schedule::parse(zone, sessions)?)),
            (Some(zone), None) => Some(Place::Zone(Zone::parse(zone)?)),
            (None, Some(_)) => {
                return Err(EngineError::Spec(
                    "sessions are local times: give a time zone as well".to_owned(),
                ));
            }
            (None, None) => None,
        };
        Ok((Frequency::parse(frequency)?, place))
    };
    let (frequency, place) = read().map_err(|error| errors::to_py(py, error))?;
    let panel = Arc::clone(&panel.panel);
    let made: Vec<CoarseBars> = py.detach(|| {
        let one = |asset| CoarseBars::new(&panel.asset(asset), frequency, place.as_ref());
        (0..panel.n_assets()).map(one).collect()
    });
    table(made.iter().enumerate().map(|(ix, bars)| (ix as u32, bars)), panel.extra_names())
}
