//! A closed round trip: first-in-first-out pairing of an entry with an exit.

use super::Side;
use crate::units::{InstrumentIx, TsNs};

/// `net = gross - fees`; `fees` holds the share of both executions by quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundTrip {
    pub instrument: InstrumentIx,
    /// Side of the entry: `Buy` for a long trip.
    pub side: Side,
    pub qty: f64,
    pub entry_ts: TsNs,
    pub exit_ts: TsNs,
    /// Rows within the instrument's own series.
    pub entry_row: u32,
    pub exit_row: u32,
    pub entry_price: f64,
    pub exit_price: f64,
    pub gross: f64,
    pub fees: f64,
    pub net: f64,
    /// Capital at entry: `entry_price * qty * multiplier`.
    pub notional: f64,
    /// Largest adverse and favourable excursion as a fraction of the entry price over the bars held, both
    /// not negative.
    pub mae: f64,
    pub mfe: f64,
}
