//! The event bus: control events in order of their sequence, always ahead of the next bar.
//!
//! In a backtest the data lane is the timeline itself: the engine takes the next step only when the control lane is
//! empty, so time, then lane, then sequence order every event.

use crate::event::Event;
use std::collections::VecDeque;

/// The control lane of one run.
#[derive(Debug, Default)]
pub struct Bus {
    control: VecDeque<Event>,
    posted: u64,
}

impl Bus {
    pub fn post(&mut self, event: Event) {
        self.posted += 1;
        self.control.push_back(event);
    }

    pub fn take(&mut self) -> Option<Event> {
        self.control.pop_front()
    }

    /// Number of events posted since the run began.
    pub fn posted(&self) -> u64 {
        self.posted
    }

    pub fn reset(&mut self) {
        self.control.clear();
        self.posted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::OrderId;

    #[test]
    fn events_leave_in_the_order_they_came() {
        let mut bus = Bus::default();
        for id in 1..=3 {
            bus.post(Event::OrderRequest(OrderId(id)));
        }
        let out: Vec<_> = std::iter::from_fn(|| bus.take()).collect();
        assert_eq!(out, (1..=3).map(|id| Event::OrderRequest(OrderId(id))).collect::<Vec<_>>());
        assert_eq!(bus.posted(), 3);
    }
}
