//! Callback strategies: a Python object behind the `Strategy` trait.
//!
//! Python never holds a reference into the engine. What a callback may see is mirrored before it runs, what it asks
//! for is replayed after it returned, so that numbers and order agree with a native strategy.

use super::rows::Rows;
use super::tick::PyTick;
use super::{errors, frames};
use crate::clock::{Clock, Place, Timers, When};
use crate::context::{Context, Target};
use crate::data::{BarAt, CoarseBarAt, CoarseFrame, Frequency, Panel};
use crate::error::EngineError;
use crate::event::ExecutionReport;
use crate::model::{
    Amendment, Fill, Order, OrderKind, OrderRequest, OrderTag, Protection, ProtectionLevel, Reject, Side,
    Size, TimeInForce, Timer, TrailOn, TrailingSpec,
};
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::{InstrumentIx, OrderId, StrategyIx, TradingDate};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the accounts of one run share: words used as tags, and the exception that ended it.
#[derive(Debug, Clone, Default)]
pub struct StrategyShare {
    tags: Arc<Mutex<Vec<String>>>,
    error: Arc<Mutex<Option<PyErr>>>,
}

impl StrategyShare {
    pub fn tags(&self) -> Vec<String> {
        lock(&self.tags).clone()
    }

    pub fn take_error(&self) -> Option<PyErr> {
        lock(&self.error).take()
    }

    /// Keeps an exception aside while the engine unwinds.
    pub fn stash(&self, py: Python<'_>, error: PyErr) -> EngineError {
        let message = error.value(py).to_string();
        *lock(&self.error) = Some(error);
        EngineError::Strategy { message }
    }

    fn tag(&self, word: &str) -> OrderTag {
        if let Some(tag) = OrderTag::named(word) {
            return tag;
        }
        let mut tags = lock(&self.tags);
        let ix = tags.iter().position(|t| t == word).unwrap_or_else(|| {
            tags.push(word.to_owned());
            tags.len() - 1
        });
        OrderTag::Custom(ix as u32)
    }

    fn word(&self, tag: OrderTag) -> String {
        match tag {
            OrderTag::Custom(ix) => lock(&self.tags).get(ix as usize).cloned().unwrap_or_default(),
            named => named.name().to_owned(),
        }
    }
}

/// Symbols of a panel as Python strings, made once.
#[derive(Debug)]
struct Symbols {
    names: Vec<Py<PyString>>,
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
    fn set(&self, asset: usize, index: u32) {
        self.asset.store(asset, Ordering::Relaxed);
        self.row.store(index as usize, Ordering::Relaxed);
    }

    fn ohlc(&self) -> [f64; 4] {
        self.rows.ohlc(self.asset(), self.index())
    }

    fn copied(&self) -> Self {
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

/// What a callback asked for.
#[derive(Debug, Clone)]
enum Asked {
    Submit(OrderRequest),
    Cancel(OrderId),
    Amend(OrderId, Amendment),
    Target(InstrumentIx, Target, OrderTag),
    Schedule(String, When, i32),
    CancelTimer(String),
}

/// What a callback may see, as of now.
#[derive(Debug, Default)]
struct Mirror {
    asset: usize,
    index: i64,
    ts: i64,
    date: i32,
    step: u32,
    cash: f64,
    equity: f64,
    next_id: u64,
    /// By instrument of the account.
    held: Vec<(f64, f64)>,
    /// Newest row and the step it came at, by instrument; -1 before the first bar.
    newest: Vec<(i64, u32)>,
    /// Orders that work, with their asset.
    working: Vec<(u64, usize)>,
    clock: Clock,
    /// As they stand, so that a bad one is refused where it is asked for.
    timers: Timers,
    place: Option<Place>,
    owner: StrategyIx,
    /// How many coarse bars are complete at each row, by frequency and instrument.
    n_complete: Vec<Vec<Vec<u32>>>,
    asked: Vec<Asked>,
}

#[pyclass(frozen, name = "StrategyContext", module = "akq_dist._core")]
#[derive(Debug)]
pub struct PyContext {
    rows: Rows,
    symbols: Arc<Symbols>,
    share: StrategyShare,
    /// Instrument of the account by asset of the panel.
    local: Vec<Option<InstrumentIx>>,
    universe: Vec<usize>,
    mirror: Mutex<Mirror>,
}

impl PyContext {
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
        let bar = PyBar {
            rows: self.rows.clone(),
            symbols: Arc::clone(&self.symbols),
            asset: AtomicUsize::new(asset),
            row: AtomicUsize::new(0),
        };
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

/// A limit and a stop together make a stop-limit order; the level of a trailing stop is the engine's.
fn read_kind(
    limit: Option<f64>,
    stop: Option<f64>,
    is_trailing: bool,
    on_close: bool,
) -> PyResult<OrderKind> {
    match (limit, stop, is_trailing, on_close) {
        (None, None, false, false) => Ok(OrderKind::Market),
        (Some(limit), None, false, false) => Ok(OrderKind::Limit(limit)),
        (None, Some(stop), false, false) => Ok(OrderKind::Stop(stop)),
        (Some(limit), Some(stop), false, false) => Ok(OrderKind::StopLimit { stop, limit }),
        (None, None, true, false) => Ok(OrderKind::Stop(f64::NAN)),
        (None, None, false, true) => Ok(OrderKind::MarketOnClose),
        _ => Err(PyValueError::new_err("trail and on_close stand alone: no limit, no stop, not both")),
    }
}

fn read_tif(
    valid_bars: Option<u32>,
    day: bool,
    tif: Option<&str>,
    good_till: Option<i32>,
) -> PyResult<TimeInForce> {
    let n_given = [valid_bars.is_some(), day, tif.is_some(), good_till.is_some()];
    if n_given.iter().filter(|given| **given).count() > 1 {
        let message = "an order ends in one way: by valid_bars, by day, by tif or by good_till";
        return Err(PyValueError::new_err(message));
    }
    match (valid_bars, good_till, tif) {
        (Some(0), ..) => Err(PyValueError::new_err("valid_bars must be at least 1")),
        (Some(n), ..) => Ok(TimeInForce::Bars(n)),
        (_, Some(date), _) => Ok(TimeInForce::Gtd(TradingDate(date))),
        (.., Some("gtc")) => Ok(TimeInForce::Gtc),
        (.., Some("day")) => Ok(TimeInForce::Day),
        (.., Some("ioc")) => Ok(TimeInForce::Ioc),
        (.., Some("fok")) => Ok(TimeInForce::Fok),
        (.., Some(other)) => {
            Err(PyValueError::new_err(format!("unknown tif {other:?}, expected gtc, day, ioc or fok")))
        }
        (.., None) => Ok(if day { TimeInForce::Day } else { TimeInForce::Gtc }),
    }
}

fn read_trailing(dict: &Bound<'_, PyDict>, name: &str) -> PyResult<TrailingSpec> {
    let level = read_level(dict, name, &["pct", "abs", "on"])?;
    let on = [TrailOn::High, TrailOn::Close][read_word(dict, name, "on", ["high", "close"])?];
    Ok(TrailingSpec { level, on })
}

fn read_level(dict: &Bound<'_, PyDict>, name: &str, keys: &[&str]) -> PyResult<ProtectionLevel> {
    for key in dict.keys() {
        let key: String = key.extract()?;
        if !keys.contains(&key.as_str()) {
            let message = format!("{name}: unknown key {key:?}, expected {}", keys.join(", "));
            return Err(PyValueError::new_err(message));
        }
    }
    let number = |key: &str| dict.get_item(key)?.map(|v| v.extract::<f64>()).transpose();
    let (level, value) = match (number("pct")?, number("abs")?) {
        (Some(v), None) => (ProtectionLevel::Pct(v), v),
        (None, Some(v)) => (ProtectionLevel::Abs(v), v),
        _ => return Err(PyValueError::new_err(format!("{name}: give pct or abs"))),
    };
    if !(value.is_finite() && value > 0.0) {
        return Err(PyValueError::new_err(format!("{name} must be finite and above zero, got {value}")));
    }
    Ok(level)
}

fn read_word(dict: &Bound<'_, PyDict>, name: &str, key: &str, words: [&str; 2]) -> PyResult<usize> {
    let Some(value) = dict.get_item(key)? else { return Ok(0) };
    let word: String = value.extract()?;
    words.iter().position(|w| *w == word).ok_or_else(|| {
        PyValueError::new_err(format!("{name}.{key} must be {:?} or {:?}, got {word:?}", words[0], words[1]))
    })
}

fn read_protection(dict: &Bound<'_, PyDict>, signal: Option<f64>) -> PyResult<Protection> {
    let mut protection = Protection::default();
    for (key, value) in dict.iter() {
        let name: String = key.extract()?;
        let level = value.cast::<PyDict>()?;
        let bracket = || -> PyResult<(ProtectionLevel, Option<f64>)> {
            let distance = read_level(level, &name, &["pct", "abs", "from"])?;
            let from_signal = read_word(level, &name, "from", ["fill", "signal"])? == 1;
            Ok((distance, if from_signal { signal } else { None }))
        };
        match name.as_str() {
            "stop_loss" => protection.stop_loss = Some(bracket()?),
            "take_profit" => protection.take_profit = Some(bracket()?),
            "trailing" => protection.trailing = Some(read_trailing(level, &name)?),
            other => return Err(PyValueError::new_err(format!("unknown protection {other:?}"))),
        }
    }
    Ok(protection)
}

/// The hooks of a strategy object, by what calls them.
#[derive(Debug, Default)]
struct Hooks {
    on_start: Option<Py<PyAny>>,
    on_day: Option<Py<PyAny>>,
    on_timer: Option<Py<PyAny>>,
    on_coarse_bar: Option<Py<PyAny>>,
    on_bar: Option<Py<PyAny>>,
    on_tick: Option<Py<PyAny>>,
    on_bars: Option<Py<PyAny>>,
    on_order: Option<Py<PyAny>>,
    on_trade: Option<Py<PyAny>>,
    on_stop: Option<Py<PyAny>>,
}

/// A Python strategy object that trades one account.
#[derive(Debug)]
pub struct PyStrategy {
    context: Py<PyContext>,
    bar: Py<PyBar>,
    hooks: Hooks,
    frequencies: Vec<Frequency>,
    /// Takes the coarse bars of the run.
    set_frames: Py<PyAny>,
    share: StrategyShare,
}

impl PyStrategy {
    /// Makes a fresh strategy object for an account and binds it to its context.
    pub fn new(
        factory: &Bound<'_, PyAny>,
        panel: &Arc<Panel>,
        universe: &[usize],
        share: &StrategyShare,
    ) -> PyResult<Self> {
        Self::over(factory, Rows::Panel(Arc::clone(panel)), universe, share)
    }

    /// As `new`, over bars wherever they are.
    pub fn over(
        factory: &Bound<'_, PyAny>,
        rows: Rows,
        universe: &[usize],
        share: &StrategyShare,
    ) -> PyResult<Self> {
        let py = factory.py();
        let names = rows.symbols().iter().map(|s| PyString::new(py, s).unbind()).collect();
        let symbols = Arc::new(Symbols { names });
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
        let context = Py::new(
            py,
            PyContext {
                rows: rows.clone(),
                symbols: Arc::clone(&symbols),
                share: share.clone(),
                local,
                universe: universe.to_vec(),
                mirror: Mutex::new(mirror),
            },
        )?;
        let bar = PyBar { rows, symbols, asset: AtomicUsize::new(0), row: AtomicUsize::new(0) };
        let object = factory.call0()?;
        object.call_method1("_bind", (&context,))?;
        let words: Vec<String> = object.getattr("frequencies")?.extract()?;
        let mut frequencies = Vec::with_capacity(words.len());
        for word in &words {
            frequencies.push(Frequency::parse(word).map_err(|error| errors::to_py(py, error))?);
        }
        let set_frames = object.getattr("_set_frames")?.unbind();
        let hooks: [Option<Py<PyAny>>; 9] = object.call_method0("_hooks")?.extract()?;
        let [on_start, on_day, on_timer, on_coarse_bar, on_bar, on_bars, on_order, on_trade, on_stop] = hooks;
        let on_tick: Option<Py<PyAny>> = object.call_method0("_tick_hook")?.extract()?;
        let hooks = Hooks {
            on_start,
            on_day,
            on_timer,
            on_coarse_bar,
            on_bar,
            on_tick,
            on_bars,
            on_order,
            on_trade,
            on_stop,
        };
        let bar = Py::new(py, bar)?;
        Ok(Self { context, bar, hooks, frequencies, set_frames, share: share.clone() })
    }

    /// Runs one hook between a mirrored account and a replayed list of requests.
    fn call(
        &self,
        ctx: &mut Context<'_>,
        at: Option<BarAt>,
        hook: &Py<PyAny>,
        invoke: impl FnOnce(Python<'_>, &Py<PyAny>) -> PyResult<Py<PyAny>>,
    ) -> Result<(), StrategyFailure> {
        Python::attach(|py| {
            self.mirror(ctx, at);
            let outcome = invoke(py, hook);
            self.replay(py, ctx, outcome)
        })
    }

    /// The account as it stands before a hook.
    #[inline]
    fn mirror(&self, ctx: &Context<'_>, at: Option<BarAt>) {
        let shared = self.context.get();
        let mut mirror = lock(&shared.mirror);
        if let Some(bar) = at {
            mirror.asset = shared.universe[bar.instrument.ix()];
            mirror.index = i64::from(bar.row);
        }
        mirror.step = ctx.clock.step;
        mirror.ts = ctx.clock.ts.0;
        mirror.date = ctx.clock.date.0;
        mirror.cash = ctx.account.cash();
        mirror.equity = ctx.equity;
        mirror.next_id = ctx.book.next_id().0;
        mirror.clock = ctx.clock;
        if !(ctx.timers.is_empty() && mirror.timers.is_empty()) {
            mirror.timers.clone_from(ctx.timers);
        }
    }

    /// What a hook asked for, once it has returned; most ask for nothing.
    #[inline]
    fn replay(
        &self,
        py: Python<'_>,
        ctx: &mut Context<'_>,
        outcome: PyResult<Py<PyAny>>,
    ) -> Result<(), StrategyFailure> {
        let mut asked = {
            let mut mirror = lock(&self.context.get().mirror);
            if outcome.is_ok() && mirror.asked.is_empty() {
                return Ok(());
            }
            std::mem::take(&mut mirror.asked)
        };
        match outcome {
            Err(error) => {
                let message = error.value(py).to_string();
                let _ = self.share.stash(py, error);
                Err(StrategyFailure(message))
            }
            Ok(_) => {
                let replayed = replay(ctx, &asked);
                asked.clear();
                lock(&self.context.get().mirror).asked = asked;
                replayed
            }
        }
    }

    /// Hands the coarse bars of the run over, one table a frequency; the strategy reads no more of them than are
    /// complete.
    fn hand_frames(&self, ctx: &Context<'_>) -> Result<(), StrategyFailure> {
        let mut n_complete = Vec::with_capacity(self.frequencies.len());
        let mut tables = Vec::with_capacity(self.frequencies.len());
        for frequency in &self.frequencies {
            let frames: Vec<&CoarseFrame<'_>> =
                ctx.frames.iter().filter_map(|framed| framed.frame(*frequency)).collect();
            n_complete.push(frames.iter().map(|frame| frame.n_complete.clone()).collect());
            tables.push(frames::strategy_table(&frames, &ctx.views[0]));
        }
        lock(&self.context.get().mirror).n_complete = n_complete;
        Python::attach(|py| {
            let tables: PyResult<Vec<_>> = tables.into_iter().collect();
            let handed = tables.and_then(|tables| self.set_frames.call1(py, (tables,)));
            handed.map(drop).map_err(|error| {
                let message = error.value(py).to_string();
                let _ = self.share.stash(py, error);
                StrategyFailure(message)
            })
        })
    }

    /// Notes which bars came at this step.
    fn see_bars(&self, ctx: &Context<'_>, bars: &[BarAt]) {
        let shared = self.context.get();
        let mut mirror = lock(&shared.mirror);
        mirror.step = ctx.clock.step;
        for bar in bars {
            shared.rows.see(shared.universe[bar.instrument.ix()], &ctx.views[bar.instrument.ix()], bar.row);
            mirror.newest[bar.instrument.ix()] = (i64::from(bar.row), ctx.clock.step);
        }
        // Corporate actions change positions without a fill.
        for instrument in ctx.portfolio.held() {
            let position = ctx.portfolio.position(instrument);
            mirror.held[instrument.ix()] = (position.qty(), position.avg_price());
        }
    }

    fn order_dict<'py>(
        &self,
        py: Python<'py>,
        order: &Order,
        refused: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let shared = self.context.get();
        let asset = shared.universe[order.request.instrument.ix()];
        dict.set_item("id", order.id.0)?;
        dict.set_item("symbol", &shared.symbols.names[asset])?;
        dict.set_item("side", order.request.side.sign() as i32)?;
        dict.set_item("qty", order.qty)?;
        dict.set_item("price", order.request.kind.price())?;
        dict.set_item("status", order.status.name())?;
        let reason = refused.unwrap_or(order.status.reason());
        dict.set_item("reason", (!reason.is_empty()).then_some(reason))?;
        dict.set_item("filled", order.progress.filled)?;
        dict.set_item("tag", self.share.word(order.request.tag))?;
        dict.set_item("kind", order.kind_name())?;
        let (limit, stop) = order.request.kind.limit_and_stop();
        dict.set_item("limit", limit)?;
        dict.set_item("stop", stop)?;
        dict.set_item("ts", order.submitted.0)?;
        dict.set_item("parent", order.request.parent.map(|parent| parent.0))?;
        dict.set_item("is_final", order.status.is_final())?;
        Ok(dict)
    }

    fn trade_dict<'py>(&self, py: Python<'py>, fill: &Fill) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let shared = self.context.get();
        dict.set_item("order", fill.order.0)?;
        dict.set_item("symbol", &shared.symbols.names[shared.universe[fill.instrument.ix()]])?;
        dict.set_item("side", fill.side.sign() as i32)?;
        dict.set_item("qty", fill.qty)?;
        dict.set_item("price", fill.price)?;
        dict.set_item("fees", fill.fees)?;
        dict.set_item("tag", self.share.word(fill.tag))?;
        dict.set_item("slippage_cost", fill.slippage_cost)?;
        dict.set_item("ts", fill.ts.0)?;
        dict.set_item("index", fill.row)?;
        Ok(dict)
    }
}

/// The bar object is reused, unless the strategy has kept it: then it stays as it is, and a new one takes its place.
#[inline]
fn keep_free(py: Python<'_>, bar: &mut Py<PyBar>) -> Result<(), StrategyFailure> {
    #[expect(deprecated, reason = "what stands in its place is unsafe")]
    let n_holders = bar.get_refcnt(py);
    if n_holders > 1 {
        *bar = Py::new(py, bar.get().copied()).map_err(|error| StrategyFailure(error.to_string()))?;
    }
    Ok(())
}

fn replay(ctx: &mut Context<'_>, asked: &[Asked]) -> Result<(), StrategyFailure> {
    for item in asked {
        match item {
            Asked::Submit(request) => {
                ctx.submit(*request);
            }
            Asked::Cancel(id) => ctx.cancel(*id),
            Asked::Amend(id, amendment) => ctx.amend(*id, *amendment),
            Asked::Target(instrument, target, tag) => ctx.target(*instrument, *target, *tag),
            Asked::Schedule(name, when, priority) => ctx.schedule(name, *when, *priority)?,
            Asked::CancelTimer(name) => ctx.cancel_timer(name)?,
        }
    }
    Ok(())
}

impl Strategy for PyStrategy {
    fn frequencies(&self) -> Vec<Frequency> {
        self.frequencies.clone()
    }

    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        {
            let mut mirror = lock(&self.context.get().mirror);
            mirror.place = ctx.place.cloned();
            mirror.owner = ctx.owner;
        }
        if !self.frequencies.is_empty() && !ctx.views.is_empty() {
            self.hand_frames(ctx)?;
        }
        match &self.hooks.on_start {
            Some(hook) => self.call(ctx, None, hook, |py, hook| hook.call0(py)),
            None => Ok(()),
        }
    }

    fn on_day(&mut self, ctx: &mut Context<'_>, date: TradingDate) -> Result<(), StrategyFailure> {
        match &self.hooks.on_day {
            Some(hook) => self.call(ctx, None, hook, |py, hook| hook.call1(py, (date.0,))),
            None => Ok(()),
        }
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>, timer: &Timer) -> Result<(), StrategyFailure> {
        match &self.hooks.on_timer {
            Some(hook) => {
                let args = (&*timer.name, timer.due.0, timer.date.0);
                self.call(ctx, None, hook, |py, hook| hook.call1(py, args))
            }
            None => Ok(()),
        }
    }

    fn on_coarse_bar(&mut self, ctx: &mut Context<'_>, bar: CoarseBarAt) -> Result<(), StrategyFailure> {
        let Some(hook) = &self.hooks.on_coarse_bar else { return Ok(()) };
        let frequency = self.frequencies.iter().position(|known| *known == bar.frequency);
        let args = (frequency, bar.instrument.ix(), bar.ix);
        let at = ctx.row_now(bar.instrument).map(|row| BarAt { instrument: bar.instrument, row });
        self.call(ctx, at, hook, |py, hook| hook.call1(py, args))
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        if self.hooks.on_bar.is_none() {
            return Ok(());
        }
        // The most frequent call of all: the interpreter is entered once.
        Python::attach(|py| {
            keep_free(py, &mut self.bar)?;
            let Some(hook) = &self.hooks.on_bar else { return Ok(()) };
            self.bar.get().set(self.context.get().universe[bar.instrument.ix()], bar.row);
            self.mirror(ctx, Some(bar));
            let outcome = hook.call1(py, (&self.bar,));
            self.replay(py, ctx, outcome)
        })
    }

    fn on_tick(&mut self, ctx: &mut Context<'_>, at: BarAt) -> Result<(), StrategyFailure> {
        let Some(hook) = &self.hooks.on_tick else { return self.on_bar(ctx, at) };
        let tick = ctx.tick(at);
        let date = ctx.clock.date.0;
        let shared = self.context.get();
        let asset = shared.universe[at.instrument.ix()];
        self.call(ctx, Some(at), hook, |py, hook| {
            let symbol = shared.symbols.names[asset].clone_ref(py);
            hook.call1(py, (PyTick::new(symbol, asset, at.row as usize, date, tick),))
        })
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        match &self.hooks.on_bars {
            Some(hook) => self.call(ctx, bars.first().copied(), hook, |py, hook| hook.call0(py)),
            None => Ok(()),
        }
    }

    fn on_step(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) {
        self.see_bars(ctx, bars);
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        let Some(order) = ctx.order(report.order).copied() else { return Ok(()) };
        {
            let shared = self.context.get();
            let mut mirror = lock(&shared.mirror);
            let known = mirror.working.iter().position(|(id, _)| *id == order.id.0);
            match (known, order.status.is_final()) {
                (Some(at), true) => {
                    mirror.working.remove(at);
                }
                (None, false) => {
                    mirror.working.push((order.id.0, shared.universe[order.request.instrument.ix()]));
                }
                _ => {}
            }
            if let Some(fill) = &report.fill {
                let position = ctx.portfolio.position(fill.instrument);
                mirror.held[fill.instrument.ix()] = (position.qty(), position.avg_price());
            }
        }
        match &self.hooks.on_order {
            Some(hook) => {
                let refused = report.refused.map(Reject::name);
                self.call(ctx, None, hook, |py, hook| {
                    hook.call1(py, (self.order_dict(py, &order, refused)?,))
                })
            }
            None => Ok(()),
        }
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        match &self.hooks.on_trade {
            Some(hook) => {
                self.call(ctx, None, hook, |py, hook| hook.call1(py, (self.trade_dict(py, fill)?,)))
            }
            None => Ok(()),
        }
    }

    fn on_stop(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        match &self.hooks.on_stop {
            Some(hook) => self.call(ctx, None, hook, |py, hook| hook.call0(py)),
            None => Ok(()),
        }
    }
}
