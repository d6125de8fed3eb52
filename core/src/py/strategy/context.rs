//! What a callback may see and ask for: a mirror of its account, and a list of requests.

use super::bar::{PyBar, Symbols};
use super::orders::{read_kind, read_protection, read_tif, read_trailing};
use super::{StrategyShare, lock};
use crate::clock::{Clock, Place, Timers, When};
use crate::context::Target;
use crate::model::{Amendment, OrderRequest, OrderTag, Side, Size};
use crate::py::rows::Rows;
use crate::units::{InstrumentIx, OrderId, StrategyIx};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::{Arc, Mutex};

/// What a callback asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Submit(OrderRequest),
    Cancel(OrderId),
    Amend(OrderId, Amendment),
    Target(InstrumentIx, Target, OrderTag),
    Schedule(String, When, i32),
    CancelTimer(String),
}

/// What a callback may see, as of now.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    pub(super) asset: usize,
    pub(super) index: i64,
    pub(super) ts: i64,
    pub(super) date: i32,
    pub(super) step: u32,
    pub(super) cash: f64,
    pub(super) equity: f64,
    pub(super) next_id: u64,
    /// By instrument of the account.
    pub(super) held: Vec<(f64, f64)>,
    /// Newest row and the step it came at, by instrument; -1 before the first bar.
    pub(super) newest: Vec<(i64, u32)>,
    /// Orders that work, with their asset.
    pub(super) working: Vec<(u64, usize)>,
    pub(super) clock: Clock,
    /// As they stand, so that a bad one is refused where it is asked for.
    pub(super) timers: Timers,
    pub(super) place: Option<Place>,
    pub(super) owner: StrategyIx,
    /// How many coarse bars are complete at each row, by frequency and instrument.
    pub(super) n_complete: Vec<Vec<Vec<u32>>>,
    pub(super) asked: Vec<Asked>,
}

#[pyclass(frozen, name = "StrategyContext", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyContext {
    pub(super) rows: Rows,
    pub(super) symbols: Arc<Symbols>,
    pub(super) share: StrategyShare,
    /// Instrument of the account by asset of the panel.
    pub(super) local: Vec<Option<InstrumentIx>>,
    pub(super) universe: Vec<usize>,
    pub(super) mirror: Mutex<Mirror>,
}

impl PyContext {
    /// The context of an account over some assets of the panel, before its first step.
    pub(super) fn new(rows: Rows, symbols: Arc<Symbols>, share: StrategyShare, universe: &[usize]) -> Self {
        let mut local = vec![None; rows.symbols().len()];
        for (ix, &asset) in universe.iter().enumerate() {
            local[asset] = Some(InstrumentIx(ix as u32));
        }
        let mirror = Mirror {
            held: vec![(0.0, f64::NAN); universe.len()],
            newest: vec![(-1, 0); universe.len()],
            next_id: 1,
            asset: universe.first().copied().unwrap_or(0),
            index: -1,
            ..Mirror::default()
        };
        Self { rows, symbols, share, local, universe: universe.to_vec(), mirror: Mutex::new(mirror) }
    }

    fn instrument(&self, asset: usize) -> PyResult<InstrumentIx> {
        self.local.get(asset).copied().flatten().ok_or_else(|| {
            let name = self.rows.symbols().get(asset).map_or("an unknown asset", String::as_str);
            PyValueError::new_err(format!("{name} is not in this account"))
        })
    }
}

#[pymethods]
impl PyContext {
    #[getter]
    fn asset(&self) -> usize {
        lock(&self.mirror).asset
    }

    #[getter]
    fn index(&self) -> i64 {
        lock(&self.mirror).index
    }

    #[getter]
    fn ts(&self) -> i64 {
        lock(&self.mirror).ts
    }

    #[getter]
    fn date(&self) -> i32 {
        lock(&self.mirror).date
    }

    #[getter]
    fn step(&self) -> u32 {
        lock(&self.mirror).step
    }

    #[getter]
    fn cash(&self) -> f64 {
        lock(&self.mirror).cash
    }

    #[getter]
    fn equity(&self) -> f64 {
        lock(&self.mirror).equity
    }

    #[getter]
    fn symbols(&self, py: Python<'_>) -> Vec<Py<PyString>> {
        self.symbols.names.iter().map(|name| name.clone_ref(py)).collect()
    }

    #[getter]
    fn universe(&self) -> Vec<usize> {
        self.universe.clone()
    }

    fn __repr__(&self) -> String {
        let mirror = lock(&self.mirror);
        let (step, n) = (mirror.step, self.universe.len());
        format!("StrategyContext(step={step}, assets={n}, cash={}, equity={})", mirror.cash, mirror.equity)
    }

    fn bar(&self, asset: usize) -> Option<PyBar> {
        let instrument = self.local.get(asset).copied().flatten()?;
        let mirror = lock(&self.mirror);
        let (index, step) = mirror.newest[instrument.ix()];
        if index < 0 || step != mirror.step {
            return None;
        }
        let bar = PyBar::new(self.rows.clone(), Arc::clone(&self.symbols));
        bar.set(asset, index as u32);
        Some(bar)
    }

    fn last_index(&self, asset: usize) -> i64 {
        let instrument = self.local.get(asset).copied().flatten();
        instrument.map_or(-1, |i| lock(&self.mirror).newest[i.ix()].0)
    }

    fn last_close(&self, asset: usize) -> f64 {
        let row = usize::try_from(self.last_index(asset));
        row.map_or(f64::NAN, |row| self.rows.with(asset, |view| view.close[row]))
    }

    fn tail(&self, column: &str, asset: usize, n: usize) -> PyResult<Vec<f64>> {
        let end = usize::try_from(self.last_index(asset) + 1).unwrap_or(0);
        let values = self
            .rows
            .with(asset, |view| view.named(column).map(|values| values[end.saturating_sub(n)..end].to_vec()));
        values.ok_or_else(|| PyKeyError::new_err(column.to_owned()))
    }

    fn position(&self, asset: usize) -> f64 {
        let instrument = self.local.get(asset).copied().flatten();
        instrument.map_or(0.0, |i| lock(&self.mirror).held[i.ix()].0)
    }

    fn avg_price(&self, asset: usize) -> f64 {
        let instrument = self.local.get(asset).copied().flatten();
        instrument.map_or(f64::NAN, |i| lock(&self.mirror).held[i.ix()].1)
    }

    #[pyo3(signature = (asset = None))]
    fn working(&self, asset: Option<usize>) -> Vec<u64> {
        let mirror = lock(&self.mirror);
        let wanted = |of: &usize| asset.is_none_or(|asset| asset == *of);
        mirror.working.iter().filter(|(_, of)| wanted(of)).map(|(id, _)| *id).collect()
    }

    #[expect(clippy::too_many_arguments, reason = "the keywords of one call from Python")]
    #[pyo3(signature = (asset, side, qty, size = "qty", limit = None, stop = None, valid_bars = None, day = false,
                        oco = None, tag = "", protection = None, trail = None, on_close = false, tif = None,
                        good_till = None, parent = None))]
    fn submit(
        &self,
        asset: usize,
        side: i32,
        qty: f64,
        size: &str,
        limit: Option<f64>,
        stop: Option<f64>,
        valid_bars: Option<u32>,
        day: bool,
        oco: Option<u64>,
        tag: &str,
        protection: Option<&Bound<'_, PyDict>>,
        trail: Option<&Bound<'_, PyDict>>,
        on_close: bool,
        tif: Option<&str>,
        good_till: Option<i32>,
        parent: Option<u64>,
    ) -> PyResult<u64> {
        let instrument = self.instrument(asset)?;
        let side = match side {
            1 => Side::Buy,
            -1 => Side::Sell,
            other => return Err(PyValueError::new_err(format!("side must be 1 or -1, got {other}"))),
        };
        let size = match size {
            "qty" => Size::Qty(qty),
            "value" => Size::Value(qty),
            "pct_equity" => Size::PctEquity(qty),
            "budget_at_fill" => Size::BudgetAtFill(qty),
            other => return Err(PyValueError::new_err(format!("unknown size {other:?}"))),
        };
        let trailing = trail.map(|dict| read_trailing(dict, "trail")).transpose()?;
        let kind = read_kind(limit, stop, trailing.is_some(), on_close)?;
        let tif = read_tif(valid_bars, day, tif, good_till)?;
        if oco.is_some_and(|group| group >= 1 << 63) {
            return Err(PyValueError::new_err("oco must be below 2**63"));
        }
        let newest = lock(&self.mirror).newest[instrument.ix()].0;
        let signal = usize::try_from(newest).ok().map(|row| self.rows.with(asset, |view| view.close[row]));
        let protection =
            protection.map(|dict| read_protection(dict, signal)).transpose()?.unwrap_or_default();
        let request = OrderRequest {
            kind,
            tif,
            oco,
            protection,
            trailing,
            parent: parent.map(OrderId),
            tag: self.share.tag(tag),
            ..OrderRequest::market(instrument, side, size)
        };
        let mut mirror = lock(&self.mirror);
        let id = mirror.next_id;
        mirror.next_id += 1;
        mirror.working.push((id, asset));
        mirror.asked.push(Asked::Submit(request));
        Ok(id)
    }

    fn cancel(&self, order: u64) {
        lock(&self.mirror).asked.push(Asked::Cancel(OrderId(order)));
    }

    #[pyo3(signature = (order, limit = None, stop = None, qty = None))]
    fn amend(&self, order: u64, limit: Option<f64>, stop: Option<f64>, qty: Option<f64>) -> PyResult<()> {
        let amendment = Amendment { limit, stop, qty };
        if amendment == Amendment::default() {
            return Err(PyValueError::new_err("an amendment changes limit, stop or qty"));
        }
        lock(&self.mirror).asked.push(Asked::Amend(OrderId(order), amendment));
        Ok(())
    }

    /// Number of complete coarse bars of an asset; `frequency` is a place in those of the strategy.
    fn n_coarse(&self, frequency: usize, asset: usize) -> usize {
        let Some(instrument) = self.local.get(asset).copied().flatten() else { return 0 };
        let mirror = lock(&self.mirror);
        let counts = mirror.n_complete.get(frequency).and_then(|by| by.get(instrument.ix()));
        let row = usize::try_from(mirror.newest[instrument.ix()].0).ok();
        counts.zip(row).and_then(|(counts, row)| counts.get(row)).map_or(0, |n| *n as usize)
    }

    /// Nanoseconds by which the bars of this step are over, as far as is known; none before the first step.
    #[getter]
    fn now(&self) -> Option<i64> {
        let now = lock(&self.mirror).clock.now.0;
        (now != i64::MIN).then_some(now)
    }

    #[getter]
    fn time_zone(&self) -> Option<&'static str> {
        lock(&self.mirror).place.as_ref().map(|place| place.zone().name())
    }

    #[getter]
    fn is_session_open(&self) -> Option<bool> {
        let mirror = lock(&self.mirror);
        Some(mirror.place.as_ref()?.schedule()?.is_open(mirror.clock.now))
    }

    #[getter]
    fn timers(&self) -> Vec<String> {
        let mirror = lock(&self.mirror);
        mirror.timers.names(mirror.owner).map(str::to_owned).collect()
    }

    #[pyo3(signature = (name, when, priority = 0))]
    fn schedule(&self, name: &str, when: &str, priority: i32) -> PyResult<()> {
        let bad = |error: serde_json::Error| PyValueError::new_err(format!("timer {name:?}: {error}"));
        let when: When = serde_json::from_str(when).map_err(bad)?;
        let mirror = &mut *lock(&self.mirror);
        let refused =
            mirror.timers.set(mirror.owner, name, when, priority, &mirror.clock, mirror.place.as_ref()).err();
        if let Some(error) = refused {
            return Err(PyValueError::new_err(error.to_string()));
        }
        mirror.asked.push(Asked::Schedule(name.to_owned(), when, priority));
        Ok(())
    }

    fn cancel_timer(&self, name: &str) -> PyResult<()> {
        let mirror = &mut *lock(&self.mirror);
        mirror.timers.cancel(mirror.owner, name).map_err(|error| PyValueError::new_err(error.to_string()))?;
        mirror.asked.push(Asked::CancelTimer(name.to_owned()));
        Ok(())
    }

    #[pyo3(signature = (asset, value, kind, tag = "rebalance"))]
    fn target(&self, asset: usize, value: f64, kind: &str, tag: &str) -> PyResult<()> {
        let instrument = self.instrument(asset)?;
        let target = match kind {
            "qty" => Target::Qty(value),
            "value" => Target::Value(value),
            "pct" => Target::Pct(value),
            other => return Err(PyValueError::new_err(format!("unknown target {other:?}"))),
        };
        let tag = self.share.tag(tag);
        lock(&self.mirror).asked.push(Asked::Target(instrument, target, tag));
        Ok(())
    }
}
