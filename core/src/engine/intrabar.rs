//! Which leg of a group fills when one bar reaches a stop and a limit of it (SEMANTICS section 3).

use super::Loop;
use crate::execution::{OhlcBar, Resting, limit_price, stop_price};
use crate::market::Intrabar;
use crate::model::{Order, OrderKind, Side};
use crate::strategy::Strategy;

/// What a leg does on the bars it rests for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leg {
    Stop(f64),
    Limit(f64),
}

impl Leg {
    fn of(order: &Order, resting: &Resting) -> Option<Self> {
        match order.request.kind {
            OrderKind::Limit(limit) => Some(Self::Limit(limit)),
            OrderKind::StopLimit { limit, .. } if resting.triggered => Some(Self::Limit(limit)),
            OrderKind::Stop(_) if resting.triggered => None, // a market order by now
            OrderKind::Stop(stop) | OrderKind::StopLimit { stop, .. } => {
                Some(Self::Stop(resting.trail.map_or(stop, |trail| trail.level(order.request.side))))
            }
            OrderKind::Market | OrderKind::MarketOnClose => None,
        }
    }

    fn is_stop(self) -> bool {
        matches!(self, Self::Stop(_))
    }

    fn reaches(self, side: Side, bar: &OhlcBar) -> bool {
        match self {
            Self::Stop(stop) => stop_price(side, stop, bar).is_some(),
            Self::Limit(limit) => limit_price(side, limit, bar).is_some(),
        }
    }

    /// When the path of a bar comes by the level: its stretch (0 at the open), then the distance from the open.
    fn arrival(self, side: Side, bar: &OhlcBar) -> (u8, f64) {
        let (level, waits_above) = match self {
            Self::Stop(stop) => (stop, side == Side::Buy),
            Self::Limit(limit) => (limit, side == Side::Sell),
        };
        let at_open = if waits_above { bar.open >= level } else { bar.open <= level };
        if at_open {
            return (0, 0.0);
        }
        let is_first = waits_above == goes_up_first(bar);
        (if is_first { 1 } else { 2 }, (level - bar.open).abs())
    }
}

/// The path of a bar goes to its nearer extreme first, to the low where both are as near.
fn goes_up_first(bar: &OhlcBar) -> bool {
    bar.high - bar.open < bar.open - bar.low
}

impl<S: Strategy> Loop<'_, '_, S> {
    /// Whether an order leaves this bar to the other leg of its group: of a stop and a limit that one bar reaches, the
    /// market's setting says which one fills. Legs that are matched after it count too.
    pub(super) fn yields_to_leg(&self, order: &Order, resting: &Resting, bar: &OhlcBar) -> bool {
        let Some(group) = order.request.oco else { return false };
        let Some(own) = Leg::of(order, resting) else { return false };
        let mode = self.spec.market.execution.intrabar;
        match mode {
            Intrabar::Pessimistic if own.is_stop() => return false,
            Intrabar::Optimistic if !own.is_stop() => return false,
            _ => {}
        }
        let step = self.clock.step;
        self.engine.book.resting.iter().any(|r| {
            if r.live_from > step || r.checked_at == Some(step) {
                return false;
            }
            let in_group = |o: &&Order| o.request.oco == Some(group) && o.owner == order.owner;
            let Some(other) = self.engine.book.get(r.order).filter(in_group) else {
                return false;
            };
            let Some(leg) = Leg::of(other, r).filter(|leg| leg.is_stop() != own.is_stop()) else {
                return false;
            };
            let Some(other_bar) = self.bar_for(r).filter(|bar| leg.reaches(other.request.side, bar)) else {
                return false;
            };
            if mode != Intrabar::Path {
                return true;
            }
            let theirs = leg.arrival(other.request.side, &other_bar);
            let ours = own.arrival(order.request.side, bar);
            // At one point of the path the stop fills.
            theirs < ours || (theirs == ours && leg.is_stop())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP_FIRST: OhlcBar = OhlcBar { open: 100.0, high: 105.0, low: 90.0, close: 95.0 };
    const DOWN_FIRST: OhlcBar = OhlcBar { open: 100.0, high: 110.0, low: 95.0, close: 105.0 };

    #[test]
    fn a_path_visits_the_nearer_extreme_first() {
        let (target, stop) = (Leg::Limit(104.0), Leg::Stop(96.0));
        assert!(target.arrival(Side::Sell, &UP_FIRST) < stop.arrival(Side::Sell, &UP_FIRST));
        assert!(target.arrival(Side::Sell, &DOWN_FIRST) > stop.arrival(Side::Sell, &DOWN_FIRST));
        // Below the open both: the nearer level first, on whichever stretch goes down.
        let (near, far) = (Leg::Limit(98.0), Leg::Stop(96.0));
        assert!(near.arrival(Side::Buy, &UP_FIRST) < far.arrival(Side::Sell, &UP_FIRST));
        // Passed at the open: at once.
        assert_eq!(Leg::Limit(99.0).arrival(Side::Sell, &DOWN_FIRST), (0, 0.0));
    }
}
