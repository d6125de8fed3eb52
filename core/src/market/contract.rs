//! The rules of one instrument, resolved when a run starts.

use super::dated::in_force;
use super::price_limits::{passive_tick, round_half_up};
use super::{
    Band, Board, Commission, Day, Distribution, Fees, LotRule, Market, OptionTerms, band, board_of,
    distributions,
};
use crate::data::AssetView;
use crate::error::EngineError;
use crate::model::{OrderKind, Side};
use crate::units::TradingDate;

/// What the market makes of one instrument.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    pub lots: LotRule,
    /// Grid of order prices and price limits; zero: none.
    pub tick: f64,
    /// Smallest step of a price, for slippage in ticks and the check of given prices.
    pub price_step: f64,
    pub multiplier: f64,
    /// Share of the notional that a position ties up.
    pub margin: f64,
    /// Trading dates until a bought unit may be sold.
    pub sell_after_days: u32,
    /// Distributions in order of ex-dates.
    pub distributions: Vec<Distribution>,
    pub option: Option<OptionTerms>,
    board: Option<usize>,
    listed: Option<Day>,
    has_limits: bool,
}

impl Contract {
    /// Finds the board of a symbol and lays its rules over those of the market.
    pub fn resolve(market: &Market, symbol: &str) -> Result<Self, EngineError> {
        let board = match &market.board {
            _ if market.boards.is_empty() => None,
            Some(name) => {
                let known = market.boards.iter().position(|board| board.name == *name);
                Some(known.ok_or_else(|| unknown_board(market, name))?)
            }
            None => Some(board_of(&market.boards, symbol).ok_or_else(|| no_board(market, symbol))?),
        };
        let of = board.and_then(|ix| market.boards.get(ix));
        let limits = of.and_then(|b| b.price_limit.as_ref()).unwrap_or(&market.price_limit);
        let tick = of.and_then(|b| b.tick).unwrap_or(market.tick);
        let distributions = distributions(&market.corporate_actions, symbol);
        if let Some(all_gone) = distributions.iter().find(|d| d.bonus <= -1.0) {
            return Err(EngineError::Spec(format!(
                "market.corporate_actions: those of {symbol} on {} together leave no units",
                all_gone.ex_date
            )));
        }
        Ok(Self {
            lots: LotRule {
                lot: of.and_then(|b| b.lot).unwrap_or(market.lot),
                min_qty: of.and_then(|b| b.min_qty).unwrap_or(market.min_qty),
                binds: market.lot_binds,
            },
            tick,
            price_step: if tick > 0.0 { tick } else { market.execution.tick },
            multiplier: of.and_then(|b| b.multiplier).unwrap_or(market.multiplier),
            margin: of.and_then(|b| b.margin).unwrap_or(market.margin),
            sell_after_days: of.and_then(|b| b.sell_after_days).unwrap_or(market.sell_after_days),
            distributions,
            option: market.options.iter().find(|option| option.symbol == symbol).cloned(),
            board,
            listed: market.listed.get(symbol).copied(),
            has_limits: market.limit_columns || !limits.is_empty(),
        })
    }

    fn of<'a>(&self, market: &'a Market) -> Option<&'a Board> {
        self.board.and_then(|ix| market.boards.get(ix))
    }

    /// What an execution of a date costs.
    #[inline]
    pub fn fees(&self, market: &Market, date: TradingDate) -> Fees {
        let board = self.of(market);
        let duty = board.and_then(|b| b.stamp_duty.as_ref()).unwrap_or(&market.stamp_duty).at(date);
        let transfer = board.and_then(|b| b.transfer_fee.as_ref()).unwrap_or(&market.transfer_fee).at(date);
        let (on_sells, on_both) = if market.duty_on_buys { (0.0, duty) } else { (duty, 0.0) };
        Fees {
            commission: board.and_then(|b| b.commission).unwrap_or(market.commission),
            sell_tax: market.sell_tax + on_sells,
            transfer: transfer + on_both,
            rounding: market.fee_rounding,
        }
    }

    /// The commission of a position that is closed on the day it was opened, where it is another one.
    #[inline]
    pub fn close_today(&self, market: &Market) -> Option<Commission> {
        self.of(market).and_then(|b| b.close_today).or(market.close_today)
    }

    /// An order price on the tick grid, rounded to the passive side.
    pub fn on_tick(&self, side: Side, kind: OrderKind) -> OrderKind {
        let rounded = |price: f64| passive_tick(side, price, self.tick);
        match kind {
            OrderKind::Limit(price) => OrderKind::Limit(rounded(price)),
            // A stop waits on the other side of the market: its passive side is the far one.
            OrderKind::Stop(price) => OrderKind::Stop(passive_tick(side.opposite(), price, self.tick)),
            OrderKind::StopLimit { stop, limit } => OrderKind::StopLimit {
                stop: passive_tick(side.opposite(), stop, self.tick),
                limit: rounded(limit),
            },
            OrderKind::Market | OrderKind::MarketOnClose => kind,
        }
    }

    /// The reference price of an ex-date, rounded as exchanges publish it.
    pub fn reference(&self, distribution: &Distribution, close: f64) -> f64 {
        round_half_up(distribution.reference(close), self.tick)
    }

    /// The price limits of the date of a row: from the columns `limit_up` and `limit_down`, else around `pre_settlement`
    /// or `pre_close`, else around the `settlement` or the close of the date before. None where nothing limits.
    pub fn band_at(&self, market: &Market, view: &AssetView<'_>, row: usize) -> Option<Band> {
        if !self.has_limits {
            return None;
        }
        let at = |name: &str| view.named(name).map(|column| column[row]).filter(|v| v.is_finite());
        if let (Some(up), Some(down)) = (at("limit_up"), at("limit_down"))
            && up > 0.0
        {
            return Some(Band { down, up });
        }
        let date = view.date[row];
        let first = view.date.partition_point(|&d| d < date);
        if let Some(listed) = self.listed
            && self.is_free(market, view, first, listed)
        {
            return None;
        }
        let is_st = at("is_st").is_some_and(|flag| flag != 0.0);
        let positive = |name: &str| at(name).filter(|price| *price > 0.0);
        let reference = match positive("pre_settlement").or_else(|| positive("pre_close")) {
            Some(price) => price,
            None => self.reference_after(view, first.checked_sub(1)?, TradingDate(date)),
        };
        self.band_around(market, reference, TradingDate(date), is_st)
    }

    /// The reference price of a later date after the last row of a date: its settlement price where the data has one,
    /// else its close, carried over the ex-dates in between.
    pub fn reference_after(&self, view: &AssetView<'_>, row: usize, date: TradingDate) -> f64 {
        let settlement = view.named("settlement").map(|column| column[row]).filter(|price| *price > 0.0);
        self.after_actions(settlement.unwrap_or(view.close[row]), view.date[row], date.0)
    }

    /// The band around a reference price on a date.
    pub fn band_around(
        &self,
        market: &Market,
        reference: f64,
        date: TradingDate,
        is_st: bool,
    ) -> Option<Band> {
        let limits = self.of(market).and_then(|b| b.price_limit.as_ref()).unwrap_or(&market.price_limit);
        let rule = in_force(limits, date)?;
        let rate = if is_st { rule.st_rate.unwrap_or(rule.rate) } else { rule.rate };
        Some(band(reference, rate, self.tick))
    }

    /// A close carried over the ex-dates after `from`, up to `to`.
    fn after_actions(&self, close: f64, from: i32, to: i32) -> f64 {
        let passed = |d: &&Distribution| d.ex_date.0.0 > from && d.ex_date.0.0 <= to;
        self.distributions.iter().filter(passed).fold(close, |price, d| self.reference(d, price))
    }

    /// Whether the date after that of a row is one of the free first dates of a listing.
    pub fn is_free_after(&self, market: &Market, view: &AssetView<'_>, row: usize) -> bool {
        self.listed.is_some_and(|listed| self.is_free(market, view, row + 1, listed))
    }

    /// Whether the date that begins at row `first` is one of the free first dates of a listing.
    fn is_free(&self, market: &Market, view: &AssetView<'_>, first: usize, listed: Day) -> bool {
        let limits = self.of(market).and_then(|b| b.price_limit.as_ref()).unwrap_or(&market.price_limit);
        let n_free = in_force(limits, listed.0).map_or(0, |rule| rule.free_days);
        let mut n_before = 0;
        let mut row = first;
        while row > 0 && view.date[row - 1] >= listed.0.0 && n_before < n_free {
            let date = view.date[row - 1];
            row = view.date.partition_point(|&d| d < date);
            n_before += 1;
        }
        n_before < n_free
    }
}

fn unknown_board(market: &Market, name: &str) -> EngineError {
    let known: Vec<&str> = market.boards.iter().map(|board| board.name.as_str()).collect();
    EngineError::Spec(format!("market.board: unknown board {name:?}, known: {}", known.join(", ")))
}

fn no_board(market: &Market, symbol: &str) -> EngineError {
    let known: Vec<&str> = market.boards.iter().map(|board| board.name.as_str()).take(12).collect();
    EngineError::Spec(format!(
        "market profile {:?} has no board for the symbol {symbol:?}: name one with market.board ({}), or give \
         market.boards: []",
        market.profile,
        known.join(", ")
    ))
}
