//! The strategy trait: what the loop calls.

use crate::context::Context;
use crate::data::BarAt;
use crate::event::ExecutionReport;
use crate::model::Fill;

/// A strategy that cannot go on; the run ends with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyFailure(pub String);

/// Decides at the close of every step. Requests reach the market after the callbacks of the step, in order.
pub trait Strategy {
    /// Whether `on_order` and `on_trade` do anything.
    const WANTS_REPORTS: bool = true;

    /// How many strategies with positions of their own stand behind this one; none where it has the account for itself.
    fn n_sleeves(&self) -> usize {
        0
    }

    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        let _ = ctx;
        Ok(())
    }

    /// When a step begins, before its orders are matched: the bars of the step exist from here on.
    fn on_step(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) {
        let _ = (ctx, bars);
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

    fn on_stop(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        let _ = ctx;
        Ok(())
    }
}
