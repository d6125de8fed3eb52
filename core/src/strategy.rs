//! The strategy trait: what the loop calls.

use crate::context::Context;
use crate::data::{BarAt, CoarseBarAt, Frequency};
use crate::error::TimerError;
use crate::event::ExecutionReport;
use crate::model::{Fill, Timer};
use crate::portfolio::Portfolio;
use crate::units::TradingDate;
use std::ops::Range;

/// A strategy that cannot go on; the run ends with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyFailure(pub String);

impl From<TimerError> for StrategyFailure {
    fn from(error: TimerError) -> Self {
        Self(error.to_string())
    }
}

/// Decides at the close of every step. Requests reach the market after the callbacks of the step, in order.
pub trait Strategy {
    /// Whether `on_order` and `on_trade` do anything.
    const WANTS_REPORTS: bool = true;

    /// Whether `on_day` and `on_timer` do anything, and timers are ever set.
    const WANTS_CLOCK: bool = true;

    /// Whether `on_step` does anything.
    const WANTS_STEPS: bool = true;

    /// How many strategies with positions of their own stand behind this one; none where it has the account for itself.
    fn n_sleeves(&self) -> usize {
        0
    }

    /// Frequencies of the coarse bars that the strategy reads, asked before the run.
    fn frequencies(&self) -> Vec<Frequency> {
        Vec::new()
    }

    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        let _ = ctx;
        Ok(())
    }

    /// When a step begins, before its orders are matched: the bars of the step exist from here on.
    fn on_step(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) {
        let _ = (ctx, bars);
    }

    /// At the first step of a trading date, after fills and mark, before its timers.
    fn on_day(&mut self, ctx: &mut Context<'_>, date: TradingDate) -> Result<(), StrategyFailure> {
        let _ = (ctx, date);
        Ok(())
    }

    /// When a timer is due, before the bars of the step.
    fn on_timer(&mut self, ctx: &mut Context<'_>, timer: &Timer) -> Result<(), StrategyFailure> {
        let _ = (ctx, timer);
        Ok(())
    }

    /// When a coarse bar is complete, before the bars of the step: instruments in panel order, frequencies in the order
    /// of `frequencies`.
    fn on_coarse_bar(&mut self, ctx: &mut Context<'_>, bar: CoarseBarAt) -> Result<(), StrategyFailure> {
        let _ = (ctx, bar);
        Ok(())
    }

    /// Once for every instrument with a bar at this step, in panel order.
    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        let _ = (ctx, bar);
        Ok(())
    }

    /// Once for every instrument with a tick at this step, in panel order; a strategy of bars takes it for one.
    fn on_tick(&mut self, ctx: &mut Context<'_>, tick: BarAt) -> Result<(), StrategyFailure> {
        self.on_bar(ctx, tick)
    }

    /// Once a step, with the cross-section.
    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        let _ = (ctx, bars);
        Ok(())
    }

    /// Every change of an order.
    fn on_order(&mut self, ctx: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        let _ = (ctx, report);
        Ok(())
    }

    /// Every execution, after the account has booked it.
    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        let _ = (ctx, fill);
        Ok(())
    }

    /// Those of the bars of a step at which `on_bar` may do anything.
    fn bars_to_see<'b>(&'b self, step: u32, bars: &'b [BarAt]) -> &'b [BarAt] {
        let _ = step;
        bars
    }

    /// Whether `on_bars` may do anything at this step.
    fn wants_bars(&self, step: u32) -> bool {
        let _ = step;
        true
    }

    /// For an account of one instrument: the first of these rows at which a callback may do anything while the position
    /// stays as it is and no order fills or ends; `rows.end` for none. The row `rows.start` is that of `step`. A
    /// strategy that looks at every bar leaves this as it is.
    fn next_look(&mut self, portfolio: &Portfolio, step: u32, rows: Range<u32>) -> u32 {
        let _ = (portfolio, step);
        rows.start
    }

    fn on_stop(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        let _ = ctx;
        Ok(())
    }
}
