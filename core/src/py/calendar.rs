//! Trading dates of bars, for the data layer.

use super::arrow::ArrowTable;
use super::errors;
use crate::clock::{BarTimes, Schedule, Stamp};
use arrow_array::{ArrayRef, BooleanArray, Date32Array, RecordBatch};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use std::sync::Arc;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(session_dates, module)?)
}

#[pyfunction]
fn session_dates(
    py: Python<'_>,
    ts: PyBuffer<i64>,
    time_zone: &str,
    sessions: Vec<[String; 2]>,
    stamp: &str,
) -> PyResult<ArrowTable> {
    let stamp = read_stamp(py, stamp)?;
    let schedule = Schedule::parse(time_zone, &sessions).map_err(|e| errors::to_py(py, e))?;
    let ts = ts.to_vec(py)?;
    let placed = py.detach(|| schedule.trading_dates(&ts, BarTimes { stamp, length_ns: None }));
    let date = Date32Array::from_iter_values(placed.iter().map(|(date, _)| date.0));
    let inside = BooleanArray::from_iter(placed.iter().map(|(_, inside)| Some(*inside)));
    let columns: [(&str, ArrayRef); 2] = [("date", Arc::new(date)), ("inside", Arc::new(inside))];
    ArrowTable::new(RecordBatch::try_from_iter(columns))
}

fn read_stamp(py: Python<'_>, word: &str) -> PyResult<Stamp> {
    match word {
        "open" => Ok(Stamp::Open),
        "close" => Ok(Stamp::Close),
        other => Err(errors::spec_error(py, format!("stamp is {other:?}, it is open or close"))),
    }
}
