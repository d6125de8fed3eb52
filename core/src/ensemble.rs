//! Several strategies in one account (SEMANTICS section 11).
//!
//! The account nets and pays; each strategy has a sleeve, the position that its own executions lead to. A strategy sees
//! its sleeve as its position, its own orders, and the cash and equity of the account.

use crate::context::Context;
use crate::data::{BarAt, CoarseBarAt, Frequency};
use crate::event::ExecutionReport;
use crate::model::{Fill, Timer};
use crate::registry::{AnyStrategy, Call};
use crate::strategy::{Strategy, StrategyFailure};
use crate::units::{OrderId, StrategyIx, TradingDate};

/// Strategies that share one account, in the order in which every callback reaches them.
pub struct Ensemble<'a> {
    members: Vec<Box<dyn AnyStrategy + 'a>>,
}

impl std::fmt::Debug for Ensemble<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ensemble").field("n_members", &self.members.len()).finish()
    }
}

impl<'a> Ensemble<'a> {
    pub fn new(members: Vec<Box<dyn AnyStrategy + 'a>>) -> Self {
        Self { members }
    }

    /// One call to every member; the targets of a member are resolved before the next one is called.
    fn each(&mut self, ctx: &mut Context<'_>, call: Call<'_>) -> Result<(), StrategyFailure> {
        for (ix, member) in self.members.iter_mut().enumerate() {
            ctx.as_member(StrategyIx(ix as u32), |ctx| member.handle(ctx, call))?;
        }
        Ok(())
    }

    /// One call to the member whose order it is about.
    fn owner(
        &mut self,
        ctx: &mut Context<'_>,
        order: OrderId,
        call: Call<'_>,
    ) -> Result<(), StrategyFailure> {
        let Some(owner) = ctx.book.get(order).map(|order| order.owner) else { return Ok(()) };
        match self.members.get_mut(owner.ix()) {
            Some(member) => ctx.as_member(owner, |ctx| member.handle(ctx, call)),
            None => Ok(()),
        }
    }
}

impl Strategy for Ensemble<'_> {
    fn n_sleeves(&self) -> usize {
        self.members.len()
    }

    fn frequencies(&self) -> Vec<Frequency> {
        let mut all: Vec<Frequency> = self.members.iter().flat_map(|member| member.frequencies()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn on_start(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        self.each(ctx, Call::Start)
    }

    fn on_step(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) {
        // The hook of a step cannot fail.
        let _ = self.each(ctx, Call::Step(bars));
    }

    fn on_day(&mut self, ctx: &mut Context<'_>, date: TradingDate) -> Result<(), StrategyFailure> {
        self.each(ctx, Call::Day(date))
    }

    fn on_timer(&mut self, ctx: &mut Context<'_>, timer: &Timer) -> Result<(), StrategyFailure> {
        match self.members.get_mut(timer.owner.ix()) {
            Some(member) => ctx.as_member(timer.owner, |ctx| member.handle(ctx, Call::Timer(timer))),
            None => Ok(()),
        }
    }

    fn on_coarse_bar(&mut self, ctx: &mut Context<'_>, bar: CoarseBarAt) -> Result<(), StrategyFailure> {
        for (ix, member) in self.members.iter_mut().enumerate() {
            if member.frequencies().contains(&bar.frequency) {
                ctx.as_member(StrategyIx(ix as u32), |ctx| member.handle(ctx, Call::CoarseBar(bar)))?;
            }
        }
        Ok(())
    }

    fn on_bar(&mut self, ctx: &mut Context<'_>, bar: BarAt) -> Result<(), StrategyFailure> {
        self.each(ctx, Call::Bar(bar))
    }

    fn on_tick(&mut self, ctx: &mut Context<'_>, tick: BarAt) -> Result<(), StrategyFailure> {
        self.each(ctx, Call::Tick(tick))
    }

    fn on_bars(&mut self, ctx: &mut Context<'_>, bars: &[BarAt]) -> Result<(), StrategyFailure> {
        self.each(ctx, Call::Bars(bars))
    }

    fn on_order(&mut self, ctx: &mut Context<'_>, report: &ExecutionReport) -> Result<(), StrategyFailure> {
        self.owner(ctx, report.order, Call::Order(report))
    }

    fn on_trade(&mut self, ctx: &mut Context<'_>, fill: &Fill) -> Result<(), StrategyFailure> {
        self.owner(ctx, fill.order, Call::Trade(fill))
    }

    fn on_stop(&mut self, ctx: &mut Context<'_>) -> Result<(), StrategyFailure> {
        self.each(ctx, Call::Stop)
    }
}
