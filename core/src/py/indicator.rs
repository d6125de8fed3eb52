//! Indicators for Python: one door to the kernels of the rule language.

use super::arrow::ArrowTable;
use super::errors;
use crate::rules::{Input, Output, Step, call};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow_buffer::ScalarBuffer;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use std::sync::{Arc, Mutex, PoisonError};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyStep>()?;
    module.add_function(wrap_pyfunction!(indicator, module)?)
}

#[pyfunction]
fn indicator(
    py: Python<'_>,
    name: &str,
    columns: PyTable,
    n_reads: usize,
    args: Vec<Option<f64>>,
) -> PyResult<ArrowTable> {
    let bad = |message: &str| errors::spec_error(py, format!("{name}: {message}"));
    let (batches, _) = columns.into_inner();
    let [batch] = batches.as_slice() else {
        return Err(bad("a table of one chunk a column is needed"));
    };
    let columns: Option<Vec<ScalarBuffer<f64>>> = batch.columns().iter().map(floats).collect();
    let columns = columns.ok_or_else(|| bad("columns have to be float64"))?;
    let slices: Vec<&[f64]> = columns.iter().map(|c| &c[..]).collect();
    let (reads, given) =
        slices.split_at_checked(n_reads).ok_or_else(|| bad("fewer columns than it reads"))?;
    let mut given = given.iter();
    let mut inputs = Vec::with_capacity(args.len());
    for arg in args {
        inputs.push(match arg {
            Some(number) => Input::Number(number),
            None => Input::Column(given.next().ok_or_else(|| bad("a column is missing"))?),
        });
    }
    let output = py.detach(|| call(name, reads, &inputs)).map_err(|e| errors::to_py(py, e.into()))?;
    let column: ArrayRef = match output {
        Output::Nums(values) => Arc::new(Float64Array::from(values)),
        Output::Bools(values) => Arc::new(BooleanArray::from_iter(values.iter().map(|v| Some(*v != 0)))),
    };
    ArrowTable::new(RecordBatch::try_from_iter([(name, column)]))
}

/// The values of a column; what is missing is NaN.
fn floats(array: &ArrayRef) -> Option<ScalarBuffer<f64>> {
    let typed = array.as_primitive_opt::<Float64Type>()?;
    if typed.null_count() == 0 {
        return Some(typed.values().clone());
    }
    Some(typed.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

#[pyclass(frozen, name = "IndicatorStep", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyStep {
    step: Mutex<Step>,
}

impl PyStep {
    fn with<R>(&self, use_it: impl FnOnce(&mut Step) -> R) -> R {
        use_it(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl PyStep {
    #[new]
    fn new(py: Python<'_>, name: &str, numbers: Vec<f64>) -> PyResult<Self> {
        let step = Step::new(name, &numbers).map_err(|e| errors::to_py(py, e.into()))?;
        Ok(Self { step: Mutex::new(step) })
    }

    #[getter]
    fn inputs(&self) -> Vec<&'static str> {
        self.with(|step| step.inputs().to_vec())
    }

    #[getter]
    fn is_condition(&self) -> bool {
        self.with(|step| step.is_condition())
    }

    #[pyo3(signature = (*values))]
    fn update(&self, py: Python<'_>, values: Vec<f64>) -> PyResult<f64> {
        self.with(|step| step.update(&values)).map_err(|e| errors::to_py(py, e.into()))
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.with(Step::reset).map_err(|e| errors::to_py(py, e.into()))
    }
}
