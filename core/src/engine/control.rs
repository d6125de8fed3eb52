//! Events from outside the loop: the desk's hand on a session, and orders that a gateway holds.

use super::Loop;
use super::fills::When;
use crate::context::Command;
use crate::error::EngineError;
use crate::event::{Event, ExecutionReport};
use crate::execution::Venue;
use crate::model::{
    Amendment, CloseReason, Fill, GatewayReport, GatewayUpdate, Order, OrderStatus, Reject, Size,
};
use crate::strategy::Strategy;
use crate::units::{OrderId, StrategyIx, TsNs};

/// A difference in units that is rounding.
const QTY_TOLERANCE: f64 = 1e-9;

impl<S: Strategy> Loop<'_, '_, S> {
    /// What the loop does not post itself.
    pub(super) fn on_outside(&mut self, event: &Event) -> Result<(), EngineError> {
        match event {
            Event::Halt => self.engine.limits.set_halted(true),
            Event::Resume => self.engine.limits.set_halted(false),
            Event::CancelAll => self.cancel_everything(),
            Event::Submit(request) => {
                let id = self.engine.book.enter(StrategyIx::default(), **request, self.clock.ts, None);
                self.engine.outbox.commands.push(Command::Submit(id));
            }
            Event::GatewayReport(report) => self.on_gateway_report(report)?,
            _ => {
                return Err(EngineError::Internal("an event that the loop handles itself came from outside"));
            }
        }
        Ok(())
    }

    /// Every order that works, and every order that was asked for and not handed in yet.
    fn cancel_everything(&mut self) {
        let asked = self.engine.outbox.commands.iter().filter_map(|command| match command {
            Command::Submit(id) => Some(*id),
            Command::Cancel(_) | Command::Amend(..) => None,
        });
        let ids: Vec<OrderId> = self.engine.book.working().chain(asked).collect();
        for id in ids {
            self.on_cancel(id);
        }
    }

    /// Takes an order off the book; one that a gateway holds is asked back and ends when the gateway says so.
    pub(super) fn take_back(&mut self, id: OrderId, reason: CloseReason) {
        if self.engine.book.remote.contains(&id) {
            if let Venue::Live(gateway) = &mut self.engine.venue {
                // A refusal means that the order is on its way to its end: a report follows.
                let _ = gateway.cancel(id);
            }
            return;
        }
        self.engine.book.remove(id);
        self.report(id, OrderStatus::Cancelled(reason));
    }

    /// Gives an order that risk has passed to the gateway; it is accepted when the gateway says so.
    pub(super) fn hand_over(&mut self, id: OrderId) -> Result<(), EngineError> {
        let qty = self.handed_qty(self.order(id)?);
        let order = self.order_mut(id)?;
        order.qty = qty;
        let order = *order;
        let Venue::Live(gateway) = &mut self.engine.venue else {
            return Err(EngineError::Internal("an order is handed over, and there is no gateway"));
        };
        // On the list first: the gateway may report before it returns.
        self.engine.book.remote.push(id);
        if qty <= 0.0 || gateway.submit(&order).is_err() {
            self.engine.book.remove(id);
            let reject = if qty <= 0.0 { Reject::ZeroQuantity } else { Reject::Gateway };
            self.report(id, OrderStatus::Rejected(reject));
        }
        Ok(())
    }

    /// A venue takes quantities: a budget becomes what it buys at the last close.
    fn handed_qty(&self, order: &Order) -> f64 {
        match order.request.size {
            Size::BudgetAtFill(budget) if order.qty == 0.0 => {
                let instrument = order.request.instrument;
                let contract = &self.engine.contracts[instrument.ix()];
                let fees = contract.fees(self.spec.market, self.clock.date);
                let close = self.engine.portfolio.last_close(instrument);
                let budget = budget.min(self.engine.portfolio.cash());
                let side = order.request.side;
                let point_value = self.engine.portfolio.point_value(instrument);
                fees.affordable(side, budget, close, point_value, contract.lots.lot)
            }
            _ => order.qty,
        }
    }

    /// Tells the gateway of an amendment that risk has passed.
    pub(super) fn pass_on(&mut self, changed: &Order, amendment: Amendment) -> Result<Order, Reject> {
        if self.engine.book.remote.contains(&changed.id)
            && let Venue::Live(gateway) = &mut self.engine.venue
            && gateway.amend(changed, amendment).is_err()
        {
            return Err(Reject::Gateway);
        }
        Ok(*changed)
    }

    fn on_gateway_report(&mut self, report: &GatewayReport) -> Result<(), EngineError> {
        let id = report.order;
        let misfit = |reason| EngineError::GatewayReport { order: id.0, reason };
        let order = *self.engine.book.get(id).ok_or_else(|| misfit("there is no such order"))?;
        if !self.engine.book.remote.contains(&id) {
            return Err(misfit("the gateway does not hold the order"));
        }
        let ended = match report.update {
            GatewayUpdate::Accepted => {
                self.report(id, OrderStatus::Accepted);
                return Ok(());
            }
            GatewayUpdate::Filled { ts, qty, price, fees } => {
                let valid = [qty, price].iter().all(|v| v.is_finite() && *v > 0.0)
                    && fees.is_finite()
                    && qty <= order.remaining() * (1.0 + QTY_TOLERANCE);
                if !valid {
                    return Err(misfit("units and price are above zero, units within the rest of the order"));
                }
                return self.book_gateway_fill(&order, ts, qty, price, fees);
            }
            GatewayUpdate::Rejected => OrderStatus::Rejected(Reject::Gateway),
            GatewayUpdate::Cancelled => OrderStatus::Cancelled(CloseReason::Request),
            GatewayUpdate::Expired => OrderStatus::Expired(CloseReason::TimeInForce),
        };
        self.engine.book.remove(id);
        self.report(id, ended);
        Ok(())
    }

    fn book_gateway_fill(
        &mut self,
        order: &Order,
        ts: TsNs,
        qty: f64,
        price: f64,
        fees: f64,
    ) -> Result<(), EngineError> {
        let request = &order.request;
        let date = self.clock.date;
        let notional = qty * price * self.engine.portfolio.point_value(request.instrument);
        let stored = self.order_mut(order.id)?;
        stored.progress.note(date, qty, notional, fees);
        let is_whole = stored.remaining() <= QTY_TOLERANCE * stored.qty;
        if is_whole {
            self.engine.book.remove(order.id);
        }
        let fill = Fill {
            order: order.id,
            instrument: request.instrument,
            ts,
            row: self.engine.newest[request.instrument.ix()].row,
            side: request.side,
            qty,
            price,
            fees,
            slippage_cost: 0.0, // the venue's price is the price
            tag: request.tag,
        };
        let status = if is_whole { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
        let report = ExecutionReport { order: order.id, status, fill: Some(fill), refused: None };
        self.engine.bus.post(Event::ExecutionReport(report));
        if !request.protection.is_none() {
            self.protect(order, &fill, price, When::Inside);
        }
        Ok(())
    }
}
