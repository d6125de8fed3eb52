//! What is allowed and what it costs: a market profile is data.

mod execution_spec;
mod fees;
mod hours;
mod profile;

pub use execution_spec::{ExecutionSpec, ImpactFormula, ImpactSpec, Intrabar, SlippageSpec};
pub use fees::{Commission, FeeModel, Fees};
pub use profile::{BuyingPower, FillMode, Market, MarketRules, OnInsufficientCash};
