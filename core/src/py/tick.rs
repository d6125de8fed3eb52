//! `Tick`: the trade that a callback is about.

use crate::model::Tick;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A value: it may be kept.
#[pyclass(frozen, name = "Tick", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyTick {
    #[pyo3(get)]
    symbol: Py<PyString>,
    #[pyo3(get)]
    asset: usize,
    #[pyo3(get)]
    index: usize,
    #[pyo3(get)]
    date: i32,
    tick: Tick,
}

impl PyTick {
    pub fn new(symbol: Py<PyString>, asset: usize, index: usize, date: i32, tick: Tick) -> Self {
        Self { symbol, asset, index, date, tick }
    }
}

#[pymethods]
impl PyTick {
    #[getter]
    fn ts(&self) -> i64 {
        self.tick.ts.0
    }

    #[getter]
    fn price(&self) -> f64 {
        self.tick.price
    }

    #[getter]
    fn size(&self) -> f64 {
        self.tick.size
    }

    #[getter]
    fn bid(&self) -> Option<f64> {
        self.tick.bid
    }

    #[getter]
    fn ask(&self) -> Option<f64> {
        self.tick.ask
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let Tick { price, size, .. } = self.tick;
        format!("Tick({}, index={}, price={price}, size={size})", self.symbol.bind(py), self.index)
    }
}
