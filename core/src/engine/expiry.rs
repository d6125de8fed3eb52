//! What ends with a trading date: variation that is settled, options that expire (SEMANTICS sections 6 and 7).

use super::Loop;
use super::financing::UNDERLYING;
use crate::error::EngineError;
use crate::event::{Event, ExecutionReport};
use crate::market::OptionTerms;
use crate::model::{CloseReason, Fill, Order, OrderRequest, OrderStatus, OrderTag, Side, Size};
use crate::strategy::Strategy;
use crate::units::{InstrumentIx, OrderId};

impl<S: Strategy> Loop<'_, '_, S> {
    /// Moves cash by the change of value since the last settlement, at the settlement price of the date where the data
    /// have one, else at the last close.
    pub(super) fn settle_variation(&mut self) {
        if !self.spec.market.daily_settlement {
            return;
        }
        let held: Vec<InstrumentIx> = self.engine.portfolio.held().collect();
        for instrument in held {
            let Some(row) = self.row_now(instrument) else { continue };
            let column = self.views[instrument.ix()].named("settlement");
            if let Some(price) = column.map(|c| c[row as usize]).filter(|price| *price > 0.0) {
                self.engine.portfolio.mark(instrument, price);
                self.engine.sleeves.mark(instrument, price);
            }
        }
        self.engine.portfolio.settle();
    }

    /// Whether an order could only fill after the expiry of its option.
    pub(super) fn is_expired(&self, order: &Order) -> bool {
        let option = &self.engine.contracts[order.request.instrument.ix()].option;
        option.as_ref().is_some_and(|option| {
            let last = option.expiry.0;
            self.clock.date > last || (self.clock.date == last && self.days_ahead(order) > 0)
        })
    }

    /// Positions in options whose last date has come are closed at what they are then worth; their orders end.
    pub(super) fn expire_options(&mut self) -> Result<(), EngineError> {
        if self.spec.market.options.is_empty() {
            return Ok(());
        }
        for ix in 0..self.engine.contracts.len() {
            let instrument = InstrumentIx(ix as u32);
            let Some(option) = self.engine.contracts[ix].option.clone() else { continue };
            if option.expiry.0 > self.clock.date {
                continue;
            }
            let is_of = |id: &OrderId| {
                self.engine.book.get(*id).is_some_and(|order| order.request.instrument == instrument)
            };
            let working: Vec<OrderId> = self.engine.book.working().filter(is_of).collect();
            for id in working {
                self.engine.book.remove(id);
                self.report(id, OrderStatus::Expired(CloseReason::Expiry));
            }
            self.drain_bus()?;
            if self.engine.portfolio.position(instrument).qty() != 0.0 {
                self.exercise(instrument, &option)?;
            }
        }
        Ok(())
    }

    /// Closes a position at the intrinsic value of the option, in cash and without fees.
    fn exercise(&mut self, instrument: InstrumentIx, option: &OptionTerms) -> Result<(), EngineError> {
        let row = self.engine.newest[instrument.ix()].row;
        let prices = self.views[instrument.ix()].named(UNDERLYING).unwrap_or_default();
        let known = prices.iter().take(row as usize + 1).rev().find(|price| price.is_finite());
        let Some(&underlying) = known else {
            return Err(EngineError::Spec(format!(
                "market.options: {UNDERLYING:?} has no price up to the expiry of {:?}",
                option.symbol
            )));
        };
        let price = option.intrinsic(underlying);
        self.engine.portfolio.mark(instrument, price);
        self.engine.sleeves.mark(instrument, price);
        let point_value = self.engine.portfolio.point_value(instrument);
        let (ts, date, tag) = (self.clock.ts, self.clock.date, OrderTag::Expiry);
        for (owner, held) in self.engine.sleeves.holders(&self.engine.portfolio, instrument) {
            let (side, qty) = (if held > 0.0 { Side::Sell } else { Side::Buy }, held.abs());
            let request = OrderRequest { tag, ..OrderRequest::market(instrument, side, Size::Qty(qty)) };
            let id = self.engine.book.enter(owner, request, ts, None);
            let order = self.order_mut(id)?;
            order.qty = qty;
            order.progress.note(date, qty, qty * price * point_value, 0.0);
            self.engine.record.n_orders += 1;
            let fill =
                Fill { order: id, instrument, ts, row, side, qty, price, fees: 0.0, slippage_cost: 0.0, tag };
            let report =
                ExecutionReport { order: id, status: OrderStatus::Filled, fill: Some(fill), refused: None };
            self.engine.bus.post(Event::ExecutionReport(report));
        }
        self.drain_bus()
    }
}
