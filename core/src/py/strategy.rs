//! Callback strategies: a Python object behind the `Strategy` trait.
//!
//! Python never holds a reference into the engine. What a callback may see is mirrored before it runs, what it asks
//! for is replayed after it returned, so that numbers and order agree with a native strategy.

mod bar;
mod context;
mod orders;

pub use bar::PyBar;
pub use context::PyContext;

use bar::Symbols;
use context::Asked;

use super::rows::Rows;
use super::tick::PyTick;
use super::{errors, frames};
use crate::context::Context;
use crate::data::{BarAt, CoarseBarAt, CoarseFrame, Frequency, Panel};
use crate::error::EngineError;
use crate::event::ExecutionReport;
use crate::model::{Fill, Order, OrderTag, Reject, Timer};
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::TradingDate;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
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
        let context = PyContext::new(rows.clone(), Arc::clone(&symbols), share.clone(), universe);
        let context = Py::new(py, context)?;
        let bar = PyBar::new(rows, symbols);
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
