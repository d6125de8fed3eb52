//! Orders that depend on something: a parent's fill, a session's close, a level that moves, a second thought.

use super::Loop;
use super::fills::When;
use crate::error::EngineError;
use crate::event::{Event, ExecutionReport};
use crate::execution::{OhlcBar, StopLimitMatch, Trail, limit_price, stop_limit_match};
use crate::model::{Amendment, CloseReason, Order, OrderKind, OrderRequest, OrderStatus, Reject, Side, Size};
use crate::strategy::Strategy;
use crate::units::OrderId;

impl<S: Strategy> Loop<'_, '_, S> {
    /// Keeps an order back while its parent works; true when it is not to be handled now.
    pub(super) fn waits_for_parent(&mut self, child: OrderId) -> Result<bool, EngineError> {
        let child = *self.order(child)?;
        let Some(parent) = child.request.parent else { return Ok(false) };
        let known =
            self.engine.book.get(parent).filter(|p| parent < child.id && p.owner == child.owner).copied();
        let Some(parent) = known else {
            self.report(child.id, OrderStatus::Rejected(Reject::UnknownOrder));
            return Ok(true);
        };
        if !parent.status.is_final() {
            self.engine.book.children.push(child.id);
            return Ok(true);
        }
        if parent.progress.filled <= 0.0 {
            self.report(child.id, OrderStatus::Cancelled(CloseReason::Parent));
            return Ok(true);
        }
        // A parent that ended in parts hands on the same part of the quantity.
        if parent.status != OrderStatus::Filled
            && let Size::Qty(qty) = child.request.size
            && let Some(child) = self.engine.book.get_mut(child.id)
        {
            let part = qty * parent.progress.filled / parent.qty;
            child.request.size =
                Size::Qty(self.engine.contracts[child.request.instrument.ix()].lots.floor(part));
        }
        Ok(false)
    }

    /// At the end of a step: hands in the orders whose parent has ended, so that they can fill from the next bar on.
    pub(super) fn release_children(&mut self) -> Result<(), EngineError> {
        let waiting = std::mem::take(&mut self.engine.book.children);
        for child in waiting {
            let parent = self.order(child)?.request.parent;
            let has_ended =
                parent.and_then(|id| self.engine.book.get(id)).is_some_and(|o| o.status.is_final());
            if has_ended {
                self.engine.bus.post(Event::OrderRequest(child));
            } else {
                self.engine.book.children.push(child);
            }
        }
        self.drain_bus()
    }

    /// Market-on-close orders on the last bar of their instrument's next trading date.
    pub(super) fn fill_closing(&mut self) -> Result<(), EngineError> {
        let waiting = self.engine.book.closing.clone();
        for closing in waiting {
            if !self.engine.book.closing.contains(&closing) {
                continue; // cancelled by a fill just now
            }
            let Some(row) = self.tradable_row(closing.instrument) else { continue };
            let view = &self.views[closing.instrument.ix()];
            let row = row as usize;
            let date = view.date[row];
            if date <= closing.placed.0 || !view.ends_date(row) {
                continue;
            }
            let close = view.close[row];
            if self.execute(closing.order, close, When::Close)? {
                self.engine.book.closing.retain(|c| c.order != closing.order);
            }
            self.drain_bus()?;
        }
        Ok(())
    }

    /// A trailing stop of a strategy starts at the close of the decision.
    pub(super) fn start_trailing(&mut self, id: OrderId) -> Result<(), EngineError> {
        let order = self.order(id)?;
        if let (Some(spec), None) = (order.request.trailing, order.birth) {
            let OrderRequest { instrument, side, .. } = order.request;
            let best = self.engine.portfolio.last_close(instrument);
            let distance = spec.level.distance(best);
            let level = Trail { spec, best }.level(side);
            // A level on the wrong side of the market is refused as a bad price.
            let level = if distance > 0.0 { level } else { f64::NAN };
            self.order_mut(id)?.request.kind = OrderKind::Stop(level);
        }
        Ok(())
    }

    /// The price at which a resting stop-limit fills on a bar; notes when its stop was reached.
    pub(super) fn match_stop_limit(
        &mut self,
        at: usize,
        side: Side,
        stop: f64,
        limit: f64,
        bar: &OhlcBar,
    ) -> Option<f64> {
        let resting = &mut self.engine.book.resting[at];
        if resting.triggered {
            return limit_price(side, limit, bar);
        }
        match stop_limit_match(side, stop, limit, bar) {
            StopLimitMatch::NotReached => None,
            StopLimitMatch::Triggered => {
                resting.triggered = true;
                None
            }
            StopLimitMatch::Fills(price) => Some(price),
        }
    }

    /// Changes a working order if risk lets the changed one pass.
    pub(super) fn on_amend(&mut self, id: OrderId, amendment: Amendment) -> Result<(), EngineError> {
        let Some(order) = self.engine.book.get(id).copied() else {
            self.engine.record.n_amend_rejects += 1; // no such order: there is none to report
            return Ok(());
        };
        let changed = self.amended(&order, amendment).and_then(|changed| self.pass_on(&changed, amendment));
        let refused = match changed {
            Ok(changed) => {
                *self.order_mut(id)? = changed;
                None
            }
            Err(reject) => Some(reject),
        };
        let report = ExecutionReport { order: id, status: order.status, fill: None, refused };
        self.engine.bus.post(Event::ExecutionReport(report));
        Ok(())
    }

    fn amended(&mut self, order: &Order, amendment: Amendment) -> Result<Order, Reject> {
        if order.status.is_final() {
            return Err(Reject::NotWorking);
        }
        let follows = order.request.trailing.is_some() && amendment.stop.is_some();
        let kind = amendment.applied(order.request.kind).filter(|_| !follows).ok_or(Reject::NoSuchPrice)?;
        let filled = order.progress.filled;
        let mut changed = *order;
        changed.request.kind = self.on_tick(order.request.instrument, order.request.side, kind);
        if let Some(qty) = amendment.qty {
            if !(qty.is_finite() && qty > filled) {
                return Err(Reject::BadQuantity);
            }
            changed.request.size = Size::Qty(qty);
        }
        if order.status == OrderStatus::Submitted {
            return Ok(changed); // waits for its parent: risk looks at it when it is handed in
        }
        // Risk looks at what is left to fill.
        let mut rest = changed;
        if let Some(qty) = amendment.qty {
            rest.request.size = Size::Qty(qty - filled);
        } else if order.qty > 0.0 {
            rest.request.size = Size::Qty(order.remaining());
        }
        let qty = self.check_risk(&rest)?;
        changed.qty = match amendment.qty {
            Some(whole) => whole,
            None if order.qty > 0.0 => order.qty,
            None => qty,
        };
        Ok(changed)
    }
}
