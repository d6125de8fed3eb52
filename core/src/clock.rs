//! The trading clock: the only source of time. It moves when a step begins and never by itself.

mod bar_times;
mod periods;
mod sessions;
mod timers;
mod zone;

pub use bar_times::{BarTimes, Stamp};
pub use periods::{month, month_start, week, week_start};
pub use sessions::{Hours, Placement, Schedule};
pub use timers::{Edge, Place, Timers, When};
pub use zone::{DAY_NS, TimeOfDay, Zone};

use crate::units::{TradingDate, TsNs};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    pub step: u32,
    /// The time of the bars of this step.
    pub ts: TsNs,
    /// When these bars are over, as far as is known: their time, and their length where that is stated.
    pub now: TsNs,
    pub date: TradingDate,
    /// The last step of the run: what is decided here never fills.
    pub is_last_step: bool,
    /// The last step of its trading date.
    pub ends_date: bool,
    /// The first step of its trading date.
    pub begins_date: bool,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            step: 0,
            ts: TsNs(i64::MIN),
            now: TsNs(i64::MIN),
            date: TradingDate(i32::MIN),
            is_last_step: false,
            ends_date: false,
            begins_date: true,
        }
    }
}
