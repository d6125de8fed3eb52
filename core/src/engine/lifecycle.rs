//! How orders end without the strategy asking: time in force, and rests that do not wait.

use super::Loop;
use crate::error::EngineError;
use crate::execution::Resting;
use crate::model::{CloseReason, OrderStatus, TimeInForce};
use crate::strategy::Strategy;
use crate::units::OrderId;

impl<S: Strategy> Loop<'_, '_, S> {
    /// What did not fill of an order on a bar that could trade: waits on, or ends; true when it waits no longer.
    pub(super) fn keep_rest(&mut self, id: OrderId) -> Result<bool, EngineError> {
        let order = self.order_mut(id)?;
        order.progress.tries += 1;
        let (tif, tries) = (order.request.tif, order.progress.tries);
        // Orders that rest count their bars themselves.
        let is_resting = self.engine.book.resting.iter().any(|r| r.order == id);
        let is_over = match tif {
            TimeInForce::Ioc | TimeInForce::Fok => true,
            TimeInForce::Bars(n) => !is_resting && tries >= n,
            TimeInForce::Gtc | TimeInForce::Day | TimeInForce::Gtd(_) => false,
        };
        if is_over {
            self.end_of_time(id)?;
        }
        Ok(is_over)
    }

    /// The time in force of an order ran out.
    pub(super) fn end_of_time(&mut self, id: OrderId) -> Result<(), EngineError> {
        let tif = self.order(id)?.request.tif;
        self.engine.book.remove(id);
        let status = if tif.is_immediate() { OrderStatus::Cancelled } else { OrderStatus::Expired };
        self.report(id, status(CloseReason::TimeInForce));
        Ok(())
    }

    /// The trading date ends: DAY orders that have had a bar to match on, and orders good till this date.
    pub(super) fn expire_with_date(&mut self) -> Result<(), EngineError> {
        let date = self.clock.date;
        let book = &self.engine.book;
        if book.pending.is_empty() && book.resting.is_empty() && book.closing.is_empty() {
            return Ok(());
        }
        let is_over = |id: OrderId, was_offered: bool| {
            book.get(id).is_some_and(|order| match order.request.tif {
                TimeInForce::Day => was_offered,
                TimeInForce::Gtd(last) => last <= date,
                _ => false,
            })
        };
        let resting_is_over = |r: &&Resting| is_over(r.order, r.checked_at.is_some());
        let tried = |id: OrderId| book.get(id).is_some_and(|order| order.progress.tries > 0);
        let market = book.pending.iter().copied().chain(book.closing.iter().map(|c| c.order));
        let mut done: Vec<OrderId> = market.filter(|&id| is_over(id, tried(id))).collect();
        done.extend(book.resting.iter().filter(resting_is_over).map(|r| r.order));
        self.expire(&done)
    }

    /// A trading date begins: orders whose last date lies before it.
    pub(super) fn expire_outdated(&mut self) -> Result<(), EngineError> {
        let date = self.clock.date;
        let book = &self.engine.book;
        let is_over = |id: &OrderId| {
            book.get(*id).is_some_and(|o| matches!(o.request.tif, TimeInForce::Gtd(last) if last < date))
        };
        // A gateway looks after the dates of the orders it holds.
        let done: Vec<OrderId> =
            book.working().filter(|id| is_over(id) && !book.remote.contains(id)).collect();
        self.expire(&done)
    }

    fn expire(&mut self, done: &[OrderId]) -> Result<(), EngineError> {
        for &id in done {
            self.end_of_time(id)?;
        }
        self.drain_bus()
    }
}
