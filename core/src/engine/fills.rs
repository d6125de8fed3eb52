//! One execution: how much, at what price, at what cost, and the orders that protect what it opens (SEMANTICS sections 3
//! and 4).

use super::Loop;
use crate::error::EngineError;
use crate::event::{Event, ExecutionReport};
use crate::execution::{Offer, SlippageModel, charge};
use crate::market::{Band, BuyingPower, Lots, MarketRules, OnInsufficientCash, PriceLimits};
use crate::model::{
    Birth, CloseReason, Fill, Order, OrderKind, OrderRequest, OrderStatus, OrderTag, Reject, Side, Size,
    TimeInForce,
};
use crate::portfolio::is_residue;
use crate::strategy::Strategy;
use crate::units::{OrderId, StrategyIx};

/// What a bar offers an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote {
    /// Before slippage.
    pub(super) raw_price: f64,
    pub(super) row: u32,
    /// The price limits of the day.
    pub(super) band: Option<Band>,
}

/// What an order gets of what it wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) wanted: f64,
    pub(super) qty: f64,
}

/// Where in its bar an order fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Open,
    Inside,
    Close,
}

/// Groups that the engine makes for protective orders; groups of strategies are below.
const PROTECTION_GROUPS: u64 = 1 << 63;

impl<S: Strategy> Loop<'_, '_, S> {
    /// Fills what it can of an order at a price before slippage; true when the order waits no longer.
    pub(super) fn execute(&mut self, id: OrderId, raw_price: f64, when: When) -> Result<bool, EngineError> {
        let order = *self.order(id)?;
        let request = order.request;
        let side = request.side;
        let Some(row) = self.row_now(request.instrument) else {
            return Err(EngineError::Internal("an order fills on a step without a bar"));
        };
        let raw_price = self.taken_price(&request, raw_price, row);
        let quote = Quote { raw_price, row, band: self.band_at(request.instrument, row) };
        if self.is_locked_by_limits(&order, &quote, when) {
            return self.keep_rest(id);
        }
        let share = match self.share(&order, &quote) {
            Ok(share) => share,
            Err(reject) => {
                self.report(id, OrderStatus::Rejected(reject));
                return Ok(true);
            }
        };
        if share.wanted <= 0.0 {
            self.report(id, OrderStatus::Cancelled(CloseReason::PositionClosed));
            return Ok(true);
        }
        if share.qty <= 0.0 {
            return self.keep_rest(id);
        }
        let qty = share.qty;
        let point_value = self.engine.portfolio.point_value(request.instrument);
        let price = self.price_of(&request, &quote, qty);
        let notional = qty * price * point_value;
        let fees = self.fees_of(&order, qty, notional);
        let step = self.clock.step;
        self.engine.liquidity.take(request.instrument, step, qty);
        let date = self.clock.date;
        let stored = self.order_mut(id)?;
        stored.qty = stored.progress.filled + share.wanted;
        stored.progress.note(date, qty, notional, fees);
        let fill = Fill {
            order: id,
            instrument: request.instrument,
            ts: self.clock.ts,
            row,
            side,
            qty,
            price,
            fees,
            slippage_cost: (price - raw_price).abs() * qty * point_value,
            tag: request.tag,
        };
        let is_whole = qty >= share.wanted;
        let status = if is_whole { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
        let report = ExecutionReport { order: id, status, fill: Some(fill), refused: None };
        self.engine.bus.post(Event::ExecutionReport(report));
        if !request.protection.is_none() {
            self.protect(&order, &fill, raw_price, when);
        }
        if is_whole { Ok(true) } else { self.keep_rest(id) }
    }

    /// Where a tick is quoted, an order that takes what is there gets the other side of the quote.
    #[inline]
    fn taken_price(&self, request: &OrderRequest, raw_price: f64, row: u32) -> f64 {
        match request.kind {
            OrderKind::Limit(_) | OrderKind::StopLimit { .. } => raw_price,
            OrderKind::Market | OrderKind::MarketOnClose | OrderKind::Stop(_) => {
                let view = &self.views[request.instrument.ix()];
                view.quote(request.side, row as usize).unwrap_or(raw_price)
            }
        }
    }

    /// Units that an order still asks for, and how many of them fill now; no unit is wanted by a protective order that
    /// has nothing left to protect.
    pub(super) fn share(&self, order: &Order, quote: &Quote) -> Result<Share, Reject> {
        let market = self.spec.market;
        let request = &order.request;
        let cash = self.engine.portfolio.cash();
        let held = self.engine.portfolio.position(request.instrument).qty();
        let left = order.remaining();
        let wanted = match request.size {
            Size::BudgetAtFill(budget) if order.progress.filled == 0.0 => {
                // With margin it is not cash that has to reach.
                let cash = if market.buying_power() == BuyingPower::Margin { f64::INFINITY } else { cash };
                let qty = self.affordable(request, budget.min(cash), quote);
                if qty <= 0.0 {
                    return Err(if budget <= cash { Reject::ZeroQuantity } else { Reject::InsufficientCash });
                }
                qty
            }
            _ if order.birth.is_some() => {
                let own = self.engine.sleeves.held(&self.engine.portfolio, order.owner, request.instrument);
                let protects = if request.side == Side::Sell { own } else { -own };
                left.min(protects).max(0.0)
            }
            _ => left,
        };
        let goes_short = wanted > held && !is_residue(wanted - held, held);
        if request.side == Side::Sell && !market.shorts_allowed() && goes_short {
            return Err(Reject::ShortNotAllowed);
        }
        let volume = self.volume_at(request.instrument, quote.row);
        let contract = &self.engine.contracts[request.instrument.ix()];
        let room = self.engine.liquidity.room(request.instrument, self.clock.step, volume, contract.lots.lot);
        if request.side == Side::Sell && order.birth.is_none() && self.is_oversold(request.instrument, wanted)
        {
            return Err(Reject::NotSellable);
        }
        let room = if order.birth.is_some() { room.min(self.sellable_room(order)) } else { room };
        let qty = wanted.min(room);
        if qty < wanted && request.tif == TimeInForce::Fok {
            return Ok(Share { wanted, qty: 0.0 });
        }
        if request.side == Side::Buy && market.buying_power() == BuyingPower::Cash && qty > 0.0 {
            let point_value = self.engine.portfolio.point_value(request.instrument);
            let notional = qty * self.price_of(request, quote, qty) * point_value;
            if notional + self.fees_of(order, qty, notional) > cash {
                let reduced = self.affordable(request, cash, quote).min(qty);
                let refuses = market.on_insufficient_cash == OnInsufficientCash::Reject
                    || request.tif == TimeInForce::Fok;
                if refuses || reduced <= 0.0 {
                    return Err(Reject::InsufficientCash);
                }
                return Ok(Share { wanted: reduced, qty: reduced });
            }
        }
        if market.buying_power() == BuyingPower::Margin && qty > 0.0 && order.birth.is_none() {
            return self.within_margin(order, quote, Share { wanted, qty });
        }
        Ok(Share { wanted, qty })
    }

    pub(super) fn affordable(&self, request: &OrderRequest, budget: f64, quote: &Quote) -> f64 {
        let contract = &self.engine.contracts[request.instrument.ix()];
        let fees = contract.fees(self.spec.market, self.clock.date);
        let point_value = self.engine.portfolio.point_value(request.instrument);
        let at = |qty: f64| {
            let price = self.price_of(request, quote, qty);
            fees.affordable(request.side, budget, price, point_value, contract.lots.lot)
        };
        let most = at(0.0);
        // What the larger order would pay is enough for the smaller one.
        let qty = if self.slippage.depends_on_qty() { at(most) } else { most };
        contract.lots.accept(request.side, qty, 0.0)
    }

    /// Price of an execution, after slippage where the kind of order pays it.
    pub(super) fn price_of(&self, request: &OrderRequest, quote: &Quote, qty: f64) -> f64 {
        match request.kind {
            OrderKind::Limit(_) | OrderKind::StopLimit { .. } => quote.raw_price,
            OrderKind::Market | OrderKind::MarketOnClose | OrderKind::Stop(_) => {
                // What the model does not read is not fetched: a fill of one of many instruments finds it far away.
                let (high, low) = if self.slippage.caps_to_bar() {
                    let view = &self.views[request.instrument.ix()];
                    (view.high[quote.row as usize], view.low[quote.row as usize])
                } else {
                    (f64::INFINITY, 0.0)
                };
                let needs_volume = self.slippage.depends_on_qty();
                let offer = Offer {
                    price: quote.raw_price,
                    qty,
                    high,
                    low,
                    volume: needs_volume.then(|| self.volume_at(request.instrument, quote.row)).flatten(),
                    tick: self.engine.contracts[request.instrument.ix()].price_step,
                };
                let slipped = self.slippage.slipped(request.side, &offer);
                quote.band.map_or(slipped, |band| band.clamp(slipped))
            }
        }
    }

    fn fees_of(&self, order: &Order, qty: f64, notional: f64) -> f64 {
        let contract = &self.engine.contracts[order.request.instrument.ix()];
        let fees = contract.fees(self.spec.market, self.clock.date);
        if let Some(today) = contract.close_today(self.spec.market) {
            return self.fees_with_close_today(order, &fees, today, qty, notional);
        }
        charge(&fees, &order.progress, self.clock.date, order.request.side, qty, notional)
    }

    /// Units of a fill, not booked yet, that open a position rather than reduce one.
    fn opened_by(&self, owner: StrategyIx, fill: &Fill) -> f64 {
        let held = self.engine.sleeves.held(&self.engine.portfolio, owner, fill.instrument);
        let against = -fill.side.sign() * held;
        (fill.qty - against.max(0.0)).max(0.0)
    }

    /// Places the protective orders of what a fill opens (SEMANTICS section 4): both legs live on the bar of an entry at
    /// the open, only the stop on the bar of an entry inside it, none on the bar of an entry at the close.
    pub(super) fn protect(&mut self, entry: &Order, fill: &Fill, raw_price: f64, when: When) {
        let opened = self.opened_by(entry.owner, fill);
        if is_residue(opened, fill.qty) {
            return;
        }
        let step = self.clock.step;
        let (stop_from, target_from) = match when {
            _ if self.spec.is_ticks => (step + 1, step + 1), // a tick has no inside
            When::Open => (step, step),
            When::Inside => (step, step + 1),
            When::Close => (step + 1, step + 1),
        };
        let exit = fill.side.opposite();
        let away = fill.side.sign();
        // One group an execution: an entry that fills in parts has legs that do not end one another.
        let group = PROTECTION_GROUPS | self.engine.book.next_id().0;
        let mut place = |kind: OrderKind, tag: OrderTag, live_from: u32, trailing| {
            let request = OrderRequest {
                kind,
                oco: Some(group),
                tag,
                trailing,
                ..OrderRequest::market(fill.instrument, exit, Size::Qty(opened))
            };
            let birth = Birth { step, raw_price, price: fill.price, live_from };
            let id = self.engine.book.enter(entry.owner, request, self.clock.ts, Some(birth));
            self.engine.bus.post(Event::OrderRequest(id));
        };
        let protection = &entry.request.protection;
        if let Some((level, reference)) = protection.stop_loss {
            let reference = reference.unwrap_or(fill.price);
            let stop = reference - away * level.distance(reference);
            place(OrderKind::Stop(stop), OrderTag::StopLoss, stop_from, None);
        }
        if let Some((level, reference)) = protection.take_profit {
            let reference = reference.unwrap_or(fill.price);
            let limit = reference + away * level.distance(reference);
            place(OrderKind::Limit(limit), OrderTag::TakeProfit, target_from, None);
        }
        if let Some(spec) = protection.trailing {
            let stop = fill.price - away * spec.level.distance(fill.price);
            place(OrderKind::Stop(stop), OrderTag::TrailingStop, stop_from, Some(spec));
        }
    }
}
