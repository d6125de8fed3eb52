//! A session: the same loop, driven step by step from another thread instead of along a panel.
//!
//! Every step builds the loop anew over the series as they are then, so the strategy sees history as in a backtest, and
//! a run along a panel pays nothing for it. What is handled between two steps goes through the same bus.

use super::financing::check_columns;
use super::{Engine, Keep, Loop, Record, Terms};
use crate::bus::{Bounds, Inlet, Outlet, Wake, inlet};
use crate::clock::{BarTimes, Clock, Place};
use crate::data::{AssetView, BarAt, Series, Timeline};
use crate::error::{DataError, EngineError};
use crate::event::Event;
use crate::execution::{Gateway, Slippage, Venue};
use crate::market::Market;
use crate::model::{Order, Step};
use crate::risk::RiskSpec;
use crate::strategy::Strategy;
use crate::units::{TradingDate, TsNs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a cancel flag may go unseen while nothing arrives.
const CANCEL_EVERY: Duration = Duration::from_millis(50);

/// What a session is about.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The instruments, in panel order.
    pub symbols: Vec<String>,
    /// Columns beyond the five of a bar.
    pub extra: Vec<String>,
    /// Whether the bars have a volume.
    pub has_volume: bool,
    /// Whether the steps are of ticks: bars of one price, with `bid` and `ask` among the further columns.
    pub is_ticks: bool,
    pub market: Market,
    pub risk: RiskSpec,
    pub keep: Keep,
    /// How the times of bars are to be read.
    pub bar_times: BarTimes,
    pub bounds: Bounds,
}

impl SessionSpec {
    /// Everything kept, no further columns, no limits.
    pub fn new(symbols: &[&str], market: Market) -> Self {
        Self {
            symbols: symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
            extra: Vec::new(),
            has_volume: true,
            is_ticks: false,
            market,
            risk: RiskSpec::default(),
            keep: Keep::Everything,
            bar_times: BarTimes::default(),
            bounds: Bounds::default(),
        }
    }
}

/// What a session leaves behind.
#[derive(Debug)]
pub struct SessionEnd<S> {
    pub strategy: S,
    pub record: Record,
    pub orders: Vec<Order>,
    /// The steps it saw.
    pub timeline: Timeline,
    /// Events from outside that were handled, market data and stops left out.
    pub n_outside: u64,
    /// What had come in and was not handled, in the order of the lanes: nothing is lost silently.
    pub unhandled: Vec<Event>,
    /// How it ended.
    pub outcome: Result<(), EngineError>,
}

/// One account and one strategy, waiting for events.
#[derive(Debug)]
pub struct Session<S> {
    spec: SessionSpec,
    engine: Engine,
    series: Vec<Series>,
    timeline: Timeline,
    outlet: Outlet,
    slippage: Slippage,
    clock: Clock,
    place: Option<Place>,
    decision_equity: f64,
    n_outside: u64,
    strategy: S,
}

/// What the events so far say about going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Goes,
    Stops,
}

impl<S: Strategy> Session<S> {
    /// A paper session: orders meet the bars that come in. The inlet may be cloned and used from any thread.
    pub fn paper(spec: SessionSpec, strategy: S) -> Result<(Self, Inlet), EngineError> {
        Self::new(spec, strategy, Venue::Simulated)
    }

    /// A live session: `connect` makes the gateway that orders go to, with an inlet for its reports.
    pub fn live(
        spec: SessionSpec,
        strategy: S,
        connect: impl FnOnce(Inlet) -> Box<dyn Gateway>,
    ) -> Result<(Self, Inlet), EngineError> {
        let (mut session, inlet) = Self::new(spec, strategy, Venue::Simulated)?;
        session.engine.venue = Venue::Live(connect(inlet.clone()));
        Ok((session, inlet))
    }

    fn new(spec: SessionSpec, strategy: S, venue: Venue) -> Result<(Self, Inlet), EngineError> {
        spec.market.check()?;
        spec.risk.check(&spec.market)?;
        for symbol in &spec.symbols {
            check_columns(&spec.market, symbol, |name| spec.extra.iter().any(|known| known == name))?;
        }
        let symbols: Arc<[String]> = spec.symbols.clone().into();
        let extra: Arc<[String]> = spec.extra.clone().into();
        let fresh = |_| Series::new(&extra, spec.has_volume, spec.is_ticks);
        let series = symbols.iter().map(fresh).collect();
        let (inlet, outlet) = inlet(Arc::clone(&symbols), extra.len(), spec.bounds);
        let mut engine = Engine { venue, ..Engine::default() };
        let names = symbols.iter().map(String::as_str);
        engine.prepare(&spec.market, &spec.risk, symbols.len(), strategy.n_sleeves(), names)?;
        spec.bar_times.check()?;
        let place = spec.market.place()?;
        if !strategy.frequencies().is_empty() {
            let message = "a session makes no coarse bars yet: the strategy must not declare frequencies";
            return Err(EngineError::Spec(message.to_owned()));
        }
        let slippage = Slippage::of(&spec.market)?;
        let decision_equity = spec.market.cash;
        let (timeline, clock) = (Timeline::default(), Clock::default());
        let session = Self {
            spec,
            engine,
            series,
            timeline,
            outlet,
            slippage,
            clock,
            place,
            decision_equity,
            n_outside: 0,
            strategy,
        };
        Ok((session, inlet))
    }

    /// Handles events until a stop, the last step or a failure. Control events are handled before the next step, and as
    /// they come while none waits.
    pub fn run(mut self, cancel: &AtomicBool) -> SessionEnd<S> {
        let outcome = self.until_stopped(cancel);
        let mut unhandled: Vec<Event> = std::iter::from_fn(|| self.engine.bus.take()).collect();
        unhandled.extend(std::iter::from_fn(|| self.engine.bus.take_step()).map(Event::Step));
        unhandled.extend(self.outlet.close());
        SessionEnd {
            orders: self.engine.orders().to_vec(),
            record: self.engine.take_record(),
            strategy: self.strategy,
            timeline: self.timeline,
            n_outside: self.n_outside,
            unhandled,
            outcome,
        }
    }

    fn until_stopped(&mut self, cancel: &AtomicBool) -> Result<(), EngineError> {
        self.with_loop(|run| run.call(|strategy, ctx| strategy.on_start(ctx)))?;
        let mut is_deserted = false;
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            if self.drain_control()? == Flow::Stops {
                break;
            }
            if self.engine.bus.n_steps() == 0 {
                while let Some(event) = self.outlet.data() {
                    self.engine.bus.admit(event);
                }
            }
            if let Some(step) = self.engine.bus.take_step() {
                let ends_run = step.ends_run;
                if !step.bars.is_empty() {
                    self.on_step(&step)?;
                }
                if ends_run {
                    break;
                }
            } else if is_deserted {
                return Err(EngineError::InletGone);
            } else {
                // What came in before the last inlet went is still there: one more look.
                is_deserted = self.outlet.wait(CANCEL_EVERY) == Wake::Deserted;
            }
        }
        let expires = self.timeline.n_steps() > 0 && !self.clock.is_last_step;
        self.with_loop(|run| {
            if expires {
                run.clock.is_last_step = true;
                run.expire_all()?;
            }
            run.finish()
        })
    }

    /// Every control event that has arrived, and what it leads to.
    fn drain_control(&mut self) -> Result<Flow, EngineError> {
        let mut flow = Flow::Goes;
        let mut has_any = false;
        while let Some(event) = self.outlet.control() {
            if event == Event::Stop {
                flow = Flow::Stops;
                break; // what comes after it is not handled
            }
            self.engine.bus.admit(event);
            self.n_outside += 1;
            has_any = true;
        }
        if has_any {
            let has_begun = self.timeline.n_steps() > 0;
            self.with_loop(|run| {
                run.drain_bus()?;
                // Before the first step there is no price: orders wait for its close, as those of `on_start` do.
                if has_begun { run.flush_commands() } else { Ok(()) }
            })?;
        }
        Ok(flow)
    }

    fn on_step(&mut self, step: &Step) -> Result<(), EngineError> {
        let clock = self.clock_of(step)?;
        let series = &mut self.series;
        let bars: Vec<BarAt> = step
            .bars
            .iter()
            .filter_map(|bar| {
                let row = series.get_mut(bar.instrument.ix())?.push(step.ts, step.date, bar);
                Some(BarAt { instrument: bar.instrument, row })
            })
            .collect();
        self.timeline.push(step.ts, step.date, bars.iter().copied());
        self.with_loop(|run| {
            run.begin_step(clock, &bars);
            run.one_step(&bars)
        })
    }

    /// The clock of the next step, which has to come after the last one.
    fn clock_of(&self, step: &Step) -> Result<Clock, EngineError> {
        let n_steps = self.timeline.n_steps();
        let (mut begins_date, mut last) = (true, (TsNs(i64::MIN), TradingDate(i32::MIN)));
        if n_steps > 0 {
            last = (self.timeline.ts(n_steps - 1), self.timeline.date(n_steps - 1));
            begins_date = step.date != last.1;
        }
        // Ticks of one time stand in the order in which they came.
        let repeats = step.ts == last.0 && !self.spec.is_ticks;
        if n_steps > 0 && (step.ts < last.0 || repeats || step.date < last.1) {
            return Err(DataError::StepTime { ts: step.ts.0, last: last.0.0 }.into());
        }
        Ok(Clock {
            step: n_steps as u32,
            ts: step.ts,
            now: self.spec.bar_times.known_at(step.ts),
            date: step.date,
            is_last_step: step.ends_run,
            begins_date,
            ends_date: step.ends_date || step.ends_run,
        })
    }

    /// Runs a part of the loop over the series as they are now.
    fn with_loop<R>(&mut self, part: impl FnOnce(&mut Loop<'_, '_, S>) -> R) -> R {
        let views: Vec<AssetView<'_>> = self.series.iter().map(Series::view).collect();
        let mut run = Loop {
            engine: &mut self.engine,
            spec: Terms {
                market: &self.spec.market,
                risk: &self.spec.risk,
                keep: self.spec.keep,
                is_ticks: self.spec.is_ticks,
                bar_times: self.spec.bar_times,
            },
            views: &views,
            slippage: self.slippage,
            clock: self.clock,
            place: self.place.as_ref(),
            frames: &[],
            decision_equity: self.decision_equity,
            strategy: &mut self.strategy,
        };
        let result = part(&mut run);
        (self.clock, self.decision_equity) = (run.clock, run.decision_equity);
        result
    }
}
