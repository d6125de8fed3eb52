//! What the market profile adds to the loop: dates that begin and end, price limits, units that may not be sold yet,
//! margin, corporate actions (SEMANTICS sections 2, 5 and 6).

use super::{Loop, Quote, Share, When};
use crate::error::EngineError;
use crate::execution::charge;
use crate::market::{
    Band, BuyingPower, Commission, Distribution, FeeModel, Fees, FillMode, OnInsufficientCash, PriceLimits,
};
use crate::model::{CloseReason, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Reject, Side, Size};
use crate::strategy::Strategy;
use crate::units::{InstrumentIx, OrderId, TradingDate};

/// Days of a year that borrowing is counted by.
const BORROW_DAYS: f64 = 365.0;

impl<S: Strategy> Loop<'_, '_, S> {
    /// A trading date begins: units become free, distributions whose ex-date has come are paid.
    pub(super) fn begin_date(&mut self) -> Result<(), EngineError> {
        self.engine.portfolio.begin_date();
        let step = self.clock.step as usize;
        if step == 0 {
            return Ok(());
        }
        let last = self.spec.timeline.date(step - 1);
        self.charge_borrowing(last);
        for ix in 0..self.engine.contracts.len() {
            if !self.engine.contracts[ix].distributions.is_empty() {
                self.go_ex(InstrumentIx(ix as u32), last)?;
            }
        }
        Ok(())
    }

    /// The trading date ends: variation is settled, and an account that cannot carry its positions is closed.
    pub(super) fn end_date(&mut self) -> Result<(), EngineError> {
        let market = self.spec.market;
        self.engine.portfolio.settle();
        if market.maintenance == 0.0 || market.buying_power != BuyingPower::Margin || self.clock.is_last_step
        {
            return Ok(());
        }
        let portfolio = &self.engine.portfolio;
        if portfolio.equity() >= market.maintenance * portfolio.margin_used() {
            return Ok(());
        }
        self.liquidate()
    }

    /// Working orders are taken back and every position is sold or bought back at the next chance.
    fn liquidate(&mut self) -> Result<(), EngineError> {
        let working: Vec<OrderId> = self.engine.book.working().collect();
        for id in working {
            self.engine.book.remove(id);
            self.report(id, OrderStatus::Cancelled(CloseReason::PositionClosed));
        }
        self.drain_bus()?;
        let held: Vec<InstrumentIx> = self.engine.portfolio.held().collect();
        for instrument in held {
            let qty = self.engine.portfolio.position(instrument).qty();
            let side = if qty > 0.0 { Side::Sell } else { Side::Buy };
            let request = OrderRequest {
                tag: OrderTag::Liquidation,
                ..OrderRequest::market(instrument, side, Size::Qty(qty.abs()))
            };
            let id = self.engine.book.enter(request, self.clock.ts, None);
            let order = self.order_mut(id)?;
            order.qty = qty.abs();
            order.status = OrderStatus::Accepted;
            self.engine.record.n_orders += 1;
            self.engine.book.pending.push(id);
        }
        Ok(())
    }

    /// Borrowed units cost a share of their value for every calendar day since the last date.
    fn charge_borrowing(&mut self, last: TradingDate) {
        let rate = self.spec.market.borrow_rate;
        if rate > 0.0 {
            let n_days = f64::from(self.clock.date.0 - last.0);
            let fee = self.engine.portfolio.short_value() * rate * n_days / BORROW_DAYS;
            self.engine.portfolio.charge(fee);
            self.engine.record.fees += fee;
        }
    }

    /// Pays the distributions of an instrument with an ex-date after `last`, up to today.
    fn go_ex(&mut self, instrument: InstrumentIx, last: TradingDate) -> Result<(), EngineError> {
        let today = self.clock.date;
        let contract = &self.engine.contracts[instrument.ix()];
        let whole_units = contract.lots.lot > 0.0;
        let is_due = |d: &&Distribution| d.ex_date.0 > last && d.ex_date.0 <= today;
        let due: Vec<Distribution> = contract.distributions.iter().filter(is_due).copied().collect();
        for action in due {
            self.engine.portfolio.distribute(instrument, &action, whole_units);
            self.rewrite_orders(instrument, &action)?;
        }
        Ok(())
    }

    /// Orders across an ex-date: a split rescales them; anything else ends those that name a price, except the ones
    /// that protect a position, whose levels move with the reference price.
    fn rewrite_orders(&mut self, instrument: InstrumentIx, action: &Distribution) -> Result<(), EngineError> {
        let working: Vec<OrderId> = self.engine.book.working().collect();
        for id in working {
            let order = *self.order(id)?;
            if order.request.instrument != instrument {
                continue;
            }
            let names_price = order.request.kind.price().is_some();
            if names_price && order.birth.is_none() && !action.is_split() {
                self.engine.book.remove(id);
                self.report(id, OrderStatus::Cancelled(CloseReason::CorporateAction));
                continue;
            }
            let stored = self.order_mut(id)?;
            stored.qty = action.multiplied(order.qty);
            stored.progress.filled = action.multiplied(order.progress.filled);
            stored.request.kind = match order.request.kind {
                OrderKind::Limit(price) => OrderKind::Limit(action.reference(price)),
                OrderKind::Stop(price) => OrderKind::Stop(action.reference(price)),
                other => other,
            };
            if let Some(resting) = self.engine.book.resting.iter_mut().find(|r| r.order == id)
                && let Some(trail) = &mut resting.trail
            {
                trail.best = action.reference(trail.best);
            }
        }
        self.drain_bus()
    }

    /// Puts the price of a request on the tick grid.
    pub(super) fn put_on_tick(&mut self, id: OrderId) -> Result<(), EngineError> {
        let order = *self.order(id)?;
        let contract = &self.engine.contracts[order.request.instrument.ix()];
        if contract.tick > 0.0 {
            let kind = contract.on_tick(order.request.side, order.request.kind);
            self.order_mut(id)?.request.kind = kind;
        }
        Ok(())
    }

    /// Trading dates until an order can first fill: an order of the last step of a date waits for the next date, unless
    /// it fills at this very close.
    pub(super) fn days_ahead(&self, order: &Order) -> u32 {
        let fills_now =
            self.spec.market.fill == FillMode::Close && matches!(order.request.kind, OrderKind::Market);
        u32::from(self.clock.ends_date && !fills_now)
    }

    /// A limit order outside the band of the day it can first fill on, as far as that band is known now.
    pub(super) fn refused_by_limits(&self, order: &Order) -> Option<Reject> {
        let market = self.spec.market;
        let OrderKind::Limit(price) = order.request.kind else { return None };
        if !market.refuse_beyond_limits || order.birth.is_some() || !price.is_finite() {
            return None;
        }
        let instrument = order.request.instrument;
        let newest = self.engine.newest[instrument.ix()];
        let row = newest.row as usize;
        let view = &self.views[instrument.ix()];
        if row >= view.len() {
            return None;
        }
        let contract = &self.engine.contracts[instrument.ix()];
        let band = if self.days_ahead(order) == 0 && view.date[row] == self.clock.date.0 {
            contract.band_at(market, view, row)
        } else {
            // The next day's reference is this close, unless the instrument goes ex.
            if contract.is_free_after(market, view, row) {
                return None;
            }
            let is_st = view.named("is_st").is_some_and(|column| column[row] > 0.0);
            let tomorrow = TradingDate(self.clock.date.0 + 1);
            let goes_ex = contract.distributions.iter().any(|d| d.ex_date.0 > self.clock.date);
            if goes_ex { None } else { contract.band_around(market, view.close[row], tomorrow, is_st) }
        };
        band.filter(|band| !band.admits(price)).map(|_| Reject::PriceLimit)
    }

    /// The price limits of the bar of an instrument.
    pub(super) fn band_at(&self, instrument: InstrumentIx, row: u32) -> Option<Band> {
        let contract = &self.engine.contracts[instrument.ix()];
        contract.band_at(self.spec.market, &self.views[instrument.ix()], row as usize)
    }

    /// Whether the price limits keep an order from filling at a price before slippage. A limit order that waits at the
    /// band fills only if the bar trades off it.
    pub(super) fn is_locked_by_limits(&self, order: &Order, quote: &Quote, when: When) -> bool {
        let Some(band) = quote.band else { return false };
        let side = order.request.side;
        if matches!(order.request.kind, OrderKind::Limit(_)) && when != When::Close {
            let view = &self.views[order.request.instrument.ix()];
            let best = match side {
                Side::Buy => view.low[quote.row as usize],
                Side::Sell => view.high[quote.row as usize],
            };
            return band.locks(side, best);
        }
        band.locks(side, quote.raw_price)
    }

    /// Whether a protective sell has nothing that may be sold today.
    pub(super) fn is_held_back(&self, order: &Order) -> bool {
        let instrument = order.request.instrument;
        order.request.side == Side::Sell
            && self.engine.portfolio.has_locked(instrument)
            && self.engine.portfolio.sellable(instrument) <= 0.0
    }

    /// Whether a sell takes more than may be sold today.
    pub(super) fn is_oversold(&self, instrument: InstrumentIx, qty: f64) -> bool {
        self.engine.portfolio.has_locked(instrument) && qty > self.engine.portfolio.sellable(instrument)
    }

    /// Units that a protective order may sell today.
    pub(super) fn sellable_room(&self, order: &Order) -> f64 {
        let instrument = order.request.instrument;
        if order.request.side == Side::Sell && self.engine.portfolio.has_locked(instrument) {
            self.engine.portfolio.sellable(instrument)
        } else {
            f64::INFINITY
        }
    }

    /// Holds an opening execution against the free margin.
    pub(super) fn within_margin(&self, order: &Order, quote: &Quote, share: Share) -> Result<Share, Reject> {
        let request = &order.request;
        let contract = &self.engine.contracts[request.instrument.ix()];
        let held = self.engine.portfolio.position(request.instrument).qty();
        let opens = ((held + request.side.sign() * share.qty).abs() - held.abs()).max(0.0);
        if opens == 0.0 || request.tag == OrderTag::Liquidation {
            return Ok(share);
        }
        let unit = self.price_of(request, quote, share.qty) * contract.multiplier;
        let free = self.engine.portfolio.free_margin();
        let fees = contract.fees(self.spec.market, self.clock.date);
        let needs = |qty: f64| qty * unit * contract.margin + fees.fees(request.side, qty, qty * unit);
        if needs(opens) <= free {
            return Ok(share);
        }
        if self.spec.market.on_insufficient_cash == OnInsufficientCash::Reject {
            return Err(Reject::InsufficientMargin);
        }
        let closes = share.qty - opens;
        let c = &fees.commission;
        let tax = fees.transfer + if request.side == Side::Sell { fees.sell_tax } else { 0.0 };
        let most = ((free - c.minimum) / (unit * (contract.margin + c.rate + tax) + c.per_share)).max(0.0);
        let mut fits = contract.lots.floor(most);
        if fits > 0.0 && needs(fits) > free {
            fits = (fits - contract.lots.lot).max(0.0);
        }
        let qty = closes + fits;
        if qty > 0.0 { Ok(Share { wanted: qty, qty }) } else { Err(Reject::InsufficientMargin) }
    }

    /// Fees of an execution of which a part closes what was opened on this date.
    pub(super) fn fees_with_close_today(
        &self,
        order: &Order,
        fees: &Fees,
        today: Commission,
        qty: f64,
        notional: f64,
    ) -> f64 {
        let request = &order.request;
        let held = self.engine.portfolio.position(request.instrument).qty();
        let closes = if held * request.side.sign() < 0.0 { qty.min(held.abs()) } else { 0.0 };
        let view = &self.views[request.instrument.ix()];
        let first = view.date.partition_point(|&date| date < self.clock.date.0) as u32;
        let fresh = self.engine.portfolio.opened_since(request.instrument, first, closes);
        let rest = qty - fresh;
        let part = |units: f64| notional * (units / qty);
        let of_rest = if rest > 0.0 {
            charge(fees, &order.progress, self.clock.date, request.side, rest, part(rest))
        } else {
            0.0
        };
        let fees_today = Fees { commission: today, ..*fees };
        let of_fresh = if fresh > 0.0 { fees_today.fees(request.side, fresh, part(fresh)) } else { 0.0 };
        of_rest + of_fresh
    }
}
