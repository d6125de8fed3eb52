//! What the market profile adds to the loop: dates that begin and end, price limits, units that may not be sold yet,
//! margin, corporate actions (SEMANTICS sections 2, 5 and 6).

use super::Loop;
use super::fills::{Quote, Share, When};
use crate::error::EngineError;
use crate::market::{
    Band, BuyingPower, Commission, Contract, Distribution, FeeModel, Fees, FillMode, Lots, Market,
    OnInsufficientCash, PriceLimits,
};
use crate::model::{CloseReason, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Reject, Side, Size};
use crate::portfolio::Past;
use crate::strategy::Strategy;
use crate::units::{InstrumentIx, OrderId, TradingDate};

/// Calendar days from a trading date to the next one, at most.
const LONGEST_CLOSURE: i32 = 14;

/// Whether a market does anything when a trading date begins or ends.
pub(super) fn has_dates(market: &Market, contracts: &[Contract]) -> bool {
    market.daily_settlement
        || market.maintenance > 0.0
        || market.borrow_rate > 0.0
        || market.interest_rate > 0.0
        || contracts
            .iter()
            .any(|c| c.sell_after_days > 0 || !c.distributions.is_empty() || c.option.is_some())
}

impl<S: Strategy> Loop<'_, '_, S> {
    /// A trading date begins: units become free, distributions whose ex-date has come are paid.
    pub(super) fn begin_date(&mut self) -> Result<(), EngineError> {
        self.engine.portfolio.begin_dates(1, self.clock.date);
        for sleeve in self.engine.sleeves.each() {
            sleeve.begin_dates(1, self.clock.date);
        }
        let Some(last) = self.engine.last_date.replace(self.clock.date) else { return Ok(()) };
        self.pay_for_days(last);
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
        self.settle_variation();
        self.expire_options()?;
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
            self.report(id, OrderStatus::Cancelled(CloseReason::Liquidation));
        }
        self.drain_bus()?;
        let held: Vec<InstrumentIx> = self.engine.portfolio.held().collect();
        for instrument in held {
            for (owner, qty) in self.engine.sleeves.holders(&self.engine.portfolio, instrument) {
                let side = if qty > 0.0 { Side::Sell } else { Side::Buy };
                let request = OrderRequest {
                    tag: OrderTag::Liquidation,
                    ..OrderRequest::market(instrument, side, Size::Qty(qty.abs()))
                };
                let id = self.engine.book.enter(owner, request, self.clock.ts, None);
                let order = self.order_mut(id)?;
                order.qty = qty.abs();
                order.status = OrderStatus::Accepted;
                self.engine.record.n_orders += 1;
                self.engine.book.pending.push(id);
            }
        }
        Ok(())
    }

    /// Pays the distributions of an instrument with an ex-date after `last`, up to today.
    fn go_ex(&mut self, instrument: InstrumentIx, last: TradingDate) -> Result<(), EngineError> {
        let today = self.clock.date;
        let contract = &self.engine.contracts[instrument.ix()];
        // With fractions of a unit nothing is paid out.
        let whole_units = contract.lots.lot > 0.0;
        let is_due = |d: &&Distribution| d.ex_date.0 > last && d.ex_date.0 <= today;
        let due: Vec<Distribution> = contract.distributions.iter().filter(is_due).copied().collect();
        for action in due {
            let view = &self.views[instrument.ix()];
            let next_row = view.date.partition_point(|&date| date < action.ex_date.0.0) as u32;
            let past = Past { high: view.high, low: view.low, next_row };
            let taken = self.engine.portfolio.distribute(instrument, &action, whole_units, None, &past);
            for sleeve in self.engine.sleeves.each() {
                sleeve.distribute(instrument, &action, whole_units, Some(taken), &past);
            }
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
            let filled = action.multiplied(order.progress.filled);
            let Some(rest) = self.rescaled(&order, action) else {
                self.engine.book.remove(id);
                self.report(id, OrderStatus::Cancelled(CloseReason::CorporateAction));
                continue;
            };
            let stored = self.order_mut(id)?;
            stored.progress.filled = filled;
            stored.qty = filled + rest;
            stored.request.kind = match order.request.kind {
                OrderKind::Limit(price) => OrderKind::Limit(action.reference(price)),
                OrderKind::Stop(price) => OrderKind::Stop(action.reference(price)),
                OrderKind::StopLimit { stop, limit } => {
                    OrderKind::StopLimit { stop: action.reference(stop), limit: action.reference(limit) }
                }
                kind @ (OrderKind::Market | OrderKind::MarketOnClose) => kind,
            };
            if let Some(resting) = self.engine.book.resting.iter_mut().find(|r| r.order == id)
                && let Some(trail) = &mut resting.trail
            {
                trail.best = action.reference(trail.best);
            }
        }
        self.drain_bus()
    }

    /// What an order still asks for after a split, in quantities that its market takes; none when that is nothing.
    fn rescaled(&self, order: &Order, action: &Distribution) -> Option<f64> {
        let rest = action.multiplied(order.remaining());
        if order.birth.is_some() || rest <= 0.0 {
            return Some(rest); // a protective order ends with its position, a budget has no units yet
        }
        let instrument = order.request.instrument;
        let held = self.engine.portfolio.position(instrument).qty();
        let taken = self.engine.contracts[instrument.ix()].lots.accept(order.request.side, rest, held);
        (taken > 0.0).then_some(taken)
    }

    /// Puts the prices of a request on the tick grid.
    pub(super) fn put_on_tick(&mut self, id: OrderId) -> Result<(), EngineError> {
        let OrderRequest { instrument, side, kind, .. } = self.order(id)?.request;
        let kind = self.on_tick(instrument, side, kind);
        self.order_mut(id)?.request.kind = kind;
        Ok(())
    }

    /// Prices on the tick grid, unless risk is to refuse those that lie beside it.
    pub(super) fn on_tick(&self, instrument: InstrumentIx, side: Side, kind: OrderKind) -> OrderKind {
        let contract = &self.engine.contracts[instrument.ix()];
        if contract.tick > 0.0 && !self.spec.risk.tick { contract.on_tick(side, kind) } else { kind }
    }

    /// Trading dates until an order can first fill: an order of the last step of a date waits for the next date, unless
    /// it fills at this very close.
    pub(super) fn days_ahead(&self, order: &Order) -> u32 {
        let fills_now =
            self.spec.market.fill == FillMode::Close && matches!(order.request.kind, OrderKind::Market);
        u32::from(self.clock.ends_date && !fills_now)
    }

    /// A limit outside the band of the day it can first fill on. That of a next day is known from the last price of this
    /// one, not from columns of a bar that is yet to come.
    pub(super) fn refused_by_limits(&self, order: &Order) -> Option<Reject> {
        let market = self.spec.market;
        let (OrderKind::Limit(price) | OrderKind::StopLimit { limit: price, .. }) = order.request.kind else {
            return None;
        };
        if !market.refuse_beyond_limits || order.birth.is_some() {
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
            if contract.is_free_after(market, view, row) {
                return None;
            }
            // Which date comes next is not known. An ex-date that may be it leaves the check to the fill.
            let (today, soon) = (self.clock.date.0, self.clock.date.0 + LONGEST_CLOSURE);
            let goes_ex = |d: &Distribution| (today + 1..=soon).contains(&d.ex_date.0.0);
            if contract.distributions.iter().any(goes_ex) {
                return None;
            }
            let is_st = view.named("is_st").is_some_and(|column| column[row] > 0.0);
            let date = TradingDate(today + 1);
            contract.band_around(market, contract.reference_after(view, row, date), date, is_st)
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
        let is_limit = matches!(order.request.kind, OrderKind::Limit(_) | OrderKind::StopLimit { .. });
        if is_limit && when != When::Close {
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
        let unit =
            self.price_of(request, quote, share.qty) * self.engine.portfolio.point_value(request.instrument);
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

    /// Fees of an execution of which a part closes what was opened on this date. Minimums count by execution here.
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
        let part = |commission: Commission, units: f64| {
            let fees = Fees { commission, ..*fees };
            if units > 0.0 { fees.fees(request.side, units, notional * (units / qty)) } else { 0.0 }
        };
        part(fees.commission, rest) + part(today, fresh)
    }
}
