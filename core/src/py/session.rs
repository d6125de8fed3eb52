//! `Session`: the door to a session whose engine runs in a thread of its own.

use super::errors;
use super::plan::PyPlan;
use super::result::PyRunResult;
use super::rows::{LiveRows, Rows};
use super::strategy::{PyStrategy, StrategyShare};
use crate::batch::session_outcome;
use crate::bus::{Bounds, Inlet, InletError};
use crate::clock::BarTimes;
use crate::engine::{Keep, Session, SessionEnd, SessionSpec};
use crate::error::EngineError;
use crate::model::{BarValues, OrderKind, OrderRequest, Side, Size, Step, StepBar};
use crate::plan::{Plan, StrategySpec};
use crate::units::{InstrumentIx, OrderId, TradingDate, TsNs};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Asset, four prices, volume, further columns, whether it ends the date of the asset.
type GivenBar = (usize, [f64; 4], f64, Vec<f64>, bool);

type Runner = JoinHandle<SessionEnd<PyStrategy>>;

#[pyclass(frozen, name = "PaperSession", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyPaperSession {
    inlet: Inlet,
    runner: Mutex<Option<Runner>>,
    cancel: Arc<AtomicBool>,
    plan: Plan,
    symbols: Vec<String>,
    share: StrategyShare,
}

impl PyPaperSession {
    fn sent(
        &self,
        py: Python<'_>,
        send: impl FnOnce(&Inlet) -> Result<(), InletError> + Send,
    ) -> PyResult<()> {
        let inlet = &self.inlet;
        py.detach(|| send(inlet)).map_err(|error| match error {
            InletError::Data(error) => errors::data_error(py, error),
            InletError::UnknownInstrument { .. } => errors::spec_error(py, error.to_string()),
            InletError::Closed(_) | InletError::Full { .. } => errors::engine_error(py, error.to_string()),
        })
    }
}

#[pymethods]
impl PyPaperSession {
    #[new]
    #[pyo3(signature = (plan, symbols, strategy, *, columns = Vec::new(), has_volume = true, ticks = false,
                        bar_times = None))]
    #[expect(clippy::too_many_arguments, reason = "the keywords of one call from Python")]
    fn new(
        py: Python<'_>,
        plan: PyRef<'_, PyPlan>,
        symbols: Vec<String>,
        strategy: Bound<'_, PyAny>,
        columns: Vec<String>,
        has_volume: bool,
        ticks: bool,
        bar_times: Option<&str>,
    ) -> PyResult<Self> {
        let bar_times: BarTimes = bar_times
            .map_or_else(|| Ok(BarTimes::default()), serde_json::from_str)
            .map_err(|error| errors::spec_error(py, format!("bar_times: {error}")))?;
        let plan = plan.plan().clone();
        if !matches!(plan.spec().strategy, StrategySpec::Callback(_)) {
            let message = "a paper session takes a plan with a callback strategy";
            return Err(errors::spec_error(py, message.to_owned()));
        }
        let share = StrategyShare::default();
        let extra: Arc<[String]> = columns.clone().into();
        let live = LiveRows::new(symbols.clone(), &extra, has_volume, ticks);
        let universe: Vec<usize> = (0..symbols.len()).collect();
        let object = PyStrategy::over(&strategy, Rows::Live(Arc::new(live)), &universe, &share)?;
        let spec = SessionSpec {
            symbols: symbols.clone(),
            extra: columns,
            has_volume,
            is_ticks: ticks,
            market: plan.market().clone(),
            risk: plan.spec().risk.clone(),
            keep: Keep::Everything,
            bar_times,
            bounds: Bounds::default(),
        };
        let (session, inlet) = Session::paper(spec, object).map_err(|error| errors::to_py(py, error))?;
        let cancel = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancel);
        let runner = std::thread::Builder::new()
            .name("akq-session".to_owned())
            .spawn(move || session.run(&flag))
            .map_err(|e| {
                PyRuntimeError::new_err(format!("the thread of a session cannot be started: {e}"))
            })?;
        Ok(Self { inlet, runner: Mutex::new(Some(runner)), cancel, plan, symbols, share })
    }

    #[pyo3(signature = (ts, date, bars, *, ends_date = false, ends_run = false))]
    fn step(
        &self,
        py: Python<'_>,
        ts: i64,
        date: i32,
        bars: Vec<GivenBar>,
        ends_date: bool,
        ends_run: bool,
    ) -> PyResult<()> {
        let bar = |(asset, [open, high, low, close], volume, extra, ends_date): GivenBar| StepBar {
            instrument: InstrumentIx(u32::try_from(asset).unwrap_or(u32::MAX)),
            values: BarValues { open, high, low, close, volume },
            extra,
            ends_date,
        };
        let bars = bars.into_iter().map(bar).collect();
        let step = Step { ts: TsNs(ts), date: TradingDate(date), bars, ends_date, ends_run };
        self.sent(py, |inlet| inlet.step(step))
    }

    #[pyo3(signature = (asset, side, qty, *, limit = None, stop = None))]
    fn submit(
        &self,
        py: Python<'_>,
        asset: u32,
        side: i32,
        qty: f64,
        limit: Option<f64>,
        stop: Option<f64>,
    ) -> PyResult<()> {
        let side = match side {
            1 => Side::Buy,
            -1 => Side::Sell,
            other => return Err(errors::spec_error(py, format!("side must be 1 or -1, got {other}"))),
        };
        let kind = match (limit, stop) {
            (None, None) => OrderKind::Market,
            (Some(limit), None) => OrderKind::Limit(limit),
            (None, Some(stop)) => OrderKind::Stop(stop),
            (Some(limit), Some(stop)) => OrderKind::StopLimit { stop, limit },
        };
        let request =
            OrderRequest { kind, ..OrderRequest::market(InstrumentIx(asset), side, Size::Qty(qty)) };
        self.sent(py, |inlet| inlet.submit(request))
    }

    fn cancel(&self, py: Python<'_>, order: u64) -> PyResult<()> {
        self.sent(py, |inlet| inlet.cancel(OrderId(order)))
    }

    fn cancel_all(&self, py: Python<'_>) -> PyResult<()> {
        self.sent(py, Inlet::cancel_all)
    }

    fn halt(&self, py: Python<'_>) -> PyResult<()> {
        self.sent(py, Inlet::halt)
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.sent(py, Inlet::resume)
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.sent(py, Inlet::stop)
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.sent(py, Inlet::finish)
    }

    fn result(&self, py: Python<'_>) -> PyResult<PyRunResult> {
        let runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(runner) = runner else {
            return Err(errors::engine_error(py, "the result of the session was taken already".to_owned()));
        };
        let Ok(end) = py.detach(|| runner.join()) else {
            return Err(PyRuntimeError::new_err("internal: the thread of the session panicked"));
        };
        match end.outcome {
            Ok(()) => {
                let universe = (0..self.symbols.len()).collect();
                let run = session_outcome(&self.plan, universe, end.timeline, end.record, end.orders);
                let outputs = self.plan.outputs().to_vec();
                Ok(PyRunResult::new(run, self.symbols.clone(), outputs, self.share.tags(), Vec::new()))
            }
            // The strategy's own exception passes through unchanged.
            Err(error @ EngineError::Strategy { .. }) => {
                Err(self.share.take_error().unwrap_or_else(|| errors::to_py(py, error)))
            }
            Err(error) => Err(errors::to_py(py, error)),
        }
    }
}

impl Drop for PyPaperSession {
    /// A session that nobody waits for ends.
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}
