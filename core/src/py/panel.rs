//! `Panel`: bars borrowed from an Arrow table.

use super::errors;
use crate::clock::BarTimes;
use crate::data::{Panel, PanelMeta, Timeline, Window};
use crate::error::DataError;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use std::sync::Arc;

#[pyclass(frozen, name = "Panel", module = "akq_dist._core")]
#[derive(Debug, Clone)]
pub struct PyPanel {
    pub panel: Arc<Panel>,
}

#[pymethods]
impl PyPanel {
    #[staticmethod]
    fn from_arrow(py: Python<'_>, table: PyTable) -> PyResult<Self> {
        let (batches, schema) = table.into_inner();
        let meta = |key: &str| {
            schema.metadata().get(key).ok_or_else(|| {
                errors::data_error(
                    py,
                    DataError::MissingColumn { column: format!("{key} (schema metadata)") },
                )
            })
        };
        let bad =
            |_| errors::data_error(py, DataError::BadOffsets { reason: "the schema metadata are not JSON" });
        let symbols: Vec<String> = serde_json::from_str(meta("akq.symbols")?).map_err(bad)?;
        let offsets: Vec<usize> = serde_json::from_str(meta("akq.offsets")?).map_err(bad)?;
        let [batch] = batches.as_slice() else {
            return Err(errors::data_error(
                py,
                DataError::BadOffsets { reason: "a panel has one chunk a column" },
            ));
        };
        let panel =
            Panel::new(batch, PanelMeta { symbols, offsets }).map_err(|e| errors::data_error(py, e))?;
        let panel = match schema.metadata().get("akq.bar_times") {
            None => panel,
            Some(text) => {
                let times: BarTimes = serde_json::from_str(text).map_err(bad)?;
                times.check().map_err(|e| errors::to_py(py, e))?;
                panel.with_bar_times(times).map_err(|e| errors::data_error(py, e))?
            }
        };
        Ok(Self { panel: Arc::new(panel) })
    }

    #[getter]
    fn symbols(&self) -> Vec<String> {
        self.panel.symbols().to_vec()
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        let is_ticks = self.panel.is_ticks();
        let prices: &[&str] = if is_ticks { &["price"] } else { &["open", "high", "low", "close"] };
        let mut names: Vec<String> = prices.iter().map(|&name| name.to_owned()).collect();
        if self.panel.has_volume() {
            names.push(if is_ticks { "size" } else { "volume" }.to_owned());
        }
        names.extend_from_slice(self.panel.extra_names());
        names
    }

    #[getter]
    fn n_assets(&self) -> usize {
        self.panel.n_assets()
    }

    #[getter]
    fn n_rows(&self) -> usize {
        self.panel.n_rows()
    }

    #[getter]
    fn n_steps(&self) -> usize {
        let all: Vec<usize> = (0..self.panel.n_assets()).collect();
        Timeline::new(&self.panel, &all, Window::default()).n_steps()
    }

    fn rows(&self, py: Python<'_>, asset: usize) -> PyResult<(usize, usize)> {
        if asset >= self.panel.n_assets() {
            return Err(errors::spec_error(
                py,
                format!("asset {asset} is not one of {}", self.panel.n_assets()),
            ));
        }
        Ok(self.panel.rows(asset))
    }

    fn __repr__(&self) -> String {
        format!("Panel({} assets, {} rows)", self.panel.n_assets(), self.panel.n_rows())
    }
}
