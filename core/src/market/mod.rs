//! What is allowed and what it costs: a market profile is data.

mod actions;
mod adjust;
mod board;
mod contract;
mod dated;
mod dividend_tax;
mod execution_spec;
mod fees;
mod hours;
mod lots;
mod options;
mod price_limits;
mod profile;
mod read;

pub use actions::{CorporateAction, Distribution, distributions};
pub use adjust::adjustment_factors;
pub use board::{Board, board_of};
pub use contract::Contract;
pub use dated::{Dated, DatedRate, Day, ParseDayError, Rates};
pub use dividend_tax::{DividendTax, dividend_tax_rate};
pub use execution_spec::{ExecutionSpec, ImpactFormula, ImpactSpec, Intrabar, SlippageSpec};
pub use fees::{Commission, FeeModel, FeeRounding, Fees};
pub use lots::{LotRule, Lots};
pub use options::{OptionTerms, Right};
pub use price_limits::{Band, LimitRule, PriceLimits, band, round_half_up};
pub use profile::{BuyingPower, FillMode, Market, MarketRules, OnInsufficientCash};
pub use read::{PROFILES, profile_items, read_market};
