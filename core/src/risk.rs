//! Pre-trade checks: an order in, a resolved quantity or a typed reject out (SEMANTICS sections 4 and 5).

mod checks;
mod limits;
mod spec;

pub use limits::Limits;
pub use spec::RiskSpec;

use crate::execution::OrderBook;
use crate::market::{BuyingPower, FeeModel, Market, MarketRules};
use crate::model::{Order, OrderStatus, Reject, Side, Size};
use crate::portfolio::{Portfolio, is_residue};

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub struct RiskView<'a> {
    pub market: &'a Market,
    pub portfolio: &'a Portfolio,
    pub book: &'a OrderBook,
    /// Equity when the strategy decided: at this close, before any fill of it.
    pub decision_equity: f64,
    pub spec: &'a RiskSpec,
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
        if view.spec.sellable && request.side == Side::Sell && !view.market.shorts_allowed() {
            let held = view.portfolio.sellable(request.instrument);
            let short = qty - (held - reserved(view, order, Side::Sell));
            if short > 0.0 && !is_residue(short, held) {
                return Err(Reject::ShortNotAllowed);
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
    let instrument = view.market.instrument();
    let request = &order.request;
    let close = view.portfolio.last_close(request.instrument);
    let floored =
        |qty: f64| if instrument.lot > 0.0 { (qty / instrument.lot).floor() * instrument.lot } else { qty };
    let qty = match request.size {
        Size::Qty(qty) => qty,
        Size::PctEquity(share) => floored(share * view.decision_equity / (close * instrument.multiplier)),
        Size::Value(value) => {
            if !value.is_finite() {
                return Err(Reject::BadQuantity);
            }
            view.market.fees().affordable(request.side, value, close, instrument.multiplier, instrument.lot)
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
    let notional = qty * price * view.market.multiplier;
    let fees = view.market.fees().fees(request.side, qty, notional);
    match request.side {
        Side::Buy => notional + fees,
        Side::Sell => notional - fees,
    }
}
