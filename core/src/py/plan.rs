//! `Plan`: what to run, and the two ways to run it.

use super::arrow::ArrowTable;
use super::batch::PyBatchResult;
use super::panel::PyPanel;
use super::result::PyRunResult;
use super::strategy::{PyStrategy, StrategyShare};
use super::{errors, guard};
use crate::batch::{
    BatchOutcome, Extras, Stages, TrialOutcome, run_batch_on, run_named, run_rules, run_signals,
    run_signals_batch, run_staged, run_strategies,
};
use crate::data::Panel;
use crate::engine::Keep;
use crate::error::EngineError;
use crate::plan::{Member, Output, Plan, StrategySpec};
use crate::registry::AnyStrategy;
use crate::several::run_several;
use crate::signals::SignalTable;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

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
        self.plan.outputs().iter().map(Output::name).collect()
    }

    fn check(&self, py: Python<'_>, panel: PyRef<'_, PyPanel>) -> PyResult<()> {
        self.plan.check(&panel.panel, panel.panel.n_assets()).map_err(|e| errors::to_py(py, e))
    }

    #[pyo3(signature = (panel, params, *, threads))]
    fn run_batch(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: PyBuffer<f64>,
        threads: usize,
    ) -> PyResult<ArrowTable> {
        let assets: Vec<usize> = (0..panel.panel.n_assets()).collect();
        let batch = self.batch(py, &panel.panel, &params, threads, &assets, Extras::default())?;
        ArrowTable::new(RecordBatch::try_from_iter_with_nullable(trial_columns(
            self.plan.outputs(),
            &batch.trials,
        )))
    }

    #[expect(clippy::too_many_arguments, reason = "the keywords of one call from Python")]
    #[pyo3(signature = (panel, params, *, threads, assets = None, accounts = false, returns = false))]
    fn explore(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: PyBuffer<f64>,
        threads: usize,
        assets: Option<Vec<usize>>,
        accounts: bool,
        returns: bool,
    ) -> PyResult<PyBatchResult> {
        let assets = chosen(py, assets, panel.panel.n_assets())?;
        let extras = Extras { by_account: accounts, returns };
        let batch = self.batch(py, &panel.panel, &params, threads, &assets, extras)?;
        Ok(self.result_of(batch, &panel.panel, &assets))
    }

    #[pyo3(signature = (panel, params, signals, *, threads))]
    fn run_signals(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: PyBuffer<f64>,
        signals: PyTable,
        threads: usize,
    ) -> PyResult<ArrowTable> {
        let values = self.rows_of(py, &params, threads)?;
        let table = signal_table(py, signals)?;
        let rows = rows(&values, self.plan.spec().params.len(), params.shape()[0]);
        let (plan, panel) = (&self.plan, &panel.panel);
        let outcomes = guard::run_detached(py, threads, move |cancel| {
            run_signals_batch(plan, panel, &rows, &table, cancel)
        })?;
        let outcomes = outcomes.map_err(|e| errors::to_py(py, e))?;
        ArrowTable::new(RecordBatch::try_from_iter_with_nullable(trial_columns(plan.outputs(), &outcomes)))
    }

    #[expect(clippy::too_many_arguments, reason = "the keywords of one call from Python")]
    #[pyo3(signature = (panel, params, look, *, threads, assets = None, dates = None, reference = None))]
    fn run_staged(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: PyBuffer<f64>,
        look: Py<PyAny>,
        threads: usize,
        assets: Option<Vec<Vec<usize>>>,
        dates: Option<Vec<i32>>,
        reference: Option<Vec<f64>>,
    ) -> PyResult<ArrowTable> {
        let stages = match (assets, dates) {
            (Some(assets), None) => Stages::Assets(assets),
            (None, Some(dates)) => Stages::Dates(dates),
            _ => {
                let message = "pass assets= or dates=: after what trials are looked at".to_owned();
                return Err(errors::spec_error(py, message));
            }
        };
        let values = self.rows_of(py, &params, threads)?;
        let n_params = self.plan.spec().params.len();
        if let Some(row) = reference.as_ref().filter(|row| row.len() != n_params) {
            let message = format!("reference must have {n_params} values, got {}", row.len());
            return Err(errors::spec_error(py, message));
        }
        let (plan, panel) = (&self.plan, &panel.panel);
        let raised: Mutex<Option<PyErr>> = Mutex::new(None);
        let stash = |error: PyErr| {
            *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            EngineError::Strategy { message: "the look at a stage raised".to_owned() }
        };
        let mut ask = |at: usize, trials: &[usize], found: BatchOutcome| {
            let mut assets: Vec<usize> = match &stages {
                Stages::Assets(parts) => parts[at].clone(),
                Stages::Dates(_) => (0..panel.n_assets()).collect(),
            };
            assets.sort_unstable();
            let answer = |py: Python<'_>| {
                let found = self.result_of(found, panel, &assets);
                look.bind(py).call1((at, trials.to_vec(), found))?.extract::<Vec<bool>>()
            };
            Python::attach(|py| answer(py).map_err(&stash))
        };
        let (rows, reference) = (rows(&values, n_params, params.shape()[0]), reference.as_deref());
        let (stages, ask) = (&stages, &mut ask);
        let outcomes = guard::run_detached(py, threads, move |cancel| {
            run_staged(plan, panel, &rows, reference, stages, cancel, ask)
        })?;
        if let Some(error) = raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let outcomes = outcomes.map_err(|e| errors::to_py(py, e))?;
        ArrowTable::new(RecordBatch::try_from_iter_with_nullable(trial_columns(plan.outputs(), &outcomes)))
    }

    #[expect(clippy::too_many_arguments, reason = "the keywords of one call from Python")]
    #[pyo3(signature = (panel, params, *, strategy = None, signals = None, assets = None, details = true))]
    fn run_one(
        &self,
        py: Python<'_>,
        panel: PyRef<'_, PyPanel>,
        params: Vec<f64>,
        strategy: Option<Bound<'_, PyAny>>,
        signals: Option<PyTable>,
        assets: Option<Vec<usize>>,
        details: bool,
    ) -> PyResult<PyRunResult> {
        let panel = Arc::clone(&panel.panel);
        let assets = chosen(py, assets, panel.n_assets())?;
        let n_params = self.plan.spec().params.len();
        let keep = if details { Keep::Everything } else { Keep::Metrics };
        let share = StrategyShare::default();
        if let Some(message) = unfit(&self.plan.spec().strategy, strategy.is_some(), signals.is_some()) {
            return Err(errors::spec_error(py, message.to_owned()));
        }
        if strategy.is_none() && params.len() != n_params {
            let message = format!("params must have {n_params} values, got {}", params.len());
            return Err(errors::spec_error(py, message));
        }
        let outcome = match (strategy, signals) {
            (Some(factories), _) if !self.plan.members().is_empty() => {
                self.plan.check(&panel, panel.n_assets()).map_err(|e| errors::to_py(py, e))?;
                let factories = self.member_factories(py, &factories)?;
                let make = |ix: usize, universe: &[usize]| -> Result<Box<dyn AnyStrategy>, EngineError> {
                    let Some(factory) = &factories[ix] else {
                        return Err(EngineError::Internal("a member without a strategy object is called"));
                    };
                    let made = PyStrategy::new(factory, &panel, universe, &share);
                    made.map(|made| -> Box<dyn AnyStrategy> { Box::new(made) })
                        .map_err(|error| share.stash(py, error))
                };
                run_several(&self.plan, &panel, &assets, keep, &AtomicBool::new(false), make)
            }
            (Some(factory), _) => {
                self.plan.check(&panel, panel.n_assets()).map_err(|e| errors::to_py(py, e))?;
                let cancel = AtomicBool::new(false);
                let make = |universe: &[usize]| {
                    PyStrategy::new(&factory, &panel, universe, &share)
                        .map_err(|error| share.stash(py, error))
                };
                run_strategies(&self.plan, &panel, &assets, keep, &cancel, make)
            }
            (None, Some(table)) => {
                let table = signal_table(py, table)?;
                let (plan, panel) = (&self.plan, Arc::clone(&panel));
                plan.check(&panel, panel.n_assets()).map_err(|e| errors::to_py(py, e))?;
                guard::run_detached(py, 1, move |cancel| {
                    run_signals(plan, &panel, &params, &table, &assets, keep, cancel)
                })?
            }
            (None, None) => {
                let (plan, panel) = (&self.plan, Arc::clone(&panel));
                guard::run_detached(py, 1, move |cancel| match plan.spec().strategy {
                    StrategySpec::Rust(_) => run_named(plan, &panel, &params, &assets, keep, cancel),
                    _ => run_rules(plan, &panel, &params, &assets, keep, cancel),
                })?
            }
        };
        match outcome {
            Ok(outcome) => {
                let names = self.plan.members().iter().map(|member| member.name.clone()).collect();
                let outputs = self.plan.outputs().to_vec();
                Ok(PyRunResult::new(outcome, panel.symbols().to_vec(), outputs, share.tags(), names))
            }
            // The strategy's own exception passes through unchanged.
            Err(error @ EngineError::Strategy { .. }) => {
                Err(share.take_error().unwrap_or_else(|| errors::to_py(py, error)))
            }
            Err(error) => Err(errors::to_py(py, error)),
        }
    }
}

/// Why a plan does not go with what a run brings.
fn unfit(spec: &StrategySpec, has_object: bool, has_signals: bool) -> Option<&'static str> {
    match (spec, has_object, has_signals) {
        (StrategySpec::Rules(_) | StrategySpec::Rust(_), false, false)
        | (StrategySpec::Signals(_), false, true)
        | (StrategySpec::Callback(_) | StrategySpec::Several(_), true, false) => None,
        (StrategySpec::Rules(_), ..) => {
            Some("the plan has rules: it takes no strategy object and no signals")
        }
        (StrategySpec::Rust(_), ..) => {
            Some("the plan names a strategy of the engine: it takes no strategy object and no signals")
        }
        (StrategySpec::Signals(_), ..) => Some("the plan trades signals: pass signals= and no strategy"),
        (StrategySpec::Several(_), ..) => {
            Some("the plan has several strategies: pass strategy= with a list of an object or None for each")
        }
        (StrategySpec::Callback(_), ..) => {
            Some("the plan has a callback strategy: pass strategy= and no signals")
        }
    }
}

fn signal_table(py: Python<'_>, table: PyTable) -> PyResult<SignalTable> {
    let (batches, _) = table.into_inner();
    let [batch] = batches.as_slice() else {
        return Err(errors::spec_error(py, "signals: a table of one chunk a column is needed".to_owned()));
    };
    SignalTable::new(batch).map_err(|e| errors::to_py(py, e))
}

impl PyPlan {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What makes the strategy object of each member; none where the plan itself has it.
    fn member_factories<'py>(
        &self,
        py: Python<'py>,
        given: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let factories: Vec<Option<Bound<'py, PyAny>>> = given.extract()?;
        let members = self.plan.members();
        let is_callback = |member: &Member| matches!(member.plan.spec().strategy, StrategySpec::Callback(_));
        let fits = factories.len() == members.len()
            && members.iter().zip(&factories).all(|(m, f)| is_callback(m) == f.is_some());
        if fits {
            return Ok(factories);
        }
        let message = format!(
            "strategy must be a list of {} items: an object for each callback strategy of the plan, None for the others",
            members.len()
        );
        Err(errors::spec_error(py, message))
    }

    fn batch(
        &self,
        py: Python<'_>,
        panel: &Arc<Panel>,
        params: &PyBuffer<f64>,
        threads: usize,
        assets: &[usize],
        extras: Extras,
    ) -> PyResult<BatchOutcome> {
        let values = self.rows_of(py, params, threads)?;
        let rows = rows(&values, self.plan.spec().params.len(), params.shape()[0]);
        let plan = &self.plan;
        let batch = guard::run_detached(py, threads, move |cancel| {
            run_batch_on(plan, panel, &rows, assets, extras, cancel)
        })?;
        batch.map_err(|e| errors::to_py(py, e))
    }

    /// The values of a parameter matrix, row after row, once it and the number of threads make sense.
    fn rows_of(&self, py: Python<'_>, params: &PyBuffer<f64>, threads: usize) -> PyResult<Vec<f64>> {
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
        params.to_vec(py)
    }

    fn result_of(&self, batch: BatchOutcome, panel: &Panel, assets: &[usize]) -> PyBatchResult {
        let name = |universe: &Vec<usize>| match universe.as_slice() {
            [asset] => panel.symbols()[*asset].clone(),
            _ => String::new(),
        };
        let accounts = self.plan.accounts(assets).iter().map(name).collect();
        PyBatchResult::new(batch, self.plan.outputs().to_vec(), accounts)
    }
}

fn rows(values: &[f64], n_params: usize, n_rows: usize) -> Vec<&[f64]> {
    (0..n_rows).map(|ix| &values[ix * n_params..(ix + 1) * n_params]).collect()
}

/// Columns of the table of trials: name, values, whether there are nulls.
pub(super) fn trial_columns(outputs: &[Output], outcomes: &[TrialOutcome]) -> Vec<(String, ArrayRef, bool)> {
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
    for (ix, output) in outputs.iter().enumerate() {
        let values = Float64Array::from_iter_values(outcomes.iter().map(|o| o.values[ix]));
        columns.push((output.name(), Arc::new(values), false));
    }
    columns
}

/// The assets of a run, ascending; all of them where none are named.
fn chosen(py: Python<'_>, assets: Option<Vec<usize>>, n_assets: usize) -> PyResult<Vec<usize>> {
    let mut assets = assets.unwrap_or_else(|| (0..n_assets).collect());
    assets.sort_unstable();
    assets.dedup();
    if assets.is_empty() || assets.iter().any(|&asset| asset >= n_assets) {
        let message = format!("assets must be some of the {n_assets} of the panel, got {assets:?}");
        return Err(errors::spec_error(py, message));
    }
    Ok(assets)
}
