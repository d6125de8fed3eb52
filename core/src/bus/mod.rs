//! The event bus: one total order of events, control always ahead of market data.
//!
//! In a backtest the data lane is the timeline itself: the engine takes the next step only when the control lane is
//! empty, so time, then lane, then priority, then sequence order every event. In a session market data wait on the bus,
//! and events from other threads come in through an [`Inlet`].

mod inlet;

pub use inlet::{Bounds, Inlet, InletError, Outlet, Wake, inlet};

use crate::event::{Event, Lane, Priority, Rank};
use crate::model::Step;
use crate::units::TsNs;
use std::collections::VecDeque;

/// The lanes of one run.
#[derive(Debug)]
pub struct Bus {
    urgent: VecDeque<Event>,
    control: VecDeque<Event>,
    /// Market data that wait, in order of their rank.
    data: VecDeque<(Rank, Step)>,
    posted: u64,
    /// Time of the newest market data that were taken: when a control event happens.
    now: TsNs,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            urgent: VecDeque::new(),
            control: VecDeque::new(),
            data: VecDeque::new(),
            posted: 0,
            now: TsNs(i64::MIN),
        }
    }
}

impl Bus {
    /// Puts a control event of the engine's own behind those that wait.
    #[inline]
    pub fn post(&mut self, event: Event) {
        debug_assert!(event.lane() == Lane::Control && event.priority() == Priority::Normal);
        self.posted += 1;
        self.control.push_back(event);
    }

    /// Puts an event from outside where its rank belongs, and returns the rank.
    pub fn admit(&mut self, event: Event) -> Rank {
        self.posted += 1;
        let (lane, priority) = (event.lane(), event.priority());
        let mut rank = Rank { ts: self.now, lane, priority, sequence: self.posted };
        match event {
            Event::Step(step) => {
                rank.ts = step.ts;
                let at = self.data.partition_point(|(other, _)| *other < rank);
                self.data.insert(at, (rank, step));
            }
            control if priority == Priority::Urgent => self.urgent.push_back(control),
            control => self.control.push_back(control),
        }
        rank
    }

    /// The next control event.
    #[inline]
    pub fn take(&mut self) -> Option<Event> {
        self.urgent.pop_front().or_else(|| self.control.pop_front())
    }

    /// The next market data, once no control event waits.
    pub fn take_step(&mut self) -> Option<Step> {
        if !self.urgent.is_empty() || !self.control.is_empty() {
            return None;
        }
        let (rank, step) = self.data.pop_front()?;
        self.now = self.now.max(rank.ts);
        Some(step)
    }

    /// Number of events posted since the run began.
    pub fn posted(&self) -> u64 {
        self.posted
    }

    /// Steps that wait.
    pub fn n_steps(&self) -> usize {
        self.data.len()
    }

    pub fn reset(&mut self) {
        self.urgent.clear();
        self.control.clear();
        self.data.clear();
        self.posted = 0;
        self.now = TsNs(i64::MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{OrderId, TradingDate};
    use proptest::prelude::*;

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

    #[test]
    fn a_halt_overtakes_what_waits_and_market_data_wait_for_both() {
        let mut bus = Bus::default();
        bus.admit(Event::Step(step(5)));
        bus.admit(Event::OrderRequest(OrderId(1)));
        bus.admit(Event::Halt);
        assert_eq!(bus.take_step(), None);
        assert_eq!(bus.take(), Some(Event::Halt));
        assert_eq!(bus.take_step(), None);
        assert_eq!(bus.take(), Some(Event::OrderRequest(OrderId(1))));
        assert_eq!(bus.take_step(), Some(step(5)));
    }

    fn step(ts: i64) -> Step {
        Step { ts: TsNs(ts), date: TradingDate(0), bars: Vec::new(), ends_date: false, ends_run: false }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Halt),
            Just(Event::CancelAll),
            Just(Event::Resume),
            (1..9u64).prop_map(|id| Event::CancelRequest(OrderId(id))),
            (0..20i64).prop_map(|ts| Event::Step(step(ts))),
        ]
    }

    proptest! {
        /// Whatever comes in between takes, what waits always leaves in order of its rank, and nothing is lost.
        #[test]
        fn what_waits_leaves_in_one_total_order(rounds in prop::collection::vec((prop::collection::vec(event(), 0..8), 0..6usize), 1..12)) {
            let mut bus = Bus::default();
            let mut waiting: Vec<(Rank, Event)> = Vec::new();
            let take = |bus: &mut Bus, waiting: &mut Vec<(Rank, Event)>| {
                let event = bus.take().or_else(|| bus.take_step().map(Event::Step));
                waiting.sort_by_key(|(rank, _)| (rank.lane, rank.ts, rank.priority, rank.sequence));
                let expected = if waiting.is_empty() { None } else { Some(waiting.remove(0).1) };
                (event, expected)
            };
            for (events, n_takes) in rounds {
                for event in events {
                    let rank = bus.admit(event.clone());
                    prop_assert!(waiting.iter().all(|(other, _)| *other != rank));
                    waiting.push((rank, event));
                }
                for _ in 0..n_takes {
                    let (event, expected) = take(&mut bus, &mut waiting);
                    prop_assert_eq!(event, expected);
                }
            }
            while !waiting.is_empty() {
                let (event, expected) = take(&mut bus, &mut waiting);
                prop_assert_eq!(event, expected);
            }
            prop_assert_eq!(bus.take(), None);
            prop_assert_eq!(bus.take_step(), None);
        }

        /// Where every step lies after the newest one taken, as a session demands, the rank alone is the order.
        #[test]
        fn time_leads_the_order_where_time_increases(gaps in prop::collection::vec((0..3i64, event()), 1..40)) {
            let mut bus = Bus::default();
            let mut ranks: Vec<Rank> = Vec::new();
            let mut ts = 0;
            for (gap, event) in gaps {
                ts += gap;
                ranks.push(bus.admit(match event {
                    Event::Step(_) => Event::Step(step(ts)),
                    control => control,
                }));
            }
            ranks.sort_unstable();
            let out = std::iter::from_fn(|| bus.take().or_else(|| bus.take_step().map(Event::Step)));
            let found: Vec<(Lane, Priority)> = out.map(|event| (event.lane(), event.priority())).collect();
            let expected: Vec<(Lane, Priority)> = ranks.iter().map(|rank| (rank.lane, rank.priority)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
