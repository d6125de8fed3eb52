//! When and where a market trades.

use super::Market;
use crate::clock::{Place, Schedule, Zone};
use crate::error::EngineError;

impl Market {
    /// Its sessions, or its time zone alone, as far as they are known.
    pub fn place(&self) -> Result<Option<Place>, EngineError> {
        match (self.time_zone.is_empty(), self.sessions.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Err(EngineError::Spec(
                "market.sessions are local times: set market.time_zone as well".to_owned(),
            )),
            (false, true) => Zone::parse(&self.time_zone).map(|zone| Some(Place::Zone(zone))),
            (false, false) => {
                Schedule::parse(&self.time_zone, &self.sessions).map(|s| Some(Place::Sessions(s)))
            }
        }
    }

    /// Its sessions, where they are known.
    pub fn schedule(&self) -> Result<Option<Schedule>, EngineError> {
        Ok(match self.place()? {
            Some(Place::Sessions(schedule)) => Some(schedule),
            _ => None,
        })
    }
}
