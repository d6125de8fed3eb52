//! Timers of a strategy: what is due when (SEMANTICS section 2).

use super::zone::DAY_NS;
use super::{Clock, Schedule, TimeOfDay, Zone, month, week};
use crate::error::TimerError;
use crate::model::Timer;
use crate::units::{StrategyIx, TradingDate, TsNs};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// When a timer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At a local time of every trading date.
    EveryDayAt(TimeOfDay),
    /// So many minutes after the first session of every trading date opens.
    AfterOpen { minutes: u32 },
    /// So many minutes before the last session of every trading date closes.
    BeforeClose { minutes: u32 },
    /// Once, at an instant.
    At(TsNs),
    /// Every so many minutes from the step at which it is set, or the first one.
    Every { minutes: u32 },
    /// At every n-th step after the one at which it is set.
    EveryBars(u32),
    /// On an edge of every calendar week, Monday first; `at` a local time, or with the first step.
    Weekly { on: Edge, at: Option<TimeOfDay> },
    /// On an edge of every calendar month.
    Monthly { on: Edge, at: Option<TimeOfDay> },
}

/// An end of a week or month of trading dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Its first trading date; that of a run counts as one.
    First,
    /// Its last trading date, known when it has ended: with the first step of the next week or month.
    Last,
}

/// A timer that is set.
#[derive(Debug, Clone)]
struct Armed {
    name: Arc<str>,
    owner: StrategyIx,
    when: When,
    priority: i32,
    sequence: u64,
    /// What a timer by minutes counts from: its last due time, or when it was set; none before the first step.
    last: Option<i64>,
    n_steps: u32,
}

/// A due time that lies ahead or has just been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: TsNs,
    priority: i32,
    /// Of its timer: the order in which they were set.
    sequence: u64,
    date: TradingDate,
}

/// The timers of one run.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    armed: Vec<Armed>,
    /// Ascending.
    due: Vec<Due>,
    n_set: u64,
    /// An instant in the first bar of the date at hand.
    first: Option<TsNs>,
    /// The date before.
    last_date: Option<TradingDate>,
    date: Option<TradingDate>,
}

impl Timers {
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// Names of the timers of a strategy that are set, in the order of setting.
    pub fn names(&self, owner: StrategyIx) -> impl Iterator<Item = &str> {
        self.armed.iter().filter(move |timer| timer.owner == owner).map(|timer| &*timer.name)
    }

    /// Sets a timer; due times at or before now have passed. Of timers due at one instant, that of the lower priority
    /// number is first, then the one set first.
    pub fn set(
        &mut self,
        owner: StrategyIx,
        name: &str,
        when: When,
        priority: i32,
        clock: &Clock,
        place: Option<&Place>,
    ) -> Result<(), TimerError> {
        if self.names(owner).any(|known| known == name) {
            return Err(TimerError::Duplicate { name: name.to_owned() });
        }
        let has_begun = self.first.is_some();
        check(name, when, has_begun.then_some(clock.now), place)?;
        let timer = Armed {
            name: name.into(),
            owner,
            when,
            priority,
            sequence: self.n_set,
            last: has_begun.then_some(clock.now.0),
            n_steps: 0,
        };
        self.n_set += 1;
        if let When::At(at) = when {
            self.add(&timer, at, clock.date);
        } else if has_begun
            && let Some(at) = self.due_on(&timer, clock, place, false).filter(|at| *at > clock.now)
        {
            self.add(&timer, at, clock.date);
        }
        self.armed.push(timer);
        Ok(())
    }

    /// Takes a timer back, with the due times it still has.
    pub fn cancel(&mut self, owner: StrategyIx, name: &str) -> Result<(), TimerError> {
        let is_it = |timer: &Armed| timer.owner == owner && &*timer.name == name;
        let Some(ix) = self.armed.iter().position(is_it) else {
            let known = self.names(owner).map(str::to_owned).collect();
            return Err(TimerError::Unknown { name: name.to_owned(), known });
        };
        let timer = self.armed.remove(ix);
        self.due.retain(|due| due.sequence != timer.sequence);
        Ok(())
    }

    /// Notes a new trading date: `first` is an instant in its first bar.
    #[inline]
    pub fn begin_date(&mut self, clock: &Clock, first: TsNs) {
        self.last_date = self.date;
        self.date = Some(clock.date);
        self.first = Some(first);
    }

    /// Works out what this step makes due. Nothing is due twice.
    pub fn begin_step(&mut self, clock: &Clock, place: Option<&Place>) {
        let mut armed = std::mem::take(&mut self.armed);
        for timer in &mut armed {
            self.advance(timer, clock, place);
        }
        self.armed = armed;
    }

    /// Gives the next timer that is due.
    pub fn take(&mut self, clock: &Clock) -> Option<Timer> {
        let due = *self.due.first().filter(|due| due.at <= clock.now)?;
        self.due.remove(0);
        let ix = self.armed.iter().position(|timer| timer.sequence == due.sequence)?;
        let timer = &self.armed[ix];
        let mut fired =
            Timer { name: Arc::clone(&timer.name), owner: timer.owner, due: due.at, date: due.date };
        if matches!(timer.when, When::At(_)) {
            fired.date = clock.date; // an instant is of no date before it has come
            self.armed.remove(ix);
        }
        Some(fired)
    }

    fn advance(&mut self, timer: &mut Armed, clock: &Clock, place: Option<&Place>) {
        match timer.when {
            When::At(_) => {}
            When::Every { minutes } => {
                let period = i64::from(minutes) * MINUTE_NS;
                let last = *timer.last.get_or_insert(clock.now.0);
                // Due times that passed together count as one, the latest.
                let latest = last + (clock.now.0 - last) / period * period;
                if latest > last {
                    timer.last = Some(latest);
                    self.add(timer, TsNs(latest), clock.date);
                }
            }
            When::EveryBars(n) => {
                timer.n_steps += 1;
                if timer.n_steps == n {
                    timer.n_steps = 0;
                    self.add(timer, clock.now, clock.date);
                }
            }
            _ if clock.begins_date => {
                let date = match timer.when {
                    When::Weekly { on: Edge::Last, .. } | When::Monthly { on: Edge::Last, .. } => {
                        self.last_date
                    }
                    _ => Some(clock.date),
                };
                if let (Some(at), Some(date)) = (self.due_on(timer, clock, place, true), date) {
                    self.add(timer, at, date);
                }
            }
            _ => {}
        }
    }

    /// When a timer that goes by trading dates is due on the one at hand.
    fn due_on(&self, timer: &Armed, clock: &Clock, place: Option<&Place>, begins: bool) -> Option<TsNs> {
        let first = self.first?;
        let local = |time: TimeOfDay| match place? {
            Place::Sessions(schedule) => schedule.instant_on(clock.date, first, time),
            Place::Zone(zone) => Some(zone.instant(clock.date, time.ns())),
        };
        let hours = || match place? {
            Place::Sessions(schedule) => Some(schedule.hours(clock.date, first)),
            Place::Zone(_) => None,
        };
        let edge = |on: Edge, at: Option<TimeOfDay>, of: fn(TradingDate) -> i32| {
            let is_new = self.last_date.is_none_or(|last| of(last) != of(clock.date));
            match (on, at) {
                _ if !is_new => None,
                (Edge::Last, _) if self.last_date.is_none() => None,
                (_, Some(time)) => local(time),
                (_, None) => begins.then_some(clock.now),
            }
        };
        match timer.when {
            When::EveryDayAt(time) => local(time),
            When::AfterOpen { minutes } => {
                Some(TsNs(hours()?.first()?.open.0 + i64::from(minutes) * MINUTE_NS))
            }
            When::BeforeClose { minutes } => {
                Some(TsNs(hours()?.last()?.close.0 - i64::from(minutes) * MINUTE_NS))
            }
            When::Weekly { on, at } => edge(on, at, week),
            When::Monthly { on, at } => edge(on, at, month),
            When::At(_) | When::Every { .. } | When::EveryBars(_) => None,
        }
    }

    fn add(&mut self, timer: &Armed, at: TsNs, date: TradingDate) {
        let due = Due { at, priority: timer.priority, sequence: timer.sequence, date };
        let place = self.due.partition_point(|other| *other <= due);
        self.due.insert(place, due);
    }
}

/// Where the market is: its sessions, or only its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Sessions(Schedule),
    Zone(Zone),
}

impl Place {
    pub fn zone(&self) -> Zone {
        match self {
            Self::Sessions(schedule) => schedule.zone(),
            Self::Zone(zone) => *zone,
        }
    }

    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Sessions(schedule) => Some(schedule),
            Self::Zone(_) => None,
        }
    }
}

const MINUTE_NS: i64 = DAY_NS / 1440;

fn check(name: &str, when: When, now: Option<TsNs>, place: Option<&Place>) -> Result<(), TimerError> {
    let rule = |rule| Err(TimerError::Rule { name: name.to_owned(), rule });
    match when {
        When::Every { minutes: 0 } => rule("minutes must be at least 1"),
        When::EveryBars(0) => rule("the number of bars must be at least 1"),
        When::At(at) if now.is_some_and(|now| at <= now) => rule("its time has passed already"),
        When::Weekly { on: Edge::Last, at: Some(_) } | When::Monthly { on: Edge::Last, at: Some(_) } => {
            rule("a last trading date is known when it has ended, so it takes no time of day")
        }
        When::AfterOpen { .. } | When::BeforeClose { .. } if place.is_none_or(|p| p.schedule().is_none()) => {
            Err(TimerError::NoSessions { name: name.to_owned() })
        }
        When::EveryDayAt(_) | When::Weekly { at: Some(_), .. } | When::Monthly { at: Some(_), .. }
            if place.is_none() =>
        {
            Err(TimerError::NoZone { name: name.to_owned() })
        }
        _ => Ok(()),
    }
}
