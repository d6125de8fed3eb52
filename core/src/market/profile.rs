//! The market of a run: the profile `simple` and what a sweep file overrides.

use super::dated::is_ascending;
use super::{
    Board, Commission, CorporateAction, Day, DividendTax, ExecutionSpec, FeeRounding, Fees, LimitRule,
    OptionTerms, Rates,
};
use crate::error::EngineError;
use crate::model::Instrument;
use crate::units::Bps;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When market orders fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillMode {
    #[default]
    NextOpen,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuyingPower {
    #[default]
    Unlimited,
    /// Purchases are paid from cash.
    Cash,
    /// Positions tie up a share of their notional: together no more than the equity.
    Margin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInsufficientCash {
    #[default]
    Reject,
    /// Down to the largest lot that cash affords.
    Reduce,
}

/// What a market allows an order to be.
pub trait MarketRules {
    fn instrument(&self) -> Instrument;
    fn shorts_allowed(&self) -> bool;
    fn buying_power(&self) -> BuyingPower;
}

/// Everything about the market that a run needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Market {
    pub cash: f64,
    pub fill: FillMode,
    pub slippage_bps: f64,
    pub commission: Commission,
    pub sell_tax: f64,
    pub lot: f64,
    pub multiplier: f64,
    pub shorts: bool,
    pub buying_power: BuyingPower,
    pub on_insufficient_cash: OnInsufficientCash,
    pub execution: ExecutionSpec,
    pub fee_rounding: FeeRounding,
    /// Name of the profile that the items come from.
    pub profile: String,
    /// Grid of order prices and price limits; zero: none.
    pub tick: f64,
    /// Least units of an order.
    pub min_qty: f64,
    /// Whether `lot` and `min_qty` bind the quantities that a strategy gives, or only computed ones.
    pub lot_binds: bool,
    /// Trading dates until a bought unit may be sold: zero on the same one.
    pub sell_after_days: u32,
    /// Share of the notional of a sell, by date.
    pub stamp_duty: Rates,
    /// The duty falls due on buys too.
    pub duty_on_buys: bool,
    /// Share of the notional of every execution, by date.
    pub transfer_fee: Rates,
    /// Commission of what is closed on the day it was opened, where it is another one.
    pub close_today: Option<Commission>,
    /// How far prices may move in a day; empty: without limit.
    pub price_limit: Vec<LimitRule>,
    /// Whether the columns `limit_up` and `limit_down` limit prices where no rate does.
    pub limit_columns: bool,
    /// Whether a limit order outside the band of its day is refused.
    pub refuse_beyond_limits: bool,
    /// First trading dates of instruments that were listed within the data.
    pub listed: BTreeMap<String, Day>,
    /// Share of the notional that a position ties up, where buying power is margin.
    pub margin: f64,
    /// Share of that below which the equity at the end of a trading date has all positions closed; zero: never.
    pub maintenance: f64,
    /// Gains and losses move cash at the end of every trading date.
    pub daily_settlement: bool,
    /// A year's fee on the value of short positions.
    pub borrow_rate: f64,
    /// Tax on cash dividends, taken when the units are sold, by how long they were held; months ascending.
    pub dividend_tax: Vec<DividendTax>,
    /// A year's interest on cash below zero.
    pub interest_rate: f64,
    /// Column with the funding rate of perpetual contracts, on the bars that pay it.
    pub funding_column: Option<String>,
    /// Column with the value of one unit of the instrument's currency in that of the account.
    pub fx_column: Option<String>,
    pub options: Vec<OptionTerms>,
    pub boards: Vec<Board>,
    /// The board of every symbol; by symbol when absent.
    pub board: Option<String>,
    pub corporate_actions: Vec<CorporateAction>,
    /// Trading dates a year, for annual figures of whoever asks for none.
    pub periods_per_year: f64,
    /// Time zone of the exchange, an IANA name; empty: not known.
    pub time_zone: String,
    /// Hours of trading on the local clock, in the order of the trading date; empty: not known.
    pub sessions: Vec<[String; 2]>,
    /// Where the rules come from, and what is left out.
    pub notes: Vec<String>,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            cash: 1_000_000.0,
            fill: FillMode::NextOpen,
            slippage_bps: 0.0,
            commission: Commission::default(),
            sell_tax: 0.0,
            lot: 1.0,
            multiplier: 1.0,
            shorts: true,
            buying_power: BuyingPower::Unlimited,
            on_insufficient_cash: OnInsufficientCash::Reject,
            execution: ExecutionSpec::default(),
            fee_rounding: FeeRounding::None,
            profile: "simple".to_owned(),
            tick: 0.0,
            min_qty: 0.0,
            lot_binds: false,
            sell_after_days: 0,
            stamp_duty: Rates::default(),
            duty_on_buys: false,
            transfer_fee: Rates::default(),
            close_today: None,
            price_limit: Vec::new(),
            limit_columns: false,
            refuse_beyond_limits: false,
            listed: BTreeMap::new(),
            margin: 1.0,
            maintenance: 0.0,
            daily_settlement: false,
            borrow_rate: 0.0,
            dividend_tax: Vec::new(),
            interest_rate: 0.0,
            funding_column: None,
            fx_column: None,
            options: Vec::new(),
            boards: Vec::new(),
            board: None,
            corporate_actions: Vec::new(),
            periods_per_year: 252.0,
            time_zone: String::new(),
            sessions: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Market {
    /// Refuses numbers that no market has.
    pub fn check(&self) -> Result<(), EngineError> {
        Bps::new(self.slippage_bps)?;
        self.execution.check(self.slippage_bps, self.has_tick())?;
        self.place()?;
        let not_negative = [
            ("commission.rate", self.commission.rate),
            ("commission.per_share", self.commission.per_share),
            ("commission.minimum", self.commission.minimum),
            ("sell_tax", self.sell_tax),
            ("lot", self.lot),
            ("tick", self.tick),
            ("min_qty", self.min_qty),
            ("borrow_rate", self.borrow_rate),
            ("interest_rate", self.interest_rate),
            ("maintenance", self.maintenance),
        ];
        for (name, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return Err(EngineError::Spec(format!(
                    "market.{name} must be finite and not negative, got {value}"
                )));
            }
        }
        for (name, value) in [("cash", self.cash), ("multiplier", self.multiplier), ("margin", self.margin)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(EngineError::Spec(format!(
                    "market.{name} must be finite and above zero, got {value}"
                )));
            }
        }
        self.check_tables()?;
        if self.slippage_bps >= 10_000.0 {
            return Err(EngineError::Spec(format!(
                "market.slippage_bps must be below 10000 (a sell would fill at nothing), got {}",
                self.slippage_bps
            )));
        }
        Ok(())
    }

    /// The part of the fees that no date and no board changes.
    pub fn fees(&self) -> Fees {
        Fees {
            commission: self.commission,
            sell_tax: self.sell_tax,
            transfer: 0.0,
            rounding: self.fee_rounding,
        }
    }

    /// Whether prices have a smallest step anywhere.
    pub fn has_tick(&self) -> bool {
        let of_boards = self.boards.iter().filter_map(|board| board.tick);
        of_boards.chain([self.tick, self.execution.tick]).any(|tick| tick > 0.0)
    }

    fn check_tables(&self) -> Result<(), EngineError> {
        let refuse = |name: &str, rule: &str| Err(EngineError::Spec(format!("market.{name} {rule}")));
        let is_share =
            |tax: &DividendTax| tax.rate >= 0.0 && tax.rate < 1.0 && (1..=1_200).contains(&tax.months);
        if !self.dividend_tax.is_sorted_by(|a, b| a.months < b.months)
            || !self.dividend_tax.iter().all(is_share)
        {
            return refuse(
                "dividend_tax",
                "must have ascending months from 1 to 1200 and rates from 0 to below 1",
            );
        }
        let boards = self.boards.iter();
        let duties = boards.clone().filter_map(|b| b.stamp_duty.as_ref()).chain([&self.stamp_duty]);
        let transfers = boards.clone().filter_map(|b| b.transfer_fee.as_ref()).chain([&self.transfer_fee]);
        for (name, rates) in duties.map(|r| ("stamp_duty", r)).chain(transfers.map(|r| ("transfer_fee", r))) {
            if !rates.is_sound() {
                return refuse(name, "must have ascending days and rates not below zero");
            }
        }
        for limits in boards.clone().filter_map(|b| b.price_limit.as_ref()).chain([&self.price_limit]) {
            let is_share = |rate: f64| rate > 0.0 && rate < 1.0;
            let is_sound = |rule: &LimitRule| is_share(rule.rate) && rule.st_rate.is_none_or(is_share);
            if !is_ascending(limits) || !limits.iter().all(is_sound) {
                return refuse("price_limit", "must have ascending days and rates between 0 and 1");
            }
        }
        for board in boards {
            let numbers = [
                ("lot", board.lot, 0.0),
                ("min_qty", board.min_qty, 0.0),
                ("tick", board.tick, 0.0),
                ("multiplier", board.multiplier, f64::MIN_POSITIVE),
                ("margin", board.margin, f64::MIN_POSITIVE),
            ];
            for (item, value, least) in numbers {
                if value.is_some_and(|v| !(v.is_finite() && v >= least)) {
                    return refuse(&format!("boards.{}.{item}", board.name), "is out of range");
                }
            }
        }
        for option in &self.options {
            if !(option.strike.is_finite() && option.strike > 0.0) {
                return refuse("options", &format!("has a strike that cannot be for {}", option.symbol));
            }
        }
        if !self.corporate_actions.is_sorted_by(|a, b| a.symbol <= b.symbol) {
            return refuse("corporate_actions", "must be in order of symbols");
        }
        for action in &self.corporate_actions {
            if !action.is_sound() {
                let message =
                    format!("has numbers that cannot be for {} on {}", action.symbol, action.ex_date);
                return refuse("corporate_actions", &message);
            }
        }
        Ok(())
    }
}

impl MarketRules for Market {
    fn instrument(&self) -> Instrument {
        Instrument { multiplier: self.multiplier, lot: self.lot }
    }

    fn shorts_allowed(&self) -> bool {
        self.shorts
    }

    fn buying_power(&self) -> BuyingPower {
        self.buying_power
    }
}
