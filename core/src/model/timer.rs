//! A timer that is due.

use crate::units::{StrategyIx, TradingDate, TsNs};
use std::sync::Arc;

/// What a strategy is told when a timer fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    pub name: Arc<str>,
    /// Whose it is, where several strategies share an account.
    pub owner: StrategyIx,
    /// When it was due; the step that fires it is the first one that is not before this.
    pub due: TsNs,
    /// The trading date that it was due on.
    pub date: TradingDate,
}
