//! The loop: the order of steps lives here, rules do not (SEMANTICS section 2).

mod conditional;
mod control;
mod expiry;
mod financing;
mod holdings;
mod intrabar;
mod lifecycle;
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
use crate::execution::{
    Closing, Liquidity, Offer, OhlcBar, OrderBook, Resting, Slippage, SlippageModel, Trail, Venue, charge,
    limit_price, stop_price,
};
use crate::market::{
    Band, BuyingPower, Contract, FillMode, Lots, Market, MarketRules, OnInsufficientCash, PriceLimits,
};
use crate::model::{
    Birth, CloseReason, Fill, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Reject, RoundTrip, Side,
    Size, TimeInForce,
};
use crate::portfolio::{Portfolio, is_residue};
use crate::risk::{Limits, RiskManager, RiskSpec, RiskView};
use crate::sleeves::Sleeves;
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::{InstrumentIx, OrderId, StrategyIx, TradingDate};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// More requests than this within one step is a strategy that answers its own fills for ever.
const MAX_COMMANDS_A_STEP: usize = 100_000;

/// Steps between two looks at the cancel flag.
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
        let symbols = spec.universe.iter().map(|&asset| spec.panel.symbols()[asset].as_str());
        self.prepare(spec.market, spec.risk, spec.universe.len(), strategy.n_sleeves(), symbols)?;
        self.venue = Venue::Simulated;
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
            clock: Clock::default(),
            place: place.as_ref(),
            frames: &frames,
            decision_equity: spec.market.cash,
            strategy,
        };
        run.all_steps(spec.timeline, spec.cancel)
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

/// Which resting orders a pass over the book looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Stops,
    Limits,
    StopLimits,
    Trailing,
    /// Protective stops of entries that filled inside this bar.
    Newborn,
}

impl<S: Strategy> Loop<'_, '_, S> {
    fn all_steps(&mut self, timeline: &Timeline, cancel: &AtomicBool) -> Result<(), EngineError> {
        self.call(|strategy, ctx| strategy.on_start(ctx))?;
        let acts_by_itself = S::WANTS_CLOCK || self.engine.has_dates || self.engine.has_columns;
        let skips =
            !acts_by_itself && self.frames.is_empty() && quiet::is_plain(&self.spec, self.views.len());
        let (mut step, mut n_looked) = (0, 0);
        while step < timeline.n_steps() {
            if skips {
                step = self.mark_quiet(step, timeline, cancel)?;
            }
            if n_looked % CANCEL_EVERY == 0 && cancel.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let bars = timeline.bars(step);
            self.begin_step(clock_at(timeline, step, self.spec.bar_times), bars);
            self.one_step(bars)?;
            step += 1;
            n_looked += 1;
        }
        self.finish()
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
        self.call(|strategy, ctx| {
            strategy.on_step(ctx, bars);
            Ok(())
        })?;
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
            self.engine.sleeves.mark(bar.instrument, close);
        }
        self.decision_equity = self.engine.portfolio.equity();
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
        self.call(|strategy, ctx| strategy.on_bars(ctx, bars))?;
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
        self.record_step();
        Ok(())
    }

    fn record_step(&mut self) {
        let engine = &mut *self.engine;
        engine.record.equity.push(engine.portfolio.equity());
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

    fn on_request(&mut self, id: OrderId) -> Result<(), EngineError> {
        let order = *self.order(id)?;
        if order.status.is_final() {
            return Ok(()); // taken back before it was handled
        }
        if self.clock.is_last_step {
            self.report(id, OrderStatus::Expired(CloseReason::EndOfData));
            return Ok(());
        }
        if self.waits_for_parent(&order) {
            return Ok(());
        }
        if matches!(order.request.tif, TimeInForce::Gtd(last) if last < self.clock.date) {
            self.report(id, OrderStatus::Expired(CloseReason::TimeInForce));
            return Ok(());
        }
        self.start_trailing(id)?;
        self.put_on_tick(id)?;
        let order = *self.order(id)?;
        match self.check_risk(&order) {
            Ok(qty) => {
                let order = self.order_mut(id)?;
                order.qty = qty;
                self.engine.bus.post(Event::OrderValidated(id));
            }
            Err(reject) => self.report(id, OrderStatus::Rejected(reject)),
        }
        Ok(())
    }

    /// Units of an order that risk lets pass, or why it does not.
    fn check_risk(&mut self, order: &Order) -> Result<f64, Reject> {
        if self.is_expired(order) {
            return Err(Reject::NotTradable);
        }
        let view = RiskView {
            market: self.spec.market,
            contracts: &self.engine.contracts,
            date: self.clock.date,
            days_ahead: self.days_ahead(order),
            portfolio: &self.engine.portfolio,
            book: &self.engine.book,
            decision_equity: self.decision_equity,
            spec: self.spec.risk,
        };
        let qty = RiskManager.check(order, &view)?;
        if let Some(reject) = self.refused_by_limits(order) {
            return Err(reject);
        }
        if order.birth.is_none() {
            // The order of a trader who changes it is no further order.
            let is_new = order.status == OrderStatus::Submitted;
            self.engine.limits.check(order, qty, &view, is_new)?;
        }
        Ok(qty)
    }

    fn on_cancel(&mut self, id: OrderId) {
        if self.engine.book.get(id).is_some_and(|order| !order.status.is_final()) {
            self.take_back(id, CloseReason::Request);
        }
    }

    fn on_validated(&mut self, id: OrderId) -> Result<(), EngineError> {
        if self.engine.venue.is_live() {
            return self.hand_over(id);
        }
        self.order_mut(id)?.status = OrderStatus::Accepted;
        let order = *self.order(id)?;
        let instrument = order.request.instrument;
        if S::WANTS_REPORTS {
            self.report(id, OrderStatus::Accepted);
        }
        if order.request.kind == OrderKind::MarketOnClose {
            self.engine.book.closing.push(Closing { order: id, instrument, placed: self.clock.date });
        } else if order.request.kind != OrderKind::Market {
            let close = self.engine.portfolio.last_close(instrument);
            let trail = order
                .request
                .trailing
                .map(|spec| Trail { spec, best: order.birth.map_or(close, |b| b.price) });
            self.engine.book.resting.push(Resting {
                order: id,
                instrument,
                live_from: order.birth.map_or(self.clock.step + 1, |birth| birth.live_from),
                bars_seen: 0,
                checked_at: None,
                born: order.birth.map(|birth| (birth.step, birth.raw_price)),
                trail,
                triggered: false,
            });
        } else if self.spec.market.fill == FillMode::Close
            && order.request.parent.is_none()
            && let Some(row) = self.tradable_row(instrument)
        {
            let close = self.views[instrument.ix()].close[row as usize];
            if !self.execute(id, close, When::Close)? {
                self.engine.book.pending.push(id);
            }
        } else {
            self.engine.book.pending.push(id);
        }
        Ok(())
    }

    /// Portfolio and strategy take note of what happened to an order.
    fn on_report(&mut self, report: &ExecutionReport) -> Result<(), EngineError> {
        let owner = self.order(report.order)?.owner;
        let mut position_closed = None;
        if let Some(fill) = &report.fill {
            let engine = &mut *self.engine;
            let view = &self.views[fill.instrument.ix()];
            let trips = &mut engine.record.trips;
            engine.sleeves.apply(&mut engine.portfolio, owner, fill, (view.high, view.low), trips);
            engine.record.financing += engine.portfolio.take_tax_paid();
            if !engine.sleeves.is_empty() {
                engine.record.trip_owners.resize(engine.record.trips.len(), owner);
            }
            engine.record.n_fills += 1;
            engine.record.fees += fill.fees;
            engine.record.slippage_cost += fill.slippage_cost;
            engine.record.traded_notional +=
                fill.qty * fill.price * engine.portfolio.point_value(fill.instrument);
            if self.spec.keep == Keep::Everything {
                engine.record.fills.push(*fill);
            }
            if engine.sleeves.held(&engine.portfolio, owner, fill.instrument) == 0.0 {
                position_closed = Some(fill.instrument);
            }
        }
        if report.refused.is_some() {
            self.engine.record.n_amend_rejects += 1;
        } else if let OrderStatus::Rejected(reason) = report.status {
            self.engine.record.n_rejects += 1;
            *self.engine.record.rejects.entry(reason).or_insert(0) += 1;
        }
        self.order_mut(report.order)?.status = report.status;
        if report.fill.is_some() {
            let order = self.order(report.order)?;
            let is_done = report.status == OrderStatus::Filled || order.birth.is_none();
            match (order.request.oco, &report.fill) {
                (Some(group), _) if is_done => self.cancel_group(owner, group, report.order),
                (Some(group), Some(fill)) => self.shrink_group(group, fill),
                _ => {}
            }
            if let Some(instrument) = position_closed {
                self.cancel_protection(owner, instrument);
            }
        }
        if S::WANTS_REPORTS {
            self.call(|strategy, ctx| strategy.on_order(ctx, report))?;
            if let Some(fill) = &report.fill {
                self.call(|strategy, ctx| strategy.on_trade(ctx, fill))?;
            }
        }
        Ok(())
    }

    fn cancel_group(&mut self, owner: StrategyIx, group: u64, filled: OrderId) {
        let book = &self.engine.book;
        let is_member = |o: &Order| o.request.oco == Some(group) && o.owner == owner;
        let in_group = |id: &OrderId| *id != filled && book.get(*id).is_some_and(is_member);
        let members: Vec<OrderId> = book.working().filter(in_group).collect();
        for id in members {
            self.take_back(id, CloseReason::Oco);
        }
    }

    /// The legs of an entry protect the same units: what one of them has traded is no longer for the others.
    fn shrink_group(&mut self, group: u64, fill: &Fill) {
        for at in 0..self.engine.book.resting.len() {
            let id = self.engine.book.resting[at].order;
            let leg =
                self.engine.book.get_mut(id).filter(|o| id != fill.order && o.request.oco == Some(group));
            if let Some(leg) = leg {
                leg.qty = (leg.qty - fill.qty).max(leg.progress.filled);
            }
        }
    }

    fn cancel_protection(&mut self, owner: StrategyIx, instrument: InstrumentIx) {
        let book = &self.engine.book;
        let resting = book.resting.iter().filter(|r| r.instrument == instrument && r.is_protective());
        let waiting = resting.map(|r| r.order).chain(book.remote.iter().copied());
        let protects =
            |o: &&Order| o.birth.is_some() && o.request.instrument == instrument && o.owner == owner;
        let members: Vec<OrderId> =
            waiting.filter_map(|id| book.get(id)).filter(protects).map(|o| o.id).collect();
        for id in members {
            self.take_back(id, CloseReason::PositionClosed);
        }
    }

    /// Market orders that wait, in order of submission: at the open, or at the close where the fill mode says so.
    fn fill_pending(&mut self) -> Result<(), EngineError> {
        let mut ids = std::mem::take(&mut self.engine.scratch_ids);
        ids.clear();
        ids.extend_from_slice(&self.engine.book.pending);
        for &id in &ids {
            let instrument = self.order(id)?.request.instrument;
            let Some(row) = self.tradable_row(instrument) else { continue };
            if !self.engine.book.pending.contains(&id) {
                continue; // cancelled by a fill just now
            }
            let view = &self.views[instrument.ix()];
            let is_done = match self.spec.market.fill {
                FillMode::NextOpen => self.execute(id, view.open[row as usize], When::Open)?,
                FillMode::Close => self.execute(id, view.close[row as usize], When::Close)?,
            };
            if is_done {
                self.engine.book.pending.retain(|&p| p != id);
            }
            self.drain_bus()?;
        }
        self.engine.scratch_ids = ids;
        Ok(())
    }

    fn match_resting(&mut self) -> Result<(), EngineError> {
        for pass in [Pass::Stops, Pass::Limits, Pass::StopLimits, Pass::Trailing, Pass::Newborn] {
            self.match_pass(pass)?;
        }
        self.age_resting()
    }

    fn match_pass(&mut self, pass: Pass) -> Result<(), EngineError> {
        let mut ids = std::mem::take(&mut self.engine.scratch_ids);
        ids.clear();
        ids.extend(self.engine.book.resting.iter().map(|r| r.order));
        for &id in &ids {
            let step = self.clock.step;
            let Some(at) = self.engine.book.resting.iter().position(|r| r.order == id) else { continue };
            let resting = self.engine.book.resting[at];
            let order = *self.order(id)?;
            let belongs = match (pass, order.request.kind) {
                (Pass::Stops, OrderKind::Stop(_)) => resting.trail.is_none(),
                (Pass::Limits, OrderKind::Limit(_)) => true,
                (Pass::StopLimits, OrderKind::StopLimit { .. }) => true,
                (Pass::Trailing, _) => resting.trail.is_some(),
                (Pass::Newborn, OrderKind::Stop(_)) => true,
                _ => false,
            };
            if !belongs || resting.live_from > step || resting.checked_at == Some(step) {
                continue;
            }
            if order.birth.is_some() && self.is_held_back(&order) {
                continue; // nothing of what it protects may be sold today
            }
            let Some(bar) = self.bar_for(&resting) else { continue };
            self.engine.book.resting[at].checked_at = Some(step);
            let side = order.request.side;
            let raw = match order.request.kind {
                _ if self.yields_to_leg(&order, &resting, &bar) => None,
                OrderKind::Limit(limit) => limit_price(side, limit, &bar),
                OrderKind::StopLimit { stop, limit } => self.match_stop_limit(at, side, stop, limit, &bar),
                OrderKind::Stop(_) if resting.triggered => Some(bar.open),
                OrderKind::Stop(stop) => {
                    stop_price(side, resting.trail.map_or(stop, |trail| trail.level(side)), &bar)
                }
                _ => None,
            };
            if let Some(raw) = raw {
                let when =
                    if raw == bar.open && !self.is_born_now(&resting) { When::Open } else { When::Inside };
                if self.execute(id, raw, when)? {
                    self.engine.book.remove(id);
                } else {
                    self.engine.book.resting[at].triggered = true;
                }
                self.drain_bus()?;
            }
        }
        self.engine.scratch_ids = ids;
        Ok(())
    }

    fn is_born_now(&self, resting: &Resting) -> bool {
        resting.born.is_some_and(|(step, _)| step == self.clock.step)
    }

    /// The bar an order is held against: for an order born inside it, the entry's price stands for the open.
    fn bar_for(&self, resting: &Resting) -> Option<OhlcBar> {
        let row = self.tradable_row(resting.instrument)? as usize;
        let view = &self.views[resting.instrument.ix()];
        let open = match resting.born {
            Some((step, price)) if step == self.clock.step => price,
            _ => view.open[row],
        };
        Some(OhlcBar { open, high: view.high[row], low: view.low[row], close: view.close[row] })
    }

    /// After matching: trailing levels move with the completed bar, and orders whose bars are used up expire.
    fn age_resting(&mut self) -> Result<(), EngineError> {
        let mut ids = std::mem::take(&mut self.engine.scratch_ids);
        ids.clear();
        for at in 0..self.engine.book.resting.len() {
            let resting = self.engine.book.resting[at];
            let Some(row) = self.row_now(resting.instrument) else { continue };
            let order = *self.order(resting.order)?;
            let entry = &mut self.engine.book.resting[at];
            if let Some(trail) = &mut entry.trail {
                let view = &self.views[resting.instrument.ix()];
                let row = row as usize;
                let bar = OhlcBar {
                    open: view.open[row],
                    high: view.high[row],
                    low: view.low[row],
                    close: view.close[row],
                };
                trail.advance(order.request.side, &bar);
            }
            if resting.live_from <= self.clock.step {
                entry.bars_seen += 1;
                let is_over = match order.request.tif {
                    TimeInForce::Bars(n) => entry.bars_seen >= n,
                    TimeInForce::Ioc | TimeInForce::Fok => entry.checked_at.is_some(),
                    _ => false,
                };
                if is_over {
                    ids.push(resting.order);
                }
            }
        }
        for &id in &ids {
            self.end_of_time(id)?;
        }
        self.engine.scratch_ids = ids;
        self.drain_bus()
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

    /// Fills what it can of an order at a price before slippage; true when the order waits no longer.
    fn execute(&mut self, id: OrderId, raw_price: f64, when: When) -> Result<bool, EngineError> {
        let order = *self.order(id)?;
        let request = order.request;
        let side = request.side;
        let Some(row) = self.row_now(request.instrument) else {
            return Err(EngineError::Internal("an order fills on a step without a bar"));
        };
        let raw_price = self.taken_price(&request, raw_price, row);
        let quote = Quote { raw_price, row, band: self.band_at(request.instrument, row) };
        if self.is_locked_by_limits(&order, &quote, when) {
            return self.keep_rest(id);
        }
        let share = match self.share(&order, &quote) {
            Ok(share) => share,
            Err(reject) => {
                self.report(id, OrderStatus::Rejected(reject));
                return Ok(true);
            }
        };
        if share.wanted <= 0.0 {
            self.report(id, OrderStatus::Cancelled(CloseReason::PositionClosed));
            return Ok(true);
        }
        if share.qty <= 0.0 {
            return self.keep_rest(id);
        }
        let qty = share.qty;
        let point_value = self.engine.portfolio.point_value(request.instrument);
        let price = self.price_of(&request, &quote, qty);
        let notional = qty * price * point_value;
        let fees = self.fees_of(&order, qty, notional);
        let step = self.clock.step;
        self.engine.liquidity.take(request.instrument, step, qty);
        let date = self.clock.date;
        let stored = self.order_mut(id)?;
        stored.qty = stored.progress.filled + share.wanted;
        stored.progress.note(date, qty, notional, fees);
        let fill = Fill {
            order: id,
            instrument: request.instrument,
            ts: self.clock.ts,
            row,
            side,
            qty,
            price,
            fees,
            slippage_cost: (price - raw_price).abs() * qty * point_value,
            tag: request.tag,
        };
        let is_whole = qty >= share.wanted;
        let status = if is_whole { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
        let report = ExecutionReport { order: id, status, fill: Some(fill), refused: None };
        self.engine.bus.post(Event::ExecutionReport(report));
        if !request.protection.is_none() {
            self.protect(&order, &fill, raw_price, when);
        }
        if is_whole { Ok(true) } else { self.keep_rest(id) }
    }

    /// Where a tick is quoted, an order that takes what is there gets the other side of the quote.
    #[inline]
    fn taken_price(&self, request: &OrderRequest, raw_price: f64, row: u32) -> f64 {
        match request.kind {
            OrderKind::Limit(_) | OrderKind::StopLimit { .. } => raw_price,
            OrderKind::Market | OrderKind::MarketOnClose | OrderKind::Stop(_) => {
                let view = &self.views[request.instrument.ix()];
                view.quote(request.side, row as usize).unwrap_or(raw_price)
            }
        }
    }

    /// Units that an order still asks for, and how many of them fill now; no unit is wanted by a protective order that
    /// has nothing left to protect.
    fn share(&self, order: &Order, quote: &Quote) -> Result<Share, Reject> {
        let market = self.spec.market;
        let request = &order.request;
        let cash = self.engine.portfolio.cash();
        let held = self.engine.portfolio.position(request.instrument).qty();
        let left = order.remaining();
        let wanted = match request.size {
            Size::BudgetAtFill(budget) if order.progress.filled == 0.0 => {
                // With margin it is not cash that has to reach.
                let cash = if market.buying_power() == BuyingPower::Margin { f64::INFINITY } else { cash };
                let qty = self.affordable(request, budget.min(cash), quote);
                if qty <= 0.0 {
                    return Err(if budget <= cash { Reject::ZeroQuantity } else { Reject::InsufficientCash });
                }
                qty
            }
            _ if order.birth.is_some() => {
                let own = self.engine.sleeves.held(&self.engine.portfolio, order.owner, request.instrument);
                let protects = if request.side == Side::Sell { own } else { -own };
                left.min(protects).max(0.0)
            }
            _ => left,
        };
        let goes_short = wanted > held && !is_residue(wanted - held, held);
        if request.side == Side::Sell && !market.shorts_allowed() && goes_short {
            return Err(Reject::ShortNotAllowed);
        }
        let volume = self.volume_at(request.instrument, quote.row);
        let contract = &self.engine.contracts[request.instrument.ix()];
        let room = self.engine.liquidity.room(request.instrument, self.clock.step, volume, contract.lots.lot);
        if request.side == Side::Sell && order.birth.is_none() && self.is_oversold(request.instrument, wanted)
        {
            return Err(Reject::NotSellable);
        }
        let room = if order.birth.is_some() { room.min(self.sellable_room(order)) } else { room };
        let qty = wanted.min(room);
        if qty < wanted && request.tif == TimeInForce::Fok {
            return Ok(Share { wanted, qty: 0.0 });
        }
        if request.side == Side::Buy && market.buying_power() == BuyingPower::Cash && qty > 0.0 {
            let point_value = self.engine.portfolio.point_value(request.instrument);
            let notional = qty * self.price_of(request, quote, qty) * point_value;
            if notional + self.fees_of(order, qty, notional) > cash {
                let reduced = self.affordable(request, cash, quote).min(qty);
                let refuses = market.on_insufficient_cash == OnInsufficientCash::Reject
                    || request.tif == TimeInForce::Fok;
                if refuses || reduced <= 0.0 {
                    return Err(Reject::InsufficientCash);
                }
                return Ok(Share { wanted: reduced, qty: reduced });
            }
        }
        if market.buying_power() == BuyingPower::Margin && qty > 0.0 && order.birth.is_none() {
            return self.within_margin(order, quote, Share { wanted, qty });
        }
        Ok(Share { wanted, qty })
    }

    fn affordable(&self, request: &OrderRequest, budget: f64, quote: &Quote) -> f64 {
        let contract = &self.engine.contracts[request.instrument.ix()];
        let fees = contract.fees(self.spec.market, self.clock.date);
        let point_value = self.engine.portfolio.point_value(request.instrument);
        let at = |qty: f64| {
            let price = self.price_of(request, quote, qty);
            fees.affordable(request.side, budget, price, point_value, contract.lots.lot)
        };
        let most = at(0.0);
        // What the larger order would pay is enough for the smaller one.
        let qty = if self.slippage.depends_on_qty() { at(most) } else { most };
        contract.lots.accept(request.side, qty, 0.0)
    }

    /// Price of an execution, after slippage where the kind of order pays it.
    fn price_of(&self, request: &OrderRequest, quote: &Quote, qty: f64) -> f64 {
        match request.kind {
            OrderKind::Limit(_) | OrderKind::StopLimit { .. } => quote.raw_price,
            OrderKind::Market | OrderKind::MarketOnClose | OrderKind::Stop(_) => {
                let view = &self.views[request.instrument.ix()];
                let row = quote.row as usize;
                let offer = Offer {
                    price: quote.raw_price,
                    qty,
                    high: view.high[row],
                    low: view.low[row],
                    volume: self.volume_at(request.instrument, quote.row),
                    tick: self.engine.contracts[request.instrument.ix()].price_step,
                };
                let slipped = self.slippage.slipped(request.side, &offer);
                quote.band.map_or(slipped, |band| band.clamp(slipped))
            }
        }
    }

    fn fees_of(&self, order: &Order, qty: f64, notional: f64) -> f64 {
        let contract = &self.engine.contracts[order.request.instrument.ix()];
        let fees = contract.fees(self.spec.market, self.clock.date);
        if let Some(today) = contract.close_today(self.spec.market) {
            return self.fees_with_close_today(order, &fees, today, qty, notional);
        }
        charge(&fees, &order.progress, self.clock.date, order.request.side, qty, notional)
    }

    /// Units of a fill, not booked yet, that open a position rather than reduce one.
    fn opened_by(&self, owner: StrategyIx, fill: &Fill) -> f64 {
        let held = self.engine.sleeves.held(&self.engine.portfolio, owner, fill.instrument);
        let against = -fill.side.sign() * held;
        (fill.qty - against.max(0.0)).max(0.0)
    }

    /// Places the protective orders of what a fill opens (SEMANTICS section 4): both legs live on the bar of an entry at
    /// the open, only the stop on the bar of an entry inside it, none on the bar of an entry at the close.
    fn protect(&mut self, entry: &Order, fill: &Fill, raw_price: f64, when: When) {
        let opened = self.opened_by(entry.owner, fill);
        if is_residue(opened, fill.qty) {
            return;
        }
        let step = self.clock.step;
        let (stop_from, target_from) = match when {
            _ if self.spec.is_ticks => (step + 1, step + 1), // a tick has no inside
            When::Open => (step, step),
            When::Inside => (step, step + 1),
            When::Close => (step + 1, step + 1),
        };
        let exit = fill.side.opposite();
        let away = fill.side.sign();
        // One group an execution: an entry that fills in parts has legs that do not end one another.
        let group = PROTECTION_GROUPS | self.engine.book.next_id().0;
        let mut place = |kind: OrderKind, tag: OrderTag, live_from: u32, trailing| {
            let request = OrderRequest {
                kind,
                oco: Some(group),
                tag,
                trailing,
                ..OrderRequest::market(fill.instrument, exit, Size::Qty(opened))
            };
            let birth = Birth { step, raw_price, price: fill.price, live_from };
            let id = self.engine.book.enter(entry.owner, request, self.clock.ts, Some(birth));
            self.engine.bus.post(Event::OrderRequest(id));
        };
        let protection = &entry.request.protection;
        if let Some((level, reference)) = protection.stop_loss {
            let reference = reference.unwrap_or(fill.price);
            let stop = reference - away * level.distance(reference);
            place(OrderKind::Stop(stop), OrderTag::StopLoss, stop_from, None);
        }
        if let Some((level, reference)) = protection.take_profit {
            let reference = reference.unwrap_or(fill.price);
            let limit = reference + away * level.distance(reference);
            place(OrderKind::Limit(limit), OrderTag::TakeProfit, target_from, None);
        }
        if let Some(spec) = protection.trailing {
            let stop = fill.price - away * spec.level.distance(fill.price);
            place(OrderKind::Stop(stop), OrderTag::TrailingStop, stop_from, Some(spec));
        }
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

/// Groups that the engine makes for protective orders; groups of strategies are below.
const PROTECTION_GROUPS: u64 = 1 << 63;

/// What a bar offers an order.
#[derive(Debug, Clone, Copy)]
struct Quote {
    /// Before slippage.
    raw_price: f64,
    row: u32,
    /// The price limits of the day.
    band: Option<Band>,
}

/// What an order gets of what it wants.
#[derive(Debug, Clone, Copy)]
struct Share {
    wanted: f64,
    qty: f64,
}

/// Where in its bar an order fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Open,
    Inside,
    Close,
}
