//! What the time of a bar says.

use crate::error::EngineError;
use crate::units::TsNs;
use serde::{Deserialize, Serialize};

/// Which end of a bar its time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stamp {
    #[default]
    Open,
    Close,
}

/// How the times of bars are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BarTimes {
    pub stamp: Stamp,
    /// Length of a bar in nanoseconds. Without it a bar with the time of its start is over for certain only when the
    /// next one comes.
    pub length_ns: Option<i64>,
}

impl BarTimes {
    /// Refuses a length that no bar within a day has.
    pub fn check(&self) -> Result<(), EngineError> {
        match self.length_ns {
            Some(length) if !(1..=super::zone::DAY_NS).contains(&length) => Err(EngineError::Spec(format!(
                "the length of a bar must be above zero and at most a day, got {length} ns"
            ))),
            _ => Ok(()),
        }
    }

    /// The instant by which a bar is over, as far as its time tells.
    #[inline]
    pub fn known_at(&self, ts: TsNs) -> TsNs {
        match (self.stamp, self.length_ns) {
            (Stamp::Open, Some(length)) => TsNs(ts.0.saturating_add(length)),
            (Stamp::Open, None) | (Stamp::Close, _) => ts,
        }
    }

    /// An instant that lies in the bar: intervals of time are half open, `[start, end)`.
    #[inline]
    pub fn inside(&self, ts: TsNs) -> TsNs {
        match self.stamp {
            Stamp::Open => ts,
            Stamp::Close => TsNs(ts.0.saturating_sub(1)),
        }
    }
}
