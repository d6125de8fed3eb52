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
use crate::units::InstrumentIx;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// The instrument of an account that has one.
const ONLY: InstrumentIx = InstrumentIx(0);

/// Whether a step without decisions and matches only marks. Says no to whatever it does not know.
pub(super) fn is_plain(spec: &Terms<'_>, n_instruments: usize) -> bool {
    let market = spec.market;
    #[allow(clippy::needless_update, reason = "whatever else a market may have must be at its default")]
    let known = Market {
        cash: market.cash,
        fill: market.fill,
        slippage_bps: market.slippage_bps,
        commission: market.commission,
        sell_tax: market.sell_tax,
        lot: market.lot,
        multiplier: market.multiplier,
        shorts: market.shorts,
        buying_power: market.buying_power,
        on_insufficient_cash: market.on_insufficient_cash,
        execution: market.execution,
        ..Market::default()
    };
    // A bar that trades nothing does not count as one an order was held against.
    let halts = market.execution.halt_on_zero_volume;
    // Details of every step are kept by the general loop.
    let keeps_details = spec.keep == Keep::Everything;
    let is_known = *market == known && !halts && !spec.risk.has_limits() && !spec.is_ticks;
    n_instruments == 1 && !keeps_details && is_known
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
        if step == last || !self.engine.book.only_rests() {
            return Ok(step);
        }
        let rows = bar.row..bar.row + (last.min(end) - step) as u32;
        let look = self.strategy.next_look(&self.engine.portfolio, step as u32, rows.clone());
        let mut rows = rows.start as usize..look.clamp(rows.start, rows.end) as usize;
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
        self.age_through(end, &rows);
        self.record_through(&rows);
        self.engine.newest[0] = NewestBar { row: rows.end as u32 - 1, step: end as u32 - 1 };
        Ok(end)
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
