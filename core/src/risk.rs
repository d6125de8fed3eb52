//! Pre-trade checks: an order in, a resolved quantity or a typed reject out (SEMANTICS sections 4 and 5).

mod checks;
mod limits;
mod question;
mod spec;

pub use limits::Limits;
pub use question::{Answer, Question};
pub use spec::RiskSpec;

use crate::execution::OrderBook;
use crate::market::{BuyingPower, Contract, FeeModel, Fees, Lots, Market, MarketRules};
use crate::model::{Order, OrderStatus, Reject, Side, Size};
use crate::portfolio::{Portfolio, is_residue};
use crate::units::{InstrumentIx, TradingDate};

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub struct RiskView<'a> {
    pub market: &'a Market,
    /// The rules of every instrument.
    pub contracts: &'a [Contract],
    pub date: TradingDate,
    /// Trading dates until the order can first fill: zero or one.
    pub days_ahead: u32,
    pub portfolio: &'a Portfolio,
    pub book: &'a OrderBook,
    /// Equity when the strategy decided: at this close, before any fill of it.
    pub decision_equity: f64,
    pub spec: &'a RiskSpec,
}

impl RiskView<'_> {
    pub(crate) fn contract(&self, instrument: InstrumentIx) -> &Contract {
        &self.contracts[instrument.ix()]
    }

    fn fees(&self, instrument: InstrumentIx) -> Fees {
        self.contract(instrument).fees(self.market, self.date)
    }
}

/// The checks of one account.
#[derive(Debug, Clone, Copy, Default)]
pub struct RiskManager;

impl RiskManager {
    /// Units of the order, zero when they are resolved by the fill; or why it is refused.
    pub fn check(self, order: &Order, view: &RiskView<'_>) -> Result<f64, Reject> {
        let request = &order.request;
        if request.kind.prices().any(|price| !(price.is_finite() && price > 0.0)) {
            return Err(Reject::BadPrice);
        }
        let qty = resolve_qty(order, view)?;
        if order.birth.is_some() {
            return Ok(qty); // protects what is held: never asks for more
        }
        let qty = admitted_qty(order, qty, view)?;
        if view.spec.sellable && request.side == Side::Sell && !view.market.shorts_allowed() {
            let held = view.portfolio.position(request.instrument).qty().max(0.0);
            let short = qty - (held - reserved(view, order, Side::Sell));
            if short > 0.0 && !is_residue(short, held) {
                return Err(Reject::ShortNotAllowed);
            }
        }
        if view.market.buying_power() == BuyingPower::Margin && qty > 0.0 {
            let free = view.portfolio.free_margin() - tied_up(view, order);
            if margin_of(order, qty, view) > free
                && view.market.on_insufficient_cash == crate::market::OnInsufficientCash::Reject
            {
                return Err(Reject::InsufficientMargin);
            }
        }
        if view.spec.cash
            && request.side == Side::Buy
            && view.market.buying_power() == BuyingPower::Cash
            && qty > 0.0
        {
            let cost = estimate(order, qty, view);
            let available = view.portfolio.cash() + open_balance(view, order);
            if cost > available
                && view.market.on_insufficient_cash == crate::market::OnInsufficientCash::Reject
            {
                return Err(Reject::InsufficientCash);
            }
        }
        Ok(qty)
    }
}

fn resolve_qty(order: &Order, view: &RiskView<'_>) -> Result<f64, Reject> {
    let request = &order.request;
    let contract = view.contract(request.instrument);
    let (lot, point_value) = (contract.lots.lot, view.portfolio.point_value(request.instrument));
    let close = view.portfolio.last_close(request.instrument);
    let floored = |qty: f64| if lot > 0.0 { (qty / lot).floor() * lot } else { qty };
    let qty = match request.size {
        Size::Qty(qty) => qty,
        Size::PctEquity(share) => floored(share * view.decision_equity / (close * point_value)),
        Size::Value(value) => {
            if !value.is_finite() {
                return Err(Reject::BadQuantity);
            }
            view.fees(request.instrument).affordable(request.side, value, close, point_value, lot)
        }
        Size::BudgetAtFill(budget) => {
            return if budget.is_finite() && budget > 0.0 { Ok(0.0) } else { Err(Reject::BadQuantity) };
        }
    };
    if !qty.is_finite() || qty < 0.0 {
        Err(Reject::BadQuantity)
    } else if qty == 0.0 {
        Err(Reject::ZeroQuantity)
    } else {
        Ok(qty)
    }
}

/// What the market takes of a quantity: whole lots, and nothing that was bought too recently.
fn admitted_qty(order: &Order, qty: f64, view: &RiskView<'_>) -> Result<f64, Reject> {
    let request = &order.request;
    let contract = view.contract(request.instrument);
    if !contract.lots.binds && contract.sell_after_days == 0 || qty == 0.0 {
        return Ok(qty);
    }
    let held = view.portfolio.position(request.instrument).qty();
    let claimed = if request.side == Side::Sell { reserved(view, order, Side::Sell) } else { 0.0 };
    let taken = contract.lots.accept(request.side, qty, held - claimed);
    if taken <= 0.0 {
        return Err(if matches!(request.size, Size::Qty(_)) { Reject::Lot } else { Reject::ZeroQuantity });
    }
    if request.side == Side::Sell && contract.sell_after_days > 0 && taken <= held {
        let free = view.portfolio.sellable_in(request.instrument, view.days_ahead);
        if taken > free - claimed {
            return Err(Reject::NotSellable);
        }
    }
    Ok(taken)
}

/// Margin that an order needs for the part of it that opens, with its fees.
fn margin_of(order: &Order, qty: f64, view: &RiskView<'_>) -> f64 {
    let request = &order.request;
    let contract = view.contract(request.instrument);
    let held = view.portfolio.position(request.instrument).qty();
    let opens = ((held + request.side.sign() * qty).abs() - held.abs()).max(0.0);
    if opens == 0.0 {
        return 0.0;
    }
    let price = request.kind.price().unwrap_or_else(|| view.portfolio.last_close(request.instrument));
    let unit = price * view.portfolio.point_value(request.instrument);
    opens * unit * contract.margin + view.fees(request.instrument).fees(request.side, qty, qty * unit)
}

/// Margin that accepted orders wait to use.
fn tied_up(view: &RiskView<'_>, order: &Order) -> f64 {
    working(view, order).filter(|o| o.birth.is_none()).map(|o| margin_of(o, o.remaining(), view)).sum()
}

/// Units that working orders of a side already claim.
fn reserved(view: &RiskView<'_>, order: &Order, side: Side) -> f64 {
    working(view, order)
        .filter(|o| {
            o.request.instrument == order.request.instrument && o.request.side == side && o.birth.is_none()
        })
        .map(Order::remaining)
        .sum()
}

/// Estimated proceeds of accepted sells less the cost of accepted buys.
fn open_balance(view: &RiskView<'_>, order: &Order) -> f64 {
    let balance = |o: &Order| {
        let amount = estimate(o, o.remaining(), view);
        match o.request.side {
            Side::Sell => amount,
            Side::Buy => -amount,
        }
    };
    working(view, order).filter(|o| o.birth.is_none()).map(balance).sum()
}

/// The other orders that work; one that waits for its parent has no size and no price yet.
fn working<'a>(view: &'a RiskView<'_>, order: &'a Order) -> impl Iterator<Item = &'a Order> {
    let others = view.book.working().filter(|&id| id != order.id).filter_map(|id| view.book.get(id));
    others.filter(|other| other.status != OrderStatus::Submitted)
}

/// Cost of a buy with its fees, or proceeds of a sell after them.
fn estimate(order: &Order, qty: f64, view: &RiskView<'_>) -> f64 {
    let request = &order.request;
    let price = request.kind.price().unwrap_or_else(|| view.portfolio.last_close(request.instrument));
    let notional = qty * price * view.portfolio.point_value(request.instrument);
    let fees = view.fees(request.instrument).fees(request.side, qty, notional);
    match request.side {
        Side::Buy => notional + fees,
        Side::Sell => notional - fees,
    }
}
