//! Tables on their way out, as Arrow streams.

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::ArrowError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::ffi::{ArrayIterator, to_stream_pycapsule};
use std::sync::Arc;

/// Rows that any Arrow consumer takes without a copy.
#[pyclass(frozen, module = "akq_dist._core")]
#[derive(Debug)]
pub struct ArrowTable {
    batch: RecordBatch,
}

impl ArrowTable {
    pub fn new(batch: Result<RecordBatch, ArrowError>) -> PyResult<Self> {
        batch.map(|batch| Self { batch }).map_err(|e| PyRuntimeError::new_err(format!("internal: {e}")))
    }
}

#[pymethods]
impl ArrowTable {
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = self.batch.schema();
        let reader = RecordBatchIterator::new([Ok(self.batch.clone())], schema);
        let field = arrow_schema::Field::new_struct("", reader.schema().fields().clone(), false);
        let arrays = reader.map(|batch| {
            batch.map(|batch| Arc::new(arrow_array::StructArray::from(batch)) as arrow_array::ArrayRef)
        });
        let arrays = Box::new(ArrayIterator::new(arrays, Arc::new(field)));
        Ok(to_stream_pycapsule(py, arrays, requested_schema)?)
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    fn __repr__(&self) -> String {
        let names: Vec<&str> = self.batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        format!("ArrowTable({} rows: {})", self.batch.num_rows(), names.join(", "))
    }
}
