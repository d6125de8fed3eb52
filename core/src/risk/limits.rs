//! The limits of one account during a run, and what they have seen.

use super::checks::{self, Asked};
use super::{RiskSpec, RiskView};
use crate::clock::Clock;
use crate::model::{Order, Reject};

/// Limits with their state: the peak of equity, what the date began with, how many orders came.
#[derive(Debug, Default)]
pub struct Limits {
    spec: RiskSpec,
    is_on: bool,
    /// The kill switch: from outside, whatever the settings are.
    is_halted: bool,
    barred: Vec<Barred>,
    peak: f64,
    date_equity: f64,
    is_drawn_down: bool,
    has_lost_today: bool,
    orders_this_step: u32,
    orders_today: u32,
}

/// What a list says about an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barred {
    No,
    /// Only reductions.
    Restricted,
    NotTradable,
}

impl Limits {
    /// Forgets the last run.
    pub fn reset<'a>(&mut self, spec: &RiskSpec, cash: f64, symbols: impl Iterator<Item = &'a str>) {
        self.is_halted = false;
        self.is_on = spec.has_limits();
        if !self.is_on {
            return;
        }
        self.spec.clone_from(spec);
        let listed = |list: &[String], symbol: &str| list.iter().any(|s| s == symbol);
        self.barred.clear();
        self.barred.extend(symbols.map(|symbol| {
            if spec.tradable.as_ref().is_some_and(|list| !listed(list, symbol)) {
                Barred::NotTradable
            } else if listed(&spec.restricted, symbol) {
                Barred::Restricted
            } else {
                Barred::No
            }
        }));
        self.peak = cash;
        self.date_equity = cash;
        self.is_drawn_down = false;
        self.has_lost_today = false;
        self.orders_this_step = 0;
        self.orders_today = 0;
    }

    /// Lets only reductions pass from now on, or takes that back.
    pub fn set_halted(&mut self, is_halted: bool) {
        self.is_halted = is_halted;
    }

    /// Takes note of a new step; `equity` is that of the end of the step before.
    #[inline]
    pub fn begin_step(&mut self, clock: &Clock, equity: f64) {
        if !self.is_on {
            return;
        }
        self.orders_this_step = 0;
        if clock.begins_date {
            self.orders_today = 0;
            self.has_lost_today = false;
            self.date_equity = equity;
        }
    }

    /// Takes note of the equity at a mark.
    #[inline]
    pub fn mark(&mut self, equity: f64) {
        if !self.is_on {
            return;
        }
        self.peak = self.peak.max(equity);
        let has_lost = |share: Option<f64>, from: f64| share.is_some_and(|s| equity <= from * (1.0 - s));
        self.is_drawn_down |= has_lost(self.spec.max_drawdown, self.peak);
        self.has_lost_today |= has_lost(self.spec.max_daily_loss, self.date_equity);
    }

    /// Lets an order of a resolved quantity pass, or says why not.
    pub fn check(
        &mut self,
        order: &Order,
        qty: f64,
        view: &RiskView<'_>,
        is_new: bool,
    ) -> Result<(), Reject> {
        if self.is_halted && !Asked::new(order, qty, view).only_reduces {
            return Err(Reject::Halted);
        }
        if !self.is_on {
            return Ok(());
        }
        if is_new {
            self.count()?;
        }
        let spec = &self.spec;
        let asked = Asked::new(order, qty, view);
        let barred = self.barred.get(order.request.instrument.ix()).copied().unwrap_or(Barred::No);
        if barred == Barred::NotTradable {
            return Err(Reject::NotTradable);
        }
        if spec.lot {
            checks::whole_lots(&asked, view)?;
        }
        if spec.tick {
            checks::whole_ticks(order, view.contract(order.request.instrument).price_step)?;
        }
        checks::order_size(&asked, spec)?;
        if asked.only_reduces {
            return Ok(());
        }
        if barred == Barred::Restricted {
            return Err(Reject::Restricted);
        }
        if self.is_drawn_down {
            return Err(Reject::MaxDrawdown);
        }
        if self.has_lost_today {
            return Err(Reject::DailyLoss);
        }
        checks::position(&asked, spec, view)?;
        checks::exposure(&asked, spec, view)
    }

    fn count(&mut self) -> Result<(), Reject> {
        let is_full = |limit: Option<u32>, count: u32| limit.is_some_and(|limit| count >= limit);
        if is_full(self.spec.max_orders_per_step, self.orders_this_step)
            || is_full(self.spec.max_orders_per_day, self.orders_today)
        {
            return Err(Reject::OrderRate);
        }
        self.orders_this_step += 1;
        self.orders_today += 1;
        Ok(())
    }
}
