//! One trade of the market, with the quote that stood beside it.

use crate::error::DataError;
use crate::units::TsNs;

/// A tick: what was traded, and the best bid and ask at that moment where they are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick {
    pub ts: TsNs,
    pub price: f64,
    /// Units traded; NaN where the feed has none.
    pub size: f64,
    pub bid: Option<f64>,
    pub ask: Option<f64>,
}

/// Refuses quotes that cannot stand: a price that is not above zero, a bid above its ask. NaN is no quote.
pub fn check_quote(symbol: &str, row: usize, bid: f64, ask: f64) -> Result<(), DataError> {
    for (column, value) in [("bid", bid), ("ask", ask)] {
        if value <= 0.0 || value.is_infinite() {
            return Err(DataError::BadPrice { symbol: symbol.to_owned(), column, value, row });
        }
    }
    if bid > ask {
        return Err(DataError::CrossedQuote { symbol: symbol.to_owned(), bid, ask, row });
    }
    Ok(())
}
