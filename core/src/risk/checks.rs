//! The checks themselves: an order and an account in, a typed reject out.

use super::{RiskSpec, RiskView};
use crate::model::{Order, Reject, Side, Size};
use crate::units::InstrumentIx;

/// A deviation from a whole number of lots or ticks that is rounding.
const STEP_TOLERANCE: f64 = 1e-6;

/// An order with what the checks need to know about it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub order: &'a Order,
    /// Units; estimated at the last close where the fill decides them.
    pub qty: f64,
    /// At its price, or at the last close.
    pub value: f64,
    /// Reduces the position, whatever else works: it adds no risk.
    pub only_reduces: bool,
}

impl<'a> Asked<'a> {
    pub fn new(order: &'a Order, qty: f64, view: &RiskView<'_>) -> Self {
        let request = &order.request;
        let close = view.portfolio.last_close(request.instrument);
        let price = request.kind.price().unwrap_or(close);
        let point_value = view.portfolio.point_value(request.instrument);
        let (qty, value) = match request.size {
            Size::BudgetAtFill(budget) if qty == 0.0 => (budget / (price * point_value), budget),
            _ => (qty, qty * price * point_value),
        };
        let held = view.portfolio.position(request.instrument).qty();
        let opposes = request.side.sign() * held < 0.0;
        let free = held.abs() - working_qty(view, order, request.instrument, request.side);
        Self { order, qty, value, only_reduces: opposes && qty <= free }
    }
}

/// Units of the other working orders of an instrument and side; protective orders only ever reduce and do not count.
fn working_qty(view: &RiskView<'_>, order: &Order, instrument: InstrumentIx, side: Side) -> f64 {
    super::working(view, order)
        .filter(|o| o.request.instrument == instrument && o.request.side == side && o.birth.is_none())
        .map(|o| estimated_qty(o, view))
        .sum()
}

fn estimated_qty(order: &Order, view: &RiskView<'_>) -> f64 {
    let request = &order.request;
    match request.size {
        Size::BudgetAtFill(budget) if order.qty == 0.0 => {
            let close = view.portfolio.last_close(request.instrument);
            budget / (request.kind.price().unwrap_or(close) * view.portfolio.point_value(request.instrument))
        }
        _ => order.remaining(),
    }
}

/// A given quantity is a multiple of the lot, unless it closes the whole position.
pub fn whole_lots(asked: &Asked<'_>, view: &RiskView<'_>) -> Result<(), Reject> {
    let Size::Qty(qty) = asked.order.request.size else { return Ok(()) };
    let instrument = asked.order.request.instrument;
    let held = view.portfolio.position(instrument).qty();
    let closes = asked.only_reduces && qty == held.abs();
    if closes || is_multiple(qty, view.contract(instrument).lots.lot) { Ok(()) } else { Err(Reject::OffLot) }
}

/// Given prices are multiples of the tick.
pub fn whole_ticks(order: &Order, tick: f64) -> Result<(), Reject> {
    let is_given = order.request.trailing.is_none();
    let is_whole = order.request.kind.prices().all(|price| is_multiple(price, tick));
    if !is_given || is_whole { Ok(()) } else { Err(Reject::OffTick) }
}

fn is_multiple(value: f64, step: f64) -> bool {
    let steps = value / step;
    step <= 0.0 || (steps - steps.round()).abs() <= STEP_TOLERANCE
}

/// Caps of one order.
pub fn order_size(asked: &Asked<'_>, spec: &RiskSpec) -> Result<(), Reject> {
    if exceeds(asked.qty, spec.max_order_qty) {
        return Err(Reject::OrderQuantity);
    }
    if exceeds(asked.value, spec.max_order_value) {
        return Err(Reject::OrderValue);
    }
    Ok(())
}

/// Caps of the position that the order and the working orders of its side lead to.
pub fn position(asked: &Asked<'_>, spec: &RiskSpec, view: &RiskView<'_>) -> Result<(), Reject> {
    if spec.max_position_qty.is_none()
        && spec.max_position_value.is_none()
        && spec.max_concentration.is_none()
    {
        return Ok(());
    }
    let request = &asked.order.request;
    let held = view.portfolio.position(request.instrument).qty();
    let working = working_qty(view, asked.order, request.instrument, request.side);
    let qty = (held + request.side.sign() * (working + asked.qty)).abs();
    let value =
        qty * view.portfolio.last_close(request.instrument) * view.portfolio.point_value(request.instrument);
    if exceeds(qty, spec.max_position_qty) || exceeds(value, spec.max_position_value) {
        return Err(Reject::PositionLimit);
    }
    if exceeds(value, spec.max_concentration.map(|share| share * view.decision_equity)) {
        return Err(Reject::Concentration);
    }
    Ok(())
}

/// Caps of all positions together, were every working order to fill that makes them larger.
pub fn exposure(asked: &Asked<'_>, spec: &RiskSpec, view: &RiskView<'_>) -> Result<(), Reject> {
    let equity = view.decision_equity;
    if let Some(limit) = spec.max_gross_exposure
        && gross_after(asked, view) > limit * equity
    {
        return Err(Reject::GrossExposure);
    }
    if let Some(limit) = spec.max_net_exposure {
        let (before, after) = net_after(asked, view);
        // An order that brings the sum nearer to zero passes.
        if after.abs() > limit * equity && after.abs() > before.abs() {
            return Err(Reject::NetExposure);
        }
    }
    Ok(())
}

fn gross_after(asked: &Asked<'_>, view: &RiskView<'_>) -> f64 {
    let own = asked.order.request.instrument;
    let mut instruments: Vec<InstrumentIx> = view.portfolio.held().collect();
    instruments.extend(super::working(view, asked.order).map(|o| o.request.instrument));
    instruments.push(own);
    instruments.sort_unstable();
    instruments.dedup();
    let mut gross = 0.0;
    for instrument in instruments {
        let extra = |side: Side| {
            let is_own = instrument == own && side == asked.order.request.side;
            working_qty(view, asked.order, instrument, side) + if is_own { asked.qty } else { 0.0 }
        };
        let held = view.portfolio.position(instrument).qty();
        let qty = (held + extra(Side::Buy)).abs().max((held - extra(Side::Sell)).abs());
        let value = qty * view.portfolio.last_close(instrument) * view.portfolio.point_value(instrument);
        gross += if value.is_nan() { 0.0 } else { value };
    }
    gross
}

/// The sum of all values before and after the order and the working orders of its side.
fn net_after(asked: &Asked<'_>, view: &RiskView<'_>) -> (f64, f64) {
    let value = |qty: f64, instrument: InstrumentIx| {
        qty * view.portfolio.last_close(instrument) * view.portfolio.point_value(instrument)
    };
    let before: f64 = view.portfolio.held().map(|ix| value(view.portfolio.position(ix).qty(), ix)).sum();
    let side = asked.order.request.side;
    let working: f64 = super::working(view, asked.order)
        .filter(|o| o.request.side == side && o.birth.is_none())
        .map(|o| value(estimated_qty(o, view), o.request.instrument))
        .filter(|v| !v.is_nan())
        .sum();
    let own = value(asked.qty, asked.order.request.instrument);
    let before = before + side.sign() * working;
    (before, before + side.sign() * own)
}

fn exceeds(value: f64, limit: Option<f64>) -> bool {
    // A rounding error does not make a limit of exactly this much too small.
    limit.is_some_and(|limit| value > limit * (1.0 + 1e-9))
}
