//! The order book of one run: every order by its number, and the ones that wait.

use super::OhlcBar;
use crate::model::{
    Birth, Order, OrderRequest, OrderStatus, Progress, Side, TimeInForce, TrailOn, TrailingSpec,
};
use crate::units::{InstrumentIx, OrderId, StrategyIx, TradingDate, TsNs};

/// A limit or stop that waits, with what the loop needs to match it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resting {
    pub order: OrderId,
    pub instrument: InstrumentIx,
    /// First step on which it may match.
    pub live_from: u32,
    /// Bars of the instrument it has been live for.
    pub bars_seen: u32,
    /// The step on which it was last held against a bar.
    pub checked_at: Option<u32>,
    /// For a protective order: the step it was born on and the price that stands for the open there.
    pub born: Option<(u32, f64)>,
    /// A moving stop level.
    pub trail: Option<Trail>,
    /// A stop that was reached: what is left of it fills as a market order.
    pub triggered: bool,
}

impl Resting {
    /// Protects a position: gone when the position is.
    pub fn is_protective(&self) -> bool {
        self.born.is_some()
    }
}

/// The level of a trailing stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trail {
    pub spec: TrailingSpec,
    /// Best price so far: highest for a long position, lowest for a short one.
    pub best: f64,
}

impl Trail {
    /// Where the stop stands; `side` is the side of the stop order.
    pub fn level(&self, side: Side) -> f64 {
        self.best + side.sign() * self.spec.level.distance(self.best)
    }

    /// Takes a completed bar into account.
    pub fn advance(&mut self, side: Side, bar: &OhlcBar) {
        self.best = match (side, self.spec.on) {
            (Side::Sell, TrailOn::High) => self.best.max(bar.high),
            (Side::Sell, TrailOn::Close) => self.best.max(bar.close),
            (Side::Buy, TrailOn::High) => self.best.min(bar.low),
            (Side::Buy, TrailOn::Close) => self.best.min(bar.close),
        };
    }
}

/// A market-on-close order that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    pub order: OrderId,
    pub instrument: InstrumentIx,
    /// The trading date it was placed on: it fills at the close of a later one.
    pub placed: TradingDate,
}

/// Orders of one run.
#[derive(Debug, Default)]
pub struct OrderBook {
    orders: Vec<Order>,
    /// Orders that stood before the first one kept.
    n_forgotten: u64,
    /// Accepted market orders that wait for their bar, in order of submission.
    pub pending: Vec<OrderId>,
    /// Accepted limits and stops, in order of submission.
    pub resting: Vec<Resting>,
    /// Accepted market-on-close orders, in order of submission.
    pub closing: Vec<Closing>,
    /// Orders that wait for another one to fill, not yet handed in.
    pub children: Vec<OrderId>,
    /// Orders that a gateway holds, in order of submission.
    pub remote: Vec<OrderId>,
    /// Orders of the run that end with a date.
    pub n_dated: u32,
}

impl OrderBook {
    pub fn reset(&mut self) {
        self.orders.clear();
        self.n_forgotten = 0;
        self.pending.clear();
        self.resting.clear();
        self.closing.clear();
        self.children.clear();
        self.remote.clear();
        self.n_dated = 0;
    }

    /// Whether no order waits but for its price.
    #[inline]
    pub fn only_rests(&self) -> bool {
        self.pending.is_empty() && self.closing.is_empty() && self.children.is_empty()
    }

    /// Enters a request under the next number.
    #[inline]
    pub fn enter(
        &mut self,
        owner: StrategyIx,
        request: OrderRequest,
        submitted: TsNs,
        birth: Option<Birth>,
    ) -> OrderId {
        let id = self.next_id();
        self.n_dated += u32::from(matches!(request.tif, TimeInForce::Gtd(_)));
        self.orders.push(Order {
            id,
            owner,
            request,
            qty: 0.0,
            submitted,
            status: OrderStatus::Submitted,
            birth,
            progress: Progress::NONE,
        });
        id
    }

    /// The number the next request will get.
    pub fn next_id(&self) -> OrderId {
        OrderId(self.n_forgotten + self.orders.len() as u64 + 1)
    }

    #[inline]
    pub fn get(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(id.0.checked_sub(self.n_forgotten + 1)? as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, id: OrderId) -> Option<&mut Order> {
        self.orders.get_mut(id.0.checked_sub(self.n_forgotten + 1)? as usize)
    }

    /// Lets every order go if all of them have ended; their numbers are not used again.
    #[inline]
    pub fn forget_ended(&mut self) {
        if self.working().next().is_none() {
            self.n_forgotten += self.orders.len() as u64;
            self.orders.clear();
        }
    }

    /// Every order that was not forgotten.
    pub fn all(&self) -> &[Order] {
        &self.orders
    }

    /// Takes an order off the lists of waiting ones.
    pub fn remove(&mut self, id: OrderId) {
        self.pending.retain(|&p| p != id);
        self.resting.retain(|r| r.order != id);
        self.closing.retain(|c| c.order != id);
        self.children.retain(|&c| c != id);
        self.remote.retain(|&r| r != id);
    }

    /// Numbers of the orders that wait, market orders first, those that wait for another one or at a gateway last.
    pub fn working(&self) -> impl Iterator<Item = OrderId> + '_ {
        let closing = self.closing.iter().map(|c| c.order);
        let resting = self.resting.iter().map(|r| r.order);
        let elsewhere = self.children.iter().chain(&self.remote).copied();
        self.pending.iter().copied().chain(closing).chain(resting).chain(elsewhere)
    }
}
