//! `Plan`: what to run, and the two ways to run it.

use super::arrow::ArrowTable;
use super::panel::PyPanel;
use super::result::PyRunResult;
use super::strategy::{PyStrategy, StrategyShare};
use super::{errors, guard};
use crate::batch::{TrialOutcome, run_batch, run_rules, run_strategies};
use crate::engine::Keep;
use crate::error::EngineError;
use crate::plan::{Plan, StrategySpec};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[pyclass(frozen, name = "Plan", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyPlan {
    plan: Plan,
    text: String,
}

#[pymethods]
impl PyPlan {
    #[new]
    fn new(py: Python<'_>, spec: String) -> PyResult<Self> {
        let plan = Plan::from_json(&spec).map_err(|e| errors::to_py(py, e))?;
        Ok(Self { plan, text: spec })
    }

    fn __getnewargs__(&self) -> (String,) {
        (self.text.clone(),)
    }

    fn __repr__(&self) -> String {
        format!("Plan({} parameters, {} outputs)", self.plan.spec().params.len(), self.plan.outputs().len())
    }

    #[getter]
    fn spec(&self) -> String {
        self.text.clone()
    }

    #[getter]
    fn canonical_rules(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.plan.canonical_rules().map_err(|e| errors::to_py(py, e))
    }

    #[getter]
    fn unused_params(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.plan.unused_params().map_err(|e| errors::to_py(py, e))
    }

    #[getter]
    fn outputs(&self) -> Vec<String> {
        self.plan.outputs().iter().map(crate::plan::Output::name).collect()
    }

    fn check(&self, py: Python<'_>, panel: PyRef<'_, PyPanel>) -> PyResult<()> {
        self.plan.check(&panel.panel).map_err(|e| errors::to_py(py, e))
    }

    #[pyo3(signature = (panel, params, *, threads))]
    fn run_batch(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: PyBuffer<f64>,
        threads: usize,
    ) -> PyResult<ArrowTable> {
        if threads == 0 {
            return Err(errors::spec_error(py, "threads must be at least 1".to_owned()));
        }
        let n_params = self.plan.spec().params.len();
        let shape = params.shape();
        if shape.len() != 2 || shape[1] != n_params || !params.is_c_contiguous() {
            let message = format!(
                "params must be a C-contiguous float64 array of shape (n, {n_params}), got {shape:?}"
            );
            return Err(errors::spec_error(py, message));
        }
        let n_trials = shape[0];
        let values = params.to_vec(py)?;
        let panel = Arc::clone(&panel.panel);
        let plan = &self.plan;
        let outcomes = guard::run_detached(py, threads, move |cancel| {
            let rows: Vec<&[f64]> =
                (0..n_trials).map(|i| &values[i * n_params..(i + 1) * n_params]).collect();
            run_batch(plan, &panel, &rows, cancel)
        })?;
        let outcomes = outcomes.map_err(|e| errors::to_py(py, e))?;
        ArrowTable::new(self.table_of(&outcomes))
    }

    #[pyo3(signature = (panel, params, *, strategy = None, assets = None, details = true))]
    fn run_one(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: Vec<f64>,
        strategy: Option<Bound<'_, PyAny>>,
        assets: Option<Vec<usize>>,
        details: bool,
    ) -> PyResult<PyRunResult> {
        let panel = Arc::clone(&panel.panel);
        let n_assets = panel.n_assets();
        let mut assets = assets.unwrap_or_else(|| (0..n_assets).collect());
        assets.sort_unstable();
        assets.dedup();
        if assets.is_empty() || assets.iter().any(|&asset| asset >= n_assets) {
            let message = format!("assets must be some of the {n_assets} of the panel, got {assets:?}");
            return Err(errors::spec_error(py, message));
        }
        let n_params = self.plan.spec().params.len();
        let keep = if details { Keep::Everything } else { Keep::Metrics };
        let share = StrategyShare::default();
        let outcome = match (&self.plan.spec().strategy, strategy) {
            (StrategySpec::Rules(_), None) => {
                if params.len() != n_params {
                    let message = format!("params must have {n_params} values, got {}", params.len());
                    return Err(errors::spec_error(py, message));
                }
                let (plan, panel) = (&self.plan, Arc::clone(&panel));
                guard::run_detached(py, 1, move |cancel| {
                    run_rules(plan, &panel, &params, &assets, keep, cancel)
                })?
            }
            (StrategySpec::Callback(_), Some(factory)) => {
                self.plan.check(&panel).map_err(|e| errors::to_py(py, e))?;
                let cancel = AtomicBool::new(false);
                let make = |universe: &[usize]| {
                    PyStrategy::new(&factory, &panel, universe, &share)
                        .map_err(|error| share.stash(py, error))
                };
                run_strategies(&self.plan, &panel, &assets, keep, &cancel, make)
            }
            (StrategySpec::Rules(_), Some(_)) => {
                return Err(errors::spec_error(
                    py,
                    "the plan has rules: it takes no strategy object".to_owned(),
                ));
            }
            (StrategySpec::Callback(_), None) => {
                return Err(errors::spec_error(
                    py,
                    "the plan has a callback strategy: pass strategy=".to_owned(),
                ));
            }
        };
        match outcome {
            Ok(outcome) => Ok(PyRunResult::new(outcome, panel, self.plan.outputs().to_vec(), share.tags())),
            // The strategy's own exception passes through unchanged.
            Err(error @ EngineError::Strategy { .. }) => {
                Err(share.take_error().unwrap_or_else(|| errors::to_py(py, error)))
            }
            Err(error) => Err(errors::to_py(py, error)),
        }
    }
}

impl PyPlan {
    fn table_of(&self, outcomes: &[TrialOutcome]) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let errors: StringArray = outcomes.iter().map(|o| o.error.as_deref()).collect();
        let hashes: StringArray = outcomes.iter().map(|o| Some(o.hash.as_str())).collect();
        let n_bars = Int64Array::from_iter_values(outcomes.iter().map(|o| o.n_bars as i64));
        let n_defined = Int64Array::from_iter_values(outcomes.iter().map(|o| o.n_defined as i64));
        let mut columns: Vec<(String, ArrayRef, bool)> = vec![
            ("error".to_owned(), Arc::new(errors), true),
            ("hash".to_owned(), Arc::new(hashes), false),
            ("n_bars".to_owned(), Arc::new(n_bars), false),
            ("n_defined".to_owned(), Arc::new(n_defined), false),
        ];
        for (ix, output) in self.plan.outputs().iter().enumerate() {
            let values = Float64Array::from_iter_values(outcomes.iter().map(|o| o.values[ix]));
            columns.push((output.name(), Arc::new(values), false));
        }
        RecordBatch::try_from_iter_with_nullable(columns)
    }
}
