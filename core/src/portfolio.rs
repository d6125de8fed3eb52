//! Cash, positions, round trips: the accounting of one account (SEMANTICS section 7).

use crate::market::{Contract, Distribution, DividendTax, dividend_tax_rate};
use crate::model::{Fill, RoundTrip, Side};
use crate::units::{InstrumentIx, TradingDate, TsNs};
use std::collections::VecDeque;

/// Part of a position that one execution opened.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lot {
    qty: f64,
    price: f64,
    fee_per_unit: f64,
    /// What a unit was worth for a price of one, in the currency of the account.
    point_value: f64,
    ts: TsNs,
    row: u32,
    /// Highest and lowest price of its bars before `seen_from`, where an ex-date has rescaled them.
    seen: Option<(f64, f64)>,
    seen_from: u32,
    /// Trading date it was opened on.
    date: TradingDate,
    /// Cash dividends a unit of today has had, in the currency of the account.
    dividends: f64,
}

/// A signed quantity of one instrument and where it came from.
#[derive(Debug, Clone, Default)]
pub struct Position {
    qty: f64,
    avg_price: f64,
    lots: VecDeque<Lot>,
    /// What a unit is worth for a price of one, in the currency of the account.
    point_value: f64,
    margin: f64,
    hold_days: u32,
    /// Where cash settles by variation: what the position was worth when cash last moved.
    settled: f64,
}

/// Bought units that may not be sold yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hold {
    instrument: u32,
    qty: f64,
    /// The trading date, counted from one, on which they are free.
    free_on: u32,
}

/// The bars of an instrument before an ex-date.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    pub high: &'a [f64],
    pub low: &'a [f64],
    /// Row of the first bar on or after it.
    pub next_row: u32,
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

/// The highest of some prices and one more.
#[inline]
fn highest(prices: &[f64], and: f64) -> f64 {
    extreme(prices, and, |price, best| price > best)
}

/// The lowest of some prices and one more.
#[inline]
fn lowest(prices: &[f64], and: f64) -> f64 {
    extreme(prices, and, |price, best| price < best)
}

/// Lane by lane: which of equal prices it finds makes no difference.
#[inline(always)]
fn extreme(prices: &[f64], and: f64, is_better: impl Fn(f64, f64) -> bool) -> f64 {
    const LANES: usize = 8;
    let better = |best: f64, price: f64| if is_better(price, best) { price } else { best };
    let (blocks, rest) = prices.as_chunks::<LANES>();
    let mut best = [and; LANES];
    for block in blocks {
        for lane in 0..LANES {
            best[lane] = better(best[lane], block[lane]);
        }
    }
    rest.iter().copied().chain(best).fold(and, better)
}

/// The account of one run.
#[derive(Debug, Default)]
pub struct Portfolio {
    cash: f64,
    /// Gains and losses move cash at settlement instead of the notional at the fill.
    settles: bool,
    /// Trading dates since the run began.
    day: u32,
    holds: Vec<Hold>,
    positions: Vec<Position>,
    /// Last close of every instrument, NaN before its first bar; apart from the positions, since each step writes all.
    marks: Vec<f64>,
    /// How often anything but a mark has changed.
    n_changes: u64,
    /// Instruments with a position, ascending: the order in which equity is summed.
    held: Vec<u32>,
    scratch: Vec<(Lot, f64)>,
    today: TradingDate,
    dividend_tax: Vec<DividendTax>,
    /// Tax on dividends that cash has paid and nobody has booked.
    tax_paid: f64,
}

impl Portfolio {
    /// A flat account; keeps the memory of the last run.
    pub fn reset(&mut self, cash: f64, n_instruments: usize, multiplier: f64) {
        self.cash = cash;
        self.settles = false;
        self.day = 0;
        self.holds.clear();
        self.today = TradingDate::default();
        self.dividend_tax.clear();
        self.tax_paid = 0.0;
        self.held.clear();
        self.marks.clear();
        self.marks.resize(n_instruments, f64::NAN);
        self.positions.resize_with(n_instruments, Position::default);
        for position in &mut self.positions {
            position.qty = 0.0;
            position.avg_price = 0.0;
            position.lots.clear();
            position.point_value = multiplier;
            position.margin = 1.0;
            position.hold_days = 0;
            position.settled = 0.0;
        }
    }

    /// Takes the terms of every instrument; `settles` as `daily_settlement` of the market.
    pub fn set_terms(&mut self, contracts: &[Contract], settles: bool) {
        self.settles = settles;
        for (position, contract) in self.positions.iter_mut().zip(contracts) {
            position.point_value = contract.multiplier;
            position.margin = contract.margin;
            position.hold_days = contract.sell_after_days;
        }
    }

    /// Takes the brackets of the tax on dividends; none: no tax.
    pub fn tax_dividends(&mut self, brackets: &[DividendTax]) {
        self.dividend_tax.extend_from_slice(brackets);
    }

    /// The tax on dividends that executions have cost since this was last asked.
    pub fn take_tax_paid(&mut self) -> f64 {
        std::mem::take(&mut self.tax_paid)
    }

    /// Trading dates begin, up to this one: units bought long enough ago are free.
    pub fn begin_dates(&mut self, n_dates: u32, date: TradingDate) {
        self.day += n_dates;
        self.today = date;
        let day = self.day;
        self.holds.retain(|hold| hold.free_on > day);
    }

    /// The trading date ends: gains and losses since the last settlement move cash.
    pub fn settle(&mut self) {
        self.n_changes += 1;
        if !self.settles {
            return;
        }
        for &ix in &self.held {
            let worth = self.worth(ix);
            let position = &mut self.positions[ix as usize];
            self.cash += worth - position.settled;
            position.settled = worth;
        }
    }

    /// Moves cash: what borrowing, interest and funding cost, below zero what they bring.
    pub fn charge(&mut self, amount: f64) {
        self.n_changes += 1;
        self.cash -= amount;
    }

    /// What a unit of an instrument is worth for a price of one, in the currency of the account.
    #[inline]
    pub fn point_value(&self, instrument: InstrumentIx) -> f64 {
        self.positions[instrument.ix()].point_value
    }

    /// Takes note of a new multiplier or exchange rate.
    pub fn set_point_value(&mut self, instrument: InstrumentIx, value: f64) {
        self.n_changes += 1;
        self.positions[instrument.ix()].point_value = value;
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
        self.marks[instrument.ix()] = close;
    }

    /// Last close of an instrument, NaN before its first bar.
    pub fn last_close(&self, instrument: InstrumentIx) -> f64 {
        self.marks[instrument.ix()]
    }

    /// A number that stays while nothing but marks changes.
    #[inline]
    pub fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// Cash plus every position at its last close.
    #[inline]
    pub fn equity(&self) -> f64 {
        let mut equity = self.cash;
        for &ix in &self.held {
            let worth = self.worth(ix);
            equity += if self.settles { worth - self.positions[ix as usize].settled } else { worth };
        }
        equity
    }

    /// Value of a position at the last close, negative when short.
    pub fn value(&self, instrument: InstrumentIx) -> f64 {
        self.worth(instrument.0)
    }

    #[inline]
    fn worth(&self, ix: u32) -> f64 {
        let position = &self.positions[ix as usize];
        position.qty * self.marks[ix as usize] * position.point_value
    }

    /// Appends the equity after each of these closes of an account's only instrument, in the arithmetic of `equity`.
    pub fn mark_through(&mut self, instrument: InstrumentIx, closes: &[f64], equity: &mut Vec<f64>) {
        let Position { qty, point_value, settled, .. } = self.positions[instrument.ix()];
        let cash = self.cash;
        if self.held.is_empty() {
            equity.resize(equity.len() + closes.len(), cash);
        } else if self.settles {
            equity.extend(closes.iter().map(|close| cash + (qty * close * point_value - settled)));
        } else {
            equity.extend(closes.iter().map(|close| cash + qty * close * point_value));
        }
        if let Some(&last) = closes.last() {
            self.mark(instrument, last);
        }
    }

    /// Sum of the absolute values of all positions at their last closes.
    pub fn gross_exposure(&self) -> f64 {
        self.held.iter().map(|&ix| self.worth(ix).abs()).sum()
    }

    /// Books an execution; closed round trips are appended to `trips`. `high` and `low` are the instrument's series.
    pub fn apply(&mut self, fill: &Fill, high: &[f64], low: &[f64], trips: &mut Vec<RoundTrip>) {
        self.n_changes += 1;
        let signed = fill.side.sign() * fill.qty;
        let ix = fill.instrument.ix();
        let worth = signed * fill.price * self.positions[ix].point_value;
        if self.settles {
            self.cash -= fill.fees;
            self.positions[ix].settled += worth;
        } else {
            self.cash -= worth + fill.fees;
        }
        let fee_per_unit = fill.fees / fill.qty;
        let before = self.positions[ix].qty;
        let mut opens = fill.qty;
        if before != 0.0 && (before > 0.0) != (signed > 0.0) {
            opens = self.close_lots(fill, fee_per_unit, high, low, trips);
        }
        let position = &mut self.positions[ix];
        if is_residue(before + signed, signed) {
            position.qty = 0.0;
            position.lots.clear();
            // What is closed for good settles at once.
            self.cash -= position.settled;
            position.settled = 0.0;
        } else {
            position.qty = before + signed;
            if opens > 0.0 {
                let kept = (position.qty.abs() - opens).max(0.0);
                position.avg_price = (position.avg_price * kept + fill.price * opens) / (kept + opens);
                let lot = Lot {
                    qty: opens,
                    price: fill.price,
                    fee_per_unit,
                    point_value: position.point_value,
                    ts: fill.ts,
                    row: fill.row,
                    seen: None,
                    seen_from: fill.row,
                    date: self.today,
                    dividends: 0.0,
                };
                position.lots.push_back(lot);
            }
        }
        if position.hold_days > 0 && fill.side == Side::Buy && position.qty > 0.0 {
            self.holds.push(Hold {
                instrument: fill.instrument.0,
                qty: fill.qty.min(position.qty),
                free_on: self.day + position.hold_days,
            });
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
        let mut tax = 0.0;
        let first = trips.len();
        let entry_side = fill.side.opposite();
        let sign = entry_side.sign();
        let (mut top, mut bottom) = (fill.price, fill.price);
        let mut row = fill.row as usize;
        for &(lot, qty) in self.scratch.iter().rev() {
            // Newest lot first, so that the extremes of the bars held are found in one pass back in time.
            let bars = row.min(lot.seen_from as usize)..row;
            (top, bottom) = (highest(&high[bars.clone()], top), lowest(&low[bars.clone()], bottom));
            row = bars.start;
            let (high, low) = lot.seen.map_or((top, bottom), |(h, l)| (top.max(h), bottom.min(l)));
            let (above, below) = ((high - lot.price).max(0.0), (lot.price - low).max(0.0));
            let (favourable, adverse) = if sign > 0.0 { (above, below) } else { (below, above) };
            let gross = if lot.point_value == position.point_value {
                sign * (fill.price - lot.price) * qty * position.point_value
            } else {
                // The currency has moved: each side at the rate of its fill.
                sign * (fill.price * position.point_value - lot.price * lot.point_value) * qty
            };
            if lot.dividends > 0.0 {
                tax += qty * lot.dividends * dividend_tax_rate(&self.dividend_tax, lot.date, self.today);
            }
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
                notional: lot.price * qty * lot.point_value,
                mae: adverse / lot.price,
                mfe: favourable / lot.price,
            });
        }
        trips[first..].reverse();
        self.cash -= tax;
        self.tax_paid += tax;
        left
    }

    /// Units that may be sold today without going short.
    #[inline]
    pub fn sellable(&self, instrument: InstrumentIx) -> f64 {
        self.sellable_in(instrument, 0)
    }

    /// Units that may be sold without going short after so many trading dates, as things stand.
    #[inline]
    pub fn sellable_in(&self, instrument: InstrumentIx, days: u32) -> f64 {
        let held = self.positions[instrument.ix()].qty.max(0.0);
        if self.holds.is_empty() {
            return held;
        }
        let is_locked = |hold: &&Hold| hold.instrument == instrument.0 && hold.free_on > self.day + days;
        let locked: f64 = self.holds.iter().filter(is_locked).map(|hold| hold.qty).sum();
        (held - locked).max(0.0)
    }

    /// Whether some units of an instrument may not be sold today.
    pub fn has_locked(&self, instrument: InstrumentIx) -> bool {
        self.holds.iter().any(|hold| hold.instrument == instrument.0)
    }

    /// Units of a position whose oldest lots were opened at `row` or after, of the `qty` oldest.
    pub fn opened_since(&self, instrument: InstrumentIx, row: u32, qty: f64) -> f64 {
        let mut left = qty;
        let mut fresh = 0.0;
        for lot in &self.positions[instrument.ix()].lots {
            let paired = lot.qty.min(left);
            fresh += if lot.row >= row { paired } else { 0.0 };
            left -= paired;
            if left <= 0.0 {
                break;
            }
        }
        fresh
    }

    /// Equity less what the positions tie up.
    pub fn free_margin(&self) -> f64 {
        self.equity() - self.margin_used()
    }

    /// What the positions tie up at their last closes.
    pub fn margin_used(&self) -> f64 {
        let one = |&ix: &u32| self.worth(ix).abs() * self.positions[ix as usize].margin;
        self.held.iter().map(one).sum()
    }

    /// Value of what is sold short, at last closes.
    pub fn short_value(&self) -> f64 {
        self.held.iter().map(|&ix| (-self.worth(ix)).max(0.0)).sum()
    }

    /// An instrument goes ex: units, costs and the mark change, and equity does not. Fractions of a unit and rights
    /// that cash does not reach are paid out at the reference price. Returns the share of the rights that was subscribed;
    /// `subscribed` names it instead of cash.
    pub fn distribute(
        &mut self,
        instrument: InstrumentIx,
        action: &Distribution,
        whole_units: bool,
        subscribed: Option<f64>,
        past: &Past<'_>,
    ) -> f64 {
        self.n_changes += 1;
        let position = &mut self.positions[instrument.ix()];
        let mark = &mut self.marks[instrument.ix()];
        let reference = action.reference(*mark);
        *mark = reference;
        if position.qty == 0.0 {
            return 0.0;
        }
        let before = position.qty;
        self.cash += before * action.cash * position.point_value;
        let whole = |qty: f64| if whole_units { qty.trunc() } else { qty };
        let multiplied = action.multiplied(before);
        let mut after = whole(multiplied);
        self.cash += (multiplied - after) * reference * position.point_value;
        let offered = action.subscribed(before);
        let cost = action.rights_price * position.point_value;
        let affordable = if cost > 0.0 { self.cash.max(0.0) / cost } else { f64::INFINITY };
        let wanted = subscribed.map_or(offered.min(affordable), |share| offered * share);
        let taken = if before > 0.0 { whole(wanted) } else { 0.0 };
        self.cash -= taken * cost;
        self.cash += (offered - taken) * (reference * position.point_value - cost);
        after += taken;
        let ratio = after / before;
        position.qty = after;
        position.avg_price = action.reference(position.avg_price);
        for lot in &mut position.lots {
            let (mut top, mut bottom) = lot.seen.unwrap_or((lot.price, lot.price));
            for row in lot.seen_from.min(past.next_row)..past.next_row {
                top = top.max(past.high[row as usize]);
                bottom = bottom.min(past.low[row as usize]);
            }
            lot.seen = Some((action.reference(top), action.reference(bottom)));
            lot.seen_from = past.next_row;
            if before > 0.0 {
                lot.dividends = (lot.dividends + action.cash * position.point_value) / ratio;
            }
            lot.qty *= ratio;
            lot.fee_per_unit /= ratio;
            lot.price = action.reference(lot.price).max(f64::MIN_POSITIVE);
        }
        for hold in self.holds.iter_mut().filter(|hold| hold.instrument == instrument.0) {
            hold.qty *= ratio;
        }
        if after == 0.0 {
            position.lots.clear();
            self.holds.retain(|hold| hold.instrument != instrument.0);
            if let Ok(at) = self.held.binary_search(&instrument.0) {
                self.held.remove(at);
            }
        }
        if offered > 0.0 { taken / offered } else { 0.0 }
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
