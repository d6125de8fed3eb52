//! What becomes of an order on the bus: asked, checked, accepted, reported, and what a fill ends besides it.

use super::fills::When;
use super::{Keep, Loop};
use crate::error::EngineError;
use crate::event::{Event, ExecutionReport};
use crate::execution::{Closing, Resting, Trail};
use crate::market::FillMode;
use crate::model::{CloseReason, Fill, Order, OrderKind, OrderRequest, OrderStatus, Reject, TimeInForce};
use crate::risk::{RiskManager, RiskView};
use crate::strategy::Strategy;
use crate::units::{InstrumentIx, OrderId, StrategyIx};

impl<S: Strategy> Loop<'_, '_, S> {
    pub(super) fn on_request(&mut self, id: OrderId) -> Result<(), EngineError> {
        let order = self.order(id)?;
        if order.status.is_final() {
            return Ok(()); // taken back before it was handled
        }
        let OrderRequest { parent, tif, .. } = order.request;
        if self.clock.is_last_step {
            self.report(id, OrderStatus::Expired(CloseReason::EndOfData));
            return Ok(());
        }
        if parent.is_some() && self.waits_for_parent(id)? {
            return Ok(());
        }
        if matches!(tif, TimeInForce::Gtd(last) if last < self.clock.date) {
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
    pub(super) fn check_risk(&mut self, order: &Order) -> Result<f64, Reject> {
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

    pub(super) fn on_cancel(&mut self, id: OrderId) {
        if self.engine.book.get(id).is_some_and(|order| !order.status.is_final()) {
            self.take_back(id, CloseReason::Request);
        }
    }

    pub(super) fn on_validated(&mut self, id: OrderId) -> Result<(), EngineError> {
        if self.engine.venue.is_live() {
            return self.hand_over(id);
        }
        let order = self.order_mut(id)?;
        order.status = OrderStatus::Accepted;
        let OrderRequest { instrument, kind, trailing, parent, .. } = order.request;
        let birth = order.birth;
        if S::WANTS_REPORTS {
            self.report(id, OrderStatus::Accepted);
        }
        if kind == OrderKind::MarketOnClose {
            self.engine.book.closing.push(Closing { order: id, instrument, placed: self.clock.date });
        } else if kind != OrderKind::Market {
            let close = self.engine.portfolio.last_close(instrument);
            let trail = trailing.map(|spec| Trail { spec, best: birth.map_or(close, |b| b.price) });
            self.engine.book.resting.push(Resting {
                order: id,
                instrument,
                live_from: birth.map_or(self.clock.step + 1, |birth| birth.live_from),
                bars_seen: 0,
                checked_at: None,
                born: birth.map(|birth| (birth.step, birth.raw_price)),
                trail,
                triggered: false,
            });
        } else if self.spec.market.fill == FillMode::Close
            && parent.is_none()
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
    pub(super) fn on_report(&mut self, report: &ExecutionReport) -> Result<(), EngineError> {
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
        if book.resting.is_empty() && book.remote.is_empty() {
            return;
        }
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
}
