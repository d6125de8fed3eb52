//! The bar that callbacks read: one object that moves, copied where somebody keeps it.

use crate::py::rows::Rows;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Symbols of a panel as Python strings, made once.
#[derive(Debug)]
pub(super) struct Symbols {
    pub(super) names: Vec<Py<PyString>>,
}

#[pyclass(frozen, name = "Bar", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyBar {
    rows: Rows,
    symbols: Arc<Symbols>,
    asset: AtomicUsize,
    /// Row in the asset's own series.
    row: AtomicUsize,
}

impl PyBar {
    /// A bar that is nowhere yet.
    pub(super) fn new(rows: Rows, symbols: Arc<Symbols>) -> Self {
        Self { rows, symbols, asset: AtomicUsize::new(0), row: AtomicUsize::new(0) }
    }

    pub(super) fn set(&self, asset: usize, index: u32) {
        self.asset.store(asset, Ordering::Relaxed);
        self.row.store(index as usize, Ordering::Relaxed);
    }

    fn ohlc(&self) -> [f64; 4] {
        self.rows.ohlc(self.asset(), self.index())
    }

    pub(super) fn copied(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            symbols: Arc::clone(&self.symbols),
            asset: AtomicUsize::new(self.asset.load(Ordering::Relaxed)),
            row: AtomicUsize::new(self.row.load(Ordering::Relaxed)),
        }
    }
}

#[pymethods]
impl PyBar {
    #[getter]
    fn symbol(&self, py: Python<'_>) -> Py<PyString> {
        self.symbols.names[self.asset()].clone_ref(py)
    }

    #[getter]
    fn asset(&self) -> usize {
        self.asset.load(Ordering::Relaxed)
    }

    #[getter]
    fn index(&self) -> usize {
        self.row.load(Ordering::Relaxed)
    }

    #[getter]
    fn ts(&self) -> i64 {
        self.rows.time(self.asset(), self.index()).0
    }

    #[getter]
    fn date(&self) -> i32 {
        self.rows.time(self.asset(), self.index()).1
    }

    #[getter]
    fn open(&self) -> f64 {
        self.ohlc()[0]
    }

    #[getter]
    fn high(&self) -> f64 {
        self.ohlc()[1]
    }

    #[getter]
    fn low(&self) -> f64 {
        self.ohlc()[2]
    }

    #[getter]
    fn close(&self) -> f64 {
        self.ohlc()[3]
    }

    #[getter]
    fn volume(&self) -> f64 {
        self.rows.volume(self.asset(), self.index())
    }

    fn get(&self, column: &str) -> PyResult<f64> {
        let value =
            self.rows.with(self.asset(), |view| view.named(column).map(|values| values[self.index()]));
        value.ok_or_else(|| PyKeyError::new_err(column.to_owned()))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let [open, high, low, close] = self.ohlc();
        format!(
            "Bar({}, index={}, open={open}, high={high}, low={low}, close={close})",
            self.symbol(py),
            self.index()
        )
    }
}
