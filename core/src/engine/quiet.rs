//! Stretches of steps on which nothing happens but marking.
//!
//! A strategy that knows its decisions in advance says at which row it looks next, and the bars say when a waiting
//! limit or stop is reached. Until then a step of the general loop would change equity and the age of orders and
//! nothing else, so the stretch is gone through at once. Every other step goes through the general loop, which stays
//! the only one that trades.

use super::{CANCEL_EVERY, Keep, Loop, Terms};
use crate::context::NewestBar;
use crate::data::{AssetView, Timeline};
use crate::error::EngineError;
use crate::execution::{OhlcBar, Resting, Trail, stop_price};
use crate::market::Market;
use crate::model::{Order, OrderKind, Side, TimeInForce};
use crate::strategy::Strategy;
use crate::units::{InstrumentIx, TradingDate};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// The instrument of an account that has one.
const ONLY: InstrumentIx = InstrumentIx(0);

/// Whether a step without decisions and matches only marks, and lets a date begin. Every item of a market is named here,
/// so that a new one has to say what it does between decisions.
pub(super) fn is_plain(spec: &Terms<'_>, n_instruments: usize) -> bool {
    let Market {
        // What decides about orders and executions only.
        cash: _,
        fill: _,
        slippage_bps: _,
        commission: _,
        sell_tax: _,
        lot: _,
        multiplier: _,
        shorts: _,
        buying_power: _,
        on_insufficient_cash: _,
        fee_rounding: _,
        tick: _,
        min_qty: _,
        lot_binds: _,
        stamp_duty: _,
        duty_on_buys: _,
        transfer_fee: _,
        close_today: _,
        price_limit: _,
        limit_columns: _,
        refuse_beyond_limits: _,
        listed: _,
        margin: _,
        dividend_tax: _,
        boards: _,
        board: _,
        execution: _,
        // What only names or describes.
        profile: _,
        periods_per_year: _,
        time_zone: _,
        sessions: _,
        notes: _,
        // Dates that begin are counted, and a stretch ends before an ex-date.
        sell_after_days: _,
        corporate_actions: _,
        // What moves cash or ends positions by itself.
        maintenance,
        daily_settlement,
        borrow_rate,
        interest_rate,
        funding_column,
        fx_column,
        options,
    } = spec.market;
    let has_costs = *borrow_rate > 0.0 || *interest_rate > 0.0 || *maintenance > 0.0 || *daily_settlement;
    let has_columns = funding_column.is_some() || fx_column.is_some();
    let acts = has_costs || has_columns || !options.is_empty();
    // Details of every step are kept by the general loop.
    let keeps_details = spec.keep == Keep::Everything;
    n_instruments == 1 && !keeps_details && !acts && !spec.risk.has_limits() && !spec.is_ticks
}

impl<S: Strategy> Loop<'_, '_, S> {
    /// Goes through the steps from `step` on, those before `end`, that need nothing else; the step after them. The last
    /// step is never among them: it ends the orders that wait.
    pub(super) fn mark_quiet(
        &mut self,
        step: usize,
        end: usize,
        timeline: &Timeline,
        cancel: &AtomicBool,
    ) -> Result<usize, EngineError> {
        let (Some(last), Some(bar)) = (timeline.n_steps().checked_sub(1), timeline.bars(step).first()) else {
            return Ok(step);
        };
        if step == last || !self.engine.book.only_rests() || self.is_held_back_today() {
            return Ok(step);
        }
        let last = last.min(self.next_ex_step(step, timeline));
        if step >= last {
            return Ok(step);
        }
        let rows = bar.row..bar.row + (last.min(end) - step) as u32;
        let look = self.strategy.next_look(&self.engine.portfolio, step as u32, rows.clone());
        let mut rows = rows.start as usize..look.clamp(rows.start, rows.end) as usize;
        rows.end = rows.start + self.n_trading(&rows);
        for resting in &self.engine.book.resting {
            let Some(order) = self.engine.book.get(resting.order) else { return Ok(step) };
            rows.end = rows.start + n_untouched(order, resting, step, &self.views[0], &rows);
        }
        if rows.is_empty() {
            return Ok(step);
        }
        if rows.len() >= CANCEL_EVERY && cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        self.engine.book.forget_ended();
        let end = step + rows.len();
        self.begin_dates_through(step..end, timeline.dates());
        self.age_through(end, &rows);
        self.record_through(&rows);
        self.engine.newest[0] = NewestBar { row: rows.end as u32 - 1, step: end as u32 - 1 };
        Ok(end)
    }

    /// Whether an order may have to wait for units to become free before it is held against a bar.
    fn is_held_back_today(&self) -> bool {
        !self.engine.book.resting.is_empty() && self.engine.portfolio.has_locked(ONLY)
    }

    /// How many of these rows come before a bar that trades nothing, where that matters: an order is not held against it.
    fn n_trading(&self, rows: &Range<usize>) -> usize {
        match self.views[0].volume {
            Some(volume) if !self.engine.book.resting.is_empty() => {
                n_before(&volume[rows.clone()], |v| self.engine.liquidity.is_halted(Some(v)))
            }
            _ => rows.len(),
        }
    }

    /// The first step from `step` on at which the instrument goes ex; the number of steps for none.
    fn next_ex_step(&self, step: usize, timeline: &Timeline) -> usize {
        let seen = self.engine.last_date.unwrap_or(timeline.date(step));
        let distributions = self.engine.contracts.iter().flat_map(|contract| &contract.distributions);
        let next = distributions.map(|d| d.ex_date.0).filter(|&date| date > seen).min();
        next.map_or(timeline.n_steps(), |next| timeline.dates().partition_point(|&date| date < next.0))
    }

    /// The trading dates that begin with these steps, on which units become free and nothing else happens.
    fn begin_dates_through(&mut self, steps: Range<usize>, dates: &[i32]) {
        if !self.engine.has_dates {
            return;
        }
        let first = usize::from(steps.start == 0);
        let pairs = dates[steps.start.saturating_sub(1)..steps.end].windows(2);
        let n_dates = first + pairs.filter(|pair| pair[0] != pair[1]).count();
        if n_dates > 0 {
            let date = TradingDate(dates[steps.end - 1]);
            self.engine.portfolio.begin_dates(n_dates as u32, date);
            for sleeve in self.engine.sleeves.each() {
                sleeve.begin_dates(n_dates as u32, date);
            }
            self.engine.last_date = Some(date);
        }
    }

    /// What the completed bars do to orders that they do not reach.
    fn age_through(&mut self, end: usize, rows: &Range<usize>) {
        let book = &mut self.engine.book;
        for at in 0..book.resting.len() {
            let side = book.get(book.resting[at].order).map_or(Side::Buy, |order| order.request.side);
            let resting = &mut book.resting[at];
            resting.bars_seen += rows.len() as u32;
            resting.checked_at = Some(end as u32 - 1);
            if let Some(trail) = &mut resting.trail {
                for row in rows.clone() {
                    trail.advance(side, &bar_at(&self.views[0], row));
                }
            }
        }
    }

    fn record_through(&mut self, rows: &Range<usize>) {
        let engine = &mut *self.engine;
        let (portfolio, record) = (&mut engine.portfolio, &mut engine.record);
        let closes = &self.views[0].close[rows.clone()];
        portfolio.mark_through(ONLY, closes, &mut record.equity);
        if !portfolio.is_flat() {
            record.exposed_steps += closes.len() as u64;
        }
    }
}

/// How many of the rows from `step` on pass without an order being reached or running out of time.
fn n_untouched(
    order: &Order,
    resting: &Resting,
    step: usize,
    view: &AssetView<'_>,
    rows: &Range<usize>,
) -> usize {
    let in_time = match order.request.tif {
        TimeInForce::Gtc => rows.len(),
        TimeInForce::Bars(n) => (n.saturating_sub(resting.bars_seen + 1) as usize).min(rows.len()),
        _ => 0,
    };
    if resting.live_from as usize > step || resting.triggered {
        return 0;
    }
    let rows = rows.start..rows.start + in_time;
    let side = order.request.side;
    match (order.request.kind, resting.trail) {
        (OrderKind::Stop(_), Some(trail)) => n_above_trail(trail, side, view, &rows),
        (OrderKind::Stop(level), None) => match side {
            Side::Buy => n_before(&view.high[rows], |high| high >= level),
            Side::Sell => n_before(&view.low[rows], |low| low <= level),
        },
        (OrderKind::Limit(level), None) => match side {
            Side::Buy => n_before(&view.low[rows], |low| low <= level),
            Side::Sell => n_before(&view.high[rows], |high| high >= level),
        },
        _ => 0,
    }
}

/// Bars before the first one that reaches a level that moves with the bars.
fn n_above_trail(mut trail: Trail, side: Side, view: &AssetView<'_>, rows: &Range<usize>) -> usize {
    let is_untouched = |&row: &usize| {
        let bar = bar_at(view, row);
        let is_reached = stop_price(side, trail.level(side), &bar).is_some();
        trail.advance(side, &bar);
        !is_reached
    };
    rows.clone().take_while(is_untouched).count()
}

/// Prices that are looked at together: whole registers on every machine.
const BLOCK: usize = 16;

/// Prices before the first one that reaches a level.
fn n_before(prices: &[f64], is_reached: impl Fn(f64) -> bool) -> usize {
    let is_clear = |block: &&[f64; BLOCK]| !block.iter().fold(false, |any, &p| any | is_reached(p));
    let clear = prices.as_chunks::<BLOCK>().0.iter().take_while(is_clear).count() * BLOCK;
    clear + prices[clear..].iter().take_while(|&&p| !is_reached(p)).count()
}

fn bar_at(view: &AssetView<'_>, row: usize) -> OhlcBar {
    OhlcBar { open: view.open[row], high: view.high[row], low: view.low[row], close: view.close[row] }
}
