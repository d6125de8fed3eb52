//! Orders that wait, held against the bars of a step (SEMANTICS sections 2 and 3).

use super::Loop;
use super::fills::When;
use crate::error::EngineError;
use crate::execution::{OhlcBar, Resting, limit_price, stop_price};
use crate::market::FillMode;
use crate::model::{OrderKind, TimeInForce};
use crate::strategy::Strategy;

/// Which resting orders a pass over the book looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Stops,
    Limits,
    StopLimits,
    Trailing,
    /// Protective stops of entries that filled inside this bar.
    Newborn,
}

impl<S: Strategy> Loop<'_, '_, S> {
    /// Market orders that wait, in order of submission: at the open, or at the close where the fill mode says so.
    pub(super) fn fill_pending(&mut self) -> Result<(), EngineError> {
        let mut ids = std::mem::take(&mut self.engine.scratch_ids);
        ids.clear();
        ids.extend_from_slice(&self.engine.book.pending);
        for &id in &ids {
            let instrument = self.order(id)?.request.instrument;
            let Some(row) = self.tradable_row(instrument) else { continue };
            if !self.engine.book.pending.contains(&id) {
                continue; // cancelled by a fill just now
            }
            let view = &self.views[instrument.ix()];
            let is_done = match self.spec.market.fill {
                FillMode::NextOpen => self.execute(id, view.open[row as usize], When::Open)?,
                FillMode::Close => self.execute(id, view.close[row as usize], When::Close)?,
            };
            if is_done {
                self.engine.book.pending.retain(|&p| p != id);
            }
            self.drain_bus()?;
        }
        self.engine.scratch_ids = ids;
        Ok(())
    }

    pub(super) fn match_resting(&mut self) -> Result<(), EngineError> {
        for pass in [Pass::Stops, Pass::Limits, Pass::StopLimits, Pass::Trailing, Pass::Newborn] {
            self.match_pass(pass)?;
        }
        self.age_resting()
    }

    fn match_pass(&mut self, pass: Pass) -> Result<(), EngineError> {
        let mut ids = std::mem::take(&mut self.engine.scratch_ids);
        ids.clear();
        ids.extend(self.engine.book.resting.iter().map(|r| r.order));
        for &id in &ids {
            let step = self.clock.step;
            let Some(at) = self.engine.book.resting.iter().position(|r| r.order == id) else { continue };
            let resting = self.engine.book.resting[at];
            let order = *self.order(id)?;
            let belongs = match (pass, order.request.kind) {
                (Pass::Stops, OrderKind::Stop(_)) => resting.trail.is_none(),
                (Pass::Limits, OrderKind::Limit(_)) => true,
                (Pass::StopLimits, OrderKind::StopLimit { .. }) => true,
                (Pass::Trailing, _) => resting.trail.is_some(),
                (Pass::Newborn, OrderKind::Stop(_)) => true,
                _ => false,
            };
            if !belongs || resting.live_from > step || resting.checked_at == Some(step) {
                continue;
            }
            if order.birth.is_some() && self.is_held_back(&order) {
                continue; // nothing of what it protects may be sold today
            }
            let Some(bar) = self.bar_for(&resting) else { continue };
            self.engine.book.resting[at].checked_at = Some(step);
            let side = order.request.side;
            let raw = match order.request.kind {
                _ if self.yields_to_leg(&order, &resting, &bar) => None,
                OrderKind::Limit(limit) => limit_price(side, limit, &bar),
                OrderKind::StopLimit { stop, limit } => self.match_stop_limit(at, side, stop, limit, &bar),
                OrderKind::Stop(_) if resting.triggered => Some(bar.open),
                OrderKind::Stop(stop) => {
                    stop_price(side, resting.trail.map_or(stop, |trail| trail.level(side)), &bar)
                }
                _ => None,
            };
            if let Some(raw) = raw {
                let when =
                    if raw == bar.open && !self.is_born_now(&resting) { When::Open } else { When::Inside };
                if self.execute(id, raw, when)? {
                    self.engine.book.remove(id);
                } else {
                    self.engine.book.resting[at].triggered = true;
                }
                self.drain_bus()?;
            }
        }
        self.engine.scratch_ids = ids;
        Ok(())
    }

    fn is_born_now(&self, resting: &Resting) -> bool {
        resting.born.is_some_and(|(step, _)| step == self.clock.step)
    }

    /// The bar an order is held against: for an order born inside it, the entry's price stands for the open.
    pub(super) fn bar_for(&self, resting: &Resting) -> Option<OhlcBar> {
        let row = self.tradable_row(resting.instrument)? as usize;
        let view = &self.views[resting.instrument.ix()];
        let open = match resting.born {
            Some((step, price)) if step == self.clock.step => price,
            _ => view.open[row],
        };
        Some(OhlcBar { open, high: view.high[row], low: view.low[row], close: view.close[row] })
    }

    /// After matching: trailing levels move with the completed bar, and orders whose bars are used up expire.
    fn age_resting(&mut self) -> Result<(), EngineError> {
        let mut ids = std::mem::take(&mut self.engine.scratch_ids);
        ids.clear();
        for at in 0..self.engine.book.resting.len() {
            let resting = self.engine.book.resting[at];
            let Some(row) = self.row_now(resting.instrument) else { continue };
            let order = *self.order(resting.order)?;
            let entry = &mut self.engine.book.resting[at];
            if let Some(trail) = &mut entry.trail {
                let view = &self.views[resting.instrument.ix()];
                let row = row as usize;
                let bar = OhlcBar {
                    open: view.open[row],
                    high: view.high[row],
                    low: view.low[row],
                    close: view.close[row],
                };
                trail.advance(order.request.side, &bar);
            }
            if resting.live_from <= self.clock.step {
                entry.bars_seen += 1;
                let is_over = match order.request.tif {
                    TimeInForce::Bars(n) => entry.bars_seen >= n,
                    TimeInForce::Ioc | TimeInForce::Fok => entry.checked_at.is_some(),
                    _ => false,
                };
                if is_over {
                    ids.push(resting.order);
                }
            }
        }
        for &id in &ids {
            self.end_of_time(id)?;
        }
        self.engine.scratch_ids = ids;
        self.drain_bus()
    }
}
