//! `BatchResult`: the tables of many parameter sets.

use super::arrow::ArrowTable;
use super::plan::trial_columns;
use crate::analysis::METRICS;
use crate::batch::{BatchOutcome, TrialOutcome};
use crate::plan::Output;
use arrow_array::{ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::ScalarBuffer;
use pyo3::prelude::*;
use std::sync::Arc;

#[pyclass(frozen, name = "BatchResult", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyBatchResult {
    trials: Vec<TrialOutcome>,
    outputs: Vec<Output>,
    /// Name of every account; empty for a shared one.
    accounts: Vec<String>,
    by_account: Vec<f64>,
    dates: Vec<i32>,
    /// Trial after trial; tables borrow it.
    returns: ScalarBuffer<f64>,
}

impl PyBatchResult {
    pub fn new(batch: BatchOutcome, outputs: Vec<Output>, accounts: Vec<String>) -> Self {
        let BatchOutcome { trials, by_account, dates, returns } = batch;
        Self { trials, outputs, accounts, by_account, dates, returns: returns.into() }
    }
}

#[pymethods]
impl PyBatchResult {
    fn __len__(&self) -> usize {
        self.trials.len()
    }

    fn __repr__(&self) -> String {
        format!("BatchResult({} trials, {} accounts each)", self.trials.len(), self.accounts.len())
    }

    fn trials(&self) -> PyResult<ArrowTable> {
        ArrowTable::new(RecordBatch::try_from_iter_with_nullable(trial_columns(&self.outputs, &self.trials)))
    }

    fn accounts(&self) -> PyResult<ArrowTable> {
        let n_outputs = self.outputs.len();
        let n_rows = self.by_account.len() / n_outputs;
        let n_accounts = self.accounts.len();
        let trial = Int64Array::from_iter_values((0..n_rows).map(|row| (row / n_accounts) as i64));
        let symbol: StringArray =
            (0..n_rows).map(|row| Some(self.accounts[row % n_accounts].as_str())).collect();
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("trial", Arc::new(trial)), ("symbol", Arc::new(symbol))];
        for (ix, output) in self.outputs.iter().enumerate() {
            let name = METRICS[output.metric_ix].name;
            // A metric may be asked for with several aggregates.
            if columns.iter().all(|(known, _)| *known != name) {
                let values = self.by_account.iter().skip(ix).step_by(n_outputs).copied();
                columns.push((name, Arc::new(Float64Array::from_iter_values(values))));
            }
        }
        ArrowTable::new(RecordBatch::try_from_iter(columns))
    }

    fn returns(&self) -> PyResult<ArrowTable> {
        let dates = self.dates.get(1..).unwrap_or(&[]);
        let mut columns: Vec<(String, ArrayRef)> =
            vec![("date".to_owned(), Arc::new(Date32Array::from_iter_values(dates.iter().copied())))];
        if !self.dates.is_empty() {
            for trial in 0..self.trials.len() {
                let values = self.returns.slice(trial * dates.len(), dates.len());
                columns.push((trial.to_string(), Arc::new(Float64Array::new(values, None))));
            }
        }
        ArrowTable::new(RecordBatch::try_from_iter(columns))
    }
}
