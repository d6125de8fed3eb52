//! Cash, positions, round trips: the accounting of one account (SEMANTICS section 7).

use crate::model::{Fill, RoundTrip, Side};
use crate::units::{InstrumentIx, TsNs};
use std::collections::VecDeque;

/// Part of a position that one execution opened.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lot {
    qty: f64,
    price: f64,
    fee_per_unit: f64,
    ts: TsNs,
    row: u32,
}

/// A signed quantity of one instrument and where it came from.
#[derive(Debug, Clone, Default)]
pub struct Position {
    qty: f64,
    avg_price: f64,
    lots: VecDeque<Lot>,
    /// Last close; NaN before the first bar.
    mark: f64,
}

impl Position {
    /// Units held, negative when short.
    pub fn qty(&self) -> f64 {
        self.qty
    }

    /// Average cost; NaN when flat.
    pub fn avg_price(&self) -> f64 {
        if self.qty == 0.0 { f64::NAN } else { self.avg_price }
    }

    /// Row of the bar on which the oldest open lot was bought or sold short; none when flat.
    pub fn entry_row(&self) -> Option<u32> {
        self.lots.front().map(|lot| lot.row)
    }
}

/// Whether a quantity is what rounding leaves of fractional quantities that add up to nothing: 0.1 and 0.2 less 0.3.
#[inline]
pub fn is_residue(qty: f64, of: f64) -> bool {
    qty.abs() <= 1e-12 * of.abs()
}

/// The account of one run.
#[derive(Debug, Default)]
pub struct Portfolio {
    cash: f64,
    multiplier: f64,
    positions: Vec<Position>,
    /// Instruments with a position, ascending: the order in which equity is summed.
    held: Vec<u32>,
    scratch: Vec<(Lot, f64)>,
}

impl Portfolio {
    /// A flat account; keeps the memory of the last run.
    pub fn reset(&mut self, cash: f64, n_instruments: usize, multiplier: f64) {
        self.cash = cash;
        self.multiplier = multiplier;
        self.held.clear();
        self.positions.resize_with(n_instruments, Position::default);
        for position in &mut self.positions {
            position.qty = 0.0;
            position.avg_price = 0.0;
            position.lots.clear();
            position.mark = f64::NAN;
        }
    }

    pub fn cash(&self) -> f64 {
        self.cash
    }

    pub fn position(&self, instrument: InstrumentIx) -> &Position {
        &self.positions[instrument.ix()]
    }

    /// Instruments with a position, ascending.
    pub fn held(&self) -> impl Iterator<Item = InstrumentIx> + '_ {
        self.held.iter().map(|&ix| InstrumentIx(ix))
    }

    pub fn is_flat(&self) -> bool {
        self.held.is_empty()
    }

    /// Notes the close of an instrument.
    #[inline]
    pub fn mark(&mut self, instrument: InstrumentIx, close: f64) {
        self.positions[instrument.ix()].mark = close;
    }

    /// Last close of an instrument, NaN before its first bar.
    pub fn last_close(&self, instrument: InstrumentIx) -> f64 {
        self.positions[instrument.ix()].mark
    }

    /// Cash plus every position at its last close.
    #[inline]
    pub fn equity(&self) -> f64 {
        let mut equity = self.cash;
        for &ix in &self.held {
            let position = &self.positions[ix as usize];
            equity += position.qty * position.mark * self.multiplier;
        }
        equity
    }

    /// Value of a position at the last close, negative when short.
    pub fn value(&self, instrument: InstrumentIx) -> f64 {
        let position = &self.positions[instrument.ix()];
        position.qty * position.mark * self.multiplier
    }

    /// Sum of the absolute values of all positions at their last closes.
    pub fn gross_exposure(&self) -> f64 {
        let value = |&ix: &u32| {
            let position = &self.positions[ix as usize];
            (position.qty * position.mark * self.multiplier).abs()
        };
        self.held.iter().map(value).sum()
    }

    /// Books an execution; closed round trips are appended to `trips`. `high` and `low` are the instrument's series.
    pub fn apply(&mut self, fill: &Fill, high: &[f64], low: &[f64], trips: &mut Vec<RoundTrip>) {
        let signed = fill.side.sign() * fill.qty;
        self.cash -= signed * fill.price * self.multiplier + fill.fees;
        let fee_per_unit = fill.fees / fill.qty;
        let ix = fill.instrument.ix();
        let before = self.positions[ix].qty;
        let mut opens = fill.qty;
        if before != 0.0 && (before > 0.0) != (signed > 0.0) {
            opens = self.close_lots(fill, fee_per_unit, high, low, trips);
        }
        let position = &mut self.positions[ix];
        if is_residue(before + signed, signed) {
            position.qty = 0.0;
            position.lots.clear();
        } else {
            position.qty = before + signed;
            if opens > 0.0 {
                let kept = (position.qty.abs() - opens).max(0.0);
                position.avg_price = (position.avg_price * kept + fill.price * opens) / (kept + opens);
                let lot = Lot { qty: opens, price: fill.price, fee_per_unit, ts: fill.ts, row: fill.row };
                position.lots.push_back(lot);
            }
        }
        let is_held = position.qty != 0.0;
        match (self.held.binary_search(&fill.instrument.0), is_held) {
            (Err(at), true) => self.held.insert(at, fill.instrument.0),
            (Ok(at), false) => {
                self.held.remove(at);
            }
            _ => {}
        }
    }

    /// Pairs an execution with the oldest lots; returns what is left of it to open the other side.
    fn close_lots(
        &mut self,
        fill: &Fill,
        exit_fee_per_unit: f64,
        high: &[f64],
        low: &[f64],
        trips: &mut Vec<RoundTrip>,
    ) -> f64 {
        let position = &mut self.positions[fill.instrument.ix()];
        let mut left = fill.qty;
        self.scratch.clear();
        while left > 0.0 {
            let Some(lot) = position.lots.front_mut() else { break };
            let paired = lot.qty.min(left);
            self.scratch.push((*lot, paired));
            left -= paired;
            lot.qty -= paired;
            // Residues of fractional quantities are no lots, and nothing that is left to pair.
            if is_residue(left, fill.qty) {
                left = 0.0;
            }
            if is_residue(lot.qty, paired) {
                position.lots.pop_front();
            }
        }
        let first = trips.len();
        let entry_side = fill.side.opposite();
        let sign = entry_side.sign();
        let (mut top, mut bottom) = (fill.price, fill.price);
        let mut row = fill.row as usize;
        for &(lot, qty) in self.scratch.iter().rev() {
            // Newest lot first, so that the extremes of the bars held are found in one pass back in time.
            while row > lot.row as usize {
                row -= 1;
                top = top.max(high[row]);
                bottom = bottom.min(low[row]);
            }
            let (above, below) = ((top - lot.price).max(0.0), (lot.price - bottom).max(0.0));
            let (favourable, adverse) = if sign > 0.0 { (above, below) } else { (below, above) };
            let gross = sign * (fill.price - lot.price) * qty * self.multiplier;
            let fees = (lot.fee_per_unit + exit_fee_per_unit) * qty;
            trips.push(RoundTrip {
                instrument: fill.instrument,
                side: entry_side,
                qty,
                entry_ts: lot.ts,
                exit_ts: fill.ts,
                entry_row: lot.row,
                exit_row: fill.row,
                entry_price: lot.price,
                exit_price: fill.price,
                gross,
                fees,
                net: gross - fees,
                notional: lot.price * qty * self.multiplier,
                mae: adverse / lot.price,
                mfe: favourable / lot.price,
            });
        }
        trips[first..].reverse();
        left
    }

    /// Units that may be sold without going short.
    pub fn sellable(&self, instrument: InstrumentIx) -> f64 {
        self.positions[instrument.ix()].qty.max(0.0)
    }

    /// The side that would reduce the position; none when flat.
    pub fn reducing_side(&self, instrument: InstrumentIx) -> Option<Side> {
        let qty = self.positions[instrument.ix()].qty;
        if qty > 0.0 {
            Some(Side::Sell)
        } else if qty < 0.0 {
            Some(Side::Buy)
        } else {
            None
        }
    }
}
