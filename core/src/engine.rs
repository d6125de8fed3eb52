//! The loop: the order of steps lives here, rules do not (SEMANTICS section 2).

mod conditional;
mod control;
mod expiry;
mod fills;
mod financing;
mod holdings;
mod intrabar;
mod lifecycle;
mod matching;
mod orders;
mod quiet;
mod session;
mod timing;
mod venue;

pub use holdings::{Holding, Holdings};
pub use session::{Session, SessionEnd, SessionSpec};

use crate::bus::Bus;
use crate::clock::{BarTimes, Clock, Place, Timers};
use crate::context::{Command, Context, NewestBar, Outbox};
use crate::data::{AssetView, BarAt, Framed, Panel, Timeline};
use crate::error::EngineError;
use crate::event::{Event, ExecutionReport};
use crate::execution::{Liquidity, OrderBook, Slippage, Venue};
use crate::market::{Contract, FillMode, Market};
use crate::model::{CloseReason, Fill, Order, OrderStatus, Reject, RoundTrip};
use crate::portfolio::Portfolio;
use crate::risk::{Limits, RiskSpec};
use crate::sleeves::Sleeves;
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::{InstrumentIx, OrderId, StrategyIx, TradingDate};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// More requests than this within one step is a strategy that answers its own fills for ever.
const MAX_COMMANDS_A_STEP: usize = 100_000;

/// Bars between two looks at the cancel flag.
const CANCEL_EVERY: usize = 256;

/// How much of a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Equity by step, round trips and counts: what metrics need.
    #[default]
    Metrics,
    /// Also fills, orders, cash and exposure.
    Everything,
}

/// What a run is about.
#[derive(Debug, Clone, Copy)]
pub struct RunSpec<'a> {
    pub panel: &'a Panel,
    /// Positions in the panel, ascending: the instruments of this account.
    pub universe: &'a [usize],
    pub timeline: &'a Timeline,
    pub market: &'a Market,
    pub risk: &'a RiskSpec,
    pub keep: Keep,
    pub cancel: &'a AtomicBool,
}

/// What stays the same from step to step, wherever the steps come from.
#[derive(Debug, Clone, Copy)]
struct Terms<'a> {
    market: &'a Market,
    risk: &'a RiskSpec,
    keep: Keep,
    /// Whether the rows are ticks.
    is_ticks: bool,
    /// How the times of bars are to be read.
    bar_times: BarTimes,
}

/// How far a run along a timeline has come; the default stands before its first step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    has_begun: bool,
    /// The next step.
    step: usize,
    clock: Clock,
    decision_equity: f64,
}

/// What a run leaves behind.
#[derive(Debug, Default)]
pub struct Record {
    /// After every step.
    pub equity: Vec<f64>,
    pub trips: Vec<RoundTrip>,
    pub n_orders: u64,
    pub n_fills: u64,
    pub n_rejects: u64,
    /// Orders refused, by reason.
    pub rejects: BTreeMap<Reject, u64>,
    /// Amendments refused; their orders worked on.
    pub n_amend_rejects: u64,
    pub fees: f64,
    pub slippage_cost: f64,
    /// Borrowed units, interest and funding, net: below zero what they brought.
    pub financing: f64,
    pub traded_notional: f64,
    /// Steps that ended with a position.
    pub exposed_steps: u64,
    /// Whose each round trip is, and what each strategy has earned after costs; empty where one has the account.
    pub trip_owners: Vec<StrategyIx>,
    pub net_profits: Vec<f64>,
    /// Kept with `Keep::Everything`.
    pub fills: Vec<Fill>,
    pub cash: Vec<f64>,
    pub exposure: Vec<f64>,
    pub holdings: Holdings,
}

impl Record {
    fn reset(&mut self) {
        self.equity.clear();
        self.trips.clear();
        self.trip_owners.clear();
        self.net_profits.clear();
        self.fills.clear();
        self.cash.clear();
        self.exposure.clear();
        self.holdings.reset();
        self.n_orders = 0;
        self.n_fills = 0;
        self.n_rejects = 0;
        self.rejects.clear();
        self.n_amend_rejects = 0;
        self.fees = 0.0;
        self.slippage_cost = 0.0;
        self.financing = 0.0;
        self.traded_notional = 0.0;
        self.exposed_steps = 0;
    }
}

/// Runs one account after another, keeping its memory.
#[derive(Debug, Default)]
pub struct Engine {
    book: OrderBook,
    portfolio: Portfolio,
    bus: Bus,
    outbox: Outbox,
    timers: Timers,
    newest: Vec<NewestBar>,
    liquidity: Liquidity,
    limits: Limits,
    contracts: Vec<Contract>,
    /// Whether anything happens when a trading date begins or ends.
    has_dates: bool,
    /// The trading date before this one, where that matters.
    last_date: Option<TradingDate>,
    /// Whether columns of the data move cash or rates at every bar.
    has_columns: bool,
    record: Record,
    scratch_ids: Vec<OrderId>,
    commands: Vec<Command>,
    venue: Venue,
    sleeves: Sleeves,
}

impl Engine {
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Hands the record of the last run over.
    pub fn take_record(&mut self) -> Record {
        std::mem::take(&mut self.record)
    }

    /// Every order of the last run, where everything is kept.
    pub fn orders(&self) -> &[Order] {
        self.book.all()
    }

    /// Runs one strategy over one account from the first step of the timeline to the last.
    pub fn run<S: Strategy>(&mut self, spec: &RunSpec<'_>, strategy: &mut S) -> Result<(), EngineError> {
        self.run_until(spec, strategy, &mut Progress::default(), usize::MAX)
    }

    /// Runs from where `progress` stands to the step `end`, which is left for the next call; the same account in parts
    /// is the account in one. Between two calls spec and strategy must stay what they are.
    pub fn run_until<S: Strategy>(
        &mut self,
        spec: &RunSpec<'_>,
        strategy: &mut S,
        progress: &mut Progress,
        end: usize,
    ) -> Result<(), EngineError> {
        if !progress.has_begun {
            let symbols = spec.universe.iter().map(|&asset| spec.panel.symbols()[asset].as_str());
            self.prepare(spec.market, spec.risk, spec.universe.len(), strategy.n_sleeves(), symbols)?;
            self.venue = Venue::Simulated;
            progress.decision_equity = spec.market.cash;
        }
        let views: Vec<AssetView<'_>> = spec.universe.iter().map(|&asset| spec.panel.asset(asset)).collect();
        financing::check_series(spec, &views)?;
        let place = if S::WANTS_CLOCK { spec.market.place()? } else { None };
        let bar_times = spec.panel.bar_times();
        let frequencies = strategy.frequencies();
        let mut frames = Vec::new();
        if !frequencies.is_empty() {
            frames.extend(views.iter().map(|view| Framed::new(*view, &frequencies, place.as_ref())));
        }
        let mut run = Loop {
            engine: self,
            spec: Terms {
                market: spec.market,
                risk: spec.risk,
                keep: spec.keep,
                is_ticks: spec.panel.is_ticks(),
                bar_times,
            },
            views: &views,
            slippage: Slippage::of(spec.market)?,
            clock: progress.clock,
            place: place.as_ref(),
            frames: &frames,
            decision_equity: progress.decision_equity,
            strategy,
        };
        run.steps_until(spec.timeline, progress, end, spec.cancel)?;
        (progress.clock, progress.decision_equity) = (run.clock, run.decision_equity);
        Ok(())
    }

    /// Forgets the last run.
    fn prepare<'a>(
        &mut self,
        market: &Market,
        risk: &RiskSpec,
        n_instruments: usize,
        n_sleeves: usize,
        symbols: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), EngineError> {
        self.book.reset();
        self.bus.reset();
        self.outbox.reset();
        self.timers.reset();
        self.record.reset();
        self.newest.clear();
        self.newest.resize(n_instruments, NewestBar::NONE);
        self.portfolio.reset(market.cash, n_instruments, market.multiplier);
        self.sleeves.reset(n_sleeves, n_instruments, market.multiplier);
        self.contracts.clear();
        for symbol in symbols.clone() {
            self.contracts.push(Contract::resolve(market, symbol)?);
        }
        self.has_dates = venue::has_dates(market, &self.contracts);
        self.has_columns = market.fx_column.is_some() || market.funding_column.is_some();
        self.last_date = None;
        self.portfolio.set_terms(&self.contracts, market.daily_settlement);
        self.portfolio.tax_dividends(&market.dividend_tax);
        for sleeve in self.sleeves.each() {
            sleeve.set_terms(&self.contracts, false);
        }
        self.liquidity.reset(market.execution, n_instruments);
        self.limits.reset(risk, market.cash, symbols);
        Ok(())
    }
}

/// The clock at a step of a timeline.
fn clock_at(timeline: &Timeline, step: usize, times: BarTimes) -> Clock {
    let date = timeline.date(step);
    let is_last_step = step + 1 == timeline.n_steps();
    Clock {
        step: step as u32,
        ts: timeline.ts(step),
        now: times.known_at(timeline.ts(step)),
        date,
        is_last_step,
        begins_date: step == 0 || timeline.date(step - 1) != date,
        ends_date: is_last_step || timeline.date(step + 1) != date,
    }
}

struct Loop<'a, 's, S> {
    engine: &'a mut Engine,
    spec: Terms<'a>,
    views: &'a [AssetView<'a>],
    slippage: Slippage,
    clock: Clock,
    /// Sessions and clock of the market; not read for a strategy that does not ask for the time.
    place: Option<&'a Place>,
    /// Coarse bars of each instrument; none where the strategy reads no other frequency.
    frames: &'a [Framed<'a>],
    /// Equity at the mark of this step, before any fill at its close.
    decision_equity: f64,
    strategy: &'s mut S,
}

impl<S: Strategy> Loop<'_, '_, S> {
    fn steps_until(
        &mut self,
        timeline: &Timeline,
        progress: &mut Progress,
        end: usize,
        cancel: &AtomicBool,
    ) -> Result<(), EngineError> {
        if !progress.has_begun {
            self.call(|strategy, ctx| strategy.on_start(ctx))?;
            progress.has_begun = true;
        }
        let skips =
            !S::WANTS_CLOCK && self.frames.is_empty() && quiet::is_plain(&self.spec, self.views.len());
        let end = end.min(timeline.n_steps());
        let (mut step, mut n_looked) = (progress.step, 0);
        while step < end {
            if skips {
                step = self.mark_quiet(step, end, timeline, cancel)?;
                if step == end {
                    break;
                }
            }
            let bars = timeline.bars(step);
            n_looked += bars.len();
            if n_looked >= CANCEL_EVERY {
                n_looked = 0;
                if cancel.load(Ordering::Relaxed) {
                    return Err(EngineError::Cancelled);
                }
            }
            self.begin_step(clock_at(timeline, step, self.spec.bar_times), bars);
            self.one_step(bars)?;
            step += 1;
        }
        progress.step = step;
        if step == timeline.n_steps() { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), EngineError> {
        self.call(|strategy, ctx| strategy.on_stop(ctx))?;
        self.engine.record.net_profits.extend(self.engine.sleeves.net_profits());
        Ok(())
    }

    fn begin_step(&mut self, clock: Clock, bars: &[BarAt]) {
        self.clock = clock;
        let equity = self.engine.record.equity.last().copied().unwrap_or(self.spec.market.cash);
        self.engine.limits.begin_step(&self.clock, equity);
        for bar in bars {
            self.engine.newest[bar.instrument.ix()] = NewestBar { row: bar.row, step: clock.step };
        }
    }

    fn one_step(&mut self, bars: &[BarAt]) -> Result<(), EngineError> {
        let close_fills = self.spec.market.fill == FillMode::Close;
        if self.clock.begins_date && self.engine.book.n_dated > 0 {
            self.expire_outdated()?;
        }
        if self.clock.begins_date && self.engine.has_dates {
            self.begin_date()?;
        }
        if self.engine.has_columns {
            self.read_columns(bars);
        }
        if S::WANTS_STEPS {
            self.call(|strategy, ctx| {
                strategy.on_step(ctx, bars);
                Ok(())
            })?;
        }
        if !close_fills && !self.engine.book.pending.is_empty() {
            self.fill_pending()?;
        }
        if !self.engine.book.resting.is_empty() {
            self.match_resting()?;
        }
        if !self.engine.book.closing.is_empty() {
            self.fill_closing()?;
        }
        for bar in bars {
            let close = self.views[bar.instrument.ix()].close[bar.row as usize];
            self.engine.portfolio.mark(bar.instrument, close);
        }
        if !self.engine.sleeves.is_empty() {
            for bar in bars {
                let close = self.views[bar.instrument.ix()].close[bar.row as usize];
                self.engine.sleeves.mark(bar.instrument, close);
            }
        }
        self.decision_equity = self.engine.portfolio.equity();
        let n_changes = self.engine.portfolio.n_changes();
        self.engine.limits.mark(self.decision_equity);
        if S::WANTS_CLOCK {
            self.tell_time()?;
        }
        if !self.frames.is_empty() {
            self.tell_coarse_bars(bars)?;
        }
        if self.spec.is_ticks {
            for &tick in bars {
                self.call(|strategy, ctx| strategy.on_tick(ctx, tick))?;
            }
        } else {
            let n_seen = self.strategy.bars_to_see(self.clock.step, bars).len();
            for at in 0..n_seen {
                let bar = self.strategy.bars_to_see(self.clock.step, bars)[at];
                self.call(|strategy, ctx| strategy.on_bar(ctx, bar))?;
            }
        }
        if self.strategy.wants_bars(self.clock.step) {
            self.call(|strategy, ctx| strategy.on_bars(ctx, bars))?;
        }
        if close_fills && !self.engine.book.pending.is_empty() && !self.clock.is_last_step {
            self.fill_pending()?;
        }
        self.flush_commands()?;
        if !self.engine.book.children.is_empty() && !self.clock.is_last_step {
            self.release_children()?;
            self.flush_commands()?;
        }
        if self.clock.is_last_step {
            self.expire_all()?;
        } else if self.clock.ends_date {
            self.expire_with_date()?;
        }
        if self.clock.ends_date && self.engine.has_dates {
            self.end_date()?;
            self.flush_commands()?;
        }
        self.record_step(n_changes);
        Ok(())
    }

    /// `n_changes` is that of the portfolio at the mark: a sum over many positions is not made twice.
    fn record_step(&mut self, n_changes: u64) {
        let engine = &mut *self.engine;
        let is_same = engine.portfolio.n_changes() == n_changes;
        let equity = if is_same { self.decision_equity } else { engine.portfolio.equity() };
        engine.record.equity.push(equity);
        engine.record.exposed_steps += u64::from(!engine.portfolio.is_flat());
        if self.spec.keep == Keep::Everything {
            engine.record.cash.push(engine.portfolio.cash());
            engine.record.exposure.push(engine.portfolio.gross_exposure());
            engine.record.holdings.note(&engine.portfolio, &self.clock, engine.record.traded_notional);
        }
    }

    /// One callback: the strategy sees the account as it stands; its targets are resolved when it returns.
    fn call(
        &mut self,
        callback: impl FnOnce(&mut S, &mut Context<'_>) -> Result<(), StrategyFailure>,
    ) -> Result<(), EngineError> {
        let engine = &mut *self.engine;
        let mut ctx = Context {
            clock: self.clock,
            views: self.views,
            newest: &engine.newest,
            portfolio: &engine.portfolio,
            account: &engine.portfolio,
            sleeves: engine.sleeves.all(),
            owner: StrategyIx::default(),
            market: self.spec.market,
            contracts: &engine.contracts,
            equity: self.decision_equity,
            book: &mut engine.book,
            outbox: &mut engine.outbox,
            timers: &mut engine.timers,
            place: self.place,
            frames: self.frames,
        };
        callback(self.strategy, &mut ctx).map_err(|failure| EngineError::Strategy { message: failure.0 })?;
        ctx.resolve_targets();
        Ok(())
    }

    /// What strategies asked for at this step passes the bus, in order; fills at the close may make them ask for more.
    fn flush_commands(&mut self) -> Result<(), EngineError> {
        let mut n_commands = 0;
        while !self.engine.outbox.commands.is_empty() {
            let mut commands = std::mem::take(&mut self.engine.commands);
            std::mem::swap(&mut commands, &mut self.engine.outbox.commands);
            n_commands += commands.len();
            if n_commands > MAX_COMMANDS_A_STEP {
                let message = format!("more than {MAX_COMMANDS_A_STEP} requests within one step");
                return Err(EngineError::Strategy { message });
            }
            for command in commands.drain(..) {
                match command {
                    Command::Submit(id) => {
                        self.engine.record.n_orders += 1;
                        self.engine.bus.post(Event::OrderRequest(id));
                    }
                    Command::Cancel(id) => self.engine.bus.post(Event::CancelRequest(id)),
                    Command::Amend(id, amendment) => {
                        self.engine.bus.post(Event::AmendRequest(id, amendment));
                    }
                }
                self.drain_bus()?;
            }
            self.engine.commands = commands;
        }
        Ok(())
    }

    /// Handles control events until none is left.
    fn drain_bus(&mut self) -> Result<(), EngineError> {
        while let Some(event) = self.engine.bus.take() {
            match event {
                Event::OrderRequest(id) => self.on_request(id)?,
                Event::CancelRequest(id) => self.on_cancel(id),
                Event::AmendRequest(id, amendment) => self.on_amend(id, amendment)?,
                Event::OrderValidated(id) => self.on_validated(id)?,
                Event::ExecutionReport(report) => self.on_report(&report)?,
                outside => self.on_outside(&outside)?,
            }
        }
        Ok(())
    }

    /// Whatever still waits when the data ends never fills; what a gateway holds stays there.
    fn expire_all(&mut self) -> Result<(), EngineError> {
        let book = &self.engine.book;
        let ids: Vec<OrderId> = book.working().filter(|id| !book.remote.contains(id)).collect();
        for id in ids {
            self.engine.book.remove(id);
            self.report(id, OrderStatus::Expired(CloseReason::EndOfData));
        }
        self.drain_bus()
    }

    fn report(&mut self, order: OrderId, status: OrderStatus) {
        self.engine.bus.post(Event::ExecutionReport(ExecutionReport {
            order,
            status,
            fill: None,
            refused: None,
        }));
    }

    /// Row of the bar of an instrument at this step, if it trades.
    #[inline]
    fn tradable_row(&self, instrument: InstrumentIx) -> Option<u32> {
        let row = self.row_now(instrument)?;
        (!self.engine.liquidity.is_halted(self.volume_at(instrument, row))).then_some(row)
    }

    /// Volume of a bar; none where the series has none.
    #[inline]
    fn volume_at(&self, instrument: InstrumentIx, row: u32) -> Option<f64> {
        let volume = self.views[instrument.ix()].volume?[row as usize];
        (!volume.is_nan()).then_some(volume)
    }

    fn row_now(&self, instrument: InstrumentIx) -> Option<u32> {
        let newest = self.engine.newest[instrument.ix()];
        (newest != NewestBar::NONE && newest.step == self.clock.step).then_some(newest.row)
    }

    fn order(&self, id: OrderId) -> Result<&Order, EngineError> {
        self.engine
            .book
            .get(id)
            .ok_or(EngineError::Internal("an event names an order that is not in the book"))
    }

    fn order_mut(&mut self, id: OrderId) -> Result<&mut Order, EngineError> {
        self.engine
            .book
            .get_mut(id)
            .ok_or(EngineError::Internal("an event names an order that is not in the book"))
    }
}
